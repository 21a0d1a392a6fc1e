"""Reward terms of feet and gait: plain functions of a :class:`Frame`, [..., N]. Penalties are positive quantities."""

from __future__ import annotations

import torch
from torch import Tensor

from locomotion.schema import NotNegative, Positive
from locomotion.task.commands import length
from locomotion.task.frame import Frame
from locomotion.task.gait import foot_phases
from locomotion.task.terms import reward
from robots.robot import GRAVITY


@reward
def clearance(frame: Frame, *, height: Positive | None = None) -> Tensor:
    """|sole height - height| times horizontal speed, summed over feet, m^2/s: a foot that travels does so at ``height``.

    ``height`` in m; None: the robot's swing height.
    """
    wanted = frame.robot.swing_height if height is None else height
    speed = length(frame.signals.foot_vel[..., :2])
    return ((frame.sole_height - wanted).abs() * speed).sum(dim=-1)


@reward
def air_time(frame: Frame, *, shortest: NotNegative = 0.2, longest: Positive = 0.5) -> Tensor:
    """Time that landing feet were in the air beyond ``shortest``, at most to ``longest`` (s), summed over feet; 0 when told to stand.

    An event of the step in which a foot lands. Time in the air before an episode does not count.
    """
    flight = frame.flight.clamp(max=longest) - shortest
    return (flight * frame.touchdown).sum(dim=-1) * frame.moving


@reward
def contact_timing(frame: Frame) -> Tensor:
    """Share of feet whose contact is what the gait's clock says; all should stand when told to. 1 where there is no gait."""
    return frame.contact_timing


@reward
def swing_load(frame: Frame) -> Tensor:
    """Vertical force on the feet that the gait's clock has in swing, in body weights, summed over feet; 0 where there is no gait.

    A biped must shift its weight before a foot can rise, and this falls as soon as it begins to. Siekmann et al. 2021, Sim-to-Real
    Learning of All Common Bipedal Gaits via Periodic Reward Composition.
    """
    if frame.gait is None:
        return torch.zeros_like(frame.moving)
    swings = foot_phases(frame.phase, frame.gait_command) >= frame.gait.settings.stance
    force = (frame.signals.foot_contact_force[..., 2] * swings).sum(dim=-1) * frame.moving
    return (force / (GRAVITY * frame.robot.total_mass)).clamp(max=1.0)


@reward
def landing_force(frame: Frame) -> Tensor:
    """Vertical force on the feet that have landed in this step, in body weights, summed over feet."""
    return (frame.signals.foot_contact_force[..., 2] * frame.touchdown).sum(dim=-1) / (GRAVITY * frame.robot.total_mass)


@reward
def impact(frame: Frame, *, limit: NotNegative = 1.5) -> Tensor:
    """Force on the feet beyond ``limit`` body weights each, in body weights, summed over feet."""
    force = length(frame.signals.foot_contact_force) / (GRAVITY * frame.robot.total_mass)
    return (force - limit).clamp(min=0.0).sum(dim=-1)


@reward
def gait(frame: Frame) -> Tensor:
    """How well the feet follow the gait clock, 0 to 1."""
    return frame.gait_score


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
def foothold(frame: Frame) -> Tensor:
    """Squared distance of standing feet from where the gait has them, summed over feet, as a share of the standing height squared."""
    return (frame.misplaced * frame.contact).sum(dim=-1) * frame.moving / frame.robot.standing_height**2
