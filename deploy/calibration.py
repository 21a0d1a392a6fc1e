"""What a robot of flesh differs in from its description, and an interface that makes up for it: the policy sees the description's robot.

robot: unitree_go2
joint_zero: {FL_calf_joint: 0.02}   # rad, what the encoder says where the description has 0
imu_mount: [0, 0, 0.01]             # rad, roll, pitch and yaw of the IMU's frame in the base's
yaw_bias: 0.003                     # rad/s, what the gyroscope says about the base's z axis at rest
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from deploy.interface import Floats, MotorCommand, RobotInterface, RobotState
from robots import InputError, Robot, yaml_file
from robots.errors import nearest

FIELDS = ("robot", "joint_zero", "imu_mount", "yaw_bias")
MAX_ZERO = 0.3  # rad; more is a joint that was put together wrongly
MAX_ANGLE = math.pi  # rad
MAX_BIAS = 0.1  # rad/s
REMEDY = "See docs/deploy.md."


@dataclass(frozen=True)
class Calibration:
    joint_zero: Floats  # [J] rad, in the robot's order: measured - true
    imu_mount: Floats  # [3, 3] rotation, base <- IMU
    yaw_bias: float  # rad/s about the base's z axis: measured - true

    def state(self, measured: RobotState) -> RobotState:
        """As the description's robot would have measured it."""
        rate = self.imu_mount @ measured.base_ang_vel
        rate[2] -= self.yaw_bias
        return replace(
            measured,
            base_ang_vel=rate,
            projected_gravity=self.imu_mount @ measured.projected_gravity,
            joint_pos=measured.joint_pos - self.joint_zero,
        )

    def command(self, command: MotorCommand) -> MotorCommand:
        """As this robot's motors must hear it."""
        return replace(command, joint_pos_target=command.joint_pos_target + self.joint_zero)


class CalibratedInterface:
    """A robot's interface in the description's frames. It is opened beneath the guard, so that this knows joints' true angles too."""

    def __init__(self, interface: RobotInterface, calibration: Calibration) -> None:
        self._interface, self._calibration = interface, calibration

    def read(self) -> RobotState:
        return self._calibration.state(self._interface.read())

    def write(self, command: MotorCommand) -> None:
        self._interface.write(self._calibration.command(command))

    def close(self) -> None:
        self._interface.close()

    @property
    def remote(self) -> Any:
        return getattr(self._interface, "remote", None)


def calibrated(factory: Callable[[], RobotInterface], calibration: Calibration) -> CalibratedInterface:
    """Opens what ``factory`` opens; for the guard's process."""
    return CalibratedInterface(factory(), calibration)


def read(path: Path, robot: Robot) -> Calibration:
    """Raises InputError for another robot's file, and figures that no robot in order has."""
    try:
        data = yaml_file.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("calibration", str(path), "a YAML file", f"{error}") from error
    if not isinstance(data, dict):
        raise InputError("calibration", data, f"some of {', '.join(FIELDS)}", REMEDY)
    for name in data:
        if name not in FIELDS:
            raise InputError(f"calibration.{name}", data[name], f"one of {', '.join(FIELDS)}", nearest(str(name), FIELDS))
    if data.get("robot") != robot.name.partition(".")[0]:
        raise InputError("calibration.robot", data.get("robot"), robot.name.partition(".")[0], "Each robot has a file of its own.")
    mount = data.get("imu_mount", [0.0, 0.0, 0.0])
    if not isinstance(mount, list) or len(mount) != 3:
        raise InputError("calibration.imu_mount", mount, "roll, pitch and yaw, rad", REMEDY)
    angles = [_number("imu_mount", angle, MAX_ANGLE) for angle in mount]
    return Calibration(
        _zeros(data.get("joint_zero", {}), robot), rotation(*angles), _number("yaw_bias", data.get("yaw_bias", 0.0), MAX_BIAS)
    )


def rotation(roll: float, pitch: float, yaw: float) -> Floats:
    """[3, 3], about x, then y, then z of the frame that it leads to."""
    (a, b, c), (s, t, u) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, a, -s], [0.0, s, a]])
    about_y = np.array([[b, 0.0, t], [0.0, 1.0, 0.0], [-t, 0.0, b]])
    about_z = np.array([[c, -u, 0.0], [u, c, 0.0], [0.0, 0.0, 1.0]])
    return about_z @ about_y @ about_x


def _zeros(given: object, robot: Robot) -> Floats:
    if not isinstance(given, Mapping):
        raise InputError("calibration.joint_zero", given, "rad by the joint's name", REMEDY)
    zeros = np.zeros(robot.num_joints)
    for name, value in given.items():
        if name not in robot.joint_names:
            raise InputError(f"calibration.joint_zero.{name}", value, "a joint's name", nearest(str(name), robot.joint_names))
        zeros[robot.joint_names.index(name)] = _number(f"joint_zero.{name}", value, MAX_ZERO)
    return zeros


def _number(name: str, value: Any, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
        raise InputError(f"calibration.{name}", value, f"a number from {-most:.3g} to {most:.3g}", REMEDY)
    return float(value)
