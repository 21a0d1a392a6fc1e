"""A simulated robot that keeps what really happened to it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from deploy.hil.simulated_robot import Conditions, SimulatedRobot
from deploy.hil.truth import Truth
from deploy.interface import Clock, MotorCommand
from robots import Robot


class Witness(SimulatedRobot):
    """``physics`` is called before each step of the physics: hands that hold the robot, a stone in its way."""

    def __init__(self, robot: Robot, clock: Clock, conditions: Conditions) -> None:
        self.physics: Callable[[], None] = lambda: None
        self._until = -math.inf  # s, of what is kept
        self._told = MotorCommand(*(np.zeros(robot.num_joints) for _ in range(4)))
        super().__init__(robot, clock, conditions)
        self.truth = Truth(robot, self.model)

    @property
    def time(self) -> float:
        """s of the physics, on the clock."""
        return self._time

    @property
    def base(self) -> int:
        """The trunk's body."""
        return self._base

    def begin(self, until: float) -> None:
        """Keep from now on, and not what comes after ``until`` s."""
        self._until = until

    def index(self, joint: int) -> tuple[int, int]:
        """Of a joint in qpos and qvel."""
        return int(self._qpos[joint]), int(self._qvel[joint])

    def _apply(self, command: MotorCommand) -> None:
        self._told = command
        super()._apply(command)

    def _step(self) -> None:
        self.physics()
        if self._until > -math.inf and self._time < self._until:
            self.truth.look(self.data, self._time, self._told)
        super()._step()
