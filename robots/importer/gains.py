"""Limits, rotor inertia and gains of joints, from what the file says of them, and guesses for what it does not."""

from __future__ import annotations

import math

import mujoco
import numpy as np

from robots.importer.limbs import Limbs
from robots.importer.read import Source
from robots.robot import GRAVITY

TURN = math.pi  # rad, limit of a joint that turns without one
SPEED = 20.0  # rad/s, where none is given
FASTEST = 100.0  # rad/s; more is a placeholder
SUPPORT = 0.5  # effort over weight times leg length: Go2 0.6, ANYmal C 0.3, G1 0.6
PLACEHOLDER = 5.0  # effort over weight times leg length that no motor has
ARMATURE = 2.5e-4  # kg m^2 a N m of effort: Go2's hip 1.9e-4, its knee 3.6e-4, G1's 1.1e-4 to 1.8e-4
REACH = 0.5  # rad: effort_limit / kp
TIPPING = 3.0  # kp over the least that keeps upright what stands on a joint; ankle, knee and hip give way one after another
DAMPING_RATIO = 0.5
STIFFER = (1.6, 2.5, 4.0)  # kp times this, until it stands


def joint_figures(source: Source, limbs: Limbs, speeds: dict[str, float]) -> dict[int, dict[str, float]]:
    """Lower, upper (rad), effort (N m), speed (rad/s) and armature (kg m^2) by the joint's id in the source model."""
    model = source.model
    data = mujoco.MjData(model)
    data.qpos[:] = limbs.qpos
    mujoco.mj_kinematics(model, data)
    lengths = [float(np.linalg.norm(data.xpos[leg.body] - data.xanchor[leg.joints[0]])) for leg in limbs.legs]
    scale = float(model.body_mass.sum()) * GRAVITY * max(1.5 * max(lengths), 0.05)
    figures, missing = {}, {"effort": [], "speed": [], "armature": [], "limits": []}
    for leg in limbs.legs:
        for joint in leg.joints:
            name, dof = model.joint(joint).name, model.jnt_dofadr[joint]
            low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-np.inf, np.inf)
            if low < -TURN or high > TURN:
                missing["limits"].append(name)
                turn = TURN if high - low > 2.0 * TURN else 2.0 * TURN
                low, high = max(float(low), -turn), min(float(high), turn)
            effort = float(model.jnt_actfrcrange[joint][1]) if model.jnt_actfrclimited[joint] else 0.0
            if not 0.0 < effort < PLACEHOLDER * scale:
                missing["effort"].append(name)
                effort = SUPPORT * scale
            speed = speeds.get(name, 0.0)
            if not 0.0 < speed <= FASTEST:
                missing["speed"].append(name)
                speed = SPEED
            armature = float(model.dof_armature[dof])
            if armature <= 0.0:
                missing["armature"].append(name)
                armature = ARMATURE * effort
            figures[joint] = {"lower": float(low), "upper": float(high), "effort": effort, "speed": speed, "armature": armature}
    said = {
        "effort": f"effort_limit: {SUPPORT:g} x weight x leg length, {SUPPORT * scale:.3g} N m",
        "speed": f"joint_vel_limit: {SPEED:g} rad/s",
        "armature": f"armature (rotor inertia x gear^2): {ARMATURE:g} kg m^2 a N m of effort",
        "limits": "joint_pos_limit: narrowed to half a turn",
    }
    source.guessed += [f"{said[key]}, of {_short(names)}" for key, names in missing.items() if names]
    return figures


def _short(names: list[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{', '.join(names[:3])} and {len(names) - 3} others"


def tipping(model: mujoco.MjModel, pose: np.ndarray, legs: int) -> np.ndarray:
    """[J] N m/rad: the stiffness under which a robot in ``pose`` [J] (rad) tips over about each joint, the others rigid.

    What stands on the joint is an inverted pendulum m g l, which all ``legs`` hold together: the whole robot without what hangs below.
    """
    data = mujoco.MjData(model)
    data.qpos[:7], data.qpos[7:] = (0, 0, 0, 1, 0, 0, 0), pose
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    moment = model.body_subtreemass * (data.subtree_com[:, 2] - data.xanchor[1:, 2, None])  # [J, B] kg m, of each body's subtree
    joints = np.arange(len(moment))
    return GRAVITY * np.maximum(moment[:, 1] - legs * moment[joints, model.jnt_bodyid[1:]], 0.0) / legs


def gains(effort: np.ndarray, inertia: np.ndarray, tips: np.ndarray, stiffer: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """kp, kd and action scale [J]: all effort at 0.5 rad, and enough that nothing tips over; half of critical damping of the inertia seen.

    A unit of action asks for three quarters of the effort, as on the Go2's thighs; less than 0.2 rad lifts no foot, and beyond one and
    a half times the effort there is nothing to ask for.
    """
    kp = stiffer * np.maximum(effort / REACH, TIPPING * tips)
    kd = 2.0 * DAMPING_RATIO * np.sqrt(kp * inertia)
    return kp, np.clip(kd, kp / 60.0, kp / 5.0), np.clip(0.75 * effort / kp * np.sqrt(stiffer), np.minimum(0.2, 1.5 * effort / kp), 0.5)
