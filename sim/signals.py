"""Named signals of N robots in one packed tensor, so that an engine, a rollout and a row are each one copy.

``J`` is the number of joints, ``F`` of feet; leading dimensions are free ([N], or [T, N] for a rollout). Units are SI.
"""

from __future__ import annotations

import math

import torch

Tensor = torch.Tensor
Shape = tuple[int, ...]


def signal_shapes(num_joints: int, num_feet: int) -> dict[str, Shape]:
    """Shape of each signal of one robot, in the order in which they are packed: groups that an engine can copy in one go."""
    j, f = num_joints, num_feet
    return {
        "base_pos": (3,), "base_quat": (4,), "joint_pos": (j,),
        "base_lin_vel_world": (3,), "base_ang_vel": (3,), "joint_vel": (j,),
        "joint_torque": (j,),
        "foot_contact_force": (f, 3), "foot_pos": (f, 3), "foot_vel": (f, 3), "foot_contacts": (f,), "ground_contacts": (),
        "base_lin_vel": (3,), "projected_gravity": (3,),
    }  # fmt: skip


def initial_shapes(num_joints: int) -> dict[str, Shape]:
    """Shape of each part of one robot's initial state, in packed order."""
    shapes = signal_shapes(num_joints, 0)
    return {name: shapes[name] for name in ("base_pos", "base_quat", "joint_pos", "base_lin_vel_world", "base_ang_vel", "joint_vel")}


def width(shapes: dict[str, Shape]) -> int:
    """Numbers in one packed row."""
    return sum(math.prod(shape) for shape in shapes.values())


def unpack(packed: Tensor, shapes: dict[str, Shape]) -> dict[str, Tensor]:
    """Views of ``packed`` [..., width] by name."""
    views, offset = {}, 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        part = packed[..., offset : offset + size]
        views[name] = part.view(*packed.shape[:-1], *shape) if len(shape) != 1 else part
        offset += size
    return views


def columns(*shape: int, device: torch.device | str = "cpu") -> Tensor:
    """Zeros [..., K] of which each column is contiguous: arithmetic on columns of many robots is then several times as fast."""
    *leading, last = shape
    return torch.zeros(last, *leading, device=device).movedim(0, -1)


class Signals:
    """What an engine knows of N robots: views of ``packed`` [..., N, W].

    What is old: feet and contacts (from ``foot_contact_force`` on, up to ``ground_contacts``) and ``joint_torque`` describe
    the start of the last physics step in MuJoCo, everything else its end. In PyBullet all describe the end.
    """

    base_pos: Tensor  # [..., 3] m, world
    base_quat: Tensor  # [..., 4] w, x, y, z; world <- base
    joint_pos: Tensor  # [..., J] rad
    base_lin_vel_world: Tensor  # [..., 3] m/s, world frame
    base_ang_vel: Tensor  # [..., 3] rad/s, base frame
    joint_vel: Tensor  # [..., J] rad/s
    joint_torque: Tensor  # [..., J] N m
    foot_contact_force: Tensor  # [..., F, 3] N, world, on the foot
    foot_pos: Tensor  # [..., F, 3] m, world, centre of the foot's shape
    foot_vel: Tensor  # [..., F, 3] m/s, world
    foot_contacts: Tensor  # [..., F] contacts of each foot
    ground_contacts: Tensor  # [...] contacts of the ground with anything
    base_lin_vel: Tensor  # [..., 3] m/s, base frame
    projected_gravity: Tensor  # [..., 3] unit vector, base frame; (0, 0, -1) upright

    def __init__(self, packed: Tensor, num_joints: int, num_feet: int) -> None:
        self.packed, self.num_joints, self.num_feet = packed, num_joints, num_feet
        for name, view in unpack(packed, signal_shapes(num_joints, num_feet)).items():
            setattr(self, name, view)

    @classmethod
    def zeros(cls, num_envs: int, num_joints: int, num_feet: int, device: torch.device | str = "cpu") -> Signals:
        """Upright robots at rest at the origin."""
        signals = cls(columns(num_envs, width(signal_shapes(num_joints, num_feet)), device=device), num_joints, num_feet)
        signals.base_quat[..., 0] = 1.0
        signals.projected_gravity[..., 2] = -1.0
        return signals

    def rows(self, ids: Tensor) -> Signals:
        """A copy of the robots ``ids``."""
        return Signals(self.packed[ids], self.num_joints, self.num_feet)


class InitialState:
    """Where N robots begin: views of ``packed`` [N, 13 + 2 J]. Names, frames and units are those of :class:`Signals`."""

    base_pos: Tensor  # [N, 3]
    base_quat: Tensor  # [N, 4]
    joint_pos: Tensor  # [N, J]
    base_lin_vel_world: Tensor  # [N, 3]
    base_ang_vel: Tensor  # [N, 3]
    joint_vel: Tensor  # [N, J]

    def __init__(self, packed: Tensor, num_joints: int) -> None:
        self.packed, self.num_joints = packed, num_joints
        for name, view in unpack(packed, initial_shapes(num_joints)).items():
            setattr(self, name, view)

    @classmethod
    def standing(
        cls, num_envs: int, default_joint_pos: Tensor, height: float, yaw: Tensor | float = 0.0, device: torch.device | str = "cpu"
    ) -> InitialState:
        """At rest in the default pose, the base ``height`` (m) above the ground, facing ``yaw`` (rad, [N] or one number)."""
        j = len(default_joint_pos)
        state = cls(torch.zeros(num_envs, width(initial_shapes(j)), device=device), j)
        half = 0.5 * torch.as_tensor(yaw, dtype=torch.float32, device=device)
        state.base_pos[:, 2] = height
        state.base_quat[:, 0], state.base_quat[:, 3] = torch.cos(half), torch.sin(half)
        state.joint_pos[:] = default_joint_pos
        return state


def rotate_inverse(quat: Tensor, vectors: Tensor) -> Tensor:
    """Rotate ``vectors`` [N, K, 3] from the world frame into the frame of ``quat`` [N, 4] (w, x, y, z; world <- frame)."""
    axis = quat[:, None, 1:].expand_as(vectors)
    turn = torch.linalg.cross(axis, vectors).mul_(2.0)
    return torch.addcmul(vectors, quat[:, :1, None], turn, value=-1.0).add_(torch.linalg.cross(axis, turn))
