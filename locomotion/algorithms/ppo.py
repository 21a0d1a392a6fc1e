"""Proximal policy optimisation (Schulman et al., 2017) with generalized advantages and an adaptive learning rate.

Read :meth:`PPO.iterate` first: collect, estimate advantages, update, and only then move the normalisers, so that the
policy that is optimised is exactly the policy that acted.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.returns import adapt_learning_rate, clipped_surrogate, clipped_value_loss, generalized_advantages
from locomotion.environment import Environment, Spaces
from locomotion.models.actor_critic import Actor, make_actor, make_critic
from locomotion.models.distributions import gaussian_entropy, gaussian_kl, gaussian_log_prob
from locomotion.models.estimator import EstimatorSettings, EstimatorTraining
from locomotion.models.flat import FlatAdam, make_minibatches, pack, single_threaded_operations
from locomotion.schema import Count, NotNegative, Positive, PositiveRange, Settings, Share
from robots.errors import InputError

Sizes = Annotated[tuple[Count, ...], Field(min_length=1, max_length=8)]


class PPOSettings(Settings):
    num_envs: Count
    steps: Count  # control steps an iteration
    epochs: Count
    minibatches: Count
    gamma: Annotated[float, Field(gt=0, le=1)]
    lam: Share
    clip: Annotated[float, Field(gt=0, lt=1)]
    value_clip: Positive | None  # None: plain squared error
    entropy_coefficient: NotNegative
    max_grad_norm: Positive
    learning_rate: Positive
    learning_rate_range: PositiveRange
    target_kl: Positive  # how far an iteration may move the policy
    annealed: Share  # of a run, at its end, over which learning settles:
    final_kl: Positive  # ... target_kl falls to this, geometrically,
    final_std: Positive | None  # ... no standard deviation may stay above this, falling from initial_std (null: any may),
    final_entropy_coefficient: NotNegative  # ... and entropy_coefficient goes to this
    actor_hidden: Sizes
    critic_hidden: Sizes
    initial_std: Positive
    symmetric: bool
    actor_group: Literal["actor", "critic"] = "actor"  # what the policy sees; critic: a teacher, which no robot can run
    estimator: EstimatorSettings | None = None  # of what the policy cannot measure, for the policy

    @model_validator(mode="after")
    def _sizes(self) -> PPOSettings:
        if self.num_envs * self.steps < 2 * self.minibatches:
            raise InputError("algorithm.minibatches", self.minibatches, "at most half of num_envs * steps", "Use fewer minibatches.")
        for name in ("actor_hidden", "critic_hidden"):
            if self.symmetric and any(size % 2 for size in getattr(self, name)):
                raise InputError(f"algorithm.{name}", getattr(self, name), "even sizes for a symmetric network", "Round them up.")
        if self.estimator and self.actor_group == "critic":
            raise InputError("algorithm.estimator", "{...}", "none for a policy that sees what the critic sees", "Set it to null.")
        return self


@algorithm("ppo")
class PPO:
    """Actor, critic and their optimizers, and one iteration of learning on an environment."""

    settings_type = PPOSettings

    def __init__(self, settings: PPOSettings, env: Environment, seed: int, iterations: int) -> None:
        self.settings, self.env, self.iterations, self.iteration = settings, env, iterations, 0
        self.iteration_steps = settings.num_envs * settings.steps
        device, s = env.device, settings
        initial = torch.Generator().manual_seed(seed)  # on the host: the same weights whatever the device
        self.actor = self.make_actor(settings, env.spaces, initial).to(device)
        self.critic = make_critic(env.spaces, s.critic_hidden, s.symmetric, initial).to(device)
        self.generator = initial if device.type == "cpu" else torch.Generator(device=device).manual_seed(seed)
        # the actor's rate follows the KL divergence, the critic's stays
        self.actor_optimizer = FlatAdam(self.actor.policy_parameters(), s.learning_rate)
        self.critic_optimizer = FlatAdam(self.critic.parameters(), s.learning_rate)
        self.estimation = EstimatorTraining(estimator, s.max_grad_norm) if (estimator := self.actor.estimator) else None
        self.learning_rate = s.learning_rate
        groups, a = env.spaces.groups, env.spaces.continuous("ppo").size
        sizes = {"actor": groups[s.actor_group], "critic": groups["critic"], "action": a, "mean": a}
        self._rollout = {name: torch.zeros(s.steps, s.num_envs, size, device=device) for name, size in sizes.items()}
        self._flags = torch.zeros(2, s.steps, s.num_envs, dtype=torch.bool, device=device)  # terminated, truncated

    @staticmethod
    def make_actor(settings: PPOSettings, spaces: Spaces, generator: torch.Generator) -> Actor:
        s = settings
        return make_actor(spaces, s.actor_hidden, s.symmetric, s.initial_std, generator, s.actor_group, s.estimator)

    @property
    def settled(self) -> float:
        """How far the last part of a run has gone, 0..1."""
        annealed = self.settings.annealed
        return min(max((self.iteration / self.iterations - 1.0 + annealed) / max(annealed, 1e-9), 0.0), 1.0)

    @property
    def target_kl(self) -> float:
        s = self.settings
        return s.target_kl * (s.final_kl / s.target_kl) ** self.settled

    @property
    def entropy_coefficient(self) -> float:
        s = self.settings
        return s.entropy_coefficient + (s.final_entropy_coefficient - s.entropy_coefficient) * self.settled

    def limit_std(self) -> None:
        """Hold the standard deviations below a limit that falls as learning settles."""
        s = self.settings
        if s.final_std is not None and self.settled > 0.0:
            limit = math.log(s.initial_std) + (math.log(s.final_std) - math.log(s.initial_std)) * self.settled
            with torch.no_grad():
                self.actor.log_std_parameter.clamp_(max=limit)

    def iterate(self) -> dict[str, float]:
        self.limit_std()
        with torch.inference_mode():
            self.collect()
            batch = self.prepare()
        figures = self.update(batch)
        with torch.inference_mode():
            self.learn_normalizers()
        self.iteration += 1
        return figures

    def collect(self) -> None:
        """Act with the current policy, exploration noise included."""
        rollout, act, std = self._rollout, self.actor.frozen(), self.actor.log_std.exp()
        shape = rollout["action"].shape
        noise = torch.randn(shape, generator=self.generator, device=std.device).mul_(std)
        observations, group = self.env.observations, self.settings.actor_group
        for t in range(self.settings.steps):
            rollout["actor"][t], rollout["critic"][t] = observations[group], observations["critic"]
            mean = act(rollout["actor"][t])
            action = torch.add(mean, noise[t], out=rollout["action"][t])
            rollout["mean"][t] = mean
            observations, terminated, truncated = self.env.step(action)
            self._flags[0, t], self._flags[1, t] = terminated, truncated

    def prepare(self) -> dict[str, Tensor]:
        """Advantages and targets of the rollout, flattened to [T * N, ...], observations normalised."""
        rollout, settings, (terminated, truncated) = self._rollout, self.settings, self._flags
        ended = self.env.ended()
        reward = self.env.rewards()
        actor = self.actor.features(rollout["actor"].flatten(0, 1))
        critic = self.critic.normalizer(rollout["critic"].flatten(0, 1))
        value = self.critic.network(critic).view(settings.steps, -1)
        next_value = torch.cat([value[1:], self.critic(self.env.observations["critic"])[None]])
        next_value[ended.steps, ended.rows] = self.critic(ended.observations["critic"])
        next_value.masked_fill_(terminated, 0.0)
        done = terminated | truncated
        advantage = generalized_advantages(reward, value, next_value, done, settings.gamma, settings.lam)
        target = advantage + value
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        mean, action = rollout["mean"].flatten(0, 1), rollout["action"].flatten(0, 1)
        log_prob = gaussian_log_prob(action, mean, self.actor.log_std)
        scalars = {"log_prob": log_prob, "advantage": advantage, "target": target, "value": value}
        columns = {name: tensor.reshape(-1, 1) for name, tensor in scalars.items()}
        return {"actor": actor, "critic": critic, "action": action, "mean": mean, **columns}

    def update(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Several epochs of minibatch gradient steps. Returns means over the minibatches.

        The two networks share nothing, so they learn side by side, each on a thread of its own.
        """
        s, samples = self.settings, len(batch["actor"])
        minibatches = make_minibatches(samples, s.epochs, s.minibatches, self.generator, self.env.device)
        with single_threaded_operations(), ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            value_loss = pool.submit(self._learn_value, batch, minibatches)
            # the policy keeps the estimates that it acted on while it learns, so these may learn beside it
            estimates = self.estimation and pool.submit(
                self.estimation.learn, batch["actor"], self._rollout["critic"].flatten(0, 1), minibatches
            )
            surrogate, entropy, kl = self._learn_policy(batch, minibatches)
            return {
                "loss/surrogate": surrogate,
                "loss/value": value_loss.result(),
                "policy/entropy": entropy,
                "policy/kl": kl,
                "policy/learning_rate": self.learning_rate,
                "policy/std": float(self.actor.log_std.detach().exp().mean()),
                **(estimates.result() if estimates else {}),
            }

    def _learn_policy(self, batch: dict[str, Tensor], minibatches: list[Tensor]) -> tuple[float, float, float]:
        """Mean surrogate, entropy and KL divergence over the minibatches."""
        settings, names = self.settings, ("actor", "action", "mean", "log_prob", "advantage")
        target_kl, entropy_coefficient = self.target_kl, self.entropy_coefficient
        packed, widths = pack(batch, names)
        old_log_std = self.actor.log_std.detach().clone()
        sums = torch.zeros(3, device=packed.device)
        for ids in minibatches:
            actor, action, old_mean, old_log_prob, advantage = packed[ids].split(widths, dim=-1)
            mean, log_std = self.actor.network(actor), self.actor.log_std
            with torch.no_grad():
                kl = gaussian_kl(old_mean, old_log_std, mean, log_std).mean()
            self.learning_rate = adapt_learning_rate(self.learning_rate, float(kl), target_kl, *settings.learning_rate_range)
            ratio = torch.exp(gaussian_log_prob(action, mean, log_std) - old_log_prob.squeeze(-1))
            surrogate = clipped_surrogate(ratio, advantage.squeeze(-1), settings.clip).mean()
            entropy = gaussian_entropy(log_std)
            loss = -surrogate - entropy_coefficient * entropy
            self.actor_optimizer.descend(loss, settings.max_grad_norm, self.learning_rate)
            sums += torch.stack([surrogate.detach(), entropy.detach(), kl])
        surrogate_mean, entropy_mean, kl_mean = (sums / len(minibatches)).tolist()
        return surrogate_mean, entropy_mean, kl_mean

    def _learn_value(self, batch: dict[str, Tensor], minibatches: list[Tensor]) -> float:
        """Mean loss over the minibatches."""
        packed, widths = pack(batch, ("critic", "target", "value"))
        total = torch.zeros((), device=packed.device)
        for ids in minibatches:
            critic, target, old_value = packed[ids].split(widths, dim=-1)
            value = self.critic.network(critic)
            if self.settings.value_clip is None:
                loss = (value - target).square().mean()
            else:
                loss = clipped_value_loss(value, old_value, target, self.settings.value_clip).mean()
            self.critic_optimizer.descend(loss, self.settings.max_grad_norm)
            total += loss.detach()
        return float(total) / len(minibatches)

    def learn_normalizers(self) -> None:
        """Take the rollout's observations into the normalisers."""
        self.actor.normalizer.update(self._rollout["actor"].flatten(0, 1))
        self.critic.normalizer.update(self._rollout["critic"].flatten(0, 1))

    def initialize(self, state: dict[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])
        if "critic" in state:  # a student of algorithm=distill has none
            self.critic.load_state_dict(state["critic"])

    def state_dict(self) -> dict[str, Any]:
        return {
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "estimator_optimizer": self.estimation and self.estimation.optimizer.state_dict(),
            "learning_rate": self.learning_rate,
            "iteration": self.iteration,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.initialize(state)
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        if self.estimation:
            self.estimation.optimizer.load_state_dict(state["estimator_optimizer"])
        self.learning_rate, self.iteration = state["learning_rate"], state["iteration"]
        self.generator.set_state(state["generator"])
