"""Constraints as terminations (Chane-Sane et al., 2024, arXiv:2403.18765): PPO, to which a violation ends the episode, perhaps.

A violated constraint ends the future with a probability that grows with the violation: in expectation, nothing really ends. Reward and
all that follows count (1 - probability), so that constraints need no weights beside those of the rewards.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.ppo import PPO, PPOSettings
from locomotion.algorithms.returns import termination_probability
from locomotion.algorithms.rollout import Evaluated
from locomotion.environment import Constrained, Environment
from locomotion.schema import Share

SMALLEST = 1e-6  # of the largest violations: none was seen yet


class CaTSettings(PPOSettings):
    probability: tuple[Share, Share]  # of an end at the largest violation, at a run's beginning and at its end
    smoothing: Share  # of the largest violations, an iteration


@algorithm("cat")
class CaT(PPO):
    settings_type = CaTSettings

    def __init__(self, settings: CaTSettings, env: Environment, seed: int, iterations: int) -> None:
        env.spaces.constrained("cat")
        super().__init__(settings, env, seed, iterations)
        self.constraints = settings
        self.largest = torch.zeros(len(env.spaces.costs), device=env.device)  # violation of each, smoothed over iterations

    @property
    def probability(self) -> float:
        first, last = self.constraints.probability
        return first + (last - first) * min(self.iteration / self.iterations, 1.0)

    def prepare(self) -> dict[str, Tensor]:
        self.costs = cast(Constrained, self.env).costs()  # before the rewards of the same steps
        most = self.costs.amax(dim=(0, 1))
        self.largest = torch.where(self.largest > 0.0, torch.lerp(most, self.largest, self.constraints.smoothing), most)
        return super().prepare()

    def estimate(self, seen: Evaluated) -> tuple[Tensor, Tensor]:
        ends = termination_probability(self.costs, self.largest.clamp(min=SMALLEST), self.probability)
        return super().estimate(ended_with(ends, seen))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "largest": self.largest.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.largest = state["largest"].to(self.env.device)


def ended_with(probability: Tensor, seen: Evaluated) -> Evaluated:
    """``seen`` as expected where each step ends its episode with a ``probability`` [T, N], and earns nothing then."""
    goes_on = 1.0 - probability
    done = 1.0 - (1.0 - seen.done.to(goes_on.dtype)) * goes_on
    return seen._replace(reward=seen.reward * goes_on, next_value=seen.next_value * goes_on, done=done)
