"""From the policy's raw action to joint targets: scaling, joint limits, torque limits. Part of the exported graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robots import Robot
from robots.actuator import clip_target_to_effort


class ActionDecoder(nn.Module):
    """joint_pos_target = default + scale * action, clipped to the joint's limits and to what its motor's torque allows."""

    default_joint_pos: Tensor
    action_scale: Tensor
    kp: Tensor
    kd: Tensor
    effort_limit: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, robot: Robot) -> None:
        super().__init__()
        for name in ("default_joint_pos", "action_scale", "kp", "kd", "effort_limit"):
            self.register_buffer(name, torch.tensor(getattr(robot, name), dtype=torch.float32), persistent=False)
        low, high = torch.tensor(robot.joint_pos_limit, dtype=torch.float32).T
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def unclipped(self, action: Tensor) -> Tensor:
        """The target that the action asks for, [N, J] rad."""
        return torch.addcmul(self.default_joint_pos, self.action_scale, action)

    def forward(self, action: Tensor, joint_pos: Tensor, joint_vel: Tensor) -> Tensor:
        """The target that the motors get, [N, J] rad; ``joint_pos`` and ``joint_vel`` are the measured ones."""
        target = self.unclipped(action).clip(self.low, self.high)
        return clip_target_to_effort(target, joint_pos, joint_vel, self.kp, self.kd, self.effort_limit)
