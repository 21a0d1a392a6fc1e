"""Filters of the target: each a pure function that gives the interval which a target must lie in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from deploy.interface import Floats
from deploy.limits import Limits
from robots import Robot
from robots.actuator import clip_target_to_effort, motor_torque
from robots.heat import loss

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
    effort_share: Floats | float = 1.0  # [J] of the torque limit
    gain: float = 1.0  # of kp
    box: float = math.inf  # rad around the default pose
    asked: Floats | None = None  # [J] rad, the target that comes to a filter


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


def box(now: Situation) -> tuple[Floats, Floats]:
    pose = now.robot.default_joint_pos
    return pose - now.box, pose + now.box


def position(now: Situation) -> tuple[Floats, Floats]:
    low, high = now.robot.joint_pos_limit.T
    return low + now.limits.position_margin, high - now.limits.position_margin


def slew(now: Situation) -> tuple[Floats, Floats]:
    reach = now.limits.slew * now.robot.joint_vel_limit * now.control_dt
    return now.last_target - reach, now.last_target + reach


def torque(now: Situation) -> tuple[Floats, Floats]:
    return _within(now, now.effort_share * now.robot.effort_limit)


def power(now: Situation) -> tuple[Floats, Floats]:
    """All torques shrink by one share s where together they would take more: s times the mechanical power and s^2 times the copper loss
    of :func:`deploy.window.motor_power` are the power that there is. A motor that brakes gives nothing back in this reckoning."""
    robot, most = now.robot, now.robot.battery_power
    ends = np.full(robot.num_joints, np.inf)
    if most is None or now.asked is None:
        return -ends, ends
    effort = now.effort_share * robot.effort_limit
    demand = motor_torque(now.asked, now.joint_pos, now.joint_vel, now.gain * robot.kp, robot.kd, effort, curve=robot.torque_speed)
    heat, motion = float((loss(robot) * np.square(demand)).sum()), float(np.maximum(demand * now.joint_vel, 0.0).sum())
    budget = now.limits.power * most
    if motion + heat <= budget:
        return -ends, ends
    share = 2.0 * budget / (motion + math.sqrt(motion * motion + 4.0 * heat * budget))
    return _within(now, share * np.abs(demand))


def _within(now: Situation, effort: Floats) -> tuple[Floats, Floats]:
    """Targets at which no motor is asked for more than ``effort`` [J] (N m)."""
    robot, ends = now.robot, np.full(now.robot.num_joints, np.inf)
    low, high = (clip_target_to_effort(x, now.joint_pos, now.joint_vel, now.gain * robot.kp, robot.kd, effort) for x in (-ends, ends))
    return low, high


BOX = Filter("box", box, "in walk, within `action_box` of the default pose, which grows by `box_growth` as long as nothing else is found")
POWER = Filter(
    "power", power, "where all motors together are predicted to take `power` of the battery's; stops and ends of a joint beat it"
)
SLEW = Filter("slew", slew, "no further from the last target than `slew` times the joint's speed limit lets it")
POSITION = Filter("position", position, "`position_margin` inside the joint's limits")
TORQUE = Filter("torque", torque, "where the motor's PD loop, at the measured position and velocity, asks for no more than its limit")
FILTERS = (BOX, SLEW, POWER, POSITION, TORQUE)


def apply(asked: Floats, now: Situation) -> Filtered:
    """``asked`` [J], finite, through the filters in their order.

    Position and torque limits together are one interval, and where it is empty there is no safe target: ``conflict``. The others come
    before them, so where they exclude what those allow, they win: a motor's torque and a joint's stops matter more than how fast a
    target moves.
    """
    target, changed = asked, []
    for item in FILTERS:
        before, target = target, target.clip(*item.interval(replace(now, asked=target)))
        if np.abs(target - before).max() > UNCHANGED:
            changed.append(item.name)
    (low, high), (least, most) = position(now), torque(now)
    # where limits undo what an earlier one did, nothing was changed
    kept = np.abs(target - asked).max() <= UNCHANGED
    return Filtered(target, () if kept else tuple(changed), np.maximum(low, least) > np.minimum(high, most))
