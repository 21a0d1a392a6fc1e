"""Reward terms: plain functions of a :class:`Frame`, [..., N], run once over a whole rollout.

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

GRAVITY = 9.81  # m/s^2


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
def gait(frame: Frame) -> Tensor:
    """How well the feet follow the gait clock, 0 to 1."""
    return frame.gait_score


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
def torque(frame: Frame) -> Tensor:
    """Sum of squared motor torques, (N m)^2."""
    return frame.signals.joint_torque.square().sum(dim=-1)


@reward
def effort(frame: Frame) -> Tensor:
    """Sum of squared motor torques, each as a share of its limit."""
    return (frame.signals.joint_torque / frame.robot.effort_limit).square().sum(dim=-1)


@reward
def torque_over_limit(frame: Frame) -> Tensor:
    """Torque asked for beyond the motors' limits, as a multiple of the limit, summed over joints."""
    return (frame.requested_torque.abs() / frame.robot.effort_limit - 1.0).clamp(min=0.0).sum(dim=-1)


@reward
def action_rate(frame: Frame) -> Tensor:
    """Squared change of the action from step to step."""
    return (frame.action - frame.previous_action).square().sum(dim=-1)


@reward
def abduction(frame: Frame) -> Tensor:
    """Squared deviation of the joints that move legs sideways from the default pose, rad^2."""
    return (frame.pose_error * frame.robot.sideways).square().sum(dim=-1)


@reward
def standing_pose(frame: Frame) -> Tensor:
    """Squared deviation from the default pose while the command is to stand, rad^2."""
    return frame.pose_error.square().sum(dim=-1) * (1.0 - frame.moving)


@reward
def standing_joint_vel(frame: Frame) -> Tensor:
    """Squared joint velocities while the command is to stand, (rad/s)^2."""
    return frame.signals.joint_vel.square().sum(dim=-1) * (1.0 - frame.moving)


@reward
def standing_speed(frame: Frame) -> Tensor:
    """Horizontal speed of the base while the command is to stand, m/s."""
    return torch.linalg.vector_norm(frame.signals.base_lin_vel[..., :2], dim=-1) * (1.0 - frame.moving)


@reward
def standing_action_rate(frame: Frame) -> Tensor:
    """Squared change of the action from step to step while the command is to stand."""
    return (frame.action - frame.previous_action).square().sum(dim=-1) * (1.0 - frame.moving)


@reward
def foot_slip(frame: Frame) -> Tensor:
    """Squared horizontal velocity of the feet that carry load, (m/s)^2."""
    return (frame.signals.foot_vel[..., :2].square().sum(dim=-1) * frame.contact).sum(dim=-1)


@reward
def touchdown(frame: Frame) -> Tensor:
    """Squared vertical speed with which feet meet the ground, summed over feet, (m/s)^2.

    The engine's foot velocities are those of the last physics step's start, or of the control step before: the larger counts,
    since the landing may lie between the two.
    """
    fastest = torch.maximum(frame.signals.foot_vel[..., 2].square(), frame.before.foot_vel[..., 2].square())
    return (fastest * frame.touchdown).sum(dim=-1)


@reward
def touchdown_slide(frame: Frame) -> Tensor:
    """Squared horizontal speed of feet as they meet the ground, summed over feet, (m/s)^2."""
    return (frame.signals.foot_vel[..., :2].square().sum(dim=-1) * frame.touchdown).sum(dim=-1)


@reward
def power(frame: Frame) -> Tensor:
    """The motors' absolute mechanical power over the robot's weight, m/s: cost of transport times speed."""
    return frame.power / (GRAVITY * frame.robot.total_mass)


@reward
def base_height(frame: Frame) -> Tensor:
    """Squared deviation of the base's height from the standing height, as a share of it."""
    return (frame.base_height / frame.robot.standing_height - 1.0).square()


@reward
def foothold(frame: Frame) -> Tensor:
    """Squared distance of standing feet from where the gait has them, summed over feet, as a share of the standing height squared."""
    return (frame.misplaced * frame.contact).sum(dim=-1) * frame.moving / frame.robot.standing_height**2


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
        self._event = torch.tensor([w.per == "event" for w in weights], device=device)
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
        rate, events = (torch.einsum("k,k...->...", torch.where(which, self.weights, 0.0), terms) for which in (~self._event, self._event))
        if self.floor is not None:
            rate = rate.clamp(min=self.floor)
        return torch.where(valid, rate, 0.0) * self.control_dt + events, terms
