"""Conservative Q-learning (Kumar et al., 2020, arXiv:2006.04779), CQL(H) on soft actor-critic: what the data lack is held to be worse.

Read :meth:`CQL.update`. Actions, log-densities and entropies are those of the space's bounds scaled to [-1, 1]. As in the authors' code and
runs the squared error has no factor of one half, the weight of conservatism is fixed, and no entropy is added to the value of what follows.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.offline import CriticSettings, Samples, chunks, conservative_gap, mirror_of
from locomotion.algorithms.replay import Batch, Replay
from locomotion.environment import Environment, Observations, Spaces
from locomotion.models.distributions import squashed_log_prob
from locomotion.models.ensemble import Ensemble
from locomotion.models.flat import FlatAdam, flatten
from locomotion.models.squashed import SquashedActor, make_squashed_actor
from locomotion.schema import Count, NotNegative, Positive, Range


class CQLSettings(CriticSettings):
    critic_learning_rate: Positive
    temperature_learning_rate: Positive
    initial_temperature: Positive
    initial_std: Positive  # of the policy, where half an action's range is 1
    log_std_range: Range
    conservatism: NotNegative  # weight of the gap between actions at large and those of the data
    actions: Count  # sampled of each kind for it: uniform, the policy's, the policy's of what follows


@algorithm("cql")
class CQL:
    """Actor, critics, their targets, the temperature, and their optimizers."""

    settings_type = CQLSettings
    acts = False

    def __init__(self, settings: CQLSettings, env: Environment, seed: int, iterations: int, data: Replay) -> None:
        self.settings, self.env, s, device = settings, env, settings, env.device
        self.iteration_steps = s.updates
        initial = torch.Generator().manual_seed(seed)  # on the host: the same weights whatever the device
        self.actor, self.action_size = self.make_actor(s, env.spaces, initial).to(device), env.spaces.action.size
        sizes = [env.spaces.groups[s.critic_group] + self.action_size, *s.critic_hidden, 1]
        self.critic, self.target = (Ensemble(s.critics, sizes, s.activation, s.layer_norm, initial).to(device) for _ in range(2))
        self.target.load_state_dict(self.critic.state_dict())
        self.samples = Samples(data, env, s.symmetric, s.batch_size, s.n_steps, s.gamma)
        self.normalizer = (
            self.samples.normalizer(s.critic_group, mirror_of(env.spaces, s.critic_group, s.symmetric)) if s.normalize else None
        )
        if self.actor.normalizer is not None:
            mirror = mirror_of(env.spaces, "actor", s.symmetric)
            self.actor.normalizer.load_state_dict(self.samples.normalizer("actor", mirror).state_dict())
        self.log_temperature = nn.Parameter(torch.full((), math.log(s.initial_temperature), device=device))
        self.generator = initial if device.type == "cpu" else torch.Generator(device=device).manual_seed(seed)
        self.actor_optimizer = FlatAdam(self.actor.parameters(), s.learning_rate)
        self.critic_optimizer = FlatAdam(self.critic.parameters(), s.critic_learning_rate)
        self.temperature_optimizer = FlatAdam([self.log_temperature], s.temperature_learning_rate)
        self._target_vector = flatten(self.target.parameters()).data

    @staticmethod
    def make_actor(settings: CQLSettings, spaces: Spaces, generator: torch.Generator) -> SquashedActor:
        s = settings
        return make_squashed_actor(
            spaces, "cql", s.actor_hidden, s.activation, s.symmetric, s.normalize, generator, True, s.initial_std, s.log_std_range
        )

    def iterate(self) -> dict[str, float]:
        figures = torch.zeros(6, device=self.env.device)
        for count in chunks(self.settings.updates):
            for batch in self.samples.batches(count, self.generator):
                figures += self.update(batch)
        names = ("loss/critic", "loss/gap", "loss/actor", "loss/q", "policy/entropy", "policy/temperature")
        return dict(zip(names, (figures / self.settings.updates).tolist(), strict=True))

    def update(self, batch: Batch, noise: Tensor | None = None, uniform: Tensor | None = None) -> Tensor:
        """One gradient step of temperature, critics and actor.

        ``noise`` [2 + 2 n, B, A] is standard normal: of the actor's action and of what follows, then of n sampled actions of each;
        ``uniform`` [n, B, A] are sampled actions in [-1, 1]. Returns [6]: Bellman error, gap, loss of the actor, mean value, entropy,
        temperature.
        """
        s, actor, n, shape, device = self.settings, self.actor, self.settings.actions, batch.action.shape, batch.action.device
        if noise is None or uniform is None:
            noise = torch.randn(2 + 2 * n, *shape, generator=self.generator, device=device)
            uniform = torch.rand(n, *shape, generator=self.generator, device=device) * 2.0 - 1.0
        sees, follows = self._critic_sees(batch.observations), self._critic_sees(batch.following)
        action, log_prob = actor.sample(batch.observations["actor"], noise[0])
        temperature = self.log_temperature.exp().detach().clone()
        self.temperature_optimizer.descend(-self.log_temperature * (log_prob.detach().mean() - self.action_size), None)

        with torch.no_grad():
            next_action, _ = actor.sample(batch.following["actor"], noise[1])
            goal = batch.reward + batch.discount * self.target(torch.cat([follows, next_action], dim=-1)).squeeze(-1).amin(dim=0)
            tried, log_density = self._tried(batch, noise[2:], uniform)
        pairs = torch.cat([actor.scale(batch.action)[None], tried])  # [1 + 3 n, B, A]
        pairs = torch.cat([sees.expand(len(pairs), *sees.shape), pairs], dim=-1)
        values = self.critic(pairs.flatten(0, 1)).view(s.critics, len(pairs), -1)
        bellman = (values[:, 0] - goal).square().mean(dim=-1).sum()
        gap = conservative_gap(values[:, 1:].mT, log_density.mT, values[:, 0]).mean(dim=-1).sum()
        self.critic_optimizer.descend(bellman + s.conservatism * gap, s.max_grad_norm)

        least = self.critic(torch.cat([sees, action], dim=-1), frozen=True).squeeze(-1).amin(dim=0)
        actor_loss = (temperature * log_prob - least).mean()
        self.actor_optimizer.descend(actor_loss, s.max_grad_norm)
        self._target_vector.lerp_(self.critic_optimizer.flat.data, s.tau)
        losses = (bellman.detach(), gap.detach(), actor_loss.detach())
        return torch.stack([*losses, goal.mean(), -log_prob.detach().mean(), temperature])

    def _tried(self, batch: Batch, noise: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Sampled actions [3 n, B, A], uniform, the policy's here and the policy's of what follows, and their log-densities [3 n, B]."""
        actions, densities = [uniform], [torch.full(uniform.shape[:2], -self.action_size * math.log(2.0), device=uniform.device)]
        for seen, drawn in zip((batch.observations, batch.following), noise.chunk(2), strict=True):
            mean, log_std = self.actor.outputs(seen["actor"])
            u = torch.addcmul(mean, log_std.exp(), drawn)
            actions.append(torch.tanh(u))
            densities.append(squashed_log_prob(drawn, u, log_std))
        return torch.cat(actions), torch.cat(densities)

    def _critic_sees(self, observations: Observations) -> Tensor:
        seen = observations[self.settings.critic_group]
        return seen if self.normalizer is None else self.normalizer(seen)

    def initialize(self, state: dict[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])

    def state_dict(self) -> dict[str, Any]:
        return {  # as SAC's, which can go on from it
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "target": self.target.state_dict(),
            "normalizer": self.normalizer and self.normalizer.state_dict(),
            "log_temperature": self.log_temperature.detach().clone(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "temperature_optimizer": self.temperature_optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "data": self.samples.fingerprint,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.samples.check(state)
        self.initialize(state)
        self.critic.load_state_dict(state["critic"])
        self.target.load_state_dict(state["target"])
        with torch.no_grad():
            self.log_temperature.copy_(state["log_temperature"])  # in place: its optimizer goes on with it
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.temperature_optimizer.load_state_dict(state["temperature_optimizer"])
        self.generator.set_state(state["generator"])
