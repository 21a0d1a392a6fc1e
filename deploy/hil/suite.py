"""Suites of faults in YAML, what must happen at each, and what did: the same script and seed give the same verdict, bit for bit.

    conditions: {noise: 1.0}         # of the world, as in Conditions
    command: [0.5, 0.0, 0.0]         # of the operator, walking
    at: {walking: 1.0, ...}          # s after a phase began at which the fault does
    seconds: 3.0                     # s that are looked at from then on
    cases:
      imu_frozen:
        fault: frozen
        settings: {signals: [base_ang_vel, projected_gravity]}
        walking: {response: damping, within: 0.1}

In every case no command may ask a motor for more than its limit, none may hold the robot after damping was decided on, and it must not
be held once it has fallen; a phase says what else must happen.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from deploy.hil.bench import PHASES, Bench
from deploy.hil.faults import check, make
from deploy.hil.simulated_robot import Conditions
from deploy.hil.truth import Truth
from deploy.policy import RobotPolicy, load
from robots import InputError, Robot, yaml_file
from robots.errors import nearest

RESPONSES = ("none", "warning", "derate", "hold", "settle", "damping")
BEFORE = 5.0  # ms that a finding may come before its fault, by how times are taken
GRACE = 0.06  # s in which a robot that has fallen may still be held
TERMINAL = {signal.SIGINT, signal.SIGHUP}  # what a terminal tells all processes of a command
ROUNDING = 1e-6  # of a motor's limit


@dataclass(frozen=True)
class Expectation:
    """What must happen to one fault in one phase."""

    response: tuple[str, ...]  # one of these
    within: float = math.inf  # s from the fault's start to the first finding
    by: tuple[str, ...] = ()  # kinds of finding, any where empty
    may_fall: bool = True
    deaf: bool = False  # nothing reaches the motors: what they do is in no software's hands
    torque: float = math.inf  # share of a motor's limit that its true state and command may come to


@dataclass(frozen=True)
class Case:
    name: str
    phase: str
    fault: str
    settings: dict[str, Any]
    at: float  # s from the phase's start
    lasts: float  # s
    seconds: float  # s that are looked at, from the fault's start
    expected: Expectation
    command: tuple[float, ...]
    conditions: Conditions


@dataclass(frozen=True)
class Outcome:
    """What came of a case; ``failures`` is empty where all that had to happen did."""

    case: str
    phase: str
    fault: str
    settings: dict[str, Any]
    detected: str  # the first finding, empty where there was none
    by: str  # "supervisor", "guard" or "runtime"
    detection_ms: float | None
    response: str
    commanded_torque: float  # largest that a command asked for by the state that was measured, share of a motor's limit
    torque: float  # ... by the true one
    beyond_limit: float  # rad, furthest that a joint was past its limits
    max_tilt: float  # rad
    fell: bool
    driven_after_fall: float  # s
    commands_after_latch: int
    impact: float  # N on the trunk
    ending: str  # what the runtime raised
    slow: str = ""  # why the machine was too slow to judge by what happened in real time
    failures: tuple[str, ...] = field(default=())


def read(path: Path, channels: int, joints: int, mode: str = "lockstep") -> list[Case]:
    """See :func:`parse`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("suite", str(path), "a file that can be read", f"{error}.") from error
    return parse(text, channels, joints, mode)


