"""All signals of a simulator, as far as a robot's own sensors and leg odometry tell them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from locomotion.data.episode import Arrays
from locomotion.data.kinematics import Kinematics
from locomotion.data.odometry import estimate

MEASURED = ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "joint_torque")
UNMEASURED = ("ground_contacts",)  # nothing tells whether the trunk or a knee touches the ground


def signals_of(kinematics: Kinematics, measured: Mapping[str, np.ndarray], dt: float) -> Arrays:
    """Those of :func:`sim.signals.signal_shapes`, [T, ...], of MEASURED [T, ...], ``dt`` (s) apart without a gap.

    The world is at each moment the ground under the base, its x axis ahead: nothing tells where on it the robot is, or which way it faces.
    UNMEASURED are NaN. What is not measured is estimated (:mod:`locomotion.data.odometry`); nothing reads a simulated robot's truth.
    """
    gravity, joint_vel, turning = (measured[name] for name in ("projected_gravity", "joint_vel", "base_ang_vel"))
    found = estimate(kinematics, measured["joint_pos"], joint_vel, turning, gravity, measured["joint_torque"], dt)
    rotation, velocity, feet = world_from_base(gravity), found.base_lin_vel, found.feet
    place = np.stack([*np.zeros((2, len(velocity))), found.base_height], axis=-1)
    swept = np.einsum("tfxj,tj->tfx", feet.centre_jacobian, joint_vel)
    foot_vel = velocity[:, None] + swept + np.cross(turning[:, None], feet.pos)

    def turned(vectors: np.ndarray) -> np.ndarray:  # [T, K, 3]
        return np.einsum("txy,tky->tkx", rotation, vectors)

    contact = found.contact.astype(float)
    return {
        "base_pos": place, "base_quat": quaternions(rotation), "base_lin_vel_world": turned(velocity[:, None])[:, 0],
        "base_lin_vel": velocity, "foot_contact_force": turned(found.foot_force) * contact[..., None], "foot_contacts": contact,
        "foot_pos": place[:, None] + turned(feet.pos), "foot_vel": turned(foot_vel), "ground_contacts": np.full(len(velocity), np.nan),
        **{name: measured[name] for name in MEASURED},
    }  # fmt: skip


def world_from_base(gravity: np.ndarray) -> np.ndarray:
    """[T, 3, 3] that turn the base's frame upright: z against ``gravity`` [T, 3], x ahead."""
    up = -gravity / np.linalg.norm(gravity, axis=-1, keepdims=True)
    ahead = np.array([1.0, 0.0, 0.0]) - up[:, :1] * up
    ahead = ahead / np.linalg.norm(ahead, axis=-1, keepdims=True).clip(1e-6)
    return np.stack([ahead, np.cross(up, ahead), up], axis=1)


def quaternions(rotation: np.ndarray) -> np.ndarray:
    """[T, 4] w, x, y, z of rotations [T, 3, 3] that turn by less than half a turn: (1 + trace, axis) scaled."""
    r = rotation
    axis = np.stack([r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]], axis=-1)
    whole = np.concatenate([1.0 + np.trace(r, axis1=1, axis2=2)[:, None], axis], axis=-1)
    return whole / np.linalg.norm(whole, axis=-1, keepdims=True).clip(1e-6)
