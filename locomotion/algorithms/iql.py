"""Implicit Q-learning (Kostrikov, Nair and Levine, 2021, arXiv:2110.06169): from data alone, without asking for the value of any action
that is not in them.

Read :meth:`IQL.update`. ``bounded`` policies are the tanh of a network's mean, Gaussian around it in actions scaled to [-1, 1], as the
authors'; the others are those of PPO, which can go on from them (init=...).
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.offline import CriticSettings, Samples, advantage_weight, chunks, cosine, expectile_loss, mirror_of
from locomotion.algorithms.replay import Batch, Replay
from locomotion.environment import Environment, Spaces
from locomotion.models.actor_critic import Actor, Critic, make_actor
from locomotion.models.distributions import gaussian_log_prob
from locomotion.models.ensemble import Ensemble
from locomotion.models.flat import FlatAdam, flatten
from locomotion.models.squashed import SquashedActor, make_squashed_actor
from locomotion.schema import NotNegative, Positive

LOG_STD = (-20.0, 2.0)


class IQLSettings(CriticSettings):
    bounded: bool
    action_limit: Positive | None  # of a bounded policy, as SAC's
    expectile: Annotated[float, Field(gt=0, lt=1)]  # of the values of actions that a state's value is
    temperature: NotNegative  # how much better than its state an action must be to be followed; 0 clones the behaviour
    relative: bool  # ... in standard deviations of the batch's advantages; false: in units of reward
    initial_std: Positive


@algorithm("iql")
class IQL:
    """Actor, critics with their targets, the value of states, and their optimizers."""

    settings_type = IQLSettings
    acts = False

    def __init__(self, settings: IQLSettings, env: Environment, seed: int, iterations: int, data: Replay) -> None:
        self.settings, self.env, s, device = settings, env, settings, env.device
        self.iterations, self.iteration, self.iteration_steps = iterations, 0, s.updates
        initial = torch.Generator().manual_seed(seed)  # on the host: the same weights whatever the device
        self.actor = self.make_actor(s, env.spaces, initial).to(device)
        width, actions, mirror = (
            env.spaces.groups[s.critic_group],
            env.spaces.action.size,
            mirror_of(env.spaces, s.critic_group, s.symmetric),
        )
        sizes = [width + actions, *s.critic_hidden, 1]
        self.critic, self.target = (Ensemble(s.critics, sizes, s.activation, s.layer_norm, initial).to(device) for _ in range(2))
        self.target.load_state_dict(self.critic.state_dict())
        self.value = Critic(width, s.critic_hidden, mirror, initial, s.activation).to(device)
        self.samples = Samples(data, env, s.symmetric, s.batch_size, s.n_steps, s.gamma)
        if s.normalize and self.actor.normalizer is not None:
            self.value.normalizer.load_state_dict(self.samples.normalizer(s.critic_group, mirror).state_dict())
            actor_mirror = mirror_of(env.spaces, "actor", s.symmetric)
            self.actor.normalizer.load_state_dict(self.samples.normalizer("actor", actor_mirror).state_dict())
        self.generator = initial if device.type == "cpu" else torch.Generator(device=device).manual_seed(seed)
        self.log_std = nn.Parameter(torch.zeros(actions, device=device))  # of a bounded policy
        parameters = [*self.actor.parameters(), self.log_std] if s.bounded else [*self.actor.parameters()]
        self.actor_optimizer = FlatAdam(parameters, s.learning_rate)
        self.critic_optimizer = FlatAdam(self.critic.parameters(), s.learning_rate)
        self.value_optimizer = FlatAdam(self.value.parameters(), s.learning_rate)
        self._target_vector = flatten(self.target.parameters()).data
        self.updates = 0

    @staticmethod
    def make_actor(settings: IQLSettings, spaces: Spaces, generator: torch.Generator) -> Actor | SquashedActor:
        s = settings
        if s.bounded:
            return make_squashed_actor(
                spaces, "iql", s.actor_hidden, s.activation, s.symmetric, s.normalize, generator, stochastic=False, limit=s.action_limit
            )
        spaces.continuous("iql")
        return make_actor(spaces, s.actor_hidden, s.symmetric, s.initial_std, generator, activation=s.activation)

    def iterate(self) -> dict[str, float]:
        figures = torch.zeros(5, device=self.env.device)
        for count in chunks(self.settings.updates):
            for batch in self.samples.batches(count, self.generator):
                figures += self.update(batch)
        self.iteration += 1
        names = ("loss/critic", "loss/value", "loss/actor", "loss/q", "policy/weight")
        return dict(zip(names, (figures / self.settings.updates).tolist(), strict=True))

    def update(self, batch: Batch) -> Tensor:
        """One gradient step of the states' value, the critics and the policy, all from the values as they were before it.

        Returns [5]: losses of critics, value and policy, mean Q, mean weight of an action.
        """
        s = self.settings
        sees, follows = (self.value.normalizer(group[s.critic_group]) for group in (batch.observations, batch.following))
        pairs = torch.cat([sees, self._scaled(batch.action)], dim=-1)
        with torch.no_grad():
            least = self.target(pairs).squeeze(-1).amin(dim=0)
            goal = batch.reward + batch.discount * self.value.network(follows).squeeze(-1)
        advantage = least - self.value.network(sees).squeeze(-1)
        value_loss = expectile_loss(advantage, s.expectile)
        self.value_optimizer.descend(value_loss, s.max_grad_norm)

        critic_loss = (self.critic(pairs).squeeze(-1) - goal).square().mean()
        self.critic_optimizer.descend(critic_loss, s.max_grad_norm)
        self._target_vector.lerp_(self.critic_optimizer.flat.data, s.tau)

        weight = advantage_weight(advantage.detach(), s.temperature, s.relative)
        actor_loss = -(weight * self.log_prob(batch.observations["actor"], batch.action)).mean()
        rate = cosine(s.learning_rate, self.updates / (self.iterations * s.updates))
        self.actor_optimizer.descend(actor_loss, s.max_grad_norm, rate)
        self.updates += 1
        return torch.stack([critic_loss.detach(), value_loss.detach(), actor_loss.detach(), least.mean(), weight.mean()])

    def log_prob(self, observation: Tensor, action: Tensor) -> Tensor:
        """[B] log-density of the actions [B, A] of the data."""
        actor = self.actor
        if isinstance(actor, SquashedActor):
            return gaussian_log_prob(self._scaled(action), torch.tanh(actor.outputs(observation)[0]), self.log_std.clamp(*LOG_STD))
        return gaussian_log_prob(action, actor(observation), actor.log_std.clamp(*LOG_STD))

    def _scaled(self, action: Tensor) -> Tensor:
        """As critics hear it, beside observations of variance 1: in shares of its range, or in standard deviations of the data's."""
        return self.actor.scale(action) if isinstance(self.actor, SquashedActor) else action / self.samples.action_std

    def initialize(self, state: dict[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])

    def state_dict(self) -> dict[str, Any]:
        return {
            "actor": self.actor.state_dict(),
            "critic": self.value.state_dict(),  # as PPO's, which can go on from it
            "q": self.critic.state_dict(),
            "q_target": self.target.state_dict(),
            "log_std": self.log_std.detach().clone(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "value_optimizer": self.value_optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "iteration": self.iteration,
            "updates": self.updates,
            "data": self.samples.fingerprint,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.samples.check(state)
        self.initialize(state)
        self.value.load_state_dict(state["critic"])
        self.critic.load_state_dict(state["q"])
        self.target.load_state_dict(state["q_target"])
        with torch.no_grad():
            self.log_std.copy_(state["log_std"])
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.value_optimizer.load_state_dict(state["value_optimizer"])
        self.generator.set_state(state["generator"])
        self.iteration, self.updates = state["iteration"], state["updates"]
