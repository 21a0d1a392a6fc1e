"""Where the trunk of a robot on the ground is, and how fast it moves: what no sensor says, but its feet do."""

from __future__ import annotations

import mujoco
import numpy as np

from robots import Robot
from robots.model import GROUND

TOUCHING = 0.01  # m above the lowest point of the robot that counts as on the ground
DEEPEST, HALVINGS = 0.02, 14  # m that the ground gives way under the robot at most, and how finely that is found


class Footing:
    """W states ``state`` of a robot, by name of :class:`sim.InitialState`, without the base's place and velocity."""

    def __init__(self, model: mujoco.MjModel, robot: Robot, state: dict[str, np.ndarray]) -> None:
        joints = [model.joint(name) for name in robot.joint_names]
        self._places, self._dofs = (np.array([getattr(joint, name)[0] for joint in joints]) for name in ("qposadr", "dofadr"))
        self._state, self._count = state, len(state["joint_pos"])
        self.velocity = np.zeros((self._count, 3))  # m/s, world, at which what touches the ground stands still there
        self._touching = np.zeros(self._count)  # m, height of the base whose lowest point just touches
        self._down = np.zeros((self._count, model.nv))  # from velocities to the mean vertical one of what touches
        data, ground = mujoco.MjData(model), model.geom(GROUND).id
        solid = [geom for geom in range(model.ngeom) if model.geom_conaffinity[geom] and geom != ground]
        for w in range(self._count):
            self._put(data, w, 2.0)
            self._touching[w], self.velocity[w], self._down[w] = _resting(model, data, ground, solid)

    def height(self, model: mujoco.MjModel, targets: np.ndarray) -> np.ndarray:
        """[W] m, of the base: so deep in the ground that what touches it sinks no further, with motors that follow ``targets`` [W, J].
        A robot let go a millimetre higher would slip before its weight is on its feet, and stay where that led."""
        data, found = mujoco.MjData(model), np.zeros(self._count)
        for w in range(self._count):
            high, low = self._touching[w], self._touching[w] - DEEPEST
            self._put(data, w, high)
            data.qvel[:3], data.ctrl[:] = self.velocity[w], targets[w]
            for _ in range(HALVINGS):
                data.qpos[2] = 0.5 * (high + low)
                mujoco.mj_forward(model, data)
                high, low = (high, data.qpos[2]) if self._down[w] @ data.qacc > 0.0 else (data.qpos[2], low)
            found[w] = 0.5 * (high + low)
        return found

    def _put(self, data: mujoco.MjData, w: int, height: float) -> None:
        state = self._state
        data.qpos[:3], data.qpos[3:7], data.qpos[self._places] = (0.0, 0.0, height), state["base_quat"][w], state["joint_pos"][w]
        data.qvel[:3], data.qvel[3:6], data.qvel[self._dofs] = 0.0, state["base_ang_vel"][w], state["joint_vel"][w]


def _resting(model: mujoco.MjModel, data: mujoco.MjData, ground: int, solid: list[int]) -> tuple[float, np.ndarray, np.ndarray]:
    """Of a base at rest: the height at which its lowest point is just on the ground, the velocity [3] at which what is there stands
    still, and how the mean vertical velocity of that goes with all velocities [V]."""
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    found, ends, jacobian = [], np.zeros(6), np.zeros((3, model.nv))
    for geom in solid:
        distance = mujoco.mj_geomDistance(model, data, geom, ground, 10.0, ends)
        mujoco.mj_jac(model, data, jacobian, None, ends[:3], model.geom_bodyid[geom])
        found.append((distance, jacobian.copy()))
    lowest = min(distance for distance, _ in found)
    mean = np.mean([rows for distance, rows in found if distance < lowest + TOUCHING], axis=0)
    return data.qpos[2] - lowest, -mean @ data.qvel, mean[2]
