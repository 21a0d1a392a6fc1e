"""What the motors are told while they hold the robot: the way to a pose, and what narrows every target at present."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from deploy import filters
from deploy.interface import Floats, MotorCommand, RobotState
from deploy.limits import Limits
from robots import Robot

LEAST_EFFORT = 0.5  # share of its torque that a motor keeps while it is too warm
STRAINS = frozenset({"slew", "power", "torque"})  # filters that no policy in order needs much


class Targets:
    """Remembers the last target, which is within position limits, and how far gains and box have grown."""

    def __init__(self, robot: Robot, control_dt: float, limits: Limits) -> None:
        self._robot, self._limits, self._dt = robot, limits, control_dt
        pose = robot.default_joint_pos
        self._situation = filters.Situation(robot, limits, control_dt, joint_pos=pose, joint_vel=0.0 * pose, last_target=pose)
        self._low, self._high = filters.position(self._situation)
        self.last = pose.copy()  # [J] rad
        self.way = 1.0  # share of the way to a pose that is behind; on from 1 while the pose is held
        self._begin, self._end, self._seconds = pose, pose, 1.0
        self.gain, self.box = 1.0, limits.action_box  # of kp; rad
        self.share: Floats | float = 1.0  # [J] of the torque limit that the last target was given

    def take_hold(self, joint_pos: Floats) -> None:
        """Of a robot that was limp, where its joints [J] (rad) are: no gains yet, and the smallest box."""
        self.gain, self.box = 0.0, self._limits.action_box
        self.last = joint_pos.clip(self._low, self._high)  # folded legs rest on their stops

    def set_out(self, seconds: float, to: Floats | None = None) -> None:
        """From the last target to the default pose, or another, in so many s."""
        self._begin, self.way, self._seconds = self.last, 0.0, seconds
        self._end = self._robot.default_joint_pos if to is None else to.clip(self._low, self._high)

    def on_the_way(self) -> Floats:
        """[J] rad, a step further."""
        self.way += self._dt / self._seconds  # a step a step, however long it took
        share = min(self.way, 1.0)
        return self._begin + share * share * (3.0 - 2.0 * share) * (self._end - self._begin)

    def filtered(self, asked: Floats, sample: RobotState, temperature: Floats, effort: float, boxed: bool) -> filters.Filtered:
        """``asked`` [J] through the filters, with ``effort`` of the motors' torque, and less where they are warm [J] (degrees C)."""
        self.gain = min(1.0, self.gain + self._dt / self._limits.gain_seconds)
        self.share = effort * self._cooling(temperature)
        found = filters.apply(
            asked,
            replace(
                self._situation, joint_pos=sample.joint_pos, joint_vel=sample.joint_vel, last_target=self.last,
                effort_share=self.share, gain=self.gain, box=self.box if boxed else math.inf,
            ),
        )  # fmt: skip
        if not found.conflict.any():
            self.last = found.target
        return found

    def widen(self) -> None:
        """The box, by a step in which nothing was found."""
        self.box += self._limits.box_growth * self._dt

    def command(self) -> MotorCommand:
        """The last target, under the gains of now."""
        robot = self._robot
        return MotorCommand(self.last, self.gain * robot.kp, robot.kd, np.zeros(robot.num_joints))

    def _cooling(self, temperature: Floats) -> Floats:
        """[J] share of its torque that each motor may give for its warmth: less from warm_winding on, LEAST_EFFORT at hot_winding."""
        limits = self._limits
        over = (temperature - limits.warm_winding) / max(limits.hot_winding - limits.warm_winding, 1.0)
        return 1.0 - (1.0 - LEAST_EFFORT) * over.clip(0.0, 1.0)
