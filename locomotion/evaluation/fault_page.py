"""What came of a suite of faults: as a page that explains itself, as a page of the documentation, and in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locomotion.evaluation import page
from locomotion.evaluation.page import Cell

PHASES = ("walking", "standing_up", "ready")
HEAD = ("case", "phase", "found by", "after, ms", "response", "commanded torque", "true torque", "past a stop, rad", "tilt, rad", "fell",
        "held after it, s", "commands after latch", "trunk, N")  # fmt: skip
TIMES = {
    "lockstep": "In simulated time: the same policy, suite and seed give the same verdict to the last bit.",
    "realtime": "In real time, in processes of their own, over DDS: where the machine was late itself, what failed is not judged.",
}
INTRODUCTION = (
    "Each fault of the suite, in each phase, on a simulated robot, with the runtime, supervisor and guard that drive a real one. Torques "
    "are shares of a motor's limit: commanded, by the state that was measured; true, by the state that the motor was in, where the motor "
    "itself ends it at its limit."
)


def summary(name: str, report: dict[str, Any]) -> str:
    """A sentence about the ``supervised`` or ``unsupervised`` runs."""
    found = f"{report['detected']} found, " if name == "supervised" else ""
    return (
        f"{name}: {report['cases']} runs, {found}{report['fell']} fell, {report['driven_after_fall']} driven after the fall, "
        f"{report['over_torque']} with a command over a motor's limit, {report['held_after_latch']} held after damping was decided on; "
        f"{report['failed']} not as they must be"
        + (f"; {report['not_judged']} not judged, the machine was too slow" if report["not_judged"] else "")
    )


def write(path: Path, reports: dict[str, Any]) -> Path:
    """``reports``: faults.json of ``locomotion hil run``. Raises InputError where ``path`` cannot be written."""
    main, ways = _main(reports), _ways(reports)
    failures = [f"{o['case']}, {o['phase']}: {_slow(o)}{'; '.join(o['failures'])}" for o in main["outcomes"] if o["failures"]]
    verdict = "Failed" if main["failed"] else "Not all could be judged" if main["not_judged"] else "Passed"
    rows = {way: [_row(outcome) for outcome in reports[way]["outcomes"]] for way in ways}
    body = [
        f"<p class={'good' if main['passed'] else 'bad'}>{verdict}.</p>",
        summaries(reports),
        page.note(f"Policy {reports['policy']}, suite {reports['suite']}, {reports['robot']}. {INTRODUCTION} {TIMES[reports['mode']]}"),
        page.section("Matrix", matrix(reports)),
        page.section("Not as it must be", *(f"<p class=bad>{page.text(line)}</p>" for line in failures)) if failures else "",
        *(page.section(way.capitalize(), page.table(HEAD, rows[way])) for way in ways),
    ]
    return page.write(path, f"Faults: {reports['robot']}", "".join(body), "output")


def summaries(reports: dict[str, Any]) -> str:
    """A sentence a way, as HTML."""
    return "".join(f"<p>{page.text(summary(way, reports[way]))}.</p>" for way in _ways(reports))


def matrix(reports: dict[str, Any]) -> str:
    """A row a case and a column a phase, as HTML."""
    phases = [phase for phase in PHASES if any(outcome["phase"] == phase for outcome in _main(reports)["outcomes"])]
    return page.table(("case", *phases), _matrix(reports, phases))


def markdown(reports: dict[str, Any]) -> str:
    """The matrix, for docs/faults.md."""
    lines = ["| " + " | ".join(("case", *PHASES)) + " |", "|---" * (1 + len(PHASES)) + "|"]
    for row in _matrix(reports, PHASES):
        lines.append("| " + " | ".join(cell if isinstance(cell, str) else cell[0] for cell in row) + " |")
    return "\n".join([*(summary(way, reports[way]) + ".\n" for way in _ways(reports)), *lines]) + "\n"


def _ways(reports: dict[str, Any]) -> list[str]:
    return [way for way in ("supervised", "unsupervised") if way in reports]


def _main(reports: dict[str, Any]) -> dict[str, Any]:
    return reports[_ways(reports)[0]]


def _matrix(reports: dict[str, Any], shown: Sequence[str]) -> list[list[Cell]]:
    """A row a case, a cell a phase: by what it was found, when, what followed, and what it would have done."""
    harm = {(o["case"], o["phase"]): _harm(o) for o in reports.get("unsupervised", {}).get("outcomes", ())}
    cells: dict[str, dict[str, Cell]] = {}
    for outcome in _main(reports)["outcomes"]:
        case, phase = outcome["case"], outcome["phase"]
        words = _found(outcome)
        if "supervised" in reports and (would := harm.get((case, phase))):
            words += f"; without: {would}"
        cells.setdefault(case, {})[phase] = (words, "bad" if outcome["failures"] else "text")
    return [[case, *(phases.get(phase, "") for phase in shown)] for case, phases in cells.items()]


def _slow(outcome: dict[str, Any]) -> str:
    return f"not judged, {outcome['slow']}: " if outcome["slow"] else ""


def _found(outcome: dict[str, Any]) -> str:
    if outcome["failures"] and outcome["slow"]:
        return f"not judged: {outcome['slow']}"
    if not outcome["detected"]:
        return outcome["response"] if outcome["response"] != "none" else "nothing found"
    by = outcome["detected"] if outcome["by"] != "guard" else f"guard: {outcome['detected']}"
    return f"{outcome['response']}, {by}, {outcome['detection_ms']:.0f} ms"


def _harm(outcome: dict[str, Any]) -> str:
    """What is worse than a robot that goes on, in words; nothing where it did no harm."""
    return ", ".join(
        words
        for words, so in (
            ("fell", outcome["fell"]),
            (f"driven {outcome['driven_after_fall']:.1f} s after it", outcome["driven_after_fall"] > 0.06),
            (f"asked {100 * min(outcome['commanded_torque'], 99.99):.0f} % of a motor", outcome["commanded_torque"] > 1.0 + 1e-6),
            (f"{outcome['beyond_limit']:.2f} rad past a stop", outcome["beyond_limit"] > 0.1),
        )
        if so
    )


def _row(outcome: dict[str, Any]) -> list[Cell]:
    return [
        outcome["case"],
        (outcome["phase"], "text"),
        (f"{outcome['by']}: {outcome['detected']}" if outcome["detected"] else "–", "text"),
        page.number(outcome["detection_ms"], 0),
        (outcome["response"], "bad" if outcome["failures"] else "text"),
        page.number(outcome["commanded_torque"]),
        page.number(outcome["torque"]),
        page.number(outcome["beyond_limit"]),
        page.number(outcome["max_tilt"]),
        ("yes", "bad") if outcome["fell"] else "no",
        page.number(outcome["driven_after_fall"]),
        page.number(outcome["commands_after_latch"], 0),
        page.number(outcome["impact"], 0),
    ]
