"""The runtime loop: read, check, infer, filter, write, on a grid of deadlines; damping as the last word on any exit."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from deploy.interface import Clock, MotorCommand, RealTime, RobotInterface, RobotState
from deploy.last_word import damp
from deploy.operator import Intent, Operator
from deploy.policy import RobotPolicy
from deploy.supervisor import Reply, State, Supervisor
from robots import InputError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
PRIORITY = 50  # of SCHED_FIFO, 1 to 99
HUNG = 0.5  # s that a loop may take to heed a signal


@dataclass
class Log:
    """What happened, a row a control step, by signal name."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)  # s after its due time that each step began
    compute: list[float] = field(default_factory=list)  # s from waking to the command written
    inference: list[float] = field(default_factory=list)  # s in the policy
    missed: int = 0  # periods that were skipped

    def columns(self) -> dict[str, np.ndarray]:
        """Signals as arrays [steps, ...]."""
        return {name: np.stack([row[name] for row in self.rows]) for name in self.rows[0]} if self.rows else {}


class Runtime:
    """One policy on one robot. ``supervisor`` guards ``policy.robot``; raises InputError where it guards another."""

    def __init__(self, policy: RobotPolicy, interface: RobotInterface, supervisor: Supervisor, clock: Clock) -> None:
        self.policy, self.interface, self.supervisor, self.clock = policy, interface, supervisor, clock
        self.log = Log()
        self.warnings: list[str] = []
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

    def run(self, duration: float, operator: Operator) -> None:
        """Run for ``duration`` seconds, or until a signal or a fault.

        However it ends, by an exception or a signal too, the robot is damped and the interface closed.
        """
        with self._signals(), _no_garbage_collection(), _priority(isinstance(self.clock, RealTime)):
            try:
                self._start, self._looping = self.clock.now(), True
                self._loop(duration, operator)
            except BaseException as error:
                self.supervisor.fault(self.clock.now(), "crash", f"{type(error).__name__}: {error}")
                raise
            finally:
                self._looping = False
                damp(self.interface, self.supervisor, self.clock, self._record)

    def _loop(self, duration: float, operator: Operator) -> None:
        """Steps begin on a grid of deadlines. One that is late begins at once; whole periods that were missed are skipped."""
        dt, due = self.policy.contract.control_dt, self._start
        while self._stopped is None and self.supervisor.state is not State.FAULT:
            self.clock.sleep_until(due)
            began = self.clock.now()
            if began - self._start >= duration:
                break
            self._step(began, began - due, operator)
            missed = int(max(began - due, 0.0) / dt + 1e-9)
            self.log.missed += missed
            due += (1 + missed) * dt

    def _step(self, began: float, lateness: float, operator: Operator) -> None:
        woke, supervisor = perf_counter(), self.supervisor
        sample = self.interface.read()
        state = supervisor.observe(sample, self.clock.now(), lateness)
        intent = Intent(*operator(began - self._start, supervisor.state))
        if intent.state is not None and supervisor.request(intent.state, self.clock.now()) is Reply.ENTERED and intent.state is State.WALK:
            self.policy.reset()
        command, target = self._command(intent), None
        if supervisor.state is State.WALK:
            before = perf_counter()
            target = self._infer(state, command)
            self.log.inference.append(perf_counter() - before)
        motor = supervisor.command(self.clock.now(), target)
        self.interface.write(motor)
        self.log.lateness.append(lateness)
        self.log.compute.append(perf_counter() - woke)
        self._record(state, motor, command)

    def _infer(self, state: RobotState, command: np.ndarray) -> np.ndarray:
        signals = {name: command if name == "command" else getattr(state, name) for name in self.policy.inputs}
        target, _ = self.policy.step({name: value[None] for name, value in signals.items()})
        return target[0].astype(np.float64)

    def _command(self, intent: Intent) -> np.ndarray:
        """What the policy is told [C]: the operator's command if it makes sense, in the trained range, as far as allowed."""
        rest = self.policy.contract.command_rest.astype(np.float32)
        command = np.asarray(intent.command, dtype=np.float64)
        if command.shape != rest.shape or not np.isfinite(command).all():
            self._warn(f"command {command.tolist()} is not {len(rest)} finite numbers: the robot is to rest")
            return rest
        self.supervisor.heard(self.clock.now() - intent.age)
        clipped = self.policy.clip_command(command)
        if np.abs(clipped - command).max(initial=0.0) > 1e-6:
            self._warn(f"command {command.tolist()} is outside the trained range: clamped to {np.round(clipped, 3).tolist()}")
        return rest + np.float32(self.supervisor.command_share) * (clipped - rest)

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    def _record(self, state: RobotState, motor: MotorCommand, command: np.ndarray | None = None) -> None:
        self.log.rows.append(
            {
                "time": np.float64(self.clock.now() - self._start),
                "state": np.str_(self.supervisor.state),
                "command": self.policy.contract.command_rest.astype(np.float32) if command is None else command,
                "base_ang_vel": state.base_ang_vel,
                "projected_gravity": state.projected_gravity,
                "joint_pos": state.joint_pos,
                "joint_vel": state.joint_vel,
                "joint_torque": state.joint_torque,
                "joint_pos_target": motor.joint_pos_target,
                **state.truth,
            }
        )

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
def _priority(real_time: bool) -> Iterator[None]:
    """In real time, run before every ordinary process, where this one is allowed to; threads that it starts are ordinary."""
    if not real_time or not hasattr(os, "sched_setscheduler"):  # there is none on macOS
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
        yield
    finally:
        if os.sched_getscheduler(0) != before[0]:
            os.sched_setscheduler(0, *before)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
