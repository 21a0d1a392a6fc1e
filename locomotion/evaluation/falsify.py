"""How little makes it fall: a search for the smallest combination of disturbances, and the margin of each axis alone.

CMA-ES (Hansen, "The CMA Evolution Strategy: A Tutorial", 2016) over signed distances from nominal (:mod:`.robustness`), a generation
as one batch. What falls costs its distance; what does not costs more than all that does, less the nearer it came to a fall. The
smallest fall is then made smaller still by leaving axes out and by scaling, until nothing smaller falls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deploy.policy import RobotPolicy
from locomotion.evaluation.robustness import Axis, Progress, axes, describe, distance, to_values, trial
from locomotion.evaluation.rollout import make_simulator
from locomotion.task.randomization import RandomizationSettings
from sim import Simulator

COMMANDS = ((0.8, 0.0, 0.0), (-0.5, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.0, 0.6))
SECONDS = 6.0
POPULATION, GENERATIONS, SIGMA = 16, 50, 1.0
HALVINGS = 7  # of an axis' span: to 1 %
SCALES = (0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98, 0.99)  # tried on the smallest fall
SHRINKS = 12
STARTS = 8  # other headings that the fall is run again from
STANDING = 1.0e3  # cost of what does not fall at all


Share = Callable[[float], object]


class Search:
    """Points asked of the simulator, and the smallest that fell."""

    def __init__(
        self,
        policy: RobotPolicy,
        engine: str,
        randomization: RandomizationSettings,
        seed: int,
        actuator: str | None = None,
        device: str | None = None,
    ) -> None:
        self._policy, self._engine, self._seed, self._actuator, self._device = policy, engine, seed, actuator, device
        probe = self._simulator(1)
        self.axes: list[Axis] = axes(probe, randomization)
        probe.close()
        self.reach = torch.tensor([axis.reach for axis in self.axes], dtype=torch.float64)  # [D, 2]
        self.best: Tensor | None = None  # [D]

    def falls(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each of ``points`` [n, D] fell under any command, and how near it came, [n] each."""
        simulator = self._simulator(len(points) * len(COMMANDS))
        try:
            outcome = trial(self._policy, simulator, self.axes, to_values(self.axes, points), COMMANDS, SECONDS, self._seed)
        finally:
            simulator.close()
        fell = outcome.fallen.any(dim=1)
        self._keep(points[fell])
        return fell, outcome.closeness.amax(dim=1)

    def replay(self, point: Tensor, seed: int) -> tuple[Tensor, np.ndarray]:
        """``point`` [D] from STARTS starts: who fell [STARTS, M], and their motion [T, STARTS, M, 7 + J]."""
        simulator = self._simulator(STARTS * len(COMMANDS))
        try:
            values = to_values(self.axes, point.repeat(STARTS, 1))
            outcome = trial(self._policy, simulator, self.axes, values, COMMANDS, SECONDS, seed, record=True)
        finally:
            simulator.close()
        assert outcome.motion is not None
        return outcome.fallen, outcome.motion

    def _simulator(self, environments: int) -> Simulator:
        robot, dt = self._policy.robot, self._policy.contract.control_dt
        return make_simulator(robot, environments, dt, self._actuator, self._engine, device=self._device)

    def _keep(self, fallen: Tensor) -> None:
        if len(fallen):
            nearest = fallen[int(distance(fallen).argmin())]
            if self.best is None or distance(nearest) < distance(self.best):
                self.best = nearest.clone()


