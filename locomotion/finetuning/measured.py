"""What a robot itself knows of its walk: the signals of a simulator, from its own sensors and from leg odometry.

Places are relative to the point under the base, yaw is always 0, and what nothing tells (contacts of the trunk) is NaN: a reward that
needs that is refused. Nothing here looks at a simulated robot's ``truth``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from locomotion.data.kinematics import Kinematics
from locomotion.data.odometry import estimate
from sim.signals import Signals, signal_shapes, unpack

SAMPLE = ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "joint_torque")  # what each sample tells
STANDS = 0.5  # belief above which a foot counts as touching the ground


def signals_of(kinematics: Kinematics, measured: Mapping[str, np.ndarray], dt: float) -> dict[str, np.ndarray]:
    """All of :func:`sim.signals.signal_shapes` [T, ...] of an uninterrupted stretch of SAMPLE [T, ...], ``dt`` (s) apart."""
    gravity, joint_vel = measured["projected_gravity"], measured["joint_vel"]
    found = estimate(
        kinematics, measured["joint_pos"], joint_vel, measured["base_ang_vel"], gravity, measured["joint_torque"], dt
    )  # fmt: skip
    steps, feet = len(joint_vel), found.feet
    rotation = world_from_base(gravity)
    velocity, height = found.base_lin_vel, found.base_height
    swept = np.einsum("tfxj,tj->tfx", feet.jacobian, joint_vel) + np.cross(measured["base_ang_vel"][:, None], feet.contact)
    place = np.zeros((steps, 3))
    place[:, 2] = height

    def turned(vectors: np.ndarray) -> np.ndarray:  # [T, F, 3]
        return np.einsum("txy,tfy->tfx", rotation, vectors)

    return {
        "base_pos": place, "base_quat": quaternions(rotation),
        "base_lin_vel_world": turned(velocity[:, None])[:, 0], "base_lin_vel": velocity,
        "foot_contact_force": turned(found.foot_force) * (found.stance > STANDS)[..., None],
        "foot_pos": place[:, None] + turned(feet.pos), "foot_vel": turned(velocity[:, None] + swept),
        "foot_contacts": (found.stance > STANDS).astype(float), "ground_contacts": np.full(steps, np.nan),
        **{name: measured[name] for name in SAMPLE},
    }  # fmt: skip


def packed(signals: Mapping[str, np.ndarray], num_joints: int, num_feet: int) -> Signals:
    """As an engine packs them, [T, 1, W] float32."""
    shapes = signal_shapes(num_joints, num_feet)
    whole = np.concatenate([signals[name].reshape(len(signals[name]), -1) for name in shapes], axis=-1, dtype=np.float32)
    return Signals(torch.from_numpy(whole)[:, None], num_joints, num_feet)


def views(signals: Signals) -> dict[str, Tensor]:
    """By name, [..., N, ...]."""
    return unpack(signals.packed, signal_shapes(signals.num_joints, signals.num_feet))


def world_from_base(gravity: np.ndarray) -> np.ndarray:
    """Rotations [T, 3, 3] of no yaw in which ``gravity`` [T, 3] of the base's frame points down: the base's x stays in the plane x, z."""
    up = -gravity / np.linalg.norm(gravity, axis=-1, keepdims=True)
    left = np.cross(up, [1.0, 0.0, 0.0])
    left /= np.linalg.norm(left, axis=-1, keepdims=True)
    return np.stack([np.cross(left, up), left, up], axis=-2)


def quaternions(rotation: np.ndarray) -> np.ndarray:
    """w, x, y, z [T, 4] of rotations [T, 3, 3] by less than half a turn."""
    w = 0.5 * np.sqrt(np.maximum(1.0 + np.trace(rotation, axis1=1, axis2=2), 1e-12))
    off = rotation - np.swapaxes(rotation, 1, 2)
    return np.stack([w, off[:, 2, 1] / (4 * w), off[:, 0, 2] / (4 * w), off[:, 1, 0] / (4 * w)], axis=-1)


