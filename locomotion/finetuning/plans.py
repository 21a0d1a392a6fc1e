"""What is walked in a run, and how long it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deploy.contract import Contract
from locomotion.finetuning.settings import RecipeSettings
from locomotion.finetuning.walks import Walk, script_of

STAND = 2.0 + 1.0 + 3.0  # s of a run beside its walks: up, down, the last word; and the check of each joint
BETWEEN = 1.6  # s between walks
MOST_PAIRS = 4  # of the last test, in a run, so that motors rest between


@dataclass(frozen=True)
class Plans:
    """Of the recipe, for a robot of ``joints`` joints; ``seed`` draws commands and noise."""

    settings: RecipeSettings
    contract: Contract
    joints: int
    seed: int

    def of(self, stage: str, number: int, done: int) -> list[Walk]:
        """Walks of run ``number``, its commands drawn for it; ``done`` pairs of the last test have been walked. A pair has the same
        commands and the same noise, and who goes first takes turns."""
        s, rng = self.settings, np.random.default_rng([self.seed, number])
        left = min(s.final_pairs - done, MOST_PAIRS)
        count, pairs = {"warm_up": (s.warm_up_walks, 0), "learn": (s.walks, s.pairs), "final": (left, left)}[stage]
        who, plan = ("base" if stage == "warm_up" else "candidate"), list[Walk]()
        for i in range(count):
            chosen = [s.commands[k] for k in rng.choice(len(s.commands), min(3, len(s.commands)), replace=False)]
            script = script_of(chosen, s.walk_seconds, self.contract.command_rest.tolist())
            walk = Walk(who, script, s.walk_seconds, int(rng.integers(2**31)), i, quiet=stage == "final")
            twin = [replace(walk, who="base")] if i < pairs else []
            plan += [walk, *twin] if i % 2 else [*twin, walk]
        return plan

    def tests(self) -> list[list[Walk]]:
        """About what the last test will be, for the time that it takes."""
        return [self.of("final", 0, 0)] * math.ceil(self.settings.final_pairs / MOST_PAIRS)

    def seconds(self, *plans: Sequence[Walk]) -> float:
        """Of the robot, a run each."""
        per_walk, stand = self.settings.walk_seconds + BETWEEN, STAND + 0.5 + 0.3 * self.joints
        return sum(stand + len(plan) * per_walk for plan in plans)
