"""Where the trunk of a robot on the ground is, and how fast it moves: what no sensor says, but its feet do."""

from __future__ import annotations

import mujoco
import numpy as np

from robots import Robot
from robots.model import GROUND

TOUCHING = 0.01  # m above the lowest point of the robot that counts as on the ground
DEEPEST, HALVINGS = 0.02, 14  # m that the ground gives way under the robot at most, and how finely that is found


def footing(model: mujoco.MjModel, robot: Robot, state: dict[str, np.ndarray], targets: np.ndarray) -> dict[str, np.ndarray]:
    """Height and velocity of the base of W robots whose motors follow ``targets`` [W, J] (rad).

    What touches the ground stands still there and carries the robot, so that its trunk does not fall. One let go a millimetre higher
    would slip before its weight is on its feet, and stay where that led.
    """
    data, ground = mujoco.MjData(model), model.geom(GROUND).id
    joints = [model.joint(name) for name in robot.joint_names]
    places, dofs = (np.array([getattr(joint, name)[0] for joint in joints]) for name in ("qposadr", "dofadr"))
    solid = [geom for geom in range(model.ngeom) if model.geom_conaffinity[geom] and geom != ground]
    position, velocity = np.zeros((len(targets), 3)), np.zeros((len(targets), 3))
    for w in range(len(targets)):
        data.qpos[:3], data.qpos[3:7], data.qpos[places] = (0.0, 0.0, 2.0), state["base_quat"][w], state["joint_pos"][w]
        data.qvel[:3], data.qvel[3:6], data.qvel[dofs] = 0.0, state["base_ang_vel"][w], state["joint_vel"][w]
        height, velocity[w] = _resting(model, data, ground, solid)
        data.qvel[:3], data.ctrl[:] = velocity[w], targets[w]
        low = height - DEEPEST
        for _ in range(HALVINGS):
            data.qpos[2] = 0.5 * (height + low)
            mujoco.mj_forward(model, data)
            height, low = (height, data.qpos[2]) if data.qacc[2] > 0.0 else (data.qpos[2], low)
        position[w, 2] = 0.5 * (height + low)
    return {"base_pos": position, "base_lin_vel_world": velocity}


def _resting(model: mujoco.MjModel, data: mujoco.MjData, ground: int, solid: list[int]) -> tuple[float, np.ndarray]:
    """Height at which the lowest point is just on the ground, and velocity [3] at which what is there stands still; of a base at rest."""
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    found, ends, jacobian = [], np.zeros(6), np.zeros((3, model.nv))
    for geom in solid:
        distance = mujoco.mj_geomDistance(model, data, geom, ground, 10.0, ends)
        mujoco.mj_jac(model, data, jacobian, None, ends[:3], model.geom_bodyid[geom])
        found.append((distance, jacobian @ data.qvel))
    lowest = min(distance for distance, _ in found)
    return data.qpos[2] - lowest, -np.mean([speed for distance, speed in found if distance < lowest + TOUCHING], axis=0)
