"""Filters of the target: each a pure function that gives the interval which a target must lie in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deploy.interface import Floats
from deploy.limits import Limits
from robots import Robot
from robots.actuator import clip_target_to_effort

UNCHANGED = 1e-5  # rad: policies decode in single precision


@dataclass(frozen=True)
class Situation:
    """What a target [J] is filtered by."""

    robot: Robot
    limits: Limits
    control_dt: float  # s
    joint_pos: Floats  # [J] rad
    joint_vel: Floats  # [J] rad/s
    last_target: Floats  # [J] rad
    effort_share: float = 1.0  # of the torque limit


@dataclass(frozen=True)
class Filter:
    """``interval`` gives the lowest and highest target [J], rad."""

    name: str
    interval: Callable[[Situation], tuple[Floats, Floats]]
    text: str


@dataclass(frozen=True)
class Filtered:
    target: Floats  # [J] rad
    changed: tuple[str, ...]  # names of the filters that changed it
    conflict: np.ndarray  # [J] whether no target is within both the position and the torque limit


def position(now: Situation) -> tuple[Floats, Floats]:
    low, high = now.robot.joint_pos_limit.T
    return low + now.limits.position_margin, high - now.limits.position_margin


def slew(now: Situation) -> tuple[Floats, Floats]:
    reach = now.limits.slew * now.robot.joint_vel_limit * now.control_dt
    return now.last_target - reach, now.last_target + reach


def torque(now: Situation) -> tuple[Floats, Floats]:
    robot, effort = now.robot, now.effort_share * now.robot.effort_limit
    ends = np.full(robot.num_joints, np.inf)
    low, high = (clip_target_to_effort(x, now.joint_pos, now.joint_vel, robot.kp, robot.kd, effort) for x in (-ends, ends))
    return low, high


SLEW = Filter("slew", slew, "no further from the last target than `slew` times the joint's speed limit lets it")
POSITION = Filter("position", position, "`position_margin` inside the joint's limits")
TORQUE = Filter("torque", torque, "where the motor's PD loop, at the measured position and velocity, asks for no more than its limit")
FILTERS = (SLEW, POSITION, TORQUE)


def apply(asked: Floats, now: Situation) -> Filtered:
    """``asked`` [J], finite, through the filters in their order.

    Position and torque limits together are one interval, and where it is empty there is no safe target: ``conflict``. The slew limit
    comes before them, so where they exclude what it allows, they win: a motor's torque and a joint's stops matter more than how fast a
    target moves.
    """
    target, changed = asked, []
    for item in FILTERS:
        before, target = target, target.clip(*item.interval(now))
        if np.abs(target - before).max() > UNCHANGED:
            changed.append(item.name)
    (low, high), (least, most) = position(now), torque(now)
    # where limits undo what an earlier one did, nothing was changed
    kept = np.abs(target - asked).max() <= UNCHANGED
    return Filtered(target, () if kept else tuple(changed), np.maximum(low, least) > np.minimum(high, most))
