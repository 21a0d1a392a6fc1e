"""Twin delayed deep deterministic policy gradient (Fujimoto et al., "Addressing function approximation error", 2018).

Read :meth:`TD3.iterate`, then :meth:`TD3.update`. DDPG (Lillicrap et al., 2016) is it with one critic, no smoothing, no delay: ddpg.yaml.
Actions, and all noise, are those of the space's bounds scaled to [-1, 1].
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.experience import ExperienceSettings, Mirror, collect
from locomotion.algorithms.replay import Batch, Replay
from locomotion.environment import Environment, Observations, Spaces
from locomotion.models.ensemble import Ensemble
from locomotion.models.flat import FlatAdam, flatten
from locomotion.models.mlp import ActivationName
from locomotion.models.normalizer import Normalizer
from locomotion.models.squashed import SquashedActor, make_squashed_actor
from locomotion.schema import Count, NotNegative, Positive

Sizes = Annotated[tuple[Count, ...], Field(min_length=1, max_length=8)]


class TD3Settings(ExperienceSettings):
    random_warm_up: bool  # uniform actions before the first update; else the policy's
    exploration: NotNegative  # standard deviation of the noise of acting
    smoothing: NotNegative  # standard deviation of the noise of the targets' actions ...
    smoothing_limit: NotNegative  # ... which is clipped to this
    actor_every: Count  # critic updates an update of the actor and of all targets
    learning_rate: Positive  # of the actor
    critic_learning_rate: Positive
    max_grad_norm: Positive | None
    tau: Annotated[float, Field(gt=0, le=1)]  # share by which the targets follow
    critics: Annotated[int, Field(ge=1, le=16)]  # the least of them counts
    critic_group: Literal["actor", "critic"]  # what the critics see
    actor_hidden: Sizes
    critic_hidden: Sizes
    activation: ActivationName
    layer_norm: bool  # of the critics
    normalize: bool  # observations, by what was seen
    symmetric: bool  # the policy commutes with the mirror, the critics learn every second sample mirrored


@algorithm("td3")
class TD3:
    """Actor, critics, the targets of both, their optimizers, and what was lived through."""

    settings_type = TD3Settings

    def __init__(self, settings: TD3Settings, env: Environment, seed: int, iterations: int) -> None:
        self.settings, self.env, s, device = settings, env, settings, env.device
        self.iteration_steps, self.updates = s.iteration_steps, 0
        initial = torch.Generator().manual_seed(seed)  # on the host: the same weights whatever the device
        self.actor, self.target_actor = (self.make_actor(s, env.spaces, initial).to(device) for _ in range(2))
        self.action_size, groups = env.spaces.action.size, env.spaces.groups
        sizes = [groups[s.critic_group] + self.action_size, *s.critic_hidden, 1]
        self.critic, self.target = (Ensemble(s.critics, sizes, s.activation, s.layer_norm, initial).to(device) for _ in range(2))
        self.target_actor.load_state_dict(self.actor.state_dict())
        self.target.load_state_dict(self.critic.state_dict())
        mirror = env.spaces.symmetry.groups[s.critic_group] if s.symmetric and env.spaces.symmetry else None
        self.normalizer = Normalizer(groups[s.critic_group], mirror).to(device) if s.normalize else None  # the critics'
        self.target_actor.normalizer = self.actor.normalizer
        self.generator = initial if device.type == "cpu" else torch.Generator(device=device).manual_seed(seed)
        self.actor_optimizer = FlatAdam(self.actor.parameters(), s.learning_rate)
        self.critic_optimizer = FlatAdam(self.critic.parameters(), s.critic_learning_rate)
        self._targets = flatten(self.target_actor.parameters()).data, flatten(self.target.parameters()).data
        kept = {name: groups[name] for name in dict.fromkeys(("actor", s.critic_group))}
        self.replay = Replay(kept, self.action_size, s.num_envs, s.capacity, device, s.half)
        self.mirror = Mirror(env.spaces, device) if s.symmetric else None

    @staticmethod
    def make_actor(settings: TD3Settings, spaces: Spaces, generator: torch.Generator) -> SquashedActor:
        s = settings
        return make_squashed_actor(spaces, "td3", s.actor_hidden, s.activation, s.symmetric, s.normalize, generator, stochastic=False)

    def iterate(self) -> dict[str, float]:
        s, reward, before = self.settings, torch.zeros((), device=self.env.device), self.updates
        figures = torch.zeros(3, device=self.env.device)
        for _ in range(s.rounds):
            with torch.inference_mode():
                reward += collect(self.env, self.replay, self.act, s.steps)
                self.learn_normalizers()
            if s.warm(self.replay):
                batch = self.sample(s.updates * s.batch_size)
                for i in range(s.updates):
                    figures += self.update(batch.part(slice(i * s.batch_size, (i + 1) * s.batch_size)))
        critic, actor, value = figures.tolist()
        learned, delayed = self.updates - before, self.updates // s.actor_every - before // s.actor_every
        losses = {"loss/critic": critic / max(learned, 1), "loss/actor": actor / max(delayed, 1), "loss/value": value / max(learned, 1)}
        shown = losses if learned else {}
        return {"replay/reward": float(reward) / self.iteration_steps, "replay/transitions": float(len(self.replay)), **shown}

    def act(self, observations: Observations) -> Tensor:
        """Exploring actions [N, A]."""
        n, device, actor = self.settings.num_envs, self.env.device, self.actor
        if self.settings.random_warm_up and not self.settings.warm(self.replay):
            return actor.unscale(torch.rand(n, self.action_size, generator=self.generator, device=device) * 2.0 - 1.0)
        noise = torch.randn(n, self.action_size, generator=self.generator, device=device)
        mean = torch.tanh(actor.outputs(observations["actor"])[0])
        return actor.unscale((mean + self.settings.exploration * noise).clamp(-1.0, 1.0))

    def sample(self, size: int) -> Batch:
        """Windows of what was lived through; half of them mirrored, where the environment has a mirror."""
        batch = self.replay.sample(size, self.settings.n_steps, self.settings.gamma, self.generator)
        return self.mirror(batch) if self.mirror else batch

    def update(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """One gradient step of the critics, and of the actor where it is due, under the standard normal ``noise`` [B, A] of smoothing.

        Returns [3]: loss of critics and of actor (0 where it was not due), mean value.
        """
        s, actor = self.settings, self.actor
        if noise is None:
            noise = torch.randn(batch.action.shape, generator=self.generator, device=batch.action.device)
        sees, follows = (self._critic_sees(group) for group in (batch.observations, batch.following))
        with torch.no_grad():
            smooth = (s.smoothing * noise).clamp(-s.smoothing_limit, s.smoothing_limit)
            next_action = (torch.tanh(self.target_actor.outputs(batch.following["actor"])[0]) + smooth).clamp(-1.0, 1.0)
            value = self.target(torch.cat([follows, next_action], dim=-1)).squeeze(-1).amin(dim=0)
            goal = batch.reward + batch.discount * value
        estimate = self.critic(torch.cat([sees, actor.scale(batch.action)], dim=-1)).squeeze(-1)  # [critics, B]
        critic_loss = (batch.weight * (estimate - goal).square()).mean(dim=-1).sum()
        self.critic_optimizer.descend(critic_loss, s.max_grad_norm)

        self.updates += 1
        actor_loss = torch.zeros_like(critic_loss)
        if self.updates % s.actor_every == 0:
            action = torch.tanh(actor.outputs(batch.observations["actor"])[0])
            actor_loss = -self.critic(torch.cat([sees, action], dim=-1), frozen=True)[0].mean()  # the first critic's, as in the paper
            self.actor_optimizer.descend(actor_loss, s.max_grad_norm)
            for target, source in zip(self._targets, (self.actor_optimizer, self.critic_optimizer), strict=True):
                target.lerp_(source.flat.data, s.tau)
        return torch.stack([critic_loss.detach(), actor_loss.detach(), goal.mean()])

    def learn_normalizers(self) -> None:
        """Take what was just seen into the normalisers."""
        if self.normalizer is None or self.actor.normalizer is None:
            return
        seen = self.replay.newest(self.settings.steps)
        self.actor.normalizer.update(seen["actor"])
        self.normalizer.update(seen[self.settings.critic_group])

    def _critic_sees(self, observations: Observations) -> Tensor:
        seen = observations[self.settings.critic_group]
        return seen if self.normalizer is None else self.normalizer(seen)

    def initialize(self, state: dict[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])
        self.target_actor.load_state_dict(state.get("target_actor", state["actor"]))
        if "target" in state:  # a snapshot is the policy alone
            self.critic.load_state_dict(state["critic"])
            self.target.load_state_dict(state["target"])
            if self.normalizer is not None:
                self.normalizer.load_state_dict(state["normalizer"])

    def state_dict(self) -> dict[str, Any]:
        return {
            "actor": self.actor.state_dict(),
            "target_actor": self.target_actor.state_dict(),
            "critic": self.critic.state_dict(),
            "target": self.target.state_dict(),
            "normalizer": self.normalizer and self.normalizer.state_dict(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "updates": self.updates,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.initialize(state)
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.updates = state["updates"]
        self.generator.set_state(state["generator"])
