"""The guard as a process of its own, which alone holds the wire to the robot, and the interface that the runtime has in its place.

The two share memory without a name, three slots in it, each written by one side: posts and a person's wishes one way, reports the other.
A slot carries a checksum: one that was being written, or never will be finished, is not read. The guard stands in a session of its own, so
that a terminal's Ctrl-C, Ctrl-Z, Ctrl-\\ and hang-up do not reach it; signals sent to it by name make it damp and end. It watches
its parent, and damps and ends when that is gone. For Linux: memory without a name and the clock that both sides read are its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import math
import mmap
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.guard import LEASE, MAX_ENDING, Guard, GuardDead, Phase, Post, refuse, way_back
from deploy.interface import MotorCommand, RobotInterface, RobotState, is_real_time
from robots import Robot

PERIOD = 0.002  # s, the guard's cycle
HEARTBEAT = 0.2  # s without a report after which the guard counts as dead
SILENCE = 0.01  # s without one after which it does if its process is stopped or going
EXITING = 4  # of a process's flags in /proc: its memory is being given back, which takes a while
START_SECONDS = 30.0  # for the interface to connect and give a first state
SLOT_BYTES = 32768
POST, WISH, REPORT = range(3)  # slots
RESET, END = 1.0, 2.0  # wishes
PRIORITY = 60  # of SCHED_FIFO: above the runtime's, which may spin on the processor that both have
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
STOPPING_SIGNALS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
BOOT = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from deploy.guard_process import main; main()"
SUCCESSION = "the guard before this one died"
GO, LEAVE = b"!", b"."  # words to a guard that waits
COMMAND_FIELDS = ("joint_pos_target", "kp", "kd", "feed_forward")

Factory = Callable[[], RobotInterface]
"""Opens the wire. Called in the guard's process, so picklable: a function of an imported module, or a ``functools.partial`` of one."""


@dataclass(frozen=True)
class Report:
    """What the guard says of itself, each cycle. Times in s on the monotonic clock."""

    time: float
    process: int
    phase: Phase
    reason: str
    token: int
    state: RobotState | None
    remote: Any = None  # what the robot's own hand-held remote says, where the interface has one


@dataclass(frozen=True)
class Job:
    """What a guard is started with."""

    parent: int
    memory: int  # file descriptor
    factory: bytes  # pickled, so that one that cannot be read is reported like one that fails
    robot: Robot
    damping_kd: float
    interpolate: float  # s, as of Guard
    ending: str = ""  # why it is only to damp and end, once it is told to; empty for a guard that follows
    standby: bytes | None = None  # pickled, in place of ``factory`` until then
    guard: int = 0  # process of the one that it waits beside


class Slot:
    """Bytes that one process writes and another reads, whole or not at all, on processors of any memory order."""

    HEADER = struct.Struct("<II")  # length, checksum

    def __init__(self, memory: mmap.mmap, number: int) -> None:
        self._memory, self._begin = memory, number * SLOT_BYTES

    def put(self, data: bytes) -> None:
        if len(data) > SLOT_BYTES - self.HEADER.size:
            raise ValueError(f"{len(data)} bytes do not fit a slot of {SLOT_BYTES}")
        begin = self._begin + self.HEADER.size
        self._memory[begin : begin + len(data)] = data
        self.HEADER.pack_into(self._memory, self._begin, len(data), zlib.crc32(data))

    def get(self) -> bytes | None:
        """The newest bytes; None where there are none, or none that are whole."""
        for _ in range(3):  # the other side needs some microseconds to write
            length, checksum = self.HEADER.unpack_from(self._memory, self._begin)
            begin = self._begin + self.HEADER.size
            data = self._memory[begin : begin + min(length, SLOT_BYTES)]
            if length and zlib.crc32(data) == checksum:
                return data
        return None


def pack(post: Post) -> bytes:
    """Float64 numbers: plain ones, since the guard trusts nothing that the runtime sends."""
    values = [np.asarray(getattr(post.command, name), dtype=np.float64).ravel() for name in COMMAND_FIELDS]
    return np.concatenate([[post.sequence, post.time, post.deadline], *values]).tobytes()


def unpack(data: bytes) -> Post:
    head, values = np.split(np.frombuffer(data, dtype=np.float64), [3])
    return Post(int(head[0]), float(head[1]), float(head[2]), MotorCommand(*np.split(values, len(COMMAND_FIELDS))))


