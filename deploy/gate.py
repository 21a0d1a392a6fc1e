"""The check of a robot that has stood up: level, symmetric, and every joint answers to its own name and sign."""

from __future__ import annotations

import math

import numpy as np

from deploy.interface import RobotState
from deploy.limits import Limits
from deploy.monitors import tilt
from robots import Robot

OUT, BACK = 0.2, 0.1  # s that a joint is asked to be elsewhere, and has to return before the next
PATIENCE = 10  # dwells to become level in
TRIES = 3  # of a joint: somebody may have pushed the robot


class Gate:
    """:meth:`look` at every control step's sample; then ``offset`` [J] (rad) is what to add to the default pose."""

    def __init__(self, robot: Robot, control_dt: float, limits: Limits) -> None:
        self.robot, self.limits = robot, limits
        self.offset = np.zeros(robot.num_joints)
        self._dwell = math.ceil(limits.dwell_seconds / control_dt)
        self._out, self._back = (math.ceil(seconds / control_dt) for seconds in (OUT, BACK))
        middle = robot.joint_pos_limit.mean(axis=1)
        self._direction = np.where(robot.default_joint_pos > middle, -1.0, 1.0)
        self._steps = self._level = 0  # control steps in all, and level ones in a row
        self._before = robot.default_joint_pos, robot.default_joint_pos
        self._failures = 0  # in a row

    @staticmethod
    def seconds(robot: Robot, limits: Limits) -> float:
        """How long the check of a robot takes that is level at once."""
        return limits.dwell_seconds + (OUT + BACK) * robot.num_joints

    @property
    def passed(self) -> bool:
        return self._level >= self._dwell + (self._out + self._back) * self.robot.num_joints

    def look(self, sample: RobotState) -> str:
        """What is wrong, or nothing."""
        self._steps += 1
        if self._level < self._dwell:
            unlike = self._unlike(sample)
            self._level = 0 if unlike else self._level + 1
            if unlike and self._steps > PATIENCE * self._dwell:
                return unlike
        else:
            self._level += 1
        joint, phase = divmod(self._level - self._dwell, (self._out + self._back))
        return self._wiggle(joint, phase, sample) if 0 <= joint < self.robot.num_joints else ""

    def _unlike(self, sample: RobotState) -> str:
        """What a standing robot would not show."""
        limits, mirror, pose = self.limits, self.robot.mirror, sample.joint_pos
        if (angle := tilt(sample.projected_gravity)) > limits.level_tilt:
            return f"{math.degrees(angle):.0f} degrees from upright in the default pose: an IMU mounted otherwise?"
        off = np.abs(pose - self.robot.default_joint_pos)
        uneven = np.abs(pose - mirror.joint_sign * pose[mirror.joint_index])
        for values, most, what in ((off, limits.pose_tolerance, "the default pose"), (uneven, limits.asymmetry, "its mirror image")):
            i = int(values.argmax())
            if values[i] > most:
                return f"{self.robot.joint_names[i]} is {values[i]:.2f} rad from {what}"
        return ""

    def _wiggle(self, joint: int, phase: int, sample: RobotState) -> str:
        """Ask the joint to be elsewhere, and look where it went.

        The ground holds a loaded leg, so that the joint may move by little, and others move with it. But what its motor's spring lacks in
        motion it has in torque: motion and torque / kp together are the step, and nothing where another motor got it.
        """
        robot, limits, step = self.robot, self.limits, self.limits.wiggle * self._direction[joint]
        spring = sample.joint_pos + (sample.joint_torque + robot.kd * sample.joint_vel) / robot.kp  # where the motor was told to be
        if phase == 0:
            self._before = sample.joint_pos, spring
            self.offset[joint] = step
        elif phase == self._out:
            self.offset[joint] = 0.0
            moved, answer = (now[joint] - before[joint] for now, before in zip((sample.joint_pos, spring), self._before, strict=True))
            failed = moved / step < limits.wiggle_share or answer / step < limits.wiggle_answer
            self._failures = self._failures + 1 if failed else 0
            if self._failures == TRIES:
                return f"{robot.joint_names[joint]} moved by {moved:.3f} rad, its motor by {answer:.3f}, of {step:.3f} rad asked for"
            if failed:
                self._level -= self._out + self._back  # once more, after its way back
        return ""
