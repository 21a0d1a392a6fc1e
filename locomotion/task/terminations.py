"""What ends an episode: plain functions of the present :class:`Frame`, [N] bool. Time-outs and faults are the task's own."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from locomotion.schema import Positive, Share
from locomotion.task.frame import Frame
from locomotion.task.terms import termination

Angle = Annotated[float, Field(gt=0, lt=math.pi)]


@termination
def tilt(frame: Frame, *, limit: Angle = 1.05) -> Tensor:
    """The base leans further than ``limit`` (rad) from upright."""
    return frame.signals.projected_gravity[..., 2] > -math.cos(limit)


@termination
def low_base(frame: Frame, *, share: Positive = 0.5) -> Tensor:
    """The base is lower than ``share`` of the standing height."""
    return frame.base_height < share * frame.robot.standing_height


@termination
def body_contact(frame: Frame) -> Tensor:
    """Anything but a foot touches the ground."""
    return frame.body_contacts > 0


@termination
def joint_limits(frame: Frame, *, share: Positive = 1.0, probability: Share = 1.0) -> Tensor:
    """A joint leaves the middle ``share`` of its range; ends the episode with ``probability`` a step (constraints as terminations)."""
    low, high = frame.robot.joint_pos_low, frame.robot.joint_pos_high
    off = (frame.signals.joint_pos - 0.5 * (low + high)).abs() > 0.5 * share * (high - low)
    return _by_chance(frame, off, probability)


@termination
def joint_vel_limits(frame: Frame, *, share: Positive = 1.0, probability: Share = 1.0) -> Tensor:
    """A joint is faster than ``share`` of its motor's limit; ends the episode with ``probability`` a step."""
    return _by_chance(frame, frame.signals.joint_vel.abs() > share * frame.robot.joint_vel_limit, probability)


@termination
def torque_limits(frame: Frame, *, share: Positive = 1.0, probability: Share = 1.0) -> Tensor:
    """More torque is asked of a motor than ``share`` of its limit; ends the episode with ``probability`` a step."""
    return _by_chance(frame, frame.requested_torque.abs() > share * frame.robot.effort_limit, probability)


def _by_chance(frame: Frame, over: Tensor, probability: float) -> Tensor:
    """[N]: any of ``over`` [N, J], and luck is out. Chane-Sane et al. 2024, with one probability for any excess."""
    broken = over.any(dim=-1)
    if probability == 1.0:
        return broken
    return broken & (torch.rand(broken.shape, device=broken.device, generator=frame.generator) < probability)
