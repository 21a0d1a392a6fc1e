"""What people are told of training: figures in 0..1 of a :class:`Frame`, [..., N], averaged. The task names those that score."""

from __future__ import annotations

import torch
from torch import Tensor

from locomotion.task.frame import Frame
from locomotion.task.terms import metric


@metric
def tracking(frame: Frame) -> Tensor:
    """exp(-|v_xy - command|^2 / 0.25), as in the scorecard."""
    return torch.exp(-4.0 * frame.lin_vel_error)


@metric
def yaw(frame: Frame) -> Tensor:
    """exp(-(yaw rate - command)^2 / 0.25), as in the scorecard."""
    return torch.exp(-4.0 * frame.yaw_error)


@metric
def gait(frame: Frame) -> Tensor:
    """How well the feet follow the gait clock."""
    return frame.gait_score
