"""Where the robot is allowed to be: leg odometry, integrated while it walks, and a command that leads it back to the middle."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from deploy.heading import vertical_rate
from deploy.interface import RobotState
from locomotion.data.kinematics import Kinematics
from locomotion.data.measured import MEASURED
from locomotion.data.odometry import estimate

EVERY = 10  # samples between looks at the velocity
WINDOW = 12  # samples that a look takes in
HOME = 0.4  # share of the radius within which the robot is its own master again
STOP = 1.5  # multiple of the radius at which a walk ends
SPEED, TURN, GAIN = 0.5, 0.8, 1.5  # m/s and rad/s of the way home, 1/s


class Area:
    """A disc of ``radius`` (m) about where a person put the robot down. Costs nothing but a look every few steps."""

    def __init__(self, kinematics: Kinematics, radius: float, control_dt: float) -> None:
        self.radius, self._kinematics, self._dt = radius, kinematics, control_dt
        self.place, self.yaw = np.zeros(2), 0.0  # m, rad
        self.returning, self.carried = False, False  # led back; perhaps carried by a person, nobody knows where to
        self._samples: deque[RobotState] = deque(maxlen=WINDOW)
        self._since = 0

    @property
    def distance(self) -> float:
        """m from the middle."""
        return math.hypot(*self.place.tolist())

    @property
    def outside(self) -> bool:
        """Whether a walk must end: it went on after it was turned back."""
        return not self.distance <= STOP * self.radius  # a place that is no number is none to walk on from

    def put_down(self) -> None:
        """A person has carried the robot to the middle."""
        self.place, self.yaw, self.returning, self.carried = np.zeros(2), 0.0, False, False
        self.begin()

    def begin(self) -> None:
        """A walk begins where the last one ended."""
        self._samples.clear()
        self._since = 0

    def look(self, sample: RobotState) -> None:
        """The newest sample of a robot that walks."""
        self.yaw = math.remainder(self.yaw + vertical_rate(sample) * self._dt, 2.0 * math.pi)
        self._samples.append(sample)
        self._since += 1
        if self._since < EVERY or len(self._samples) < WINDOW:
            return
        columns = {name: np.stack([getattr(one, name) for one in self._samples]) for name in MEASURED}
        velocity = estimate(
            self._kinematics, columns["joint_pos"], columns["joint_vel"], columns["base_ang_vel"], columns["projected_gravity"],
            columns["joint_torque"], self._dt,
        ).base_lin_vel.mean(axis=0)  # fmt: skip
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        self.place = self.place + self._since * self._dt * np.array([c * velocity[0] - s * velocity[1], s * velocity[0] + c * velocity[1]])
        self._since = 0
        self.returning = self.distance > (HOME if self.returning else 1.0) * self.radius

    def home(self) -> tuple[float, float, float]:
        """Forward (m/s), left and yaw (rad/s) that lead to the middle: turn to it, and go once it is ahead."""
        ahead = math.remainder(math.atan2(-self.place[1], -self.place[0]) - self.yaw, 2.0 * math.pi)
        return SPEED * max(math.cos(ahead), 0.0), 0.0, max(-TURN, min(GAIN * ahead, TURN))
