"""Cases of a suite in real time: the real runtime and the real guard, in their own processes, drive a robot on the wire over real DDS.

    this process  --times-->  pilot: runtime  --shared memory-->  guard  --rt/lowcmd-->  stage: a robot
                  <--finds--                                             <-rt/lowstate-  --what it saw--> this process

What the robot heard and what its body came to is the stage's to say; what was found, the runtime's events', and the guard's words. A
machine that stands still makes its own faults: sleepers beside the case (:mod:`deploy.hil.floor`) say when it did. What fails is not
judged where physics, guard or runtime were late in such a moment, or physics, which is no part of what is tested, at any.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from deploy.hil import pilot, stage
from deploy.hil.bench import WALK_AFTER
from deploy.hil.floor import Floor, Stall, fell_in
from deploy.hil.stage import Seen, Times
from deploy.hil.suite import Case, Outcome, judged, measured
from robots import InputError, Robot

FIRST_DOMAIN, DOMAINS = 40, 8  # of DDS: one case's last words are not the next one's
PATIENCE = 120.0  # s for processes to start, on a busy machine
LEAD = 0.1  # s from when all is up to the beginning
LINGER = 1.0  # s after the end for what the runtime has to say
MILD = ("hold", "derate", "settle")  # responses that latch nothing yet
WIRE = 0.01  # s in which a command that was decided on before may still arrive
TRIES = 2  # of a case that cannot be judged
MOST_LATE = {"physics": 0.005, "guard": 0.008, "runtime": 0.005}  # s
ON_THE_GUARD = ("guard_killed", "guard_stopped", "guard_terminated")


@dataclass(frozen=True)
class Found:
    kind: str
    by: str  # "supervisor", "guard" or "runtime"
    time: float  # s


def run(cases: Sequence[Case], bundle: Path, robot: Robot) -> Iterator[Outcome]:
    """The outcomes, one after the other: two cases at a time would disturb each other."""
    with Floor() as floor:
        for number, case in enumerate(cases):
            for _ in range(TRIES):
                outcome = run_case(case, bundle, robot, FIRST_DOMAIN + (os.getpid() + number) % DOMAINS, floor)
                if not (outcome.failures and outcome.slow):
                    break
            yield outcome  # pyright: ignore[reportPossiblyUnboundVariable]


def run_case(case: Case, bundle: Path, robot: Robot, domain: int, floor: Floor) -> Outcome:
    """Play and judge one case, ``floor`` beside it."""
    if case.conditions.push:
        raise InputError("conditions.push", case.conditions.push, "0 in real time", "Use the fault push.")
    with TemporaryDirectory() as folder:
        words = Path(folder) / "guard"
        theirs = stage.Job(robot, domain, case.phase, case.fault, case.settings, case.conditions)
        ours = pilot.Job(
            bundle.absolute(), robot, domain, case.phase, case.fault, case.settings, case.command, words, case.conditions.seed
        )  # fmt: skip
        with _process(stage.main, theirs) as robot_side, _process(pilot.main, ours) as runtime_side:
            if not (_is_up(robot_side) and _is_up(runtime_side)):
                return judged(_unplayed(case), case.expected)
            begin = time.monotonic() + LEAD
            start = begin + WALK_AFTER * (case.phase == "walking") + case.at
            times = Times(begin, start, start + case.lasts, start + case.seconds)
            robot_side.send(times)
            runtime_side.send(times)
            told = _listen(runtime_side, times.end + LINGER)
            seen = _report(robot_side)
        said = words.read_text()
    stalls = floor.stalls(times.begin, times.end)
    return judged(_outcome(case, times, seen, told, said, stalls), case.expected)


@contextlib.contextmanager
def _process(main: Any, job: Any) -> Iterator[Connection]:
    """To a process of its own, killed with its children at the end. It is forked from one that has imported all, and runs nothing."""
    context = get_context("forkserver")
    context.set_forkserver_preload([pilot.__name__, stage.__name__])
    ours, theirs = context.Pipe()
    process = context.Process(target=main, args=(job, theirs))
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        for child in _children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        process.kill()
        process.join()


def _children(parent: int | None) -> list[int]:
    """Process numbers, of a Linux machine."""
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return []


def _is_up(side: Connection) -> bool:
    """Whether a process has started in time. Raises InputError where it did not start at all."""
    if not side.poll(PATIENCE):
        return False
    said = "nothing"
    with contextlib.suppress(EOFError):
        said = side.recv()
    if said != "up":
        raise InputError("mode", "realtime", "a robot and a runtime that start", f"One said {said}.")
    return True


def _unplayed(case: Case) -> Outcome:
    return Outcome(
        case.name, case.phase, case.fault, case.settings, detected="", by="", detection_ms=None, response="unknown", commanded_torque=0.0,
        torque=0.0, beyond_limit=0.0, max_tilt=0.0, fell=False, driven_after_fall=0.0, commands_after_latch=0, impact=0.0, ending="",
        slow=f"processes did not start within {PATIENCE:.0f} s",
    )  # fmt: skip


def _report(side: Connection) -> Seen:
    """What the robot saw. Raises InputError where it is gone."""
    with contextlib.suppress(EOFError):
        if side.poll(PATIENCE):
            return side.recv()
    raise InputError("mode", "realtime", "a robot that lives to the end", "Its process failed: its words are on the standard error.")


def _listen(side: Connection, until: float) -> list[tuple[Any, ...]]:
    """What the runtime tells until then, or until it is done."""
    told = []
    with contextlib.suppress(EOFError, ConnectionResetError):
        while (left := until - time.monotonic()) > 0.0:
            if side.poll(left):
                told.append(side.recv())
    return told


def _outcome(case: Case, times: Times, seen: Seen, told: Sequence[tuple[Any, ...]], said: str, stalls: Sequence[Stall] = ()) -> Outcome:
    start = next((row[1] for row in told if row[0] == "began"), times.start)
    heard, holds = seen.heard[:, 0], seen.heard[:, 1] > 0.0
    events = [row for row in told if row[0] == "event" and row[1] <= times.end and not row[3].startswith("GuardTripped")]  # the guard's
    mild = [row[3].partition(":")[0] for row in events if row[3].startswith(MILD)]
    warned = [row for row in told if row[0] == "warning" and start <= row[1] <= times.end]
    damped = _damped(heard, holds)
    faults = [row[1] for row in events if not row[3].startswith((*MILD, "over"))]
    reason = _reason(said)
    found = [Found(row[2], "supervisor", row[1]) for row in events if row[1] >= start]
    found += [Found("warning", "runtime", row[1]) for row in warned]
    if reason and damped < min(faults, default=math.inf):
        found.append(Found(reason, "guard", damped))
    first = min(found, key=lambda one: one.time, default=None)
    latched = min([damped, *faults])
    return Outcome(
        case.name, case.phase, case.fault, case.settings,
        detected=first.kind if first else "",
        by=first.by if first else "",
        detection_ms=round(1e3 * (first.time - start), 1) if first else None,
        response="damping" if latched < math.inf else mild[-1] if mild else "warning" if warned else "none",
        commanded_torque=seen.commanded,
        commands_after_latch=int((holds & (heard > latched + WIRE)).sum()),
        ending="; ".join(row[2] for row in told if row[0] == "ending"),
        slow=_slow(case, times, seen, told, latched, stalls),
        **measured(seen.truth),
    )  # fmt: skip


def _damped(heard: np.ndarray, holds: np.ndarray) -> float:
    """When the robot first heard damping after it was held; infinite where it did not."""
    held = np.flatnonzero(holds)
    later = np.flatnonzero(~holds[held[0] :]) if len(held) else held
    return float(heard[held[0] + later[0]]) if len(later) else math.inf


def _reason(said: str) -> str:
    """Why the guard damps, in its words on the standard error; the runtime's own end is none."""
    for line in said.splitlines():
        _, damping, reason = line.partition("guard: damping: ")
        if damping:
            reason = reason.partition(" Token to reset")[0].rstrip(".")
            return "" if reason == "the runtime is done" else reason
    return ""


