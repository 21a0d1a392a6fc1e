"""What people are told of training: figures in 0..1 of a :class:`Frame`, [..., N], averaged. The task names those that score."""

from __future__ import annotations

import torch
from torch import Tensor

from locomotion.schema import Positive
from locomotion.task.frame import TILT_LIMIT, Frame
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
def upright(frame: Frame) -> Tensor:
    """(1 + cos of the angle from upright) / 2: 1 upright, 0 upside down."""
    return 0.5 - 0.5 * frame.signals.projected_gravity[..., 2]


@metric
def height(frame: Frame) -> Tensor:
    """exp(-25 e^2), e the base's height less what is asked for, as a share of the standing height."""
    return torch.exp(-25.0 * frame.height_error.square())


@metric
def still(frame: Frame) -> Tensor:
    """exp(-|v_xy|^2 / 0.25), whatever is asked for."""
    return torch.exp(-4.0 * frame.signals.base_lin_vel[..., :2].square().sum(dim=-1))


@metric
def stood(frame: Frame) -> Tensor:
    """1 where the base is within 30 degrees of upright and above 0.8 of the standing height."""
    return ((frame.tilt < TILT_LIMIT) & (frame.base_height > 0.8 * frame.robot.standing_height)).float()


@metric
def speed(frame: Frame, *, top: Positive = 1.0) -> Tensor:
    """Forward velocity as a share of ``top`` (m/s), within 0..1."""
    return (frame.signals.base_lin_vel[..., 0] / top).clamp(0.0, 1.0)


@metric
def timing(frame: Frame) -> Tensor:
    """Share of feet whose contact is what the gait's clock says."""
    return frame.contact_timing


@metric
def gait(frame: Frame) -> Tensor:
    """How well the feet follow the gait clock."""
    return frame.gait_score
