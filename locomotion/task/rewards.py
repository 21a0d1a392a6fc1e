"""A task's reward, and the reward terms of the base: plain functions of a :class:`Frame`, [..., N], run once over a whole rollout.

A task's YAML gives each its ``weight`` and settings. Penalties are positive quantities with negative weights. The weighted sum
of terms ``per: second`` (the default) is floored and multiplied by the control period; a term ``per: event`` is added as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from locomotion.schema import Finite, NotNegative, Positive, Settings, check
from locomotion.task.frame import TILT_LIMIT, Frame
from locomotion.task.terms import reward
from robots.errors import InputError


@reward
def upright(frame: Frame, *, width: Positive = 0.5) -> Tensor:
    """exp(-|gravity - down|^2 / width^2): 1 upright; the difference of unit vectors is 2 upside down."""
    gravity = frame.signals.projected_gravity
    off = gravity[..., :2].square().sum(dim=-1) + (gravity[..., 2] + 1.0).square()
    return torch.exp(off * (-1.0 / width**2))


@reward
def standing_height(frame: Frame, *, width: Positive = 0.25) -> Tensor:
    """exp(-(height / standing height - 1)^2 / width^2), times the uprightness; a base higher than standing counts as standing.

    Upside down on its legs a robot can be as high: only the gate tells that from standing.
    """
    missing = (1.0 - frame.base_height / frame.robot.standing_height).clamp(min=0.0)
    return frame.uprightness * torch.exp(missing.square() * (-1.0 / width**2))


@reward
def forward_velocity(frame: Frame) -> Tensor:
    """Velocity of the base in its own forward direction, m/s."""
    return frame.signals.base_lin_vel[..., 0]


@reward
def roll(frame: Frame) -> Tensor:
    """Absolute roll of the base, rad."""
    return frame.roll.abs()


@reward
def pitch(frame: Frame) -> Tensor:
    """Absolute pitch of the base, rad."""
    return frame.pitch.abs()


@reward
def pitch_error(frame: Frame) -> Tensor:
    """Squared difference of the base's pitch from the command's channel, rad^2."""
    return (frame.pitch - frame.channel("pitch")).square()


@reward
def track_pitch(frame: Frame, *, width: Positive = 0.1) -> Tensor:
    """exp(-(pitch - the command's channel)^2 / width^2), ``width`` in rad: unlike a square it still pays where little is missing."""
    return torch.exp((frame.pitch - frame.channel("pitch")).square() * (-1.0 / width**2))


@reward
def horizontal_speed(frame: Frame) -> Tensor:
    """Horizontal speed of the base, m/s, whatever it is told."""
    return frame.horizontal_speed


@reward
def track_lin_vel(frame: Frame, *, width: Positive = 0.5, gated: bool = True) -> Tensor:
    """exp(-|v_xy - command|^2 / width^2), gated by the gait."""
    score = torch.exp(frame.lin_vel_error * (-1.0 / width**2))
    return score * frame.gate if gated else score


@reward
def track_yaw(frame: Frame, *, width: Positive = 0.5, gated: bool = True) -> Tensor:
    """exp(-(yaw rate - command)^2 / width^2), gated by the gait."""
    score = torch.exp(frame.yaw_error * (-1.0 / width**2))
    return score * frame.gate if gated else score


@reward
def vertical_velocity(frame: Frame) -> Tensor:
    """Squared vertical velocity of the base, (m/s)^2."""
    return frame.signals.base_lin_vel[..., 2].square()


@reward
def roll_pitch_rate(frame: Frame) -> Tensor:
    """Squared roll and pitch rates, (rad/s)^2."""
    return frame.signals.base_ang_vel[..., :2].square().sum(dim=-1)


@reward
def tilt(frame: Frame) -> Tensor:
    """Squared sine of the base's inclination."""
    return frame.signals.projected_gravity[..., :2].square().sum(dim=-1)


@reward
def tilt_over_limit(frame: Frame, *, limit: NotNegative = TILT_LIMIT) -> Tensor:
    """Inclination beyond ``limit`` (rad), rad."""
    return (frame.tilt - limit).clamp(min=0.0)


@reward
def standing_speed(frame: Frame) -> Tensor:
    """Horizontal speed of the base while the command is to stand, m/s."""
    return frame.horizontal_speed * frame.standing


@reward
def base_height(frame: Frame) -> Tensor:
    """Squared deviation of the base's height from the standing height (or what the command asks for), as a share of the former."""
    return frame.height_error.square()


@reward
def track_height(frame: Frame, *, width: Positive = 0.1) -> Tensor:
    """exp(-e^2 / width^2), e the base's height less what is asked for, as a share of the standing height."""
    return torch.exp(frame.height_error.square() * (-1.0 / width**2))


@reward
def body_contact(frame: Frame) -> Tensor:
    """1 where anything but a foot touches the ground."""
    return (frame.body_contacts > 0).float()


@reward
def fell(frame: Frame) -> Tensor:
    """1 in the step that ended in a fall; meant for ``per: event``."""
    return frame.terminated.float()


class Weight(Settings):
    weight: Finite
    per: Literal["second", "event"] = "second"


class Rewards:
    """A task's reward: its terms, bound and weighted."""

    def __init__(self, settings: Mapping[str, Any], floor: float | None, control_dt: float, device: torch.device) -> None:
        self.names, self.floor, self.control_dt = tuple(settings), floor, control_dt
        own = tuple(Weight.model_fields)
        self._terms = [reward.bind("task.rewards", name, value, without=own) for name, value in settings.items()]
        weights = [
            check(Weight, {key: value[key] for key in own if key in value}, f"task.rewards.{name}") for name, value in settings.items()
        ]
        kinds = [[i for i, w in enumerate(weights) if w.per == per] for per in ("second", "event")]
        self._rates, self._events = (torch.tensor(kind, dtype=torch.int64, device=device) for kind in kinds)
        self.weights = torch.tensor([w.weight for w in weights], device=device)  # [K]; a curriculum may change them in place

    @staticmethod
    def _value(name: str, term: Callable[[Frame], Tensor], frame: Frame) -> Tensor:
        try:
            return term(frame)
        except Exception as error:  # whatever a term of somebody else's raises
            raise InputError(
                f"task.rewards.{name}", f"{type(error).__name__}: {error}", "a term that can be computed", "Mend it."
            ) from error

    def __call__(self, frame: Frame, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The reward [..., N] and the terms [K, ..., N], unweighted. A step that is not ``valid`` [..., N] earns events only."""
        values = [self._value(name, term, frame) for name, term in zip(self.names, self._terms, strict=True)]
        for name, value in zip(self.names, values, strict=True):
            if not isinstance(value, Tensor) or value.shape != valid.shape:
                got = list(value.shape) if isinstance(value, Tensor) else value
                raise InputError(f"task.rewards.{name}", got, f"a tensor of shape {list(valid.shape)}", "Sum over the last dimension.")
        terms = torch.stack(values)
        # not zero times a term: the figures of a robot whose simulation diverged are no numbers
        rate, events = (torch.einsum("k,k...->...", self.weights[which], terms[which]) for which in (self._rates, self._events))
        if self.floor is not None:
            rate = rate.clamp(min=self.floor)
        return torch.where(valid, rate, 0.0) * self.control_dt + events, terms
