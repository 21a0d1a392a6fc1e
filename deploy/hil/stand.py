"""A stand that holds a robot's base off the ground: stiffly, not rigidly, as iron under a trunk does. It never lets go."""

from __future__ import annotations

import mujoco
import numpy as np

from robots import Robot

RINGING = 20.0  # Hz, of the robot on it
DAMPING = 0.3  # of the critical one
HEIGHT = 2.0  # of the base, in standing heights: legs hang free


class Stand:
    """Springs and dampers on the six axes of the base, at rest where ``data`` has it, as stiff as the robot's inertia asks for."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._place, self._level = data.qpos[:3].copy(), data.qpos[3:7].copy()
        inertia = np.zeros((model.nv, model.nv))
        mujoco.mj_forward(model, data)
        mujoco.mj_fullM(model, data, inertia)
        rate, own = 2.0 * np.pi * RINGING, np.diag(inertia)[:6]
        self._stiffness, self._damping = rate**2 * own, 2.0 * DAMPING * rate * own

    @staticmethod
    def height(robot: Robot) -> float:
        """m, of the base that it holds."""
        return HEIGHT * robot.standing_height

    def hold(self, data: mujoco.MjData) -> None:
        """Set what it does to the base in the next physics step."""
        off = np.zeros(6)
        off[:3] = self._place - data.qpos[:3]
        mujoco.mju_subQuat(off[3:], self._level, data.qpos[3:7])
        data.qfrc_applied[:6] = self._stiffness * off - self._damping * data.qvel[:6]