def _slow(case: Case, times: Times, seen: Seen, told: Sequence[tuple[Any, ...]], latched: float, stalls: Sequence[Stall]) -> str:
    """In what the machine was too slow for a verdict, and when it stood still, or nothing."""
    before = times.start if case.fault in ON_THE_GUARD else min(times.end, latched)
    heard = seen.heard[seen.heard[:, 0] <= before, 0]
    late = [row[1:3] for row in told if row[0] == "late" and row[1] <= min(times.start, latched)]
    lates = {
        "physics": [seen.late],
        "guard": list(zip(heard[1:], np.diff(heard), strict=True)),
        "runtime": late if any(row[0] == "late" for row in told) else [(times.begin, math.inf)],
    }
    words = []
    for name, moments in lates.items():
        time, worst = max(moments, key=lambda moment: moment[1], default=(0.0, 0.0))
        if worst > MOST_LATE[name] and (name == "physics" or worst == math.inf or fell_in(time, worst, stalls)):
            words.append(f"{name} {1e3 * worst:.0f} ms late")
    if words:
        stood = ((stall.cpu, 1e3 * stall.seconds, stall.begin - times.start) for stall in stalls[:5])
        words += [f"CPU {cpu} stood still for {ms:.0f} ms at {at:+.3f} s" for cpu, ms, at in stood]
    return ", ".join(words)
