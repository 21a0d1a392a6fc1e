"""How warm motors get under a torque, by the model of ``robots.heat``. Read minutes as a comparison: its thermal figures are generic."""

from __future__ import annotations

import numpy as np

from robots import Robot
from robots.heat import AMBIENT, TIME_CONSTANT, capacity, loss

LIMIT = 90.0  # degrees C


def watts(robot: Robot, torque: np.ndarray) -> np.ndarray:
    """Copper loss of each motor at ``torque`` [..., J] (N m), W."""
    return np.square(torque) * loss(robot)


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


def _resistance(robot: Robot) -> np.ndarray:
    """K/W [J]."""
    return TIME_CONSTANT / capacity(robot)
