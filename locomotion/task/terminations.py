"""What ends an episode: plain functions of the present :class:`Frame`, [N] bool. Time-outs and faults are the task's own."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor

from locomotion.schema import Positive
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
