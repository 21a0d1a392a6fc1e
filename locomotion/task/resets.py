"""How episodes begin: terms that turn uniform numbers into initial states, many at once."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from locomotion.schema import NotNegative, Positive
from locomotion.task.terms import reset
from robots import Robot
from sim import InitialState, Simulator


@reset
class standing:
    """Around standing still in the default pose, any heading: +-U(spread) of each."""

    def __init__(
        self,
        robot: Robot,
        simulator: Simulator,
        *,
        base_lin_vel: NotNegative = 0.0,  # m/s, each axis, world frame
        base_ang_vel: NotNegative = 0.0,  # rad/s, each axis
        joint_pos: NotNegative = 0.0,  # rad
        tilt: NotNegative = 0.0,  # rad, roll and pitch
        drop: NotNegative = 0.02,  # m that the feet begin above the ground
    ) -> None:
        j, device = robot.num_joints, simulator.device
        self.draws = 9 + j
        scale = [base_lin_vel] * 3 + [base_ang_vel] * 3 + [tilt] * 2 + [math.pi] + [joint_pos] * j
        self._scale = 2.0 * torch.tensor(scale, device=device)
        self._robot_pose = torch.as_tensor(np.array(robot.default_joint_pos), dtype=torch.float32, device=device)
        self._terrain, self._height = simulator.terrain, robot.standing_height + drop

    def __call__(self, u: Tensor, state: InitialState) -> None:
        """Fill ``state`` [n] from uniform numbers ``u`` [n, draws] in 0..1."""
        spread = (u - 0.5) * self._scale
        state.base_pos[:] = 0.0
        state.base_pos[:, 2] = self._height + self._terrain.height(state.base_pos[:, :2])
        state.base_lin_vel_world[:], state.base_ang_vel[:] = spread[:, :3], spread[:, 3:6]
        state.base_quat[:] = quat_from_euler(spread[:, 6], spread[:, 7], spread[:, 8])
        state.joint_pos[:] = self._robot_pose + spread[:, 9:]
        state.joint_vel[:] = 0.0


@reset
class anywhere:
    """Any orientation and any joint position, at rest and let fall from ``height`` (standing heights): it settles as the episode begins."""

    def __init__(self, robot: Robot, simulator: Simulator, *, height: Positive = 2.0) -> None:
        self.draws = 3 + robot.num_joints
        limits = torch.as_tensor(np.array(robot.joint_pos_limit), dtype=torch.float32, device=simulator.device)
        self._low, self._high = limits.T
        self._terrain, self._height = simulator.terrain, height * robot.standing_height

    def __call__(self, u: Tensor, state: InitialState) -> None:
        """Fill ``state`` [n] from uniform numbers ``u`` [n, draws] in 0..1."""
        state.packed[:] = 0.0
        state.base_pos[:, 2] = self._height + self._terrain.height(state.base_pos[:, :2])
        state.base_quat[:] = any_rotation(u[:, :3])
        state.joint_pos[:] = torch.lerp(self._low, self._high, u[:, 3:])


def any_rotation(u: Tensor) -> Tensor:
    """Quaternions [n, 4], uniform over rotations, from uniform numbers ``u`` [n, 3] in 0..1. Shoemake 1992, Uniform random rotations."""
    first, second = (1.0 - u[:, 0]).sqrt(), u[:, 0].sqrt()
    a, b = (2.0 * math.pi) * u[:, 1], (2.0 * math.pi) * u[:, 2]
    return torch.stack([first * torch.sin(a), first * torch.cos(a), second * torch.sin(b), second * torch.cos(b)], dim=-1)


def quat_from_euler(roll: Tensor, pitch: Tensor, yaw: Tensor) -> Tensor:
    """Quaternion w, x, y, z of intrinsic z-y-x rotations, [n, 4]."""
    half = 0.5 * torch.stack([roll, pitch, yaw])
    (cr, cp, cy), (sr, sp, sy) = torch.cos(half), torch.sin(half)
    return torch.stack(
        [cr * cp * cy + sr * sp * sy, sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy], dim=-1
    )
