"""Reward terms: plain functions of one control step, each [N], combined by the weights in ``configs/task/*.yaml``.

Terms that end in ``_error``-like penalties are positive quantities with negative weights. To add a term, write a function
that takes a :class:`Step` and add it to :data:`TERMS`; its name is then a key of the task's ``reward.weights``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sim import Signals

CONTACT_FORCE = 1.0  # N, above which a foot counts as on the ground
TILT_LIMIT = math.radians(30.0)


@dataclass(frozen=True)
class GaitConfig:
    """A trot: which feet swing together, how long and how high."""

    phase_offset: tuple[float, ...]  # [F] cycles
    stance: float  # share of the cycle that a foot stands
    swing_height: float  # m, lowest clearance of the sole at mid swing
    tolerance: float  # m, how far below the reference a swinging foot may be
    excess: float  # m above the reference that is free, and again as tolerance beyond
    gate: float  # share of the tracking reward that depends on the gait


@dataclass(frozen=True)
class Step:
    """One control step of N robots, with what several terms need computed once."""

    signals: Signals
    command: Tensor  # [N, 3]
    action: Tensor  # [N, J]
    previous_action: Tensor  # [N, J]
    requested_torque: Tensor  # [N, J] N m, what the unclipped target would ask of the motors
    effort_limit: Tensor  # [J] N m
    default_joint_pos: Tensor  # [J] rad
    abduction: Tensor  # [J] 1 for joints whose mirror image turns the other way
    moving: Tensor  # [N] 1 where the command asks for motion
    lin_vel_error: Tensor  # [N] squared horizontal velocity error, (m/s)^2
    yaw_error: Tensor  # [N] squared yaw rate error, (rad/s)^2
    contact: Tensor  # [N, F] 1 where a foot carries load
    gait: Tensor  # [N] how well the feet follow the gait, 0 to 1
    gate: Tensor  # [N] factor of the tracking terms


def gait_score(foot_height: Tensor, contact: Tensor, phase: Tensor, moving: Tensor, config: GaitConfig) -> Tensor:
    """How well the feet follow the clock, [N] in 0..1: clearance in swing, contact in stance; all feet down when standing.

    ``foot_height`` [N, F] is the height of the sole (m), ``phase`` [N, 1] the clock in cycles.
    """
    offset = torch.tensor(config.phase_offset)
    foot_phase = torch.remainder(phase + offset, 1.0)  # [N, F]: stance, then swing
    swing = (foot_phase - config.stance) / (1.0 - config.stance)
    swinging = (swing > 0.0).float() * moving[:, None]
    reference = config.swing_height * torch.sin(math.pi * swing)
    below = (foot_height - reference).clamp(max=0.0) / config.tolerance
    above = (foot_height - reference - config.excess).clamp(min=0.0) / config.excess
    follows = torch.exp(-below.square() - above.square())
    return torch.lerp(contact, follows, swinging).mean(dim=-1)


def track_lin_vel(step: Step) -> Tensor:
    """exp(-|v_xy - command|^2 / 0.25), gated by the gait."""
    return torch.exp(-4.0 * step.lin_vel_error) * step.gate


def track_lin_vel_wide(step: Step) -> Tensor:
    """exp(-|v_xy - command|^2), gated: a slope to climb where the narrow kernel is flat."""
    return torch.exp(-step.lin_vel_error) * step.gate


def track_yaw(step: Step) -> Tensor:
    """exp(-(yaw rate - command)^2 / 0.25), gated by the gait."""
    return torch.exp(-4.0 * step.yaw_error) * step.gate


def gait(step: Step) -> Tensor:
    """How well the feet follow the gait clock."""
    return step.gait


def vertical_velocity(step: Step) -> Tensor:
    """Squared vertical velocity of the base, (m/s)^2."""
    return step.signals.base_lin_vel[:, 2].square()


def roll_pitch_rate(step: Step) -> Tensor:
    """Squared roll and pitch rates, (rad/s)^2."""
    return step.signals.base_ang_vel[:, :2].square().sum(dim=-1)


def tilt(step: Step) -> Tensor:
    """Squared sine of the base's inclination."""
    return step.signals.projected_gravity[:, :2].square().sum(dim=-1)


def tilt_over_limit(step: Step) -> Tensor:
    """Inclination beyond 30 degrees, rad."""
    angle = torch.acos((-step.signals.projected_gravity[:, 2]).clamp(-1.0, 1.0))
    return (angle - TILT_LIMIT).clamp(min=0.0)


def torque(step: Step) -> Tensor:
    """Sum of squared motor torques, (N m)^2."""
    return step.signals.joint_torque.square().sum(dim=-1)


def torque_over_limit(step: Step) -> Tensor:
    """Torque asked for beyond the motors' limits, as a multiple of the limit, summed over joints."""
    return (step.requested_torque.abs() / step.effort_limit - 1.0).clamp(min=0.0).sum(dim=-1)


def action_rate(step: Step) -> Tensor:
    """Squared change of the action from step to step."""
    return (step.action - step.previous_action).square().sum(dim=-1)


def abduction(step: Step) -> Tensor:
    """Squared deviation of the abduction joints from the default pose, rad^2."""
    return ((step.signals.joint_pos - step.default_joint_pos) * step.abduction).square().sum(dim=-1)


def standing_pose(step: Step) -> Tensor:
    """Squared deviation from the default pose while the command is to stand, rad^2."""
    return (step.signals.joint_pos - step.default_joint_pos).square().sum(dim=-1) * (1.0 - step.moving)


def standing_joint_vel(step: Step) -> Tensor:
    """Squared joint velocities while the command is to stand, (rad/s)^2."""
    return step.signals.joint_vel.square().sum(dim=-1) * (1.0 - step.moving)


def foot_slip(step: Step) -> Tensor:
    """Squared horizontal velocity of the feet that carry load, (m/s)^2."""
    return (step.signals.foot_vel[..., :2].square().sum(dim=-1) * step.contact).sum(dim=-1)


def body_contact(step: Step) -> Tensor:
    """1 where anything but a foot touches the ground."""
    return (step.signals.body_contacts > 0).float()


Term = Callable[[Step], Tensor]
TERMS: dict[str, Term] = {
    term.__name__: term
    for term in (
        track_lin_vel, track_lin_vel_wide, track_yaw, gait, vertical_velocity, roll_pitch_rate, tilt, tilt_over_limit, torque,
        torque_over_limit, action_rate, abduction, standing_pose, standing_joint_vel, foot_slip, body_contact,
    )
}  # fmt: skip
