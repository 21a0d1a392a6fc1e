"""A pose to stand in: feet under the hips, soles flat, the centre of mass over the middle of the support."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import mujoco
import numpy as np

from robots.check import half_height
from robots.errors import InputError

STANDING = {False: (0.8, 0.75, 0.7, 0.85, 0.9, 0.65), True: (0.95, 0.92, 0.9, 0.87, 0.84, 0.8, 0.97)}  # biped: share of leg's length
LYING = {False: (0.35, 0.4, 0.45, 0.5, 0.55, 0.6), True: (0.6, 0.65, 0.7, 0.75, 0.8)}
MARGIN = 0.04  # share of a joint's range that a pose keeps from its limits
POSITION, ANGLE = 0.003, 0.02  # m, rad: how near a pose must come
SEEDS, STEPS, DAMPING = 16, 60, 1e-4


@dataclass(frozen=True, eq=False)
class Chain:
    """A leg of the written model."""

    joints: np.ndarray  # ids
    foot: int  # geom
    flat: bool
    partner: int  # index of its mirror image
    sign: np.ndarray  # of its joints in the mirror


def solve(model: mujoco.MjModel, chains: list[Chain], limit: np.ndarray, lying: bool = False) -> tuple[np.ndarray, float]:
    """Joint angles [njnt - 1] in the model's order, and the base's height above the ground, m.

    ``limit`` [njnt - 1, 2] rad. Knees bend backward on robots of four legs and more and forward on bipeds, where limits let them.

    Raises:
        InputError: the feet cannot be put under the hips.
    """
    biped = len(chains) == 2
    data = mujoco.MjData(model)
    data.qpos[:7] = 0, 0, 0, 1, 0, 0, 0
    for share in (LYING if lying else STANDING)[biped]:
        shift = 0.0
        for _ in range(5):
            if not all(_place(model, data, chains, chain, limit, share, shift, 1.0 if biped else -1.0) for chain in chains):
                break
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            feet = [chain.foot for chain in chains]
            off = float(data.subtree_com[1][0] - data.geom_xpos[feet, 0].mean())
            if abs(off) < 0.002 or lying:
                height = -min(data.geom_xpos[foot][2] - half_height(model, data, foot) for foot in feet)
                return data.qpos[7:].copy(), float(height)
            shift += off
    raise InputError("import: pose", [model.geom(chain.foot).name for chain in chains], "legs that reach the ground below the hips",
                     "Are joint limits and axes right? Is z upward in the base's frame?")  # fmt: skip


def _place(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    chains: list[Chain],
    chain: Chain,
    limit: np.ndarray,
    share: float,
    shift: float,
    knee: float,
) -> bool:
    """Put one foot ``share`` of the leg's length below the hip, ``shift`` forward; whether it could be."""
    address = model.jnt_qposadr[chain.joints]
    partner = chains[chain.partner]
    done = chains.index(chain)
    if chain.partner < done:
        data.qpos[address] = partner.sign * data.qpos[model.jnt_qposadr[partner.joints]]
        return True
    low, high = limit[chain.joints - 1].T
    low, high = low + MARGIN * (high - low), high - MARGIN * (high - low)
    data.qpos[address] = np.clip(0.0, low, high)
    mujoco.mj_kinematics(model, data)
    across = [i for i, joint in enumerate(chain.joints) if abs(data.xaxis[joint][1]) > 0.7] or [0]
    hip, points = data.xanchor[chain.joints[across[0]]].copy(), [*data.xanchor[chain.joints[across]], data.geom_xpos[chain.foot]]
    length = sum(float(np.linalg.norm(b - a)) for a, b in pairwise(points))
    side = data.geom_xpos[chain.foot][1]  # with joints at zero, or as near as they get
    target = np.array([hip[0] + shift, side, hip[2] - share * length])
    best, best_cost = None, np.inf
    random = np.random.default_rng(0)
    for seed in range(SEEDS):
        q = np.clip(random.uniform(-1.2, 1.2, len(address)) * (seed > 0), low, high)
        for _ in range(STEPS):
            error, jacobian = _error(model, data, chain, q, target)
            step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + DAMPING * np.eye(len(error)), error)
            q = np.clip(q - np.clip(step, -0.3, 0.3), low, high)
        error, _ = _error(model, data, chain, q, target)
        if np.linalg.norm(error[:3]) > POSITION or (len(error) > 3 and np.abs(error[3:]).max() > ANGLE):
            continue
        middle = data.xanchor[chain.joints[across]]
        line = 0.5 * (hip + data.geom_xpos[chain.foot])
        bend = float((middle - line)[np.abs(middle[:, 2] - line[2]).argmin(), 0])
        cost = 0.1 * float(q @ q) - 10.0 * knee * bend
        if cost < best_cost:
            best, best_cost = q, cost
    if best is None:
        return False
    data.qpos[address] = best
    return True


def _error(model: mujoco.MjModel, data: mujoco.MjData, chain: Chain, q: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the foot is off ([3] m; a flat sole's tilt and heading [3] too), and its derivative by the joints' angles."""
    data.qpos[model.jnt_qposadr[chain.joints]] = q
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    moved, turned = np.zeros((2, 3, model.nv))
    mujoco.mj_jacGeom(model, data, moved, turned, chain.foot)
    dofs = model.jnt_dofadr[chain.joints]
    error, jacobian = data.geom_xpos[chain.foot] - target, moved[:, dofs]
    if not chain.flat:
        return error, jacobian
    axes = data.geom_xmat[chain.foot].reshape(3, 3)
    tilt = -np.array([np.cross(axes[:, 2], (0, 0, 1))[0], np.cross(axes[:, 2], (0, 0, 1))[1], np.cross(axes[:, 0], (1, 0, 0))[2]])
    weight = 0.2  # m a rad
    return np.concatenate([error, weight * tilt]), np.concatenate([jacobian, weight * turned[:, dofs]])
