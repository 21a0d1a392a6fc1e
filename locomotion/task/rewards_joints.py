"""Reward terms of joints, motors and actions: plain functions of a :class:`Frame`, [..., N]. Penalties are positive quantities."""

from __future__ import annotations

import torch
from torch import Tensor

from locomotion.schema import Positive, Share
from locomotion.task.frame import Frame
from locomotion.task.terms import reward
from robots.robot import GRAVITY


@reward
def joint_vel(frame: Frame) -> Tensor:
    """Sum of squared joint velocities, (rad/s)^2."""
    return frame.signals.joint_vel.square().sum(dim=-1)


@reward
def joint_acc(frame: Frame) -> Tensor:
    """Sum of squared joint accelerations, (rad/s^2)^2, each the mean over the step."""
    return frame.joint_acc.square().sum(dim=-1)


@reward
def joint_limits(frame: Frame, *, share: Share = 0.9) -> Tensor:
    """How far joints are beyond the middle ``share`` of their range, rad, summed over joints."""
    low, high = frame.robot.joint_pos_low, frame.robot.joint_pos_high
    off = (frame.signals.joint_pos - 0.5 * (low + high)).abs()
    return (off - 0.5 * share * (high - low)).clamp(min=0.0).sum(dim=-1)


@reward
def joint_vel_limits(frame: Frame, *, share: Share = 0.9) -> Tensor:
    """Joint speeds beyond ``share`` of the motors' limits, as a multiple of the limit, summed over joints."""
    return (frame.signals.joint_vel.abs() / frame.robot.joint_vel_limit - share).clamp(min=0.0).sum(dim=-1)


@reward
def action_acc(frame: Frame) -> Tensor:
    """Squared second difference of the action, a - 2 a' + a''; actions before an episode are zero."""
    return (frame.action - 2.0 * frame.previous_action + frame.action_before_previous).square().sum(dim=-1)


@reward
def posture(frame: Frame, *, width: Positive = 0.5) -> Tensor:
    """Mean over joints of exp(-(joint position - default)^2 / width^2), ``width`` in rad, times the uprightness."""
    return frame.uprightness * torch.exp(frame.pose_error.square() * (-1.0 / width**2)).mean(dim=-1)


@reward
def pose(frame: Frame) -> Tensor:
    """Squared deviation from the default pose, rad^2."""
    return frame.pose_error.square().sum(dim=-1)


@reward
def symmetry(frame: Frame) -> Tensor:
    """Squared difference between the joint positions and their mirror image, rad^2, summed over joints.

    For what the robot does with both sides at once: standing, getting up, a bound, a pronk.
    """
    pos = frame.signals.joint_pos
    return (pos - frame.robot.mirror_sign * pos[..., frame.robot.mirror_index]).square().sum(dim=-1)


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
    return frame.action_change


@reward
def abduction(frame: Frame) -> Tensor:
    """Squared deviation of the joints that move legs sideways from the default pose, rad^2."""
    return (frame.pose_error * frame.robot.sideways).square().sum(dim=-1)


@reward
def standing_pose(frame: Frame) -> Tensor:
    """Squared deviation from the default pose while the command is to stand, rad^2."""
    return frame.pose_error.square().sum(dim=-1) * frame.standing


@reward
def standing_joint_vel(frame: Frame) -> Tensor:
    """Squared joint velocities while the command is to stand, (rad/s)^2."""
    return frame.signals.joint_vel.square().sum(dim=-1) * frame.standing


@reward
def standing_action_rate(frame: Frame) -> Tensor:
    """Squared change of the action from step to step while the command is to stand."""
    return frame.action_change * frame.standing


@reward
def power(frame: Frame) -> Tensor:
    """The motors' absolute mechanical power over the robot's weight, m/s: cost of transport times speed."""
    return frame.power / (GRAVITY * frame.robot.total_mass)
