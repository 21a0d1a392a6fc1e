"""From the policy's raw action to joint targets: scaling, joint limits, torque limits. Part of the exported graph."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from robots import Robot


class ActionDecoder(nn.Module):
    """joint_pos_target = default + scale * action, clipped to the joint's limits and to what its motor's torque allows.

    The second clip is :func:`robots.actuator.clip_target_to_effort` with its constants worked out beforehand.
    """

    default_joint_pos: Tensor
    action_scale: Tensor
    damping_ratio: Tensor  # kd / kp, s
    reach: Tensor  # effort limit / kp, rad
    low: Tensor
    high: Tensor

    def __init__(self, robot: Robot, device: torch.device | str = "cpu") -> None:
        super().__init__()
        low, high = robot.joint_pos_limit.T
        values = {
            "default_joint_pos": robot.default_joint_pos,
            "action_scale": robot.action_scale,
            "damping_ratio": robot.kd / robot.kp,
            "reach": robot.effort_limit / robot.kp,
            "low": low,
            "high": high,
        }
        for name, value in values.items():
            self.register_buffer(name, torch.as_tensor(np.array(value), dtype=torch.float32, device=device), persistent=False)

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The actions [J] beyond which the joint's limits clip the target."""
        return (self.low - self.default_joint_pos) / self.action_scale, (self.high - self.default_joint_pos) / self.action_scale

    def forward(self, action: Tensor, joint_pos: Tensor, joint_vel: Tensor) -> Tensor:
        """The target that the motors get, [N, J] rad; ``joint_pos`` and ``joint_vel`` are the measured ones."""
        target = torch.addcmul(self.default_joint_pos, self.action_scale, action).clip(self.low, self.high)
        center = torch.addcmul(joint_pos, self.damping_ratio, joint_vel)
        return target.clip(center - self.reach, center + self.reach)
