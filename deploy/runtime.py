"""The runtime loop: read, check, infer, filter, write, on a grid of deadlines; damping as the last word on any exit."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import signal
import sys
import time
from collections.abc import Iterator
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np

from deploy.heading import HeadingHold
from deploy.interface import Clock, MotorCommand, RealTime, RobotInterface, RobotState, is_real_time, real_time_priority
from deploy.last_word import damp
from deploy.log import Recorder
from deploy.operator import Intent, Operator, Stop
from deploy.policy import RobotPolicy
from deploy.states import ACTIVE
from deploy.supervisor import Reply, State, Supervisor
from robots import InputError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
PRIORITY = 50  # of SCHED_FIFO, 1 to 99
MCL_CURRENT, MCL_ONFAULT = 1, 4  # of Linux: all pages, from when they are first touched


class EStop(Protocol):
    """The robot's side of one: deploy.estop.EStopServer, or what a log kept of it."""

    @property
    def heard(self) -> float:
        """s on the runtime's clock, when it was last heard; minus infinity where it never was."""
        ...

    def poll(self, now: float, stopped: Stop = Stop.NONE) -> Stop:
        """The hardest stop that was asked for since the last poll."""
        ...

    def close(self) -> None: ...


UNTIMED = (math.nan, math.nan, math.nan)
CODES = {state: i for i, state in enumerate(State)}
HUNG = 0.5  # s that a loop may take to heed a signal


class Moment(NamedTuple):
    """The newest step, for whoever looks on from another thread."""

    start: float  # s on the runtime's clock, of the run
    now: float
    time: float  # s since the start
    state: State
    sample: RobotState
    command: np.ndarray  # [C]
    timings: tuple[float, float, float]  # s, of deploy.log.STAGES


