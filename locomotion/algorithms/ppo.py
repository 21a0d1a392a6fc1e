"""Proximal policy optimisation (Schulman et al., 2017) with generalized advantages and an adaptive learning rate.

Read :meth:`PPO.iterate` first: collect, estimate advantages, update, and only then move the normalisers, so that the
policy that is optimised is exactly the policy that acted. Actions are numbers or choices; a policy with a memory learns from
sequences where others learn from steps (:mod:`locomotion.models.recurrent`), and nothing else differs.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.returns import (
    adapt_learning_rate,
    clipped_surrogate,
    clipped_value_loss,
    estimated_kl,
    generalized_advantages,
    normalized,
)
from locomotion.algorithms.rollout import Evaluated, Rollout
from locomotion.distributed import mean_
from locomotion.environment import Environment, Spaces
from locomotion.models.actor_critic import Actor, make_actor, make_critic
from locomotion.models.estimator import EstimatorSettings, EstimatorTraining
from locomotion.models.flat import FlatAdam, pack, side_by_side
from locomotion.models.mlp import ActivationName
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
    value_clip: Positive | None  # of what the critic's network says; None: plain squared error
    normalize_values: bool = False  # it says values in standard deviations of its targets, whatever the rewards' units; false: as they are
    entropy_coefficient: NotNegative
    max_grad_norm: Positive
    learning_rate: Positive
    learning_rate_range: PositiveRange | None  # of the policy's rate, which follows the KL divergence; None: it stays
    target_kl: Positive  # how far an iteration may move the policy,
    kl_of: Literal["iteration", "step"] = "iteration"  # ... or one step of the optimizer, looked at after each epoch
    annealed: Share  # of a run, at its end, over which learning settles:
    final_kl: Positive  # ... target_kl falls to this, geometrically,
    final_std: Positive | None  # ... no standard deviation may stay above this, falling from initial_std (null: any may),
    final_entropy_coefficient: NotNegative  # ... and entropy_coefficient goes to this
    actor_hidden: Sizes
    critic_hidden: Sizes
    activation: ActivationName = "elu"
    initial_std: Positive
    symmetric: bool
    actor_group: Literal["actor", "critic"] = "actor"  # what the policy sees; critic: a teacher, which no robot can run
    estimator: EstimatorSettings | None = None  # of what the policy cannot measure, for the policy
    memory: Annotated[int, Field(ge=0, le=10_000)] = 0  # numbers that the policy remembers (a GRU before its network); 0: none

    @model_validator(mode="after")
    def _sizes(self) -> PPOSettings:
        if self.num_envs * self.steps < 2 * self.minibatches:
            raise InputError("algorithm.minibatches", self.minibatches, "at most half of num_envs * steps", "Use fewer minibatches.")
        for name in ("actor_hidden", "critic_hidden"):
            if self.symmetric and any(size % 2 for size in getattr(self, name)):
                raise InputError(f"algorithm.{name}", getattr(self, name), "even sizes for a symmetric network", "Round them up.")
        if self.estimator and self.actor_group == "critic":
            raise InputError("algorithm.estimator", "{...}", "none for a policy that sees what the critic sees", "Set it to null.")
        if self.memory and self.estimator:
            raise InputError("algorithm.estimator", "{...}", "none for a policy with a memory", "Set it to null, or algorithm.memory=0.")
        if self.memory and self.num_envs < self.minibatches:
            allowed = f"at most num_envs = {self.num_envs}: a memory learns from whole sequences"
            raise InputError("algorithm.minibatches", self.minibatches, allowed, "Use fewer minibatches.")
        if self.memory % 2 and self.symmetric:
            raise InputError("algorithm.memory", self.memory, "an even size for a symmetric network", "Round it up.")
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
        self.critic = make_critic(env.spaces, s.critic_hidden, s.symmetric, initial, s.activation, s.normalize_values).to(device)
        self.generator = initial if device.type == "cpu" else torch.Generator(device=device).manual_seed(seed)
        # the actor's rate may follow the KL divergence, the critic's stays
        self.actor_optimizer = FlatAdam(self.actor.policy_parameters(), s.learning_rate)
        self.critic_optimizer = FlatAdam(self.critic.parameters(), s.learning_rate)
        self.estimation = EstimatorTraining(estimator, s.max_grad_norm) if (estimator := self.actor.estimator) else None
        self.learning_rate = s.learning_rate
        self.rollout = Rollout(env, self.actor, s.steps, s.actor_group)

    @staticmethod
    def make_actor(settings: PPOSettings, spaces: Spaces, generator: torch.Generator) -> Actor:
        s = settings
        return make_actor(spaces, s.actor_hidden, s.symmetric, s.initial_std, generator, s.actor_group, s.estimator, s.memory, s.activation)

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
        if s.final_std is not None and self.settled > 0.0 and not self.rollout.choices:
            limit = math.log(s.initial_std) + (math.log(s.final_std) - math.log(s.initial_std)) * self.settled
            with torch.no_grad():
                self.actor.log_std_parameter.clamp_(max=limit)

    def iterate(self) -> dict[str, float]:
        self.limit_std()
        with torch.inference_mode():
            self.rollout.collect(self.generator)
            batch = self.prepare()
        figures = self.update(batch)
        with torch.inference_mode():
            self.rollout.learn_normalizers(self.critic)
        self.iteration += 1
        return figures

    def prepare(self) -> dict[str, Tensor]:
        """Advantages and targets of the rollout, flattened to [T * N, ...], observations normalised."""
        rollout = self.rollout
        seen = rollout.evaluate(self.critic)
        advantage, target = self.estimate(seen)
        value = self.critic.said(seen.value)  # what its network's output is now, whatever that will mean: value_clip is about that
        if self.critic.targets is not None:
            self.critic.targets.update(target.reshape(-1, 1))
        target = self.critic.said(target)
        action, output = rollout.action.flatten(0, 1), rollout.output.flatten(0, 1)
        log_prob = self.actor.distribution(output).log_prob(action)
        scalars = {"log_prob": log_prob, "advantage": normalized(advantage), "target": target, "value": value}
        columns = {name: tensor.reshape(-1, 1) for name, tensor in scalars.items()}
        actor = self.actor.features(rollout.actor.flatten(0, 1))
        return {"actor": actor, "critic": seen.critic, "action": action, "output": output, **columns}

    def estimate(self, seen: Evaluated) -> tuple[Tensor, Tensor]:
        """Advantages and targets of the value, both [T, N]."""
        s = self.settings
        advantage = generalized_advantages(seen.reward, seen.value, seen.next_value, seen.done, s.gamma, s.lam)
        return advantage, advantage + seen.value

    def update(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Several epochs of minibatch gradient steps. Returns means over the minibatches.

        The two networks share nothing, so they learn side by side, each on a thread of its own.
        """
        minibatches = self.rollout.minibatches(self.settings.epochs, self.settings.minibatches, self.generator)
        with side_by_side() as pool:
            value_loss = pool.submit(self._learn_value, batch, minibatches)
            # the policy keeps the estimates that it acted on while it learns, so these may learn beside it
            estimates = self.estimation and pool.submit(
                self.estimation.learn, batch["actor"], self.rollout.critic.flatten(0, 1), minibatches
            )
            surrogate, entropy, kl = self._learn_policy(batch, minibatches)
            return {
                "loss/surrogate": surrogate,
                "loss/value": value_loss.result(),
                "policy/entropy": entropy,
                "policy/kl": kl,
                "policy/learning_rate": self.learning_rate,
                **({} if self.rollout.choices else {"policy/std": float(self.actor.log_std.detach().exp().mean())}),
                **(estimates.result() if estimates else {}),
            }

    def _learn_policy(self, batch: dict[str, Tensor], minibatches: list[Tensor]) -> tuple[float, float, float]:
        """Mean surrogate, entropy and KL divergence over the minibatches."""
        s, names = self.settings, ("actor", "action", "output", "log_prob", "advantage")
        target_kl, entropy_coefficient, between = self.target_kl, self.entropy_coefficient, s.learning_rate_range
        packed, widths = pack(batch, names)
        old = self.actor.present_distribution()
        sums, of_step = torch.zeros(3, device=packed.device), torch.zeros((), device=packed.device)
        for i, ids in enumerate(minibatches, start=1):
            actor, action, old_output, old_log_prob, advantage = packed[ids].split(widths, dim=-1)
            policy = self.actor.distribution(self.actor.network(actor))
            log_ratio = policy.log_prob(action) - old_log_prob.squeeze(-1)
            ratio = torch.exp(log_ratio)
            with torch.no_grad():  # where no rate follows it, it is a figure alone: estimated from the actions that were taken, quicker
                kl = mean_(old(old_output).kl(policy).mean() if between else estimated_kl(log_ratio).mean())
            if between and s.kl_of == "iteration":
                self.learning_rate = adapt_learning_rate(self.learning_rate, float(kl), target_kl, *between)
            surrogate = clipped_surrogate(ratio, advantage.squeeze(-1), s.clip).mean()
            entropy = policy.entropy().mean()
            loss = -surrogate - entropy_coefficient * entropy if entropy_coefficient else -surrogate
            self.actor_optimizer.descend(loss, s.max_grad_norm, self.learning_rate)
            sums += torch.stack([surrogate.detach(), entropy.detach(), kl])
            if between and s.kl_of == "step":
                with torch.no_grad():
                    of_step += mean_(self.actor.distribution(self.actor.network(actor)).kl(policy).mean()) / s.minibatches
                if i % s.minibatches == 0:
                    self.learning_rate = adapt_learning_rate(self.learning_rate, float(of_step), target_kl, *between)
                    of_step.zero_()
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
            "rollout": self.rollout.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.initialize(state)
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        if self.estimation:
            self.estimation.optimizer.load_state_dict(state["estimator_optimizer"])
        self.learning_rate, self.iteration = state["learning_rate"], state["iteration"]
        self.generator.set_state(state["generator"])
        self.rollout.load_state_dict(state["rollout"])
