"""The paired test: candidate and base under the same commands by turns, on the robot's own reward; and whether the candidate must go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

T_95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729)
"""Student's t, of 1 to 19 degrees of freedom, below which 95 % of it lies."""


@dataclass(frozen=True)
class Walked:
    """What one walk came to."""

    reward: float  # a second, of the robot's own
    changed: float  # share of the steps that the supervisor's filters changed
    early: bool  # it ended before its time because of the robot
    tilt: float = 0.0  # rad from upright, at most
    height: float = 1.0  # of the base, at least, as a share of the standing height
    findings: int = 0  # of the supervisor's monitors
    load: float = 0.0  # of the motor that it loads most: mean square of its torque, as a share of the limit


@dataclass(frozen=True)
class Verdict:
    """Of pairs of walks. ``low`` to ``high`` is the 90 % interval of the mean ``difference``; ``worse`` says why the candidate must go."""

    pairs: int
    base: float
    difference: float
    low: float
    high: float
    worse: str

    @property
    def better(self) -> bool:
        return not self.worse and self.low > 0.0

    def plain(self) -> dict[str, Any]:
        return asdict(self) | {"better": self.better}


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """90 % confidence interval of the mean of paired differences, by Student's t; of fewer than two there is none."""
    n = len(differences)
    if n < 2:
        return -math.inf, math.inf
    mean, half = float(np.mean(differences)), T_95[min(n - 1, len(T_95)) - 1] * float(np.std(differences, ddof=1)) / math.sqrt(n)
    return mean - half, mean + half


@dataclass(frozen=True)
class Margins:
    """How much worse a candidate may be."""

    reward: float = 0.05  # of the base's, in the mean
    interventions: float = 0.02  # of its steps, that filters change
    posture: float = 0.1  # rad that it tilts more, and share of the standing height that it is lower, whatever its reward says
    load: float = 0.25  # of the base's, that it loads its motors more


def judge(candidate: Sequence[Walked], base: Sequence[Walked], margins: Margins, alone: Sequence[Walked] = ()) -> Verdict:
    """``candidate`` and ``base``, pair by pair. The candidate is worse where its reward is shown to be lower, or any margin is passed, or
    more of its walks end early, those counted that it walked ``alone``."""
    if not candidate:
        return Verdict(0, math.nan, math.nan, -math.inf, math.inf, "it did not come to walk beside the base")
    differences = [ours.reward - theirs.reward for ours, theirs in zip(candidate, base, strict=True)]
    low, high = interval(differences)
    mean, level = float(np.mean(differences)), float(np.mean([one.reward for one in base]))
    changed, tilt, height, load = (
        [float(np.mean([getattr(one, name) for one in walks])) for walks in (candidate, base)]
        for name in ("changed", "tilt", "height", "load")
    )
    counts = ("early", "findings")
    early, findings = ([sum(getattr(one, name) for one in walks) for walks in ([*candidate, *alone], base)] for name in counts)
    reasons = {
        f"its reward is lower, {mean:+.3f} a second in [{low:+.3f}, {high:+.3f}]": not high >= 0.0,
        f"its reward is {-mean:.3f} a second lower, more than {margins.reward:g} of the base's": not mean >= -margins.reward * abs(level),
        f"filters change {changed[0]:.3f} of its steps, {changed[1]:.3f} of the base's": not changed[0]
        <= changed[1] + margins.interventions,
        f"it tilts by {tilt[0]:.2f} rad, the base by {tilt[1]:.2f}": not tilt[0] <= tilt[1] + margins.posture,
        f"it sinks to {height[0]:.2f} of the standing height, the base to {height[1]:.2f}": not height[0] >= height[1] - margins.posture,
        f"it loads a motor with {load[0]:.3f}, the base with {load[1]:.3f}": not load[0] <= (1.0 + margins.load) * load[1],
        f"the supervisor found something {findings[0]} times, with the base {findings[1]}": findings[0] > findings[1],
        f"{early[0]} of its walks ended early, {early[1]} of the base's": early[0] > early[1],
    }
    return Verdict(len(differences), level, mean, low, high, "; ".join(reason for reason, holds in reasons.items() if holds))