class GuardProcess:
    """A guard that has been started. One with an ``ending`` waits for :meth:`go`, or until this process and that of ``guard`` are gone."""

    def __init__(
        self, factory: Factory, robot: Robot, damping_kd: float, interpolate: float, ending: str = "", standby: Factory | None = None,
        guard: int = 0,
    ) -> None:  # fmt: skip
        file = os.memfd_create("guard")
        os.ftruncate(file, 3 * SLOT_BYTES)
        memory = mmap.mmap(file, 3 * SLOT_BYTES)
        self.slots = [Slot(memory, number) for number in range(3)]
        waiting = pickle.dumps(standby) if standby else None
        job = Job(os.getpid(), file, pickle.dumps(factory), robot, damping_kd, interpolate, ending, waiting, guard)
        self._process = subprocess.Popen(
            [sys.executable, "-c", BOOT], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[file], start_new_session=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        os.close(file)
        self._say(pickle.dumps(sys.path) + pickle.dumps(job))

    @property
    def number(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it lives."""
        return self._process.poll()

    def go(self) -> None:
        """Open the wire and damp."""
        self._say(GO)

    def end(self, patience: float) -> None:
        """Wait for so many s until it has ended by itself; one that was never needed does at once."""
        self._say(LEAVE)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self.kill()

    def kill(self) -> None:
        """At once."""
        self._process.kill()

    def _say(self, data: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a guard that dies here is found dead
            self._process.stdin.write(data)
            self._process.stdin.flush()


def halted(process: int) -> bool:
    """Whether that one is gone, is going, or stands still until somebody lets it go on."""
    try:
        os.kill(process, 0)
        state, *numbers = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    return state in ("T", "t", "Z") or bool(int(numbers[5]) & EXITING)


class GuardedInterface:
    """The robot as the runtime sees it: the newest state that the guard has read, and commands that the guard may follow.

    ``robot`` is the robot with the policy's gains; its bounds are the guard's own from the start. ``lease`` (s) is the time from a
    :meth:`write` to the deadline for the next; a process without a real-time priority gets LEASE at least. ``interpolate`` as of
    :class:`~deploy.guard.Guard`. A second guard waits beside the first, to damp should that die; ``standby`` opens the wire for it
    without a word on it, and what it opens has a ``take_over`` that lets it speak. Raises GuardDead where the guard cannot open the wire.
    """

    def __init__(
        self, factory: Factory, robot: Robot, damping_kd: float, lease: float = LEASE, interpolate: float = 0.0,
        standby: Factory | None = None,
    ) -> None:  # fmt: skip
        self._start = functools.partial(GuardProcess, factory, robot, damping_kd, interpolate)
        self._succeed = functools.partial(self._start, ending=SUCCESSION, standby=standby)
        self._lease, self._sequence, self._death = lease, 0, ""
        self._guard = self._start()
        self._successor = self._succeed(guard=self._guard.number)
        self._report = Report(time.monotonic(), 0, Phase.WAITING, "", 0, None)
        limit = time.monotonic() + START_SECONDS
        try:
            while self.report().state is None:
                if self._guard.exit_status is not None or time.monotonic() > limit:
                    raise GuardDead(f"the guard did not start: {self.report().reason or 'no state of the robot'}")
                time.sleep(PERIOD)
        except BaseException:  # Ctrl-C too
            self.close()
            raise

    def report(self) -> Report:
        """What the guard last said."""
        data = self._guard.slots[REPORT].get()
        self._report = self._report if data is None else pickle.loads(data)
        return self._report

    def read(self) -> RobotState:
        """The newest state. Raises GuardDead."""
        state = self._living().state
        assert state is not None  # there was one at the start
        return state

    @property
    def remote(self) -> Any:
        """What the robot's own hand-held remote says, as the interface's ``remote`` does; None where it has none."""
        return self.report().remote

    def write(self, command: MotorCommand) -> None:
        """Post ``command``. Raises GuardDead; GuardTripped where the guard damps in its place."""
        report, now = self._living(), time.monotonic()
        self._sequence += 1
        trusted = self._lease if is_real_time() else max(LEASE, self._lease)
        self._guard.slots[POST].put(pack(Post(self._sequence, now, now + trusted, command)))
        refuse(command, report.phase, report.reason, report.token)

    def reset(self, token: int) -> bool:
        """For a person who has read the token of the present trip: let the guard follow again, from idle. Returns whether it does."""
        self._guard.slots[WISH].put(struct.pack("<dd", RESET, token))
        time.sleep(10 * PERIOD)
        return self._living().phase is not Phase.DAMPING

    def close(self) -> None:
        """Let the guard damp the robot to rest, speak its last word and go."""
        self._guard.slots[WISH].put(struct.pack("<dd", END, 0.0))
        limit = START_SECONDS if self._death else 0.0
        self._guard.end(limit + 2.0 * MAX_ENDING)
        self._successor.end(1.0)

    def _living(self) -> Report:
        report = self.report()
        age = time.monotonic() - report.time
        guard, silent = self._guard, age > HEARTBEAT or (age > SILENCE and halted(self._guard.number))
        if not self._death and (guard.exit_status is not None or silent):
            self._death = f"the guard is dead: exit status {guard.exit_status}, last heard of {1e3 * age:.0f} ms ago"
            guard.kill()  # one that only stands still would hold the wire
            self._guard = self._successor if self._successor.exit_status is None else self._succeed()
            self._guard.go()  # to damp; this runtime is done
        if self._death:
            raise GuardDead(self._death)
        return report


def main() -> None:
    """The guard's process, whose job comes on the standard input."""
    signals: list[int] = []
    for number in ENDING_SIGNALS:
        signal.signal(number, lambda number, frame: signals.append(number))
    for number in STOPPING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    job: Job = pickle.load(sys.stdin.buffer)
    memory = mmap.mmap(job.memory, 3 * SLOT_BYTES)
    slots, say = [Slot(memory, number) for number in range(3)], _speaker()
    waiting = _standing_by(job)
    kept = _keep_memory() if job.ending else ""  # it takes a while
    if job.ending and _never_needed(job):
        return
    priority = _take_priority()
    try:
        interface = waiting or pickle.loads(job.factory)()
        if waiting:
            waiting.take_over()
    except Exception as error:  # whatever it is, the runtime must hear of it
        reason = f"{type(error).__name__}: {error}"
        slots[REPORT].put(pickle.dumps(Report(time.monotonic(), os.getpid(), Phase.DAMPING, reason[:1000], 0, None)))
        sys.exit(1)
    say(f"holds the wire of {job.robot.name}, process {os.getpid()}, {priority}, {kept or _keep_memory()}")
    serve(interface, Guard(job.robot, job.damping_kd, job.interpolate), slots, lambda: _call_to_end(job, signals), say)
    say("has spoken its last word")
    time.sleep(0.05)  # for the words above to come out


def _standing_by(job: Job) -> Any:
    """An interface that is open already; None where there is no such, or it cannot be opened now."""
    with contextlib.suppress(Exception):  # once it is needed, it is tried in full, and said
        return pickle.loads(job.standby)() if job.standby else None
    return None


def _never_needed(job: Job) -> bool:
    """Wait for a word. A runtime that dies says none, and then the guard that it had damps, if that lives."""
    word = sys.stdin.buffer.read(1)
    return word == LEAVE or (not word and not halted(job.guard))


def serve(interface: RobotInterface, guard: Guard, slots: list[Slot], called: Callable[[], str], say: Callable[[str], None]) -> None:
    """Read, decide, write, report, at absolute deadlines, until the guard's work is done. Nothing that fails in a cycle ends it."""
    deadline, state, remote, post, wish, phase = time.monotonic(), None, None, None, None, guard.phase
    while not guard.ended(now := time.monotonic()):
        with contextlib.suppress(Exception):  # a state that cannot be read grows old, and that is what counts
            state = interface.read()
            remote = getattr(interface, "remote", None)
        try:
            if reason := called():
                guard.end(now, reason)
            if (asked := slots[WISH].get()) not in (None, wish):
                wish = asked
                _grant(guard, now, asked)
            if data := slots[POST].get():
                post = unpack(data)
            command = guard.step(time.monotonic(), state, post)
        except Exception as error:
            guard.trip(f"{type(error).__name__}: {error}")
            command = guard.damping()
        guard.written(now, _failure(lambda command=command: interface.write(command)))
        slots[REPORT].put(pickle.dumps(Report(time.monotonic(), os.getpid(), guard.phase, guard.reason, guard.token, state, remote)))
        if guard.phase is not phase:
            phase = guard.phase
            say(f"{phase}: {guard.reason}.{way_back(guard.token)}" if phase is Phase.DAMPING else str(phase))
        deadline += PERIOD * max(1, math.ceil((time.monotonic() - deadline) / PERIOD))  # missed cycles are skipped
        time.sleep(max(0.0, deadline - time.monotonic()))
    for last in (lambda: interface.write(guard.damping()), interface.close):
        if failure := _failure(last):
            say(failure)


def _failure(act: Callable[[], None]) -> str | None:
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _grant(guard: Guard, now: float, data: bytes | None) -> None:
    kind, token = struct.unpack("<dd", data or b"")
    if kind == END:
        guard.end(now, "the runtime is done")
    elif kind == RESET:
        guard.reset(now, int(token))


def _call_to_end(job: Job, signals: list[int]) -> str:
    if os.getppid() != job.parent:
        return "the runtime is gone"
    return signal.Signals(signals[0]).name if signals else job.ending


def _take_priority() -> str:
    """Go before other programs, the interface's threads too where they begin after this; what was granted, in words."""
    sys.setswitchinterval(0.0005)  # an interface may listen in a thread of its own: it is not to hold up a cycle
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError as error:
        return f"NO real-time priority ({error.strerror}): a busy computer may delay it"
    return f"SCHED_FIFO {PRIORITY}"


def _keep_memory() -> str:
    """No pauses for garbage, and no waiting for the disk; what was granted, in words."""
    gc.collect()
    gc.freeze()
    gc.disable()
    libc: Any = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(1) == 0:  # MCL_CURRENT: with a limit, later memory would be refused, not just unlocked
        return "memory locked"
    return f"memory NOT locked ({os.strerror(ctypes.get_errno())}): swapping may delay it"


def _speaker() -> Callable[[str], None]:
    """Words on the standard error, from a thread: a terminal that is stopped, or closed, must not hold up the guard."""
    words: queue.SimpleQueue[str] = queue.SimpleQueue()

    def speak() -> None:
        while True:
            with contextlib.suppress(OSError):
                os.write(2, f"guard: {words.get()}\n".encode())

    threading.Thread(target=speak, daemon=True).start()
    return words.put
