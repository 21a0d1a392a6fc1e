"""Short walks, one after the other, between standing up and lying down: who walks, what it is told, and what ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deploy.contract import Contract
from deploy.dry_run import Observer
from deploy.monitors import tilt
from deploy.operator import Intent, Stop
from deploy.states import State
from deploy.supervisor import Supervisor
from deploy.unitree.operator import Buttons, requested
from deploy.unitree.remote import Remote
from locomotion.finetuning.area import Area
from locomotion.finetuning.word import Word

REST = 1.0  # s at the end of each walk, told to stand, so that it ends in order
PATIENCE = 5.0  # s that a supervisor may refuse a walk
ATTENTION = 300.0  # s that the robot stands and waits for a person's word
LONGEST = 3600.0  # s that one run may take, a person's waiting included; the robot lies before
LAST = 30.0  # s before that in which nothing begins
CHANNELS = ("forward", "left", "yaw")


@dataclass(frozen=True)
class Walk:
    """One episode. ``script`` holds commands [C] by the seconds since its start."""

    who: str  # "base" or "candidate"
    script: tuple[tuple[float, tuple[float, ...]], ...]
    seconds: float
    seed: int  # of its exploration
    pair: int = 0  # number of the walk, the same for one of the candidate and one of the base that are compared
    quiet: bool = False  # without exploration

    def command(self, time: float) -> np.ndarray:
        """[C] at ``time`` (s)."""
        return np.array(next(command for start, command in reversed(self.script) if start <= time))


def script_of(commands: Sequence[Sequence[float]], seconds: float, rest: Sequence[float]) -> tuple[tuple[float, tuple[float, ...]], ...]:
    """``commands`` for equal parts of ``seconds``, and then ``rest``."""
    part = (seconds - REST) / len(commands)
    return (*((i * part, tuple(map(float, one))) for i, one in enumerate(commands)), (seconds - REST, tuple(map(float, rest))))


@dataclass(frozen=True)
class Ends:
    """What ends a walk before its time."""

    tilt: float  # rad from upright
    temperature: float  # degrees C of a motor, measured or reckoned: it rests, lying, until it is cooler


class WalkOperator:
    """Follows ``plan`` behind a supervisor: stand up, the walks with the default pose between them, lie down.

    ``begin`` is told of each walk before it starts. ``ended`` says why each one did: time, tilt, area, warm, asked, cut where a person
    broke it off, or supervisor where that did. ``remote`` is the robot's own, None where it has none: start and A are the word for
    standing up and for a walk, X and select ask for an end, L2+B damps at once.
    """

    def __init__(
        self, plan: Sequence[Walk], contract: Contract, supervisor: Supervisor, ends: Ends, word: Word, area: Area,
        begin: Callable[[Walk], None], remote: Callable[[], Remote | None] = lambda: None,
    ) -> None:  # fmt: skip
        self.plan, self.ended, self.returned = list(plan), list[str](), 0  # steps that were spent on the way home
        self.stopped = self.cut = False  # by the person; damped at once
        self.dry = isinstance(supervisor, Observer)  # nobody is led to lie down
        self.warm = False  # a motor was
        self.waited, self._asking = 0.0, np.nan  # s that a person took for their words, and when the last step asked for one
        self.recover: Callable[[], None] = lambda: None  # the base takes over
        self.end: Callable[[], None] = lambda: None  # of the runtime, where nothing has begun that must be led to its end
        self._supervisor, self._ends, self._word, self._area, self._begin = supervisor, ends, word, area, begin
        self._remote, self._buttons, self._pressed = remote, Buttons(), None
        self._names, self._rest = contract.command_names, np.array(contract.command_rest)
        self._since = self._ready_since = self._granted = np.nan  # s when the walk, standing ready, and the word for a walk began
        self._resting, self._reason = np.nan, ""  # s when a walk began to come to rest before its time, and why

    def __call__(self, time: float, state: State) -> Intent:
        asked, self._asking = self._asking, np.nan
        self.waited += 0.0 if np.isnan(asked) else time - asked
        remote = self._remote()
        self._pressed = self._buttons.pressed(remote) if remote is not None else None
        if self.cut or (remote is not None and requested(remote) is State.DAMPING):
            self.cut = self.stopped = True
            if state is State.IDLE or self.dry:
                self.end()
            return Intent(None, self._rest, stop=Stop.CUT)
        if state is State.WALK:
            return self._walk(time)
        if not np.isnan(self._since):  # it walked a step ago
            self.ended.append(self._reason or ("cut" if self._supervisor.stopped else "supervisor"))
            self._since, self._resting, self._reason = np.nan, np.nan, ""
        if state is State.IDLE:
            return self._lie(time)
        if state is not State.READY:
            self._ready_since = np.nan
            return Intent(None, self._rest, stop=self._stop())
        return self._stand(time)

    def _stop(self) -> Stop:
        self.stopped |= self._word.stopped() or self._pressed in (State.READY, State.IDLE)
        return Stop.SETTLE if self.stopped else Stop.NONE

    def _given(self, time: float, question: str, wanted: State) -> bool:
        """The person's word, by the terminal or by the remote. What they take to say it is not the robot's time."""
        given = self._word.given(question, self._pressed is wanted)
        self._asking = np.nan if given else time
        return given

    def _lie(self, time: float) -> Intent:
        """Limp, until the word to stand up is given."""
        last = self._supervisor.events[-1] if self._supervisor.events else None
        why = f" The last word was refused: {last.detail}." if last is not None and last.kind == "refused" else ""
        area = self._area
        away = f" It is {area.distance:.1f} m away: carry it back." if area.outside else f" It is {area.distance:.1f} m from the middle."
        if area.carried:
            away = " Put it in the middle of its area."
        ready = self._given(time, f"Stand up for {len(self.plan)} walks?{away}{why}", State.STAND_UP)
        if self._stop() or self._supervisor.stopped or time > LONGEST - 2.0 * LAST:
            self.end()
            return Intent(None, self._rest)
        if ready and (area.outside or area.carried):
            area.put_down()
        return Intent(State.STAND_UP if ready else None, self._rest)

    def _warm(self) -> bool:
        self.warm |= bool(self._supervisor.window.temperature.max() >= self._ends.temperature)
        return self.warm

    def _stand(self, time: float) -> Intent:
        """Between walks: the default pose is reached before anything else is asked for. What is to be carried back lies down for it."""
        self._ready_since = time if np.isnan(self._ready_since) else self._ready_since
        limits, waited = self._supervisor.limits, time - self._ready_since
        if waited < limits.ramp_seconds + limits.dwell_seconds:
            return Intent(None, self._rest)
        done = len(self.ended) >= len(self.plan)
        lie = done or self._stop() is not Stop.NONE or self._warm() or self._area.outside
        if lie or waited > ATTENTION or time - self._granted > PATIENCE:
            if self.dry:
                self.end()
            return Intent(None, self._rest, stop=Stop.SETTLE)
        walk, number = self.plan[len(self.ended)], len(self.ended) + 1
        if time + walk.seconds + LAST > LONGEST:
            return Intent(None, self._rest, stop=Stop.SETTLE)
        if np.isnan(self._granted):
            if not self._given(time, f"Walk {number} of {len(self.plan)}, {walk.seconds:g} s?", State.WALK):
                return Intent(None, self._rest, stop=self._stop())
            self._granted = time
        self._area.begin()
        self._begin(walk)
        return Intent(State.WALK, walk.command(0.0))

    def _walk(self, time: float) -> Intent:
        """A walk that is to end comes to rest first; of one that tilts the base takes over, which knows best how to stand."""
        self._since, self._ready_since, self._granted = time if np.isnan(self._since) else self._since, np.nan, np.nan
        walk, sample, area = self.plan[len(self.ended)], self._supervisor.sample, self._area
        area.look(sample)
        walked = time - self._since
        if self._reason != "tilt" and tilt(sample.projected_gravity) > self._ends.tilt:
            self._reason, self._resting = "tilt", time
            self.recover()
        if walked >= walk.seconds - 1e-9 or time - self._resting >= REST:
            self._reason = self._reason or "time"
            return Intent(State.READY, self._rest)
        in_order = walked >= walk.seconds - REST  # it comes to rest by itself
        reasons = {"area": area.outside, "warm": self._warm(), "asked": self._stop() is not Stop.NONE}
        if np.isnan(self._resting) and not in_order and (reason := next((name for name, holds in reasons.items() if holds), "")):
            self._reason, self._resting = reason, time
        if not np.isnan(self._resting):
            return Intent(None, self._rest)
        command = walk.command(walked)
        if area.returning and not in_order:
            self.returned += 1
            command = self._rest.copy()
            command[[self._names.index(name) for name in CHANNELS]] = area.home()
        return Intent(None, command)
