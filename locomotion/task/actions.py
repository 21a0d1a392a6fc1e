"""From the policy's raw action to joint targets: scaling, then the limits that a deployment enforces. Part of the exported graph."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from robots import Robot
from robots.actuator import POSITION_MARGIN, SLEW


class ActionDecoder(nn.Module):
    """joint_pos_target = default + scale * action, clipped as the supervisor of a deployment clips: in its order, by its limits.

    Position: within the joint's limits, less a margin. Slew: no further from the last target than the joint's speed limit lets
    it. Torque: :func:`robots.actuator.clip_target_to_effort`, with its constants worked out beforehand. A policy so decoded is
    never changed by these filters, and has learned under them. The last target is the tail of ``memory``: [N, J], less the default.
    """

    default_joint_pos: Tensor
    action_scale: Tensor
    damping_ratio: Tensor  # kd / kp, s
    reach: Tensor  # effort limit / kp, rad
    low: Tensor  # rad from the default pose
    high: Tensor
    max_change: Tensor  # rad a control step

    def __init__(self, robot: Robot, control_dt: float, device: torch.device | str = "cpu") -> None:
        super().__init__()
        low, high = (robot.joint_pos_limit - robot.default_joint_pos[:, None]).T
        values = {
            "default_joint_pos": robot.default_joint_pos,
            "action_scale": robot.action_scale,
            "damping_ratio": robot.kd / robot.kp,
            "reach": robot.effort_limit / robot.kp,
            "low": low + POSITION_MARGIN,
            "high": high - POSITION_MARGIN,
            "max_change": SLEW * robot.joint_vel_limit * control_dt,
        }
        for name, value in values.items():
            self.register_buffer(name, torch.as_tensor(np.array(value), dtype=torch.float32, device=device), persistent=False)

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The actions [J] beyond which the joint's limits clip the target."""
        return self.low / self.action_scale, self.high / self.action_scale

    def forward(self, action: Tensor, joint_pos: Tensor, joint_vel: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The target that the motors get, [N, J] rad, and the same less the default; positions and velocities are as measured."""
        previous = memory[..., -self.low.shape[0] :]
        target = (self.action_scale * action).clip(self.low, self.high)
        target = target.clip(previous - self.max_change, previous + self.max_change)
        center = torch.addcmul(joint_pos - self.default_joint_pos, self.damping_ratio, joint_vel)
        target = target.clip(center - self.reach, center + self.reach)
        return self.default_joint_pos + target, target
