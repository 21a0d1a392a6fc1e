"""Rewards of isaacgymenvs and legged_gym as ours. Weight times term times control period there, too: equal terms keep their weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from locomotion.adapters.isaac_settings import LEARN, Imported, Source
from robots import Robot
from robots.errors import InputError

NAMES = {  # of isaacgymenvs' rewards, less "RewardScale", in legged_gym's words
    "linearVelocityXY": "tracking_lin_vel", "angularVelocityZ": "tracking_ang_vel", "linearVelocityZ": "lin_vel_z",
    "angularVelocityXY": "ang_vel_xy", "orientation": "orientation", "torque": "torques", "jointAcc": "dof_vel_change",
    "baseHeight": "base_height", "feetAirTime": "feet_air_time", "kneeCollision": "collision", "feetStumble": "feet_stumble",
    "actionRate": "action_rate", "hip": "hip", "terminalReward": "termination",
}  # fmt: skip


@dataclass(frozen=True)
class Around:
    """What a reward needs to know beside its weight."""

    source: Source
    robot: Robot
    dt: float  # s

    @property
    def width(self) -> float:
        sigma = self.source.number("rewards.tracking_sigma", "task.rewards.track_*.width", 0.25)
        return round(math.sqrt(sigma), 6)

    def soft(self, name: str) -> float:
        return self.source.number(f"rewards.soft_{name}_limit", "task.rewards", 1.0)


Made = tuple[str, dict[str, Any], str | None]  # our term, its settings, how it differs
TERMS: dict[str, Callable[[float, Around], Made]] = {
    "tracking_lin_vel": lambda w, a: ("track_lin_vel", {"weight": w, "width": a.width, "gated": False}, None),
    "tracking_ang_vel": lambda w, a: ("track_yaw", {"weight": w, "width": a.width, "gated": False}, None),
    "lin_vel_z": lambda w, a: ("vertical_velocity", {"weight": w}, None),
    "ang_vel_xy": lambda w, a: ("roll_pitch_rate", {"weight": w}, None),
    "orientation": lambda w, a: ("tilt", {"weight": w}, None),
    "torques": lambda w, a: ("torque", {"weight": w}, None),
    "dof_vel": lambda w, a: ("joint_vel", {"weight": w}, None),
    "dof_acc": lambda w, a: ("joint_acc", {"weight": w}, None),
    "dof_vel_change": lambda w, a: ("joint_acc", {"weight": w * a.dt**2}, None),  # not divided by the period there
    "action_rate": lambda w, a: ("action_rate", {"weight": w}, None),
    "termination": lambda w, a: ("fell", {"weight": w * a.dt, "per": "event"}, None),
    "dof_pos_limits": lambda w, a: ("joint_limits", {"weight": w, "share": a.soft("dof_pos")}, None),
    "dof_vel_limits": lambda w, a: (
        "joint_vel_limits", {"weight": w * float(a.robot.joint_vel_limit.mean()), "share": a.soft("dof_vel")},
        "rad/s of excess there, at most 1 a joint; a share of the limit here",
    ),
    "base_height": lambda w, a: (
        "base_height", {"weight": w * a.robot.standing_height**2},
        f"measured from {a.source.take('rewards.base_height_target', 'task.rewards.base_height', 0.52)} m there, "
        f"from the robot's standing height, {a.robot.standing_height:g} m, here",
    ),
    "feet_air_time": lambda w, a: (
        "air_time", {"weight": w, "shortest": 0.5, "longest": 100.0}, "not earned below a command of 0.1 m/s there, at a stand here"
    ),
    "collision": lambda w, a: (
        "body_contact", {"weight": w},
        f"the number of bodies {a.source.take('asset.penalize_contacts_on', 'task.rewards.body_contact', 'thighs')} touching there, "
        "1 for any but feet here",
    ),
}  # fmt: skip


def rewards_of(found: Imported, robot: Robot) -> dict[str, Any]:
    """A task's table of rewards; what has none here is left in ``found``. Raises InputError where nothing remains."""
    source, around = found.source, Around(found.source, robot, found.control_dt)
    if source.kind == "legged_gym":
        given = {f"rewards.scales.{name}": name for name in source.under("rewards.scales")}
    else:
        given = {f"{LEARN}.{key}": NAMES.get(key.removesuffix("RewardScale"), key) for key in source.under(LEARN) if "Reward" in key}
    result: dict[str, Any] = {}
    for key, name in given.items():
        weight = source.number(key, "")
        del source.taken[key]
        if weight == 0:
            found.why[key] = "weight 0: it is off there, too"
        elif name in TERMS:
            term, settings, differs = TERMS[name](weight, around)
            source.taken[key], result[term] = f"task.rewards.{term}", settings
            if differs:
                found.resembles[key] = differs
        else:
            found.why[key] = "a reward that is not there here; write it as a term of your own (docs/add_a_reward.md)"
    if not result:
        raise InputError("rewards", list(given), "at least one reward that has a counterpart here", f"Known: {', '.join(TERMS)}.")
    return result