def parse(text: str, channels: int, joints: int, mode: str = "lockstep") -> list[Case]:
    """The cases of a suite, one a fault and phase. Raises InputError for what is not as in this module's docstring."""
    try:
        data = yaml_file.load(text)
    except yaml.YAMLError as error:
        raise InputError("suite", " ".join(str(error).split()), "YAML", "Mend it.") from error
    top = {"conditions": {}, "command": [0.0] * channels, "at": {}, "seconds": 3.0, "cases": {}} | _table(data, "suite")
    _known(top, ("conditions", "command", "at", "seconds", "cases"), "suite")
    conditions = _table(top["conditions"], "conditions")
    _known(conditions, [item.name for item in fields(Conditions)], "conditions")
    for key, value in conditions.items():
        if not _is_number(value) or (key == "seed" and not (isinstance(value, int) and value >= 0)):
            raise InputError(f"conditions.{key}", value, "a number; the seed a whole one from 0", "Mend it.")
    world = Conditions(**conditions)
    command = top["command"]
    if not isinstance(command, list) or len(command) != channels or not all(_is_number(value) for value in command):
        raise InputError("command", command, f"{channels} numbers", "As the policy's contract names them.")
    at = {"walking": 1.0, "standing_up": 0.6, "ready": 0.5} | _table(top["at"], "at")
    _known(at, PHASES, "at")
    cases: list[Case] = []
    for name, entry in _table(top["cases"], "cases").items():
        where = f"cases.{name}"
        entry = {"settings": {}, "lasts": math.inf, "seconds": top["seconds"]} | _table(entry, where)
        _known(entry, ("fault", "settings", "lasts", "seconds", *PHASES), where)
        settings = _table(entry["settings"], f"{where}.settings")
        check(entry.get("fault"), settings, where, mode)
        for key in ("joint", "joints"):
            if any(value >= joints for value in np.atleast_1d(settings.get(key, 0))):
                raise InputError(f"{where}.settings.{key}", settings[key], f"joints from 0 to {joints - 1}", "The robot has no more.")
        phases = [phase for phase in PHASES if phase in entry]
        if not phases:
            raise InputError(where, "no phase", f"what must happen in {', '.join(PHASES)}", "For example ready: {response: damping}.")
        for phase in phases:
            expected = {"response": None, "at": at[phase], "seconds": entry["seconds"]} | _table(entry[phase], f"{where}.{phase}")
            _known(expected, ("at", "seconds", *(item.name for item in fields(Expectation))), f"{where}.{phase}")
            start = _positive(expected["at"], f"{where}.{phase}.at", zero=True)
            seconds = _positive(expected["seconds"], f"{where}.{phase}.seconds")
            lasts, what = _positive(entry["lasts"], f"{where}.lasts"), _expectation(expected, f"{where}.{phase}")
            words = tuple(float(value) for value in command)
            cases.append(Case(str(name), phase, entry["fault"], settings, start, lasts, seconds, what, words, world))
    if not cases:
        raise InputError("cases", "none", "at least one", "See docs/faults.md.")
    return cases


def run_case(policy: RobotPolicy, case: Case, supervised: bool = True) -> Outcome:
    """Run and judge one case."""
    bench = Bench(policy, case.phase, case.conditions, np.array(case.command), case.at, case.lasts, case.seconds, supervised)
    bench.run(make(case.fault, bench, case.settings))
    finding, damped = bench.finding, bench.latched < math.inf
    outcome = Outcome(
        case.name, case.phase, case.fault, case.settings,
        detected=finding.kind if finding else "",
        by=finding.by if finding else "",
        detection_ms=round(1e3 * (finding.time - bench.start), 3) if finding else None,
        response="damping" if damped else bench.mild or "none",
        commanded_torque=bench.commanded,
        commands_after_latch=bench.commands_after_latch,
        ending=bench.ending,
        **measured(bench.plant.truth),
    )  # fmt: skip
    return judged(outcome, case.expected)


def measured(truth: Truth) -> dict[str, Any]:
    """What an :class:`Outcome` has from a robot."""
    return {
        "torque": truth.torque, "beyond_limit": max(0.0, truth.beyond), "max_tilt": truth.max_tilt, "fell": truth.fell < math.inf,
        "driven_after_fall": round(truth.driven_after_fall, 6), "impact": truth.impact,
    }  # fmt: skip


def judged(outcome: Outcome, expected: Expectation) -> Outcome:
    """With its failures."""
    return replace(outcome, failures=tuple(_failures(outcome, expected)))


def run(cases: Sequence[Case], bundle: Path, robot: Robot, supervised: bool, jobs: int) -> Iterator[Outcome]:
    """The outcomes in the order of ``cases``, from so many processes."""
    theirs, ours = Pipe(duplex=False)  # closed with this process: an executor that is killed never tells its workers
    with ours, theirs, ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (bundle, robot, supervised, theirs)) as pool:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL)  # which the processes inherit: what a terminal says is this one's
        try:
            outcomes = [pool.submit(_run_one, case) for case in cases]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            for outcome in outcomes:
                yield outcome.result()
        except BrokenExecutor as error:
            raise InputError("jobs", jobs, "processes that live to the end", "One was ended, perhaps for want of memory.") from error
        except BaseException:
            ours.close()  # none goes on with its case
            raise


_worker: tuple[RobotPolicy, bool]


