"""The runtime loop: read, check, infer, filter, write, at absolute deadlines; damping as the last word on any exit."""

from __future__ import annotations

import contextlib
import gc
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from deploy.interface import Clock, MotorCommand, RobotInterface, RobotState
from deploy.policy import RobotPolicy
from deploy.supervisor import State, Supervisor
from robots import InputError

DAMPING_STEPS = 25  # control steps of damping at least, half a second at 50 Hz
MAX_DAMPING_STEPS = 250

Operator = Callable[[float, State], tuple[State | None, np.ndarray]]
"""From the time since the start (s) and the present state: a state to ask for, and the command [C]."""


@dataclass
class Log:
    """What happened, a row a control step, by signal name."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)  # s after the deadline that each step began
    compute: list[float] = field(default_factory=list)  # s from waking to the command written
    inference: list[float] = field(default_factory=list)  # s in the policy

    def columns(self) -> dict[str, np.ndarray]:
        """Signals as arrays [steps, ...]."""
        return {name: np.stack([row[name] for row in self.rows]) for name in self.rows[0]} if self.rows else {}


class Runtime:
    """One policy on one robot. ``supervisor`` guards ``policy.robot``; raises InputError where it guards another."""

    def __init__(self, policy: RobotPolicy, interface: RobotInterface, supervisor: Supervisor, clock: Clock) -> None:
        self.policy, self.interface, self.supervisor, self.clock = policy, interface, supervisor, clock
        self.log = Log()
        self.warnings: list[str] = []
        self._stop = False
        policy.contract.check_robot(policy.robot)  # a RobotState has no more than every robot measures
        for name in ("joint_names", "kp", "kd"):
            ours, theirs = getattr(policy.robot, name), getattr(supervisor.robot, name)
            if not np.array_equal(ours, theirs):
                raise InputError(f"supervisor.robot.{name}", theirs, f"{ours}", "Give the supervisor policy.robot.")

    def run(self, duration: float, operator: Operator) -> None:
        """Run for ``duration`` seconds, or until a signal or a fault.

        However it ends, by an exception or a signal too, the robot is damped and the interface closed.
        """
        dt = self.policy.contract.control_dt
        with self._signals(), _no_garbage_collection():
            try:
                start = deadline = self.clock.now()
                while not self._stop and deadline - start < duration and self.supervisor.state is not State.FAULT:
                    self._step(deadline, start, operator)
                    deadline += dt
                    self.clock.sleep_until(deadline)
            except BaseException as error:
                self.supervisor.fault(self.clock.now(), "crash", f"{type(error).__name__}: {error}")
                raise
            finally:
                self._damp(dt)

    def _step(self, deadline: float, start: float, operator: Operator) -> None:
        began, woke = self.clock.now(), perf_counter()
        state = self.interface.read()
        supervisor = self.supervisor
        supervisor.observe(state, began)
        wanted, command = operator(began - start, supervisor.state)
        if wanted is not None and supervisor.request(wanted, state, began) and wanted is State.WALK:
            self.policy.reset()
        command = self._clip(command)
        target = None
        if supervisor.state is State.WALK:
            before = perf_counter()
            target = self._infer(state, command)
            self.log.inference.append(perf_counter() - before)
        motor = supervisor.command(state, began, target)
        self.interface.write(motor)
        self.log.lateness.append(began - deadline)
        self.log.compute.append(perf_counter() - woke)
        self._record(began - start, state, command, motor)

    def _infer(self, state: RobotState, command: np.ndarray) -> np.ndarray:
        signals = {name: command if name == "command" else getattr(state, name) for name in self.policy.inputs}
        target, _ = self.policy.step({name: value[None] for name, value in signals.items()})
        return target[0].astype(np.float64)

    def _clip(self, command: np.ndarray) -> np.ndarray:
        clipped = self.policy.clip_command(command)
        if np.abs(clipped - command).max(initial=0.0) > 1e-6:
            message = f"command {command.tolist()} is outside the trained range: clamped to {np.round(clipped, 3).tolist()}"
            if message not in self.warnings:
                self.warnings.append(message)
        return clipped

    def _damp(self, dt: float) -> None:
        """Damping commands until the joints rest, then close. A state that cannot be read does not end the damping."""
        supervisor, deadline = self.supervisor, self.clock.now()
        try:
            for step in range(MAX_DAMPING_STEPS):
                self.interface.write(supervisor.damping())
                deadline += dt
                self.clock.sleep_until(deadline)
                at_rest = self._at_rest(deadline)
                if step >= DAMPING_STEPS and at_rest:
                    break
            self.interface.write(supervisor.damping())
        finally:
            self.interface.close()

    def _at_rest(self, now: float) -> bool:
        supervisor = self.supervisor
        try:
            state = self.interface.read()
        except Exception as error:  # whatever is broken, damping goes on to its time limit
            supervisor.fault(now, "crash", f"{type(error).__name__}: {error}")
            return False
        if supervisor.state is not State.FAULT:
            supervisor.request(State.DAMPING, state, now)
        return bool(np.abs(state.joint_vel).max() < supervisor.limits.rest_joint_vel)

    def _record(self, time: float, state: RobotState, command: np.ndarray, motor: MotorCommand) -> None:
        self.log.rows.append(
            {
                "time": np.float64(time),
                "state": np.str_(self.supervisor.state),
                "command": command,
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
        """SIGINT, SIGTERM and SIGHUP end the loop at its next step, and so with damping; a second one changes nothing."""

        def stop(number: int, frame: object) -> None:
            self._stop = True

        try:
            previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        except ValueError:  # not the main thread: its owner handles signals
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


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
