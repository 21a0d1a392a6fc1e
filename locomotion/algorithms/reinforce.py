"""REINFORCE with a baseline (Williams, 1992; Sutton and Barto, 2018, section 13.4): returns less the value, and one gradient step."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.on_policy import OnPolicy, OnPolicySettings
from locomotion.algorithms.returns import discounted_returns, normalized
from locomotion.algorithms.rollout import Evaluated
from locomotion.environment import Environment
from locomotion.models.flat import FlatAdam
from locomotion.schema import NotNegative, Positive


class ReinforceSettings(OnPolicySettings):
    learning_rate: Positive
    entropy_coefficient: NotNegative


@algorithm("reinforce")
class Reinforce(OnPolicy):
    """Rollouts of fixed length: a return goes to the end of its episode, or where that was cut off, on with the value there."""

    settings_type = ReinforceSettings

    def __init__(self, settings: ReinforceSettings, env: Environment, seed: int, iterations: int) -> None:
        super().__init__(settings, env, seed, iterations)
        self.optimizer = FlatAdam(self.actor.policy_parameters(), settings.learning_rate)

    def estimate(self, seen: Evaluated) -> tuple[Tensor, Tensor]:
        returns = discounted_returns(seen.reward, seen.next_value, seen.done, self.settings.gamma)
        return normalized(returns - seen.value), returns

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