def _begin(bundle: Path, robot: Robot, supervised: bool, parent: Connection) -> None:
    global _worker
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    _worker = RobotPolicy(load(bundle), robot), supervised


def _leave_with(parent: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        parent.recv()
    os._exit(1)


def _run_one(case: Case) -> Outcome:
    policy, supervised = _worker
    return run_case(policy, case, supervised)


def report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Plain numbers and text."""
    return {
        "passed": not any(outcome.failures for outcome in outcomes),
        "cases": len(outcomes),
        "failed": sum(bool(outcome.failures and not outcome.slow) for outcome in outcomes),
        "not_judged": sum(bool(outcome.failures and outcome.slow) for outcome in outcomes),
        "detected": sum(bool(outcome.detected) for outcome in outcomes),
        "fell": sum(outcome.fell for outcome in outcomes),
        "driven_after_fall": sum(outcome.driven_after_fall > GRACE for outcome in outcomes),
        "over_torque": sum(outcome.commanded_torque > 1.0 + ROUNDING for outcome in outcomes),
        "held_after_latch": sum(outcome.commands_after_latch > 0 for outcome in outcomes),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def _failures(outcome: Outcome, expected: Expectation) -> Iterator[str]:
    """What must not have happened, and what must have."""
    if outcome.commanded_torque > 1.0 + ROUNDING:
        yield f"a command asked a motor for {100 * outcome.commanded_torque:.0f} % of its limit"
    if outcome.commands_after_latch:
        yield f"{outcome.commands_after_latch} commands held the robot after damping was decided on"
    if outcome.driven_after_fall > GRACE and not expected.deaf:
        yield f"held for {outcome.driven_after_fall:.2f} s after it fell"
    if outcome.response not in expected.response:
        yield f"the response was {outcome.response}, not {' or '.join(expected.response)}"
    if outcome.detection_ms is None:
        if expected.within < math.inf:
            yield "nothing was found"
    elif outcome.detection_ms < -BEFORE:
        yield f"damped {-outcome.detection_ms:.0f} ms before the fault began: {outcome.detected}"
    elif outcome.detection_ms > 1e3 * expected.within + 1e-6:
        yield f"found after {outcome.detection_ms:.0f} ms, not {1e3 * expected.within:.0f}"
    if expected.by and outcome.detected and outcome.detected not in expected.by:
        yield f"found by {outcome.detected}, not {' or '.join(expected.by)}"
    if outcome.fell and not expected.may_fall:
        yield "it fell"
    if outcome.torque > expected.torque:
        yield f"a motor was told {100 * outcome.torque:.0f} % of its limit"


def _expectation(entry: dict[str, Any], where: str) -> Expectation:
    texts = {name: tuple(np.atleast_1d(entry[name]).tolist()) for name in ("response", "by") if entry.get(name)}
    for response in texts.get("response", ("nothing",)):
        if response not in RESPONSES:
            raise InputError(f"{where}.response", response, f"{', '.join(RESPONSES)}, or a list of these", "Say what must happen.")
    numbers = {name: _positive(entry[name], f"{where}.{name}") for name in ("within", "torque") if name in entry}
    truths = {name: entry[name] for name in ("may_fall", "deaf") if name in entry}
    for name, value in truths.items():
        if not isinstance(value, bool):
            raise InputError(f"{where}.{name}", value, "true or false", "As in may_fall: false, for a robot that must stay upright.")
    return Expectation(**texts, **numbers, **truths)


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(where, value, "a table of names and values", "See docs/faults.md.")
    return value


def _known(entry: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    for key in entry:
        if key not in names:
            raise InputError(f"{where}.{key}", entry[key], f"one of {', '.join(names)}", nearest(str(key), names))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: Any, where: str, zero: bool = False) -> float:
    if (value != math.inf and not _is_number(value)) or not (value > 0 or (zero and value == 0)):
        raise InputError(where, value, "a number of seconds" if not where.endswith("torque") else "a share of the limit", "Give one.")
    return float(value)


def find(name: str, folders: Sequence[Path]) -> Path:
    """A suite by its path, or by its name in one of the ``folders``."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise InputError("suite", name, "a YAML file that exists", "See docs/faults.md.")
        return path
    known = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.yaml"))}
    if name not in known:
        raise InputError("suite", name, f"one of {', '.join(known)}, or the path of a .yaml file", nearest(name, known))
    return known[name]
