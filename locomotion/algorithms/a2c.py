"""Advantage actor-critic (Mnih et al., 2016, arXiv:1602.01783, its synchronous form): short rollouts, one gradient step after each.

Advantages are generalized ones, of which ``lam`` = 1 gives the paper's n-step returns, and are normalised: while a critic has yet to
learn, its errors are far larger than what they are to tell apart. The paper's RMSprop is Adam here.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.on_policy import OnPolicy, OnPolicySettings
from locomotion.algorithms.returns import generalized_advantages, normalized
from locomotion.algorithms.rollout import Evaluated
from locomotion.environment import Environment
from locomotion.models.flat import FlatAdam
from locomotion.schema import NotNegative, Positive, Share


class A2CSettings(OnPolicySettings):
    lam: Share
    learning_rate: Positive
    entropy_coefficient: NotNegative


@algorithm("a2c")
class A2C(OnPolicy):
    settings_type = A2CSettings

    def __init__(self, settings: A2CSettings, env: Environment, seed: int, iterations: int) -> None:
        super().__init__(settings, env, seed, iterations)
        self.optimizer = FlatAdam(self.actor.policy_parameters(), settings.learning_rate)

    def estimate(self, seen: Evaluated) -> tuple[Tensor, Tensor]:
        s = self.settings
        advantage = generalized_advantages(seen.reward, seen.value, seen.next_value, seen.done, s.gamma, s.lam)
        return normalized(advantage), advantage + seen.value

    def improve(self, features: Tensor, action: Tensor, output: Tensor, advantage: Tensor) -> dict[str, float]:
        policy = self.actor.distribution(self.actor.network(features))
        entropy = policy.entropy().mean()
        loss = -(advantage * policy.log_prob(action)).mean() - self.settings.entropy_coefficient * entropy
        self.optimizer.descend(loss, self.settings.max_grad_norm)
        return {"loss/policy": float(loss.detach()), "policy/entropy": float(entropy.detach())}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.optimizer.load_state_dict(state["optimizer"])
