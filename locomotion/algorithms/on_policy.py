"""What REINFORCE, A2C and TRPO have in common: a rollout, a value that is learned by regression, and one step of the policy between.

Read :meth:`OnPolicy.iterate`; each algorithm's file is its :meth:`OnPolicy.estimate` and :meth:`OnPolicy.improve`.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from locomotion.algorithms.rollout import Evaluated, Rollout
from locomotion.environment import Environment, Spaces
from locomotion.models.actor_critic import Actor, make_actor, make_critic
from locomotion.models.flat import FlatAdam, make_minibatches
from locomotion.schema import Count, Positive, Settings
from robots.errors import InputError

Sizes = Annotated[tuple[Count, ...], Field(min_length=1, max_length=8)]


class OnPolicySettings(Settings):
    num_envs: Count
    steps: Count  # control steps an iteration
    gamma: Annotated[float, Field(gt=0, le=1)]
    value_learning_rate: Positive
    value_epochs: Count
    value_minibatches: Count
    max_grad_norm: Positive
    actor_hidden: Sizes
    critic_hidden: Sizes
    initial_std: Positive  # of continuous actions
    symmetric: bool

    @model_validator(mode="after")
    def _sizes(self) -> OnPolicySettings:
        if self.num_envs * self.steps < 2 * self.value_minibatches:
            allowed, remedy = "at most half of num_envs * steps", "Use fewer minibatches."
            raise InputError("algorithm.value_minibatches", self.value_minibatches, allowed, remedy)
        for name in ("actor_hidden", "critic_hidden"):
            if self.symmetric and any(size % 2 for size in getattr(self, name)):
                raise InputError(f"algorithm.{name}", getattr(self, name), "even sizes for a symmetric network", "Round them up.")
        return self


class OnPolicy:
    """Actor, critic, and one iteration of learning on an environment."""

    def __init__(self, settings: Any, env: Environment, seed: int, iterations: int) -> None:
        self.settings, self.env, s, device = settings, env, settings, env.device
        self.iteration_steps = s.num_envs * s.steps
        initial = torch.Generator().manual_seed(seed)  # on the host: the same weights whatever the device
        self.actor = self.make_actor(s, env.spaces, initial).to(device)
        self.critic = make_critic(env.spaces, s.critic_hidden, s.symmetric, initial).to(device)
        self.generator = initial if device.type == "cpu" else torch.Generator(device=device).manual_seed(seed)
        self.critic_optimizer = FlatAdam(self.critic.parameters(), s.value_learning_rate)
        self.rollout = Rollout(env, self.actor, s.steps)

    @staticmethod
    def make_actor(settings: Any, spaces: Spaces, generator: torch.Generator) -> Actor:
        return make_actor(spaces, settings.actor_hidden, settings.symmetric, settings.initial_std, generator)

    def estimate(self, seen: Evaluated) -> tuple[Tensor, Tensor]:
        """Advantages and targets of the value, both [T, N]."""
        raise NotImplementedError

    def improve(self, features: Tensor, action: Tensor, output: Tensor, advantage: Tensor) -> dict[str, float]:
        """The policy's step, from B = T * N steps: what its network saw, action columns [B, W], its outputs [B, P], advantages [B]."""
        raise NotImplementedError

    def iterate(self) -> dict[str, float]:
        rollout = self.rollout
        with torch.inference_mode():
            rollout.collect(self.generator)
            seen = rollout.evaluate(self.critic)
            advantage, target = self.estimate(seen)
            features = self.actor.features(rollout.actor.flatten(0, 1))
        # made in inference mode, which autograd may not save from
        step = [x.clone() for x in (features, rollout.action.flatten(0, 1), rollout.output.flatten(0, 1), advantage.flatten())]
        figures = self.improve(*step)
        figures["loss/value"] = self.learn_value(seen.critic.clone(), target.flatten().clone())
        if not rollout.choices:
            figures["policy/std"] = float(self.actor.log_std.detach().exp().mean())
        with torch.inference_mode():
            rollout.learn_normalizers(self.critic)
        return figures

    def learn_value(self, critic: Tensor, target: Tensor) -> float:
        """Regress the value of what the critic saw [B, C] to ``target`` [B]. Returns the mean squared error over the minibatches."""
        s, total = self.settings, torch.zeros((), device=target.device)
        minibatches = make_minibatches(len(target), s.value_epochs, s.value_minibatches, self.generator, self.env.device)
        for rows in minibatches:
            loss = (self.critic.network(critic[rows]).squeeze(-1) - target[rows]).square().mean()
            self.critic_optimizer.descend(loss, s.max_grad_norm)
            total += loss.detach()
        return float(total) / len(minibatches)

    def initialize(self, state: dict[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])
        if "critic" in state:
            self.critic.load_state_dict(state["critic"])

    def state_dict(self) -> dict[str, Any]:
        return {
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.initialize(state)
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.generator.set_state(state["generator"])
