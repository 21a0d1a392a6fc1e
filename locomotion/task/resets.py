"""How episodes begin: terms that turn uniform numbers into initial states, many at once."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from locomotion.schema import NotNegative
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


def quat_from_euler(roll: Tensor, pitch: Tensor, yaw: Tensor) -> Tensor:
    """Quaternion w, x, y, z of intrinsic z-y-x rotations, [n, 4]."""
    half = 0.5 * torch.stack([roll, pitch, yaw])
    (cr, cp, cy), (sr, sp, sy) = torch.cos(half), torch.sin(half)
    return torch.stack(
        [cr * cp * cy + sr * sp * sy, sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy], dim=-1
    )
