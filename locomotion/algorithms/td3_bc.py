"""TD3+BC (Fujimoto and Gu, "A minimalist approach to offline reinforcement learning", 2021): TD3 whose policy also stays near the data.

Read :meth:`TD3BC.update`. Actions, and all noise, are those of the space's bounds scaled to [-1, 1].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.offline import CriticSettings, Samples, behaviour_scale, chunks, mirror_of
from locomotion.algorithms.replay import Batch, Replay
from locomotion.algorithms.returns import imitation_loss
from locomotion.environment import Environment, Observations, Spaces
from locomotion.models.ensemble import Ensemble
from locomotion.models.flat import FlatAdam, flatten
from locomotion.models.squashed import SquashedActor, make_squashed_actor
from locomotion.schema import Count, NotNegative, Positive


class TD3BCSettings(CriticSettings):
    weight: Positive  # of the value against imitation: alpha of the paper
    smoothing: NotNegative  # standard deviation of the noise of the targets' actions ...
    smoothing_limit: NotNegative  # ... which is clipped to this
    actor_every: Count  # critic updates an update of the actor and of all targets


@algorithm("td3_bc")
class TD3BC:
    """Actor, critics, the targets of both, and their optimizers."""

    settings_type = TD3BCSettings
    acts = False

    def __init__(self, settings: TD3BCSettings, env: Environment, seed: int, iterations: int, data: Replay) -> None:
        self.settings, self.env, s, device = settings, env, settings, env.device
        self.iteration_steps, self.updates = s.updates, 0
        initial = torch.Generator().manual_seed(seed)  # on the host: the same weights whatever the device
        self.actor, self.target_actor = (self.make_actor(s, env.spaces, initial).to(device) for _ in range(2))
        sizes = [env.spaces.groups[s.critic_group] + env.spaces.action.size, *s.critic_hidden, 1]
        self.critic, self.target = (Ensemble(s.critics, sizes, s.activation, s.layer_norm, initial).to(device) for _ in range(2))
        self.samples = Samples(data, env, s.symmetric, s.batch_size, s.n_steps, s.gamma)
        self.normalizer = (
            self.samples.normalizer(s.critic_group, mirror_of(env.spaces, s.critic_group, s.symmetric)) if s.normalize else None
        )
        if self.actor.normalizer is not None:
            mirror = mirror_of(env.spaces, "actor", s.symmetric)
            self.actor.normalizer.load_state_dict(self.samples.normalizer("actor", mirror).state_dict())
        self.target_actor.load_state_dict(self.actor.state_dict())
        self.target.load_state_dict(self.critic.state_dict())
        self.generator = initial if device.type == "cpu" else torch.Generator(device=device).manual_seed(seed)
        self.actor_optimizer = FlatAdam(self.actor.parameters(), s.learning_rate)
        self.critic_optimizer = FlatAdam(self.critic.parameters(), s.learning_rate)
        self._targets = flatten(self.target_actor.parameters()).data, flatten(self.target.parameters()).data

    @staticmethod
    def make_actor(settings: TD3BCSettings, spaces: Spaces, generator: torch.Generator) -> SquashedActor:
        s = settings
        return make_squashed_actor(spaces, "td3_bc", s.actor_hidden, s.activation, s.symmetric, s.normalize, generator, stochastic=False)

    def iterate(self) -> dict[str, float]:
        s, before = self.settings, self.updates
        figures = torch.zeros(4, device=self.env.device)
        for count in chunks(s.updates):
            for batch in self.samples.batches(count, self.generator):
                figures += self.update(batch)
        critic, actor, imitation, value = figures.tolist()
        delayed = max(self.updates // s.actor_every - before // s.actor_every, 1)
        return {
            "loss/critic": critic / s.updates,
            "loss/actor": actor / delayed,
            "loss/imitation": imitation / delayed,
            "loss/q": value / s.updates,
        }

    def update(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """One gradient step of the critics, and of the actor where it is due, under the standard normal ``noise`` [B, A] of smoothing.

        Returns [4]: loss of critics, of actor and its imitation (0 where it was not due), mean value.
        """
        s, actor = self.settings, self.actor
        if noise is None:
            noise = torch.randn(batch.action.shape, generator=self.generator, device=batch.action.device)
        sees, follows, done = self._critic_sees(batch.observations), self._critic_sees(batch.following), actor.scale(batch.action)
        with torch.no_grad():
            smooth = (s.smoothing * noise).clamp(-s.smoothing_limit, s.smoothing_limit)
            next_action = (torch.tanh(self.target_actor.outputs(batch.following["actor"])[0]) + smooth).clamp(-1.0, 1.0)
            goal = batch.reward + batch.discount * self.target(torch.cat([follows, next_action], dim=-1)).squeeze(-1).amin(dim=0)
        critic_loss = (self.critic(torch.cat([sees, done], dim=-1)).squeeze(-1) - goal).square().mean(dim=-1).sum()
        self.critic_optimizer.descend(critic_loss, s.max_grad_norm)

        self.updates += 1
        actor_loss = imitation = torch.zeros_like(critic_loss)
        if self.updates % s.actor_every == 0:
            action = torch.tanh(actor.outputs(batch.observations["actor"])[0])
            value = self.critic(torch.cat([sees, action], dim=-1), frozen=True)[0]  # the first critic's, as in the paper
            imitation = imitation_loss(action, done)
            actor_loss = imitation - behaviour_scale(value, s.weight) * value.mean()
            self.actor_optimizer.descend(actor_loss, s.max_grad_norm)
            for target, source in zip(self._targets, (self.actor_optimizer, self.critic_optimizer), strict=True):
                target.lerp_(source.flat.data, s.tau)
        return torch.stack([critic_loss.detach(), actor_loss.detach(), imitation.detach(), goal.mean()])

    def _critic_sees(self, observations: Observations) -> Tensor:
        seen = observations[self.settings.critic_group]
        return seen if self.normalizer is None else self.normalizer(seen)

    def initialize(self, state: dict[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])
        self.target_actor.load_state_dict(state.get("target_actor", state["actor"]))

    def state_dict(self) -> dict[str, Any]:
        return {  # as TD3's, which can go on from it
            "actor": self.actor.state_dict(),
            "target_actor": self.target_actor.state_dict(),
            "critic": self.critic.state_dict(),
            "target": self.target.state_dict(),
            "normalizer": self.normalizer and self.normalizer.state_dict(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "updates": self.updates,
            "generator": self.generator.get_state(),
            "data": self.samples.fingerprint,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.samples.check(state)
        self.initialize(state)
        self.critic.load_state_dict(state["critic"])
        self.target.load_state_dict(state["target"])
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.updates = state["updates"]
        self.generator.set_state(state["generator"])
