"""What the monitors look at: the last seconds of samples and commands, and the ages of things."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field

import numpy as np

from deploy.interface import Floats, MotorCommand, RobotState
from robots import Robot
from robots.actuator import motor_torque
from robots.heat import AMBIENT, TIME_CONSTANT, capacity, loss

SHORT, SECOND, LONG = 0.2, 1.0, 5.0  # s
WARMTH = (-60.0, 200.0)  # degrees C that a motor may have: no kelvin, no tenths
OVERCHARGED = 1.5  # times its full voltage that no battery has: no millivolts


def motor_power(torque: Floats, joint_vel: Floats, loss: Floats) -> float:
    """W that the motors take from the battery, all together: mechanical power and copper loss. What one gives back, no other gets."""
    return float((np.maximum(torque * joint_vel, 0.0) + loss * np.square(torque)).sum())


class Ring:
    """The last rows that were pushed, as one array. Each row is kept twice, so that no look at them copies."""

    def __init__(self, rows: int, *shape: int) -> None:
        self.rows, self._count = rows, 0
        self._data = np.zeros((2 * rows, *shape))

    def push(self, row: Floats | float) -> None:
        i = self._count % self.rows
        self._data[i] = self._data[i + self.rows] = row
        self._count += 1

    def last(self) -> Floats:
        """[at most rows, ...], the newest last."""
        end = (self._count - 1) % self.rows + 1 + self.rows
        return self._data[end - min(self._count, self.rows) : end]

    def mean(self) -> Floats:
        """Over all rows; those not yet pushed are zero."""
        return self.last().sum(axis=0) / self.rows

    @property
    def full(self) -> bool:
        return self._count >= self.rows

    def clear(self) -> None:
        self._count = 0


@dataclass
class Window:
    """Histories of good samples (one row each, so many a control step at most) and of control steps. J joints."""

    robot: Robot
    control_dt: float  # s
    bad_samples: float = 0.0  # less a quarter of the good ones since
    age: float = math.inf  # s of the newest good sample
    silence: float = 0.0  # s since the motors last heard a command
    operator_silence: float = 0.0  # s since the operator was last heard
    estop_silence: float = 0.0  # s since an e-stop was last heard; 0 where there is none
    foreign_commands: int = 0  # of other programs
    same_targets: int = 0  # steps in a row in which the policy said the same while the robot moved
    histories: dict[str, Ring] = field(default_factory=dict)

    def __post_init__(self) -> None:
        j = self.robot.num_joints
        short, second, long = (max(2, round(span / self.control_dt)) for span in (SHORT, SECOND, LONG))
        self.histories = {
            "time": Ring(short + 1), "base_ang_vel": Ring(short + 1, 3), "projected_gravity": Ring(short + 1, 3),
            "joint_pos": Ring(short + 1, j), "joint_vel": Ring(short + 1, j), "joint_torque": Ring(short + 1, j),
            "torque_error": Ring(short, j), "tracking_error": Ring(short, j),  # of the limit, rad
            "swung": Ring(second, j), "asked": Ring(second, j),  # rad, position and target of joints that are held
            "squared_torque": Ring(long, j),  # of the limit's square
            "power": Ring(short), "voltage": Ring(second), "odd": Ring(short),  # W that the motors take, V, 0 or 1
            "filtered": Ring(second), "lateness": Ring(second),  # of control steps: 0 or 1; s
        }  # fmt: skip
        self._warmth = np.full(j, AMBIENT)  # [J] degrees C, measured, or reckoned from the start on
        self._warmths = Ring(short, j)
        self._loss, self._capacity, self._before = loss(self.robot), capacity(self.robot), math.nan

    def __getitem__(self, name: str) -> Floats:
        return self.histories[name].last()

    def mean(self, name: str) -> Floats:
        return self.histories[name].mean()

    def push(self, sample: RobotState, command: MotorCommand) -> None:
        """A new good sample, and the command that was in force until then."""
        robot, rings = self.robot, self.histories
        for name in ("time", "base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "joint_torque"):
            rings[name].push(getattr(sample, name))
        expected = motor_torque(
            command.joint_pos_target, sample.joint_pos, sample.joint_vel, command.kp, command.kd, robot.effort_limit,
            command.feed_forward, robot.torque_speed,
        )  # fmt: skip
        rings["torque_error"].push((sample.joint_torque - expected) / robot.effort_limit)
        rings["tracking_error"].push(np.where(command.kp > 0, command.joint_pos_target - sample.joint_pos, 0.0))
        if command.kp.all():
            rings["swung"].push(sample.joint_pos)
            rings["asked"].push(command.joint_pos_target)
        rings["squared_torque"].push(np.square(sample.joint_torque / robot.effort_limit))
        rings["power"].push(motor_power(sample.joint_torque, sample.joint_vel, self._loss))
        charge, warm = robot.battery_voltage, sample.motor_temperature
        most = OVERCHARGED * charge[1] if charge else sys.float_info.max
        if 0.0 < sample.voltage <= most:
            rings["voltage"].push(sample.voltage)
        odd = warm is not None and bool(((warm < WARMTH[0]) | (warm > WARMTH[1])).any())
        rings["odd"].push(float(odd or not (math.isnan(sample.voltage) or 0.0 <= sample.voltage <= most)))
        self.foreign_commands = sample.foreign_commands
        self._warm(sample)

    def begin_warm(self, temperature: Floats) -> None:
        """Motors are [J] degrees C as this begins; sensors that say otherwise are believed."""
        self._warmth = np.maximum(temperature, AMBIENT)

    @property
    def temperature(self) -> Floats:
        """[J] degrees C, mean of 0.2 s: one sample that is wrong is no hot motor."""
        warmths = self._warmths.last()
        return warmths.mean(axis=0) if len(warmths) else self._warmth

    def _warm(self, sample: RobotState) -> None:
        """Sensors tell how warm motors are; where there are none, their torque does."""
        passed = sample.time - self._before
        if 0.0 < passed < SECOND:  # in a longer gap nobody knows; they were warm before, and are no cooler here
            warmth = self._loss * np.square(sample.joint_torque) / self._capacity
            self._warmth = self._warmth + passed * (warmth - (self._warmth - AMBIENT) / TIME_CONSTANT)
        self._before = sample.time
        measured = sample.motor_temperature
        if measured is not None:
            told = (measured != 0.0) & (measured >= WARMTH[0]) & (measured <= WARMTH[1])  # a number that is none is not
            self._warmth = np.where(told, measured, self._warmth)
        self._warmths.push(self._warmth)

    def clear(self, *names: str) -> None:
        """Forget; all where no name is given."""
        for name in names or self.histories:
            self.histories[name].clear()
