"""A simulated robot that keeps what really happened to it, whatever its sensors said: what a fault is judged by."""

from __future__ import annotations

import math
from collections.abc import Callable

import mujoco
import numpy as np

from deploy.hil.simulated_robot import PHYSICS_DT, Conditions, SimulatedRobot
from deploy.interface import Clock, MotorCommand
from robots import Robot

FALLEN_TILT = 1.05  # rad from upright, as in the scores of a policy
LOW = 0.5  # of the standing height: a trunk below may touch the ground


class Witness(SimulatedRobot):
    """``physics`` is called before each step of the physics: hands that hold the robot, a stone in its way."""

    def __init__(self, robot: Robot, clock: Clock, conditions: Conditions) -> None:
        self.physics: Callable[[], None] = lambda: None
        self._until = -math.inf  # s, of what is kept
        self._told = MotorCommand(*(np.zeros(robot.num_joints) for _ in range(4)))
        self.torque = 0.0  # largest that a held motor was told to give, share of its limit, at the joint's true state
        self.over = 0.0  # s in which one was told more than its limit
        self.beyond = 0.0  # rad, furthest that a joint was past its limits
        self.max_tilt = 0.0  # rad
        self.impact = 0.0  # N, largest force of the ground on the trunk
        self.fell = math.inf  # s, when
        self.driven_after_fall = 0.0  # s in which its motors were held since
        super().__init__(robot, clock, conditions)
        self._trunk = np.flatnonzero(self.model.geom_bodyid == self._base)
        self._low, self._high = robot.joint_pos_limit.T

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

    @property
    def tilt(self) -> float:
        """rad from upright."""
        x, y = self.data.qpos[4:6]
        return math.acos(min(1.0, max(-1.0, 1.0 - 2.0 * (x * x + y * y))))

    def index(self, joint: int) -> tuple[int, int]:
        """Of a joint in qpos and qvel."""
        return int(self._qpos[joint]), int(self._qvel[joint])

    def _apply(self, command: MotorCommand) -> None:
        self._told = command
        super()._apply(command)

    def _step(self) -> None:
        self.physics()
        if self._until > -math.inf and self._time < self._until:
            self._look()
        super()._step()

    def _look(self) -> None:
        robot, data, told = self.robot, self.data, self._told
        position, velocity = data.qpos[self._qpos], data.qvel[self._qvel]
        self.beyond = max(self.beyond, float(np.maximum(self._low - position, position - self._high).max()))
        self.max_tilt = max(self.max_tilt, self.tilt)
        if self.tilt > FALLEN_TILT:
            self.fell = min(self.fell, self._time)
        if told.kp.any():
            torque = told.kp * (told.joint_pos_target - position) - told.kd * velocity + told.feed_forward
            share = float((np.abs(torque) / robot.effort_limit).max())
            self.torque = max(self.torque, share)
            self.over += PHYSICS_DT * (share > 1.0)
            self.driven_after_fall += PHYSICS_DT * (self._time >= self.fell)
        if data.qpos[2] < LOW * robot.standing_height:
            self.impact = max(self.impact, self._on_trunk())

    def _on_trunk(self) -> float:
        """N."""
        contact, force, total = self.data.contact, np.zeros(6), 0.0
        for i in np.flatnonzero(np.isin(contact.geom, self._trunk).any(axis=1)):
            mujoco.mj_contactForce(self.model, self.data, i, force)
            total += float(np.linalg.norm(force[:3]))
        return total