class Runtime:
    """One policy on one robot. ``supervisor`` guards ``policy.robot``; raises InputError where it guards another.

    ``log`` keeps the run, in memory alone where none is given, and is closed with it, as is ``estop``. ``heading`` keeps the heading while
    the operator does not turn the robot.
    """

    def __init__(
        self, policy: RobotPolicy, interface: RobotInterface, supervisor: Supervisor, clock: Clock, log: Recorder | None = None,
        estop: EStop | None = None, heading: HeadingHold | None = None,
    ) -> None:  # fmt: skip
        self.policy, self.interface, self.supervisor, self.clock = policy, interface, supervisor, clock
        self.log = log or Recorder(None, policy.robot, policy.contract, supervisor.limits)
        self.estop, self.heading = estop, heading
        self._rest = self._commanded = policy.contract.command_rest.astype(np.float32)  # [C] and the newest command
        self._reach = np.ptp(policy.contract.command_range, axis=1) * policy.contract.control_dt / supervisor.limits.command_seconds
        self.pressed = Stop.NONE  # the hardest stop that the e-stop has asked for
        self.missed, self.latest = 0, 0.0  # periods that were skipped, and s that the latest step began late
        self.over, self._then = False, Stop.NONE  # the time was, and what that asked for
        self.priority = False  # whether the loop ran under a real-time priority
        self.moment: Moment | None = None
        self.warnings: list[str] = []
        self._told = 0  # events that the log has
        self._start = self.clock.now()
        self._looping = False
        self._stopped: float | None = None  # when a signal asked for the end
        policy.contract.check_robot(policy.robot)  # a RobotState has no more than every robot measures
        for name in ("joint_names", "kp", "kd"):
            ours, theirs = getattr(policy.robot, name), getattr(supervisor.robot, name)
            if not np.array_equal(ours, theirs):
                raise InputError(f"supervisor.robot.{name}", theirs, f"{ours}", "Give the supervisor policy.robot.")
        if supervisor.control_dt != policy.contract.control_dt:
            allowed = f"{policy.contract.control_dt}, the policy's"
            raise InputError("supervisor.control_dt", supervisor.control_dt, allowed, "Give it policy.contract.control_dt.")

    def run(self, duration: float, operator: Operator, then: Stop = Stop.SETTLE) -> None:
        """Run for ``duration`` seconds, or until a signal or a fault. ``then``: how it ends where the robot is still held up.

        However it ends, by an exception or a signal too, the robot is damped and the interface closed.
        """
        real = isinstance(self.clock, RealTime)
        with self._signals(), no_garbage_collection(), memory_kept(real), real_time_priority(PRIORITY if real else None):
            try:
                self._start, self._looping, self.priority = self.clock.now(), True, is_real_time()
                self.log.begin(self._start)
                self._loop(duration, operator, then)
            except BaseException as error:
                self.supervisor.fault(self.clock.now(), "crash", f"{type(error).__name__}: {error}")
                raise
            finally:
                self._looping = False
                try:
                    damp(self.interface, self.supervisor, self.clock, self._record_damping)
                finally:
                    self._tell()
                    self.log.close()
                    if self.estop:
                        self.estop.close()
                    self.warnings += self.log.warnings()

    def end(self) -> None:
        """The loop ends at its next step, and so with damping, as after a signal."""
        self._stopped = time.monotonic() if self._stopped is None else self._stopped

    def _loop(self, duration: float, operator: Operator, then: Stop) -> None:
        """Steps begin on a grid of deadlines. One that is late begins at once; whole periods that were missed are skipped."""
        dt, due = self.policy.contract.control_dt, self._start
        while self._stopped is None and self.supervisor.state is not State.FAULT:
            self.clock.sleep_until(due)
            began = self.clock.now()
            if began - self._start >= duration and not self._winds_down(then):
                break
            self._step(began, began - due, operator)
            self.latest = max(self.latest, began - due)
            missed = int(max(began - due, 0.0) / dt + 1e-9)
            self.missed += missed
            due += (1 + missed) * dt

    def _winds_down(self, level: Stop) -> bool:
        """At the end of the time: whether the robot is yet to be led to its end, which the next step asks for."""
        if self.supervisor.ends:
            return True
        if self.over or level is Stop.NONE or self.supervisor.state not in ACTIVE:
            return False
        self.over, self._then = True, level
        return True

    def _step(self, began: float, lateness: float, operator: Operator) -> None:
        woke, supervisor = perf_counter(), self.supervisor
        sample = self.interface.read()
        state = supervisor.observe(sample, self.clock.now(), lateness)
        intent = Intent(*operator(began - self._start, supervisor.state))
        self._stop(intent.stop)
        if intent.state is not None and supervisor.request(intent.state, self.clock.now()) is Reply.ENTERED and intent.state is State.WALK:
            self.policy.reset()
        command, inputs, action, target, inference = self._command(intent), None, None, None, math.nan
        if supervisor.state is State.WALK:
            before = perf_counter()
            inputs, action, target = self._infer(state, command)
            inference = perf_counter() - before
        outside = self._outside(intent)
        motor = supervisor.command(self.clock.now(), target)
        self.interface.write(motor)
        timings = (lateness, inference, perf_counter() - woke)
        self.log.record(began, sample, command, motor, supervisor.state, timings, inputs, action, target, supervisor.bounds, outside)
        self.moment = Moment(self._start, began, began - self._start, supervisor.state, sample, command, timings)
        self._tell()

    def _stop(self, level: Stop) -> None:
        """What the operator, the e-stop and the end of the time ask for."""
        now, supervisor, level = self.clock.now(), self.supervisor, max(level, self._then)
        if self.estop:
            asked = self.estop.poll(now, supervisor.stopped)
            level, self.pressed = max(level, asked), max(self.pressed, asked)
            supervisor.kept_alive(self.estop.heard)
        supervisor.stop(level, now)

    def _infer(self, state: RobotState, command: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """What the policy saw, its action and its target [J] (rad)."""
        inputs = {name: command if name == "command" else getattr(state, name) for name in self.policy.inputs}
        target, action = self.policy.step({name: value[None] for name, value in inputs.items()})
        return inputs, action[0], target[0].astype(np.float64)

    def _command(self, intent: Intent) -> np.ndarray:
        """What the policy is told [C]: the way to the operator's command, and of a robot that is not to slow down to its heading."""
        wanted, share, walks = self._wanted(intent), self.supervisor.command_share, self.supervisor.state is State.WALK
        if walks:  # one that steps to rest topples a robot that is fast
            wanted = (self._commanded + (wanted - self._commanded).clip(-self._reach, self._reach)).astype(np.float32)
        self._commanded = wanted if walks else self._rest
        if self.heading is None:
            return wanted
        steered = self.heading.steer(wanted, self.supervisor.sample, self.supervisor.state)
        return steered if share == 1.0 else wanted

    def _wanted(self, intent: Intent) -> np.ndarray:
        """[C] The operator's command if it makes sense, in the trained range, as far as the supervisor allows."""
        rest, command = self._rest, np.asarray(intent.command, dtype=np.float64)
        if command.shape != rest.shape or not np.isfinite(command).all():
            self._warn(f"command {command.tolist()} is not {len(rest)} finite numbers: the robot is to rest")
            return rest
        self.supervisor.heard(self.clock.now() - intent.age)
        clipped = self.policy.clip_command(command)
        if np.abs(clipped - command).max(initial=0.0) > 1e-6:
            self._warn(f"command {command.tolist()} is outside the trained range: clamped to {np.round(clipped, 3).tolist()}")
        return rest + np.float32(self.supervisor.command_share) * (clipped - rest)

    def _outside(self, intent: Intent) -> np.ndarray:
        """What the log must know to decide all this again: the command as it was asked for, and ``deploy.log_layout.OPERATOR``."""
        asked, width = np.asarray(intent.command, dtype=np.float64), len(self.policy.contract.command_names)
        heard = self.clock.now() - self.estop.heard if self.estop else math.nan
        off = self.heading.error if self.heading else math.nan
        state = math.nan if intent.state is None else float(CODES[intent.state])
        return np.array([*(asked if asked.shape == (width,) else [math.nan] * width), intent.age, heard, off, state])

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    def _record_damping(self, state: RobotState, motor: MotorCommand) -> None:
        self.log.record(self.clock.now(), state, None, motor, self.supervisor.state, UNTIMED)

    def _tell(self) -> None:
        """The log, of what the supervisor did or found since it was last told."""
        events = self.supervisor.events
        for event in events[self._told :]:
            self.log.event(event.time, event.state, event.kind, event.detail)
        self._told = len(events)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """A signal ends the loop at its next step, and so with damping; one to a loop that hangs breaks it off.

        During the damping a signal changes nothing.
        """

        def stop(number: int, frame: object) -> None:
            now = time.monotonic()
            if self._stopped is None:
                self._stopped = now
            elif self._looping and now - self._stopped > HUNG:
                raise KeyboardInterrupt(f"signal {number} again, and the loop hangs")

        try:
            previous = {number: signal.signal(number, stop) for number in SIGNALS}
        except ValueError:  # not the main thread: its owner handles signals
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def memory_kept(wanted: bool) -> Iterator[None]:
    """What this process has touched stays in memory, where it may ask for that: a page that was taken away while the robot stood and waited
    for a word must come from the disk again, in the first step of a walk."""
    if not wanted or not sys.platform.startswith("linux"):
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mlockall(MCL_CURRENT | MCL_ONFAULT)
    try:
        yield
    finally:
        libc.munlockall()


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """A loop that keeps deadlines is not to wait for the collector."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
