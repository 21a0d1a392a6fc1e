"""What randomization, noise and delays cost a task's step: blocks of steps with and without, in turn. Nothing else should be running."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from benchmarks.common import make_task

WARM_UP, BLOCKS, STEPS, ENVIRONMENTS = 20, 40, 16, 256


class Timed:
    """A task, and how long its engine took."""

    def __init__(self, *words: str) -> None:
        self.task, self.physics = make_task(ENVIRONMENTS, *words), 0.0
        self._step: Callable[..., Any] = self.task.simulator.step
        self.task.simulator.step = self._timed  # type: ignore[method-assign]

    def _timed(self, *arguments: Any) -> None:
        began = time.perf_counter()
        self._step(*arguments)
        self.physics += time.perf_counter() - began

    def block(self, actions: torch.Tensor) -> tuple[float, float]:
        """us a step in all, and outside physics."""
        began, self.physics = time.perf_counter(), 0.0
        for action in actions:
            self.task.step(action)
        self.task.ended()
        self.task.rewards()
        spent = time.perf_counter() - began
        return 1e6 * spent / STEPS, 1e6 * (spent - self.physics) / STEPS


def main() -> None:
    torch.set_num_threads(1)
    tasks = {"with": Timed(), "without": Timed("randomization=none")}
    joints = tasks["with"].task.robot.num_joints
    actions = 0.3 * torch.randn(STEPS, ENVIRONMENTS, joints, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        rows = [{name: timed.block(actions) for name, timed in tasks.items()} for _ in range(WARM_UP + BLOCKS)][WARM_UP:]
    for name in tasks:
        print(
            f"{name:8} {median(row[name][0] for row in rows):6.0f} us a step, {median(row[name][1] for row in rows):5.0f} outside physics"
        )
    own = median((row["with"][1] - row["without"][1]) / row["with"][0] for row in rows)
    whole = median((row["with"][0] - row["without"][0]) / row["with"][0] for row in rows)
    print(f"randomization: {own:.1%} of a step outside physics, {whole:.1%} with what it changes in physics")


if __name__ == "__main__":
    main()
