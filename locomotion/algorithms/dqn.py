"""Deep Q-learning (Mnih et al., 2015), double (van Hasselt et al., 2016), with prioritized replay (Schaul et al., 2016).

Read :meth:`DQN.iterate`, then :meth:`DQN.update`.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.experience import ExperienceSettings, collect
from locomotion.algorithms.replay import Batch, Replay
from locomotion.environment import Environment, Observations, Spaces
from locomotion.models.flat import FlatAdam, flatten
from locomotion.models.mlp import MLP, ActivationName
from locomotion.schema import Count, Positive, Settings, Share

Sizes = Annotated[tuple[Count, ...], Field(min_length=1, max_length=8)]


class PrioritySettings(Settings):
    alpha: Share  # 0: uniform
    beta: Share  # of the weights that make up for it; it grows to 1 over a run


class DQNSettings(ExperienceSettings):
    double: bool  # the network chooses what follows, its target says what that is worth
    prioritized: PrioritySettings | None
    exploring: Share  # of a run, at its beginning, over which random actions grow rare:
    final_exploration: Share  # ... from all to this share
    learning_rate: Positive
    max_grad_norm: Positive | None
    target_every: Count  # updates until the target follows
    tau: Annotated[float, Field(gt=0, le=1)]  # ... by this share of the way
    actor_hidden: Sizes
    activation: ActivationName


@algorithm("dqn")
class DQN:
    """The network of action values (the actor: the largest is chosen), its target, its optimizer, and what was lived through."""

    settings_type = DQNSettings

    def __init__(self, settings: DQNSettings, env: Environment, seed: int, iterations: int) -> None:
        self.settings, self.env, s, device = settings, env, settings, env.device
        self.iterations, self.iteration, self.updates = iterations, 0, 0
        self.iteration_steps, self.choices = s.iteration_steps, env.spaces.discrete("dqn").size
        initial = torch.Generator().manual_seed(seed)  # on the host: the same weights whatever the device
        self.actor, self.target = (self.make_actor(s, env.spaces, initial).to(device) for _ in range(2))
        self.target.load_state_dict(self.actor.state_dict())
        self.generator = initial if device.type == "cpu" else torch.Generator(device=device).manual_seed(seed)
        self.optimizer = FlatAdam(self.actor.parameters(), s.learning_rate)
        self._target_vector = flatten(self.target.parameters()).data
        alpha = s.prioritized.alpha if s.prioritized else None
        self.replay = Replay({"actor": env.spaces.groups["actor"]}, 1, s.num_envs, s.capacity, device, s.half, alpha)

    @staticmethod
    def make_actor(settings: DQNSettings, spaces: Spaces, generator: torch.Generator) -> MLP:
        sizes = [spaces.groups["actor"], *settings.actor_hidden, spaces.discrete("dqn").size]
        return MLP(sizes, 1.0, generator, settings.activation)

    @property
    def exploration(self) -> float:
        """Share of actions that are random."""
        s = self.settings
        gone = min(self.iteration / self.iterations / s.exploring, 1.0) if s.exploring else 1.0
        return 1.0 + (s.final_exploration - 1.0) * gone

    @property
    def beta(self) -> float | None:
        p = self.settings.prioritized
        return p and p.beta + (1.0 - p.beta) * min(self.iteration / self.iterations, 1.0)

    def iterate(self) -> dict[str, float]:
        s, reward, before = self.settings, torch.zeros((), device=self.env.device), self.updates
        figures = torch.zeros(2, device=self.env.device)
        for _ in range(s.rounds):
            with torch.inference_mode():
                reward += collect(self.env, self.replay, self.act, s.steps)
            if s.warm(self.replay):
                for _ in range(s.updates):  # each draws by priorities that the one before has changed
                    figures += self.update(self.replay.sample(s.batch_size, s.n_steps, s.gamma, self.generator, self.beta))
        explored, learned = self.exploration, self.updates - before
        self.iteration += 1
        loss, value = (figures / max(learned, 1)).tolist()
        shown = {"loss/critic": loss, "loss/value": value} if learned else {}
        rewarded = {"replay/reward": float(reward) / self.iteration_steps, "replay/transitions": float(len(self.replay))}
        return {**rewarded, "policy/exploration": explored, **shown}

    def act(self, observations: Observations) -> Tensor:
        """Exploring choices [N] int64."""
        n, device = self.settings.num_envs, self.env.device
        best = self.actor(observations["actor"]).argmax(dim=-1)
        chance = torch.rand(n, generator=self.generator, device=device)
        return torch.where(chance < self.exploration, torch.randint(self.choices, (n,), generator=self.generator, device=device), best)

    def update(self, batch: Batch) -> Tensor:
        """One gradient step, and where it is due one of the target. Returns [2]: loss, mean value of what was done."""
        s, follows = self.settings, batch.following["actor"]
        with torch.no_grad():
            values = self.target(follows)
            goal = batch.reward + batch.discount * double_value(values, self.actor(follows) if s.double else values)
        estimate = self.actor(batch.observations["actor"]).gather(-1, batch.action.long()).squeeze(-1)
        loss = (batch.weight * F.smooth_l1_loss(estimate, goal, reduction="none")).mean()
        self.optimizer.descend(loss, s.max_grad_norm)
        if s.prioritized:
            self.replay.prioritize(batch.rows, goal - estimate)
        self.updates += 1
        if self.updates % s.target_every == 0:
            self._target_vector.lerp_(self.optimizer.flat.data, s.tau)
        return torch.stack([loss.detach(), estimate.detach().mean()])

    def initialize(self, state: dict[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])
        self.target.load_state_dict(state.get("target", state["actor"]))  # a snapshot is the policy alone

    def state_dict(self) -> dict[str, Any]:
        return {
            "actor": self.actor.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "iteration": self.iteration,
            "updates": self.updates,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.initialize(state)
        self.optimizer.load_state_dict(state["optimizer"])
        self.iteration, self.updates = state["iteration"], state["updates"]
        self.generator.set_state(state["generator"])


def double_value(values: Tensor, chooser: Tensor) -> Tensor:
    """``values`` [B, C] of the choice that is best by ``chooser`` [B, C]: van Hasselt et al. (2016), equation 4."""
    return values.gather(-1, chooser.argmax(dim=-1, keepdim=True)).squeeze(-1)
