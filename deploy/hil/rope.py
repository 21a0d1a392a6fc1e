"""A rope that a robot hangs from until it is let down, and that catches it when it falls."""

from __future__ import annotations

import mujoco
import numpy as np

STIFFNESS, DAMPING = 2.0e4, 800.0  # N/m, N s/m: pulls, never pushes
SPEED = 0.05  # m/s of the winch
LIFT = 0.15  # m above standing that the robot starts at
SLACK = 0.30  # m of rope that a robot on its feet has
ARM = 0.3  # m above the centre of the heaviest body: the harness
ROPE = 1.0  # m of rope at the start


class Rope:
    """Holds the heaviest body of a robot that stands where ``data`` says. ``lower`` is whether the winch lets rope out."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model = model
        self._body = int(np.argmax(model.body_mass))
        mujoco.mj_kinematics(model, data)
        self._arm = model.body_ipos[self._body] + np.array([0.0, 0.0, ARM])
        self._anchor = self._harness(data) + np.array([0.0, 0.0, ROPE])
        self._length = ROPE
        self._last = ROPE
        self.lower = False

    def pull(self, data: mujoco.MjData) -> None:
        """Set the rope's force for the next step, and run the winch; every physics step."""
        dt = self._model.opt.timestep
        change = SPEED * dt if self.lower else -SPEED * dt
        self._length = float(np.clip(self._length + change, ROPE, ROPE + LIFT + SLACK))
        point = self._harness(data)
        rope = self._anchor - point
        distance = float(np.linalg.norm(rope))
        force = STIFFNESS * (distance - self._length) + DAMPING * (distance - self._last) / dt
        self._last = distance
        data.qfrc_applied[:] = 0.0
        if distance > self._length and force > 0.0:
            mujoco.mj_applyFT(self._model, data, rope / distance * force, np.zeros(3), point, self._body, data.qfrc_applied)

    def _harness(self, data: mujoco.MjData) -> np.ndarray:
        return data.xpos[self._body] + data.xmat[self._body].reshape(3, 3) @ self._arm
