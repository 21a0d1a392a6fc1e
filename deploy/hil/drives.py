"""What stands between a command on the wire and torque at the joints: motor drives, how warm they get, and the battery.

Simple models, for plausible readings and limits rather than for numbers to trust; makers publish none of these figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robots import Robot, heat
from robots.actuator import torque_bounds
from robots.heat import AMBIENT, TIME_CONSTANT

NOMINAL_CELL, EMPTY_CELL, FULL_CELL = 3.7, 3.3, 4.2  # V
BATTERY_RESISTANCE = 0.1  # ohm
IDLE_POWER = 40.0  # W of computers and drives at rest


@dataclass(frozen=True)
class DriveCommand:
    """What each motor was told, [J] in the robot's order, SI units: torque = tau + kp (q - joint_pos) + kd (dq - joint_vel)."""

    enabled: np.ndarray  # bool: a motor that is not enabled is limp
    q: np.ndarray
    dq: np.ndarray
    tau: np.ndarray
    kp: np.ndarray
    kd: np.ndarray

    @classmethod
    def off(cls, joints: int) -> DriveCommand:
        return cls(np.zeros(joints, dtype=bool), *np.zeros((5, joints)))

    @property
    def drives(self) -> bool:
        """Whether any motor is to hold a position."""
        return bool((self.enabled & (self.kp > 0)).any())


class Battery:
    """Cells in series whose voltage falls linearly with charge, behind a resistance."""

    def __init__(self, cells: int, capacity: float, charge: float) -> None:
        self.cells, self._capacity, self.charge = cells, capacity, charge  # capacity in Ah, charge from 0 to 1
        self.current, self.voltage = 0.0, cells * self._open_cell()

    def draw(self, power: float, dt: float) -> None:
        """Give ``power`` (W) for ``dt`` (s). Braking motors charge nothing."""
        self.current = power / self.voltage
        self.charge = max(0.0, self.charge - self.current * dt / (3600.0 * self._capacity))
        self.voltage = max(self.cells * self._open_cell() - BATTERY_RESISTANCE * self.current, 0.5 * self.cells * EMPTY_CELL)

    def _open_cell(self) -> float:
        return EMPTY_CELL + (FULL_CELL - EMPTY_CELL) * self.charge


class Drives:
    """Torque limits at the battery's voltage, and temperatures, of the motors of ``robot``. They start at ambient."""

    def __init__(self, robot: Robot, battery: Battery) -> None:
        self._robot, self.battery = robot, battery
        self._curve, self._loss, self._capacity = heat.curve(robot), heat.loss(robot), heat.capacity(robot)
        self.temperature = np.full(robot.num_joints, AMBIENT)

    def torque_bounds(self, joint_vel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[J] N m. No-load speed and stall torque are proportional to the voltage; the driver's current limit is not."""
        full, none = self._curve
        lost = (1.0 - self.battery.voltage / (self.battery.cells * NOMINAL_CELL)) * none
        return torque_bounds(joint_vel, self._robot.effort_limit, (full - lost, none - lost))

    def work(self, torque: np.ndarray, joint_vel: np.ndarray, dt: float) -> None:
        """What ``torque`` [J] at ``joint_vel`` [J], held for ``dt`` (s), costs in heat and charge."""
        warmth = self._loss * np.square(torque)
        cooling = (self.temperature - AMBIENT) * self._capacity / TIME_CONSTANT
        self.temperature = self.temperature + dt * (warmth - cooling) / self._capacity
        self.battery.draw(IDLE_POWER + max(float((torque * joint_vel).sum() + warmth.sum()), 0.0), dt)
