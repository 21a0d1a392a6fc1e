"""Do engines agree with each other, and with the answers that are known? One table of checks, for every engine alike.

Checks know the :class:`~sim.simulator.Simulator` protocol alone. The answers are those of rigid-body mechanics, worked out from the
robot's compiled model (joint-space inertia, momentum, kinetic energy), of the actuator law, and of Coulomb's friction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sim.conformance.bench import Bench, NotApplicable
from sim.conformance.table import CHECKS, Check

__all__ = ["CHECKS", "Bench", "Check", "Result", "judge", "markdown", "run", "table"]


@dataclass(frozen=True)
class Result:
    """Of one check in one engine. ``measured`` is None where it does not apply; ``note`` then says why, else why it may be further off."""

    check: Check
    engine: str
    measured: float | None
    tolerance: float
    note: str = ""

    def plain(self) -> dict[str, Any]:
        """For a file."""
        names = {"check": self.check.name, "text": self.check.text, "unit": self.check.unit, "engine": self.engine}
        return names | {"measured": self.measured, "tolerance": self.tolerance, "passed": self.passed, "note": self.note}

    @property
    def passed(self) -> bool:
        return self.measured is None or self.measured <= self.tolerance  # what is no number does not pass


def judge(check: Check, bench: Bench) -> Result:
    """Measure one check."""
    tolerance, reason = check.wider.get(bench.engine, (check.tolerance, ""))
    if not bench.supports.issuperset(check.needs):
        return Result(check, bench.engine, None, tolerance, "the engine cannot")
    try:
        return Result(check, bench.engine, check.measure(bench), tolerance, reason)
    except NotApplicable as error:
        return Result(check, bench.engine, None, tolerance, str(error))


def run(benches: Iterable[Bench]) -> Iterator[Result]:
    """Every check on every bench, as they are done. Raises InputError where an engine is not installed or the robot cannot be used."""
    benches = list(benches)
    for check in CHECKS:
        for bench in benches:
            yield judge(check, bench)


def table(results: Iterable[Result]) -> tuple[list[str], list[list[str]], list[str]]:
    """Head, a row a check, and notes: what an engine has too much of ("!") or may have ("*"), and why."""
    results = list(results)
    engines = list(dict.fromkeys(result.engine for result in results))
    cells = {(result.check.name, result.engine): result for result in results}
    checks = {result.check.name: result.check for result in results}
    rows = [
        [name, "" if check.unit == "1" else check.unit, f"{check.tolerance:g}", *(_cell(cells[name, engine]) for engine in engines)]
        for name, check in checks.items()
    ]
    notes = [
        f"* {result.check.name} in {result.engine}: up to {result.tolerance:g}; {result.note}"
        for result in results
        if result.note and result.measured is not None
    ]
    lacking: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result.measured is None:
            lacking.setdefault((result.engine, result.note), []).append(result.check.name)
    notes += [f"– {engine}, {note}: {', '.join(names)}" for (engine, note), names in lacking.items()]
    return ["check", "unit", "tolerance", *engines], rows, notes


def _cell(result: Result) -> str:
    if result.measured is None:
        return "–"
    mark = "" if result.passed and not result.note else "*" if result.passed else "!"
    return f"{result.measured:.1e}{mark}" if result.measured else f"0{mark}"


def markdown(results: Iterable[Result]) -> str:
    """The table for a page."""
    results = list(results)
    head, rows, notes = table(results)
    lines = [" | ".join(("", *cells, "")).strip() for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join([*lines, "", *(f"{note}  " for note in notes)]) + "\n"
