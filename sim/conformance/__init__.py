"""Do engines agree with each other, and with the answers that are known? One table of checks, for every engine alike.

Checks know the :class:`~sim.simulator.Simulator` protocol alone. The answers are those of rigid-body mechanics, worked out from the
robot's compiled model (joint-space inertia, momentum, kinetic energy), of the actuator law, and of Coulomb's friction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from robots import Robot
from sim.conformance.bench import Bench, NotApplicable
from sim.conformance.table import CHECKS, Check

__all__ = ["CHECKS", "Bench", "Check", "Result", "judge", "run"]


@dataclass(frozen=True)
class Result:
    """Of one check in one engine. ``measured`` is None where it does not apply; ``note`` then says why, else why it may be further off."""

    check: Check
    engine: str
    measured: float | None
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.measured is None or self.measured <= self.tolerance  # what is no number does not pass


def judge(check: Check, bench: Bench) -> Result:
    """Measure one check."""
    tolerance, reason = check.wider.get(bench.engine, (check.tolerance, ""))
    with bench.simulator() as simulator:
        able = simulator.supports | ({"cpu"} if simulator.device.type == "cpu" else set())
    lacking = [name for name in check.needs if name not in able]
    if lacking:
        return Result(check, bench.engine, None, tolerance, f"the engine has no {lacking[0]}")
    try:
        return Result(check, bench.engine, check.measure(bench), tolerance, reason)
    except NotApplicable as error:
        return Result(check, bench.engine, None, tolerance, str(error))


def run(benches: Iterable[Bench], checks: Iterable[Check] = CHECKS, progress: Callable[[str], object] = lambda name: None) -> Iterator[Result]:
    """Every check on every bench. Raises InputError where an engine is not installed or the robot cannot be used."""
    benches = list(benches)
    for check in checks:
        for bench in benches:
            progress(f"{check.name}, {bench.engine}")
            yield judge(check, bench)


