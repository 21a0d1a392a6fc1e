"""What the runtime needs of a robot, and the clock that it runs by."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

Floats = np.ndarray


@dataclass(frozen=True)
class RobotState:
    """One sample of a robot's sensors. Joints in the robot's canonical order, SI units, float64."""

    time: float  # s on the runtime's clock, when the sample was taken
    tick: int  # grows with every new sample
    base_ang_vel: Floats  # [3] rad/s, base frame
    projected_gravity: Floats  # [3] unit vector, base frame
    joint_pos: Floats  # [J] rad
    joint_vel: Floats  # [J] rad/s
    joint_torque: Floats  # [J] N m
    motor_temperature: Floats | None = None  # [J] degrees C; None, NaN or 0 where there is no sensor
    voltage: float = math.nan  # V of the battery; NaN or 0 where there is no sensor
    foreign_commands: int = 0  # that others wrote to the motors since this interface was opened, as far as it heard
    truth: dict[str, Floats] = field(default_factory=dict)  # what only a simulated robot knows, for the log


@dataclass(frozen=True)
class MotorCommand:
    """Each motor's torque is clip(kp (target - q) - kd dq + feed_forward) at the motor's limit. All [J], SI units."""

    joint_pos_target: Floats
    kp: Floats
    kd: Floats
    feed_forward: Floats


def damping_command(num_joints: int, kd: float) -> MotorCommand:
    """Resist motion and hold nothing: the robot sinks to the ground."""
    zeros = np.zeros(num_joints)
    return MotorCommand(zeros, zeros, np.full(num_joints, kd), zeros)


class RobotInterface(Protocol):
    """A robot, real or simulated."""

    def read(self) -> RobotState:
        """The newest sample; the previous one again where no newer has arrived."""
        ...

    def write(self, command: MotorCommand) -> None: ...

    def close(self) -> None: ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def sleep_until(self, deadline: float) -> None: ...


class RealTime:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.monotonic()

    def sleep_until(self, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining > 0:
            time.sleep(remaining)


def is_real_time() -> bool:
    """Whether this thread runs under SCHED_FIFO."""
    return hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO


@contextlib.contextmanager
def real_time_priority(level: int | None) -> Iterator[None]:
    """Run before every ordinary process, where this one is allowed to; threads that it starts are ordinary. None: as before."""
    if level is None or not hasattr(os, "sched_setscheduler"):  # there is none on macOS
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(level))
        yield
    finally:
        if os.sched_getscheduler(0) != before[0]:
            os.sched_setscheduler(0, *before)


class SimulatedTime:
    """A clock that jumps to each deadline: runs as fast as it can and the same way each time."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def sleep_until(self, deadline: float) -> None:
        self._now = max(self._now, deadline)