def falsify(
    policy: RobotPolicy,
    engine: str,
    randomization: RandomizationSettings,
    seed: int,
    progress: Progress = lambda label, share: None,
    actuator: str | None = None,
    device: str | None = None,
) -> tuple[dict[str, Any], np.ndarray | None]:
    """``{"margin", "combination", "words", "command", "confirmed", "starts", "single"}``, and the motion [T, 7 + J] of the fall.

    ``margin`` is the distance of the smallest fall found, None where nothing within the spans makes it fall. ``confirmed`` is the
    share of ``starts`` other starts from which the combination is a fall as well; the motion is the first of these, under
    ``command``. ``single`` has each axis' own margin down and up, None where it stands to the end of its span.
    """
    search = Search(policy, engine, randomization, seed, actuator, device)
    single = margins(search, lambda share: progress("each axis alone", share))
    _evolve(search, seed, lambda share: progress("search", share))
    _shrink(search, lambda share: progress("shrink", share))
    report: dict[str, Any] = {
        "margin": None,
        "combination": {},
        "words": [],
        "command": None,
        "confirmed": 0.0,
        "starts": STARTS,
        "single": single,
    }
    if search.best is None:
        return report, None
    point = search.best
    values = dict(zip(search.axes, to_values(search.axes, point[None])[0].tolist(), strict=True))
    moved = [axis for axis, share in sorted(zip(search.axes, point.tolist(), strict=True), key=lambda pair: -abs(pair[1])) if share]
    fallen, motion = search.replay(point, seed + 1)
    report |= {
        "margin": float(distance(point)),
        "combination": {axis.name: {"value": values[axis], "unit": axis.unit, "nominal": axis.nominal} for axis in moved},
        "words": [describe(axis, values[axis]) for axis in moved],
        "confirmed": float(fallen.any(dim=1).float().mean()),
    }
    falls = fallen.nonzero().tolist()
    if not falls:
        return report, None
    start, command = falls[0]
    return report | {"command": list(COMMANDS[command])}, motion[:, start, command]


def margins(search: Search, progress: Share = lambda share: None) -> dict[str, dict[str, float | str | None]]:
    """By axis, the smallest distance and value at which it falls, down and up, by bisection of all of them as one batch.

    Between standing at nominal and falling at the span's end lies at least one border; where there are more, one of them is found.
    """
    ends = torch.diag_embed(search.reach.T).reshape(-1, len(search.axes))  # [2 D, D], all down and then all up
    outer = search.falls(ends)[0] & (distance(ends) > 0)
    low, high = torch.zeros(len(ends), dtype=torch.float64), torch.ones(len(ends), dtype=torch.float64)
    for i in range(HALVINGS):
        middle = 0.5 * (low + high)
        fell = search.falls(middle[:, None] * ends)[0]
        low, high = torch.where(fell, low, middle), torch.where(fell, middle, high)
        progress((i + 1) / HALVINGS)
    border = high[:, None] * ends
    found, values = distance(border), to_values(search.axes, border)
    result: dict[str, dict[str, float | str | None]] = {}
    for i, axis in enumerate(search.axes):
        rows = {"down": i, "up": len(search.axes) + i}
        result[axis.name] = {"unit": axis.unit}
        for side, row in rows.items():
            result[axis.name] |= {
                side: float(found[row]) if outer[row] else None,
                f"{side}_value": float(values[row, i]) if outer[row] else None,
            }
    return result


def _evolve(search: Search, seed: int, progress: Share) -> None:
    from cmaes import CMA

    bounds = search.reach.numpy() + np.array([-1e-9, 1e-9])  # a side without extent, too, needs some width
    optimizer = CMA(np.zeros(len(bounds)), SIGMA, bounds=bounds, seed=seed, population_size=POPULATION)
    for i in range(GENERATIONS):
        asked = [optimizer.ask() for _ in range(POPULATION)]
        points = torch.from_numpy(np.array(asked)).clamp(search.reach[:, 0], search.reach[:, 1])
        fell, closeness = search.falls(points)
        costs = torch.where(fell, distance(points), STANDING + 1.0 - closeness.double())
        optimizer.tell(list(zip(asked, costs.tolist(), strict=True)))
        progress((i + 1) / GENERATIONS)
        if optimizer.should_stop():
            return


def _shrink(search: Search, progress: Share) -> None:
    for i in range(SHRINKS):
        before = search.best
        if before is None:
            return
        smaller = [before * scale for scale in SCALES]
        smaller += [torch.where(torch.arange(len(before)) == axis, 0.0, before) for axis in before.nonzero()[:, 0]]
        search.falls(torch.stack(smaller))
        progress((i + 1) / SHRINKS)
        if search.best is before:
            return
