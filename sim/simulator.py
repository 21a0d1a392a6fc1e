"""What the task sees of a physics engine: named signals of all environments at once, and five calls.

Every engine presents the same robot on the same ground, follows the same actuator law, and returns float32 torch tensors
in the robot's canonical joint order. ``N`` is the number of environments, ``J`` of joints, ``F`` of feet.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch

from robots import Robot

Tensor = torch.Tensor


@dataclass
class Signals:
    """The state of N robots. Units are SI; names, frames and shapes are the project's vocabulary.

    Foot signals and ``body_contacts`` describe the start of the last physics step, the others its end.
    """

    base_pos: Tensor  # [N, 3] m, world
    base_quat: Tensor  # [N, 4] w, x, y, z; world <- base
    base_lin_vel: Tensor  # [N, 3] m/s, base frame
    base_ang_vel: Tensor  # [N, 3] rad/s, base frame
    projected_gravity: Tensor  # [N, 3] unit vector, base frame; (0, 0, -1) upright
    joint_pos: Tensor  # [N, J] rad
    joint_vel: Tensor  # [N, J] rad/s
    joint_torque: Tensor  # [N, J] N m
    foot_contact_force: Tensor  # [N, F, 3] N, world, on the foot
    foot_pos: Tensor  # [N, F, 3] m, world
    foot_vel: Tensor  # [N, F, 3] m/s, world
    body_contacts: Tensor  # [N] contacts of the ground with anything but a foot

    @classmethod
    def zeros(cls, num_envs: int, num_joints: int, num_feet: int) -> Signals:
        """Upright robots at rest at the origin."""
        n, j, f = num_envs, num_joints, num_feet
        vector = {name: torch.zeros(n, 3) for name in ("base_pos", "base_lin_vel", "base_ang_vel")}
        joint = {name: torch.zeros(n, j) for name in ("joint_pos", "joint_vel", "joint_torque")}
        foot = {name: torch.zeros(n, f, 3) for name in ("foot_contact_force", "foot_pos", "foot_vel")}
        quat = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1)
        gravity = torch.tensor([0.0, 0.0, -1.0]).repeat(n, 1)
        return cls(**vector, **joint, **foot, base_quat=quat, projected_gravity=gravity, body_contacts=torch.zeros(n))

    def rows(self, ids: Tensor) -> Signals:
        """A copy of the environments ``ids``."""
        return Signals(**{field.name: getattr(self, field.name)[ids] for field in fields(self)})


@dataclass
class InitialState:
    """Where ``n`` robots begin. Velocities are the base's, linear in the world frame, angular in the base frame."""

    base_pos: Tensor  # [n, 3] m
    base_quat: Tensor  # [n, 4]
    base_lin_vel: Tensor  # [n, 3] m/s, world
    base_ang_vel: Tensor  # [n, 3] rad/s, base
    joint_pos: Tensor  # [n, J] rad
    joint_vel: Tensor  # [n, J] rad/s


class Simulator(Protocol):
    """A batch of N robots on flat ground."""

    robot: Robot
    num_envs: int
    physics_dt: float  # s
    signals: Signals  # of the present: its tensors change with reset(), push() and step()
    faults: Tensor  # [N] bool: the last step() failed for these; their state is not to be trusted until reset

    def reset(self, ids: Tensor, state: InitialState) -> None:
        """Put the environments ``ids`` (sorted, unique) into ``state``; their motors hold ``state.joint_pos``."""
        ...

    def step(self, joint_pos_target: Tensor, substeps: int) -> None:
        """Advance all by ``substeps`` physics steps with motors following ``joint_pos_target`` [N, J] (rad)."""
        ...

    def push(self, ids: Tensor, velocity: Tensor) -> None:
        """Add ``velocity`` [n, 2] (m/s, world) to the horizontal velocity of the bases of ``ids``."""
        ...

    def randomize(self, ids: Tensor, values: dict[str, Tensor]) -> None:
        """Set physical parameters (:data:`PARAMETERS`) of the environments ``ids``, from the nominal model, not cumulatively."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


# Physical parameters that randomize() accepts: trailing shape (J stands for the number of joints), meaning, nominal value.
PARAMETERS: dict[str, tuple[tuple[int | str, ...], str, float]] = {
    "friction": ((), "sliding friction of feet and ground, absolute", float("nan")),
    "base_mass_offset": ((), "kg added to the base", 0.0),
    "base_com_offset": ((3,), "m added to the base's centre of mass", 0.0),
    "kp_scale": (("J",), "factor on kp", 1.0),
    "kd_scale": (("J",), "factor on kd", 1.0),
    "motor_strength": (("J",), "factor on the torque that a motor delivers, its limit included", 1.0),
    "action_delay": ((), "s from a new target to its effect in the motors", 0.0),
    "ground_slope": ((2,), "rad, inclination of the ground along x and y", 0.0),
}


def rotate_inverse(quat: Tensor, vectors: Tensor) -> Tensor:
    """Rotate ``vectors`` [N, K, 3] from the world frame into the frame of ``quat`` [N, 4] (w, x, y, z; world <- frame)."""
    axis = quat[:, None, 1:].expand_as(vectors)
    turn = torch.linalg.cross(axis, vectors).mul_(2.0)
    return torch.addcmul(vectors, quat[:, :1, None], turn, value=-1.0).add_(torch.linalg.cross(axis, turn))
