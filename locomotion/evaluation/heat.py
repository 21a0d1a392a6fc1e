"""How warm the motors get: copper loss in a body that loses its heat, as functions of torque alone.

The winding at temperature T over ambient gains (torque / motor constant)^2 watts and loses T / resistance: a first-order body, as in
MuJoCo's ``dcmotor`` with ``thermal`` (its temperature coefficient left out). The motor constant is the robot's own: a DC motor's
stall torque over its no-load speed is (torque constant)^2 / resistance, whatever its voltage. Makers publish no thermal figures of
these motors, so those are a generic estimate that grows with a motor's size: 0.2 J/K for each watt of effort_limit times
no-load speed (142 J/K for a Go2's motor, through its calf linkage as well), and a time constant of 5 minutes. Read minutes as a comparison.
"""

from __future__ import annotations

import numpy as np

from robots import Robot
from robots.actuator import stall_torque

AMBIENT, LIMIT = 25.0, 90.0  # degrees C
CAPACITY = 0.2  # J/K for each W of effort_limit * no-load speed
TIME_CONSTANT = 300.0  # s, thermal resistance times capacity


def watts(robot: Robot, torque: np.ndarray) -> np.ndarray:
    """Copper loss of each motor at ``torque`` [..., J] (N m), W. Without a published curve: knee at half the joint's speed limit."""
    return np.square(torque) * _no_load_speed(robot) / stall_torque(robot.effort_limit, _curve(robot))


def temperature(robot: Robot, torque: np.ndarray, dt: float) -> np.ndarray:
    """Degrees C [T, J] at the end of each step of ``dt`` (s) under ``torque`` [T, J] (N m), from ambient; exact for constant torque."""
    kept, heat, result = np.exp(-dt / TIME_CONSTANT), _resistance(robot) * watts(robot, torque), np.empty(torque.shape)
    over = np.zeros(torque.shape[1:])
    for t, final in enumerate(heat):
        over = result[t] = final + kept * (over - final)
    return AMBIENT + result


def minutes_to_limit(robot: Robot, torque: np.ndarray) -> np.ndarray:
    """Minutes until each motor is at 90 degrees C under the root mean square ``torque`` [J] (N m) from ambient; inf: never."""
    share = np.divide(LIMIT - AMBIENT, np.maximum(_resistance(robot) * watts(robot, torque), 1e-9))
    return np.where(share < 1.0, -TIME_CONSTANT / 60.0 * np.log1p(-np.minimum(share, 1.0 - 1e-12)), np.inf)


def _curve(robot: Robot) -> tuple[np.ndarray, np.ndarray]:
    return robot.torque_speed or (0.5 * robot.joint_vel_limit, robot.joint_vel_limit)


def _no_load_speed(robot: Robot) -> np.ndarray:
    return _curve(robot)[1]


def _resistance(robot: Robot) -> np.ndarray:
    """K/W [J]."""
    return TIME_CONSTANT / (CAPACITY * robot.effort_limit * _no_load_speed(robot))
