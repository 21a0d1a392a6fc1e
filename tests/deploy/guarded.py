"""A robot that writes down what it hears, and a runtime that goes wrong on demand."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from pathlib import Path

import numpy as np

import robots
from deploy.guard import MAX_LEASE, GuardError
from deploy.guard_process import GuardedInterface
from deploy.interface import MotorCommand, RobotState, real_time_priority
from deploy.runtime import PRIORITY

CONTROL_DT = 0.02
DAMPING_KD = 3.0
LEASE = MAX_LEASE
SPINS = 0.7  # s: below the 0.95 s after which Linux pauses what is real-time


class Recorder:
    """Stands still. Each command is a row of ``heard``: time, process, kp and kd of the first joint, its target."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "heard", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._robot, self._tick = robots.load("unitree_go2"), 0
        self._closed = folder / "closed"

    def read(self) -> RobotState:
        self._tick += 1
        j = self._robot.num_joints
        down = np.array([0.0, 0.0, -1.0])
        return RobotState(time.monotonic(), self._tick, np.zeros(3), down, self._robot.default_joint_pos, np.zeros(j), np.zeros(j))

    def write(self, command: MotorCommand) -> None:
        row = [time.monotonic(), os.getpid(), command.kp[0], command.kd[0], command.joint_pos_target[0]]
        os.write(self._file, np.array(row).tobytes())

    @property
    def remote(self) -> dict[str, float]:
        return {"forward": 0.5}

    def close(self) -> None:
        self._closed.touch()


class Waiting(Recorder):
    """Silent until it takes over."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._speaks, self._took_over = False, folder / "took_over"

    def take_over(self) -> None:
        self._speaks = True
        self._took_over.touch()

    def write(self, command: MotorCommand) -> None:
        assert self._speaks
        super().write(command)


def broken() -> Recorder:
    raise OSError("no such bus")


def heard(folder: Path) -> np.ndarray:
    """[commands, 5], rows of a Recorder."""
    file = folder / "heard"
    data = file.read_bytes() if file.exists() else b""
    return np.frombuffer(data[: len(data) // 40 * 40], dtype=np.float64).reshape(-1, 5)


def main(folder: Path, failure: str) -> None:
    """Hold the default pose at 50 Hz; fail. The times of its posts, and what the guard raised, are left in the folder."""
    with contextlib.suppress(OSError):  # where it may, so that a busy machine does not fail it before its time
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    robot = robots.load("unitree_go2")
    open_it, wait = functools.partial(Recorder, folder), functools.partial(Waiting, folder)
    interface = GuardedInterface(open_it, robot, DAMPING_KD, LEASE, standby=wait)
    (folder / "guard").write_text(str(interface.report().process))
    posted = os.open(folder / "posted", os.O_WRONLY | os.O_CREAT)
    command = MotorCommand(robot.default_joint_pos, robot.kp, robot.kd, np.zeros(robot.num_joints))
    try:
        for step in range(10_000):
            interface.read()
            interface.write(command)
            os.write(posted, np.float64(time.monotonic()).tobytes())
            if step == 10:
                (folder / "walking").touch()
            if step == 15 and failure == "raise":
                raise MemoryError("of the policy")
            if step == 15 and failure == "hang":
                time.sleep(1000)
            if step == 15 and failure == "spin":  # where the guard would have its turn, and at the priority of a runtime
                for process in (0, interface.report().process):
                    os.sched_setaffinity(process, {min(os.sched_getaffinity(0))})
                with real_time_priority(PRIORITY):
                    end = time.monotonic() + SPINS
                    while time.monotonic() < end:
                        pass
                time.sleep(1000)
            if step == 15 and failure == "exit":
                os._exit(3)
            if step == 15 and failure == "close":
                interface.close()
                return
            time.sleep(CONTROL_DT)
    except GuardError as error:
        (folder / "stopped").write_text(f"{time.monotonic()!r} {type(error).__name__} {error}")
        interface.close()
        raise
