"""A gantry for robots that cannot rise from the ground by themselves: it hangs them up, lets them down and lets go."""

from __future__ import annotations

import mujoco
import numpy as np

from deploy.interface import Floats
from robots import Robot

CLEARANCE = 0.1  # m that it hangs higher than it will stand
STIFFNESS = 50.0  # weights of the robot per m that the rope is stretched
LOWERING = 0.2  # m/s
STANDING = 0.1  # rad from the default pose in which it is let down
SLACK = 0.05  # m below the height of the standing robot at which the rope is taken off


class Gantry:
    """A rope on the base, and hands that keep it upright while the rope carries it."""

    def __init__(self, robot: Robot, model: mujoco.MjModel) -> None:
        self._robot, self._base = robot, model.body(robot.base_body).id
        self._weight = 9.81 * float(model.body_subtreemass[self._base])
        self.height = robot.standing_height + CLEARANCE
        self.released = False

    @staticmethod
    def needed(robot: Robot) -> bool:
        """A robot with less than three feet would have to balance while its joints go from lying to standing."""
        return len(robot.feet) < 3

    def act(self, data: mujoco.MjData, joint_pos: Floats, dt: float) -> None:
        """Pull for one physics step of ``dt`` s; once the joints are in the default pose, let down, and then go."""
        if np.abs(joint_pos - self._robot.default_joint_pos).max() < STANDING:
            self.height -= LOWERING * dt
        self.released |= self.height < self._robot.standing_height - SLACK
        data.xfrc_applied[self._base] = 0.0
        if self.released:
            return
        weight, velocity = self._weight, data.qvel[:3]
        damping = 1.4 * np.sqrt(STIFFNESS / 9.81) * weight  # of the base's motion, N s/m
        pull = np.clip(STIFFNESS * weight * (self.height - data.qpos[2]) - damping * velocity[2], 0.0, 3.0 * weight)
        share = min(pull / weight, 1.0)
        rotation = data.xmat[self._base].reshape(3, 3)
        upright = np.cross(rotation[:, 2], [0.0, 0.0, 1.0])
        turning = rotation @ data.qvel[3:6]
        data.xfrc_applied[self._base, :2] = -share * weight * velocity[:2]
        data.xfrc_applied[self._base, 2] = pull
        data.xfrc_applied[self._base, 3:] = share * weight * (upright - 0.2 * turning)
