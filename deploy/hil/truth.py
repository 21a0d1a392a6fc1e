"""What really happened to a simulated robot, whatever its sensors said: what a fault is judged by."""

from __future__ import annotations

import math

import mujoco
import numpy as np

from deploy.interface import MotorCommand
from robots import Robot

FALLEN_TILT = 1.05  # rad from upright, as in the scores of a policy
LOW = 0.5  # of the standing height: a trunk below may touch the ground


class Truth:
    """:meth:`look` before each step of the physics of ``model``."""

    def __init__(self, robot: Robot, model: mujoco.MjModel) -> None:
        self.torque = 0.0  # largest that a held motor was told to give, share of its limit, at the joint's true state
        self.over = 0.0  # s in which one was told more than its limit
        self.beyond = 0.0  # rad, furthest that a joint was past its limits
        self.max_tilt = 0.0  # rad
        self.impact = 0.0  # N, largest force of the ground on the trunk
        self.fell = math.inf  # s, when
        self.driven_after_fall = 0.0  # s in which its motors were held since
        self._robot, self._model = robot, model
        self._qpos = np.array([model.joint(name).qposadr[0] for name in robot.joint_names])
        self._qvel = np.array([model.joint(name).dofadr[0] for name in robot.joint_names])
        self._trunk = np.flatnonzero(model.geom_bodyid == model.body(robot.base_body).id)
        self._low, self._high = robot.joint_pos_limit.T

    def look(self, data: mujoco.MjData, time: float, told: MotorCommand) -> None:
        """At ``time`` (s) the motors are under ``told``."""
        robot, dt = self._robot, self._model.opt.timestep
        position, velocity = data.qpos[self._qpos], data.qvel[self._qvel]
        self.beyond = max(self.beyond, float(np.maximum(self._low - position, position - self._high).max()))
        now = tilt(data)
        self.max_tilt = max(self.max_tilt, now)
        if now > FALLEN_TILT:
            self.fell = min(self.fell, time)
        if told.kp.any():
            share = torque_share(robot, told, position, velocity)
            self.torque = max(self.torque, share)
            self.over += dt * (share > 1.0)
            self.driven_after_fall += dt * (time >= self.fell)
        if data.qpos[2] < LOW * robot.standing_height:
            self.impact = max(self.impact, self._on_trunk(data))

    def _on_trunk(self, data: mujoco.MjData) -> float:
        """N."""
        contact, force, total = data.contact, np.zeros(6), 0.0
        for i in np.flatnonzero(np.isin(contact.geom, self._trunk).any(axis=1)):
            mujoco.mj_contactForce(self._model, data, i, force)
            total += float(np.linalg.norm(force[:3]))
        return total


def tilt(data: mujoco.MjData) -> float:
    """Of the base, rad from upright."""
    x, y = data.qpos[4:6]
    return math.acos(min(1.0, max(-1.0, 1.0 - 2.0 * (x * x + y * y))))


def torque_share(robot: Robot, command: MotorCommand, joint_pos: np.ndarray, joint_vel: np.ndarray) -> float:
    """The largest torque that ``command`` asks a motor for at that state, as a share of its limit."""
    torque = command.kp * (command.joint_pos_target - joint_pos) - command.kd * joint_vel + command.feed_forward
    return float((np.abs(torque) / robot.effort_limit).max())
