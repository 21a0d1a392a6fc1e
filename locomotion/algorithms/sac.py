"""Soft actor-critic (Haarnoja et al., "Soft actor-critic algorithms and applications", 2018), with a temperature that tunes itself.

Read :meth:`SAC.iterate`, then :meth:`SAC.update`. Actions are those of the space's bounds scaled to [-1, 1], and so are log-densities and
entropies. What makes it work for robots are settings (sac_robot.yaml): little exploration at first, returns of several steps, layer norm,
many robots and large batches (RSL-RL-SAC: arXiv:2605.24975; FastSAC; RLPD: Ball et al., 2023).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.experience import ExperienceSettings, Mirror, collect
from locomotion.algorithms.replay import Batch, Replay, mixed, refuse_other_data
from locomotion.environment import Environment, Observations, Spaces
from locomotion.models.ensemble import Ensemble
from locomotion.models.flat import FlatAdam, flatten
from locomotion.models.mlp import ActivationName
from locomotion.models.normalizer import Normalizer
from locomotion.models.squashed import SquashedActor, load_policy, make_squashed_actor
from locomotion.schema import Count, Positive, Range, Text
from robots.errors import InputError

Sizes = Annotated[tuple[Count, ...], Field(min_length=1, max_length=8)]


class SACSettings(ExperienceSettings):
    random_warm_up: bool  # uniform actions before the first update; else the policy's
    learning_rate: Positive  # of the actor
    critic_learning_rate: Positive
    temperature_learning_rate: Positive
    max_grad_norm: Positive | None
    tau: Annotated[float, Field(gt=0, le=1)]  # share by which the targets follow the critics at each update
    initial_temperature: Positive
    target_std: Positive | None  # the temperature seeks the entropy of this standard deviation; null: -1 an action
    initial_std: Positive  # of the exploration, where half an action's range is 1
    log_std_range: Range
    actor_every: Count  # critic updates an update of actor and temperature
    critics: Annotated[int, Field(ge=1, le=16)]
    value: Literal["least", "mean"]  # of the critics, which counts
    action_limit: Positive | None  # no action is further from 0 than this, in the environment's units; null: its bounds alone
    critic_group: Literal["actor", "critic"]  # what the critics see
    action_gain: Positive  # standard deviation of the first exploration, as the critics see it
    actor_hidden: Sizes
    critic_hidden: Sizes
    activation: ActivationName
    layer_norm: bool  # of the critics
    normalize: bool  # observations, by what was seen
    symmetric: bool  # the policy commutes with the mirror, the critics learn every second sample mirrored
    dataset: Text | None = None  # a folder of 'locomotion dataset', which half of every batch is from (RLPD)

    @model_validator(mode="after")
    def _halves(self) -> SACSettings:
        if self.dataset is not None and self.batch_size % 4:
            raise InputError("algorithm.batch_size", self.batch_size, "a multiple of 4 with a dataset", "Half of it is the dataset's.")
        return self


@algorithm("sac")
class SAC:
    """Actor, critics, their targets, the temperature, their optimizers, and what was lived through."""

    settings_type = SACSettings

    def __init__(self, settings: SACSettings, env: Environment, seed: int, iterations: int, data: Replay | None = None) -> None:
        self.settings, self.env, self.data, s, device = settings, env, data, settings, env.device
        self._data_fingerprint = data.fingerprint() if data is not None else None
        self.iteration_steps, self.updates = s.iteration_steps, 0
        initial = torch.Generator().manual_seed(seed)  # on the host: the same weights whatever the device
        self.actor = self.make_actor(s, env.spaces, initial).to(device)
        self.action_size, groups = env.spaces.action.size, env.spaces.groups
        sizes = [groups[s.critic_group] + self.action_size, *s.critic_hidden, 1]
        self.critic, self.target = (Ensemble(s.critics, sizes, s.activation, s.layer_norm, initial).to(device) for _ in range(2))
        self.target.load_state_dict(self.critic.state_dict())
        mirror = env.spaces.symmetry.groups[s.critic_group] if s.symmetric and env.spaces.symmetry else None
        self.normalizer = Normalizer(groups[s.critic_group], mirror).to(device) if s.normalize else None  # the critics'
        self.log_temperature = nn.Parameter(torch.full((), math.log(s.initial_temperature), device=device))
        self.generator = initial if device.type == "cpu" else torch.Generator(device=device).manual_seed(seed)
        self.actor_optimizer = FlatAdam(self.actor.parameters(), s.learning_rate)
        self.critic_optimizer = FlatAdam(self.critic.parameters(), s.critic_learning_rate)
        self.temperature_optimizer = FlatAdam([self.log_temperature], s.temperature_learning_rate)
        self._target_vector = flatten(self.target.parameters()).data
        kept = {name: groups[name] for name in dict.fromkeys(("actor", s.critic_group))}
        self.replay = Replay(kept, self.action_size, s.num_envs, s.capacity, device, s.half)
        self.mirror = Mirror(env.spaces, device) if s.symmetric else None

    @staticmethod
    def make_actor(settings: SACSettings, spaces: Spaces, generator: torch.Generator) -> SquashedActor:
        s = settings
        return make_squashed_actor(
            spaces, "sac", s.actor_hidden, s.activation, s.symmetric, s.normalize, generator, True, s.initial_std, s.log_std_range,
            s.action_limit,
        )  # fmt: skip

    @property
    def target_entropy(self) -> float:
        """Haarnoja et al., section 5: -1 an action; or that of a Gaussian of ``target_std``."""
        std = self.settings.target_std
        return self.action_size * (-1.0 if std is None else 0.5 * math.log(2.0 * math.pi * math.e) + math.log(std))

    def iterate(self) -> dict[str, float]:
        s, reward, before = self.settings, torch.zeros((), device=self.env.device), self.updates
        figures = torch.zeros(5, device=self.env.device)
        for _ in range(s.rounds):
            with torch.inference_mode():
                reward += collect(self.env, self.replay, self.act, s.steps)
                self.learn_normalizers()
            if s.warm(self.replay):
                batch = self.sample(s.updates * s.batch_size)
                for i in range(s.updates):
                    figures += self.update(batch.part(slice(i * s.batch_size, (i + 1) * s.batch_size)))
        names = ("loss/critic", "loss/actor", "loss/value", "policy/entropy", "policy/temperature")
        learned, delayed = self.updates - before, max(1, self.updates // s.actor_every - before // s.actor_every)
        counts = (learned, delayed, learned, delayed, learned)
        shown = {name: figure / count for name, figure, count in zip(names, figures.tolist(), counts, strict=True)} if learned else {}
        return {"replay/reward": float(reward) / self.iteration_steps, "replay/transitions": float(len(self.replay)), **shown}

    def act(self, observations: Observations) -> Tensor:
        """Exploring actions [N, A]."""
        n, device = self.settings.num_envs, self.env.device
        if self.settings.random_warm_up and not self.settings.warm(self.replay):
            return self.actor.unscale(torch.rand(n, self.action_size, generator=self.generator, device=device) * 2.0 - 1.0)
        noise = torch.randn(n, self.action_size, generator=self.generator, device=device)
        mean, log_std = self.actor.outputs(observations["actor"])
        return self.actor.unscale(torch.tanh(torch.addcmul(mean, log_std.exp(), noise)))

    def sample(self, size: int) -> Batch:
        """Windows of what was lived through; half of them mirrored, where the environment has a mirror.

        With a dataset half of every four rows are its own (RLPD: Ball et al., 2023, arXiv:2302.02948), and of either half is mirrored.
        """
        n, gamma, generator = self.settings.n_steps, self.settings.gamma, self.generator
        if self.data is None:
            batch = self.replay.sample(size, n, gamma, generator)
        else:
            halves = mixed([replay.sample(size // 2, n, gamma, generator) for replay in (self.replay, self.data)])
            batch = halves.part(torch.arange(size, device=halves.reward.device).view(2, -1, 2).transpose(0, 1).flatten())
        return self.mirror(batch) if self.mirror else batch

    def update(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """One gradient step of the critics, and of actor and temperature where it is due.

        ``noise`` [2, B, A] is of the actions of now and of what follows. Returns [5]: loss of critics and of actor, mean value,
        entropy, temperature; the actor's loss and entropy are 0 where it was not due.
        """
        s, actor = self.settings, self.actor
        if noise is None:
            noise = torch.randn(2, *batch.action.shape, generator=self.generator, device=batch.action.device)
        temperature = self.log_temperature.exp().detach().clone()
        with torch.no_grad():
            next_action, next_log_prob = actor.sample(batch.following["actor"], noise[1])
            value = self._value(self.target(self._critic_sees(batch.following, next_action))) - temperature * next_log_prob
            goal = batch.reward + batch.discount * value
        estimate = self.critic(self._critic_sees(batch.observations, actor.scale(batch.action))).squeeze(-1)  # [critics, B]
        critic_loss = 0.5 * (batch.weight * (estimate - goal).square()).mean(dim=-1).sum()
        self.critic_optimizer.descend(critic_loss, s.max_grad_norm)

        self.updates += 1
        actor_loss = entropy = torch.zeros_like(critic_loss)
        if self.updates % s.actor_every == 0:
            action, log_prob = actor.sample(batch.observations["actor"], noise[0])
            value = self._value(self.critic(self._critic_sees(batch.observations, action), frozen=True))
            actor_loss = (temperature * log_prob - value).mean()
            self.actor_optimizer.descend(actor_loss, s.max_grad_norm)
            entropy = -log_prob.detach().mean()
            self.temperature_optimizer.descend(self.log_temperature * (entropy - self.target_entropy), None)
        self._target_vector.lerp_(self.critic_optimizer.flat.data, s.tau)
        return torch.stack([critic_loss.detach(), actor_loss.detach(), goal.mean(), entropy, temperature])

    def _value(self, estimates: Tensor) -> Tensor:
        """[B] of the critics' [critics, B, 1]: the least (Fujimoto et al., 2018), or their mean (FastSAC: Seo et al., arXiv:2512.01996)."""
        estimates = estimates.squeeze(-1)
        return estimates.amin(dim=0) if self.settings.value == "least" else estimates.mean(dim=0)

    def learn_normalizers(self) -> None:
        """Take what was just seen into the normalisers."""
        if self.normalizer is None or self.actor.normalizer is None:
            return
        seen = self.replay.newest(self.settings.steps)
        self.actor.normalizer.update(seen["actor"])
        self.normalizer.update(seen[self.settings.critic_group])

    def _critic_sees(self, observations: Observations, action: Tensor) -> Tensor:
        """Observation and scaled ``action``, so that the first exploration has a standard deviation of ``action_gain``.

        Were it in shares of the range, as the policy's are, little exploration would be drowned by observations of variance 1: critics
        that hardly hear the action give the policy no direction.
        """
        seen = observations[self.settings.critic_group]
        seen = seen if self.normalizer is None else self.normalizer(seen)
        return torch.cat([seen, action * (self.settings.action_gain / self.settings.initial_std)], dim=-1)

    def initialize(self, state: dict[str, Any]) -> None:
        load_policy(self.actor, state["actor"])
        if "target" in state:  # a snapshot is the policy alone
            self.critic.load_state_dict(state["critic"])
            self.target.load_state_dict(state["target"])
            if self.normalizer is not None:
                self.normalizer.load_state_dict(state["normalizer"])

    def state_dict(self) -> dict[str, Any]:
        return {
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "target": self.target.state_dict(),
            "normalizer": self.normalizer and self.normalizer.state_dict(),
            "log_temperature": self.log_temperature.detach().clone(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "temperature_optimizer": self.temperature_optimizer.state_dict(),
            "updates": self.updates,
            "data": self._data_fingerprint,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        refuse_other_data(state.get("data", self._data_fingerprint), self._data_fingerprint)
        self.initialize(state)
        with torch.no_grad():
            self.log_temperature.copy_(state["log_temperature"])  # in place: its optimizer goes on with it
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.temperature_optimizer.load_state_dict(state["temperature_optimizer"])
        self.updates = state["updates"]
        self.generator.set_state(state["generator"])
