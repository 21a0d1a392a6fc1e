"""Variants of a robot: the same robot with some joints held, which are no joints of it any more."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from robots import fields
from robots.errors import InputError
from robots.mirror import Mirror

if TYPE_CHECKING:
    from robots.robot import Robot

PER_JOINT = (
    "default_joint_pos", "lie_joint_pos", "kp", "kd", "action_scale", "joint_pos_limit", "joint_vel_limit", "effort_limit",
    "motor_index", "speed_at_full_effort", "no_load_speed",
)  # fmt: skip


def locked_variant(robot: Robot, variant: str, lock: object, field: str) -> Robot:
    """``robot`` without the joints that ``lock`` maps to an angle in rad, or to null: the default pose's.

    Its name is ``robot.variant``, so that a policy of the one is refused on the other. ``motor_index`` keeps the vendor's places.
    """
    angles = _angles(robot, lock, field)
    kept = [i for i, joint in enumerate(robot.joint_names) if joint not in angles]
    if not kept:
        raise InputError(field, lock, "a joint that is left", "Lock fewer joints.")
    place = {joint: i for i, joint in enumerate(kept)}
    groups = {name: [place[i] for i in joints if i in place] for name, joints in robot.joint_groups.items()}
    mirror = robot.mirror
    return dataclasses.replace(
        robot,
        name=f"{robot.name}.{variant}",
        joint_names=tuple(robot.joint_names[i] for i in kept),
        joint_groups={name: fields.read_only(np.array(joints)) for name, joints in groups.items() if joints},
        mirror=Mirror(
            fields.read_only(np.array([place[int(i)] for i in mirror.joint_index[kept]])),
            fields.read_only(mirror.joint_sign[kept]),
            mirror.foot_index,
        ),
        locked=angles,
        **{key: None if (array := getattr(robot, key)) is None else fields.read_only(array[kept]) for key in PER_JOINT},
    )


def _angles(robot: Robot, lock: object, field: str) -> dict[str, float]:
    """Angle of each locked joint, rad: within its limits, and held symmetrically."""
    angles: dict[str, float] = {}
    patterns = lock if isinstance(lock, Mapping) else fields.mapping(field, lock)
    for pattern, angle in patterns.items():
        for i in fields.matching(field, [pattern], robot.joint_names):
            low, high = robot.joint_pos_limit[i]
            bounds = fields.Bounds(float(low), float(high), "rad", "Write null for the default pose's angle.")
            value = robot.default_joint_pos[i] if angle is None else fields.number(f"{field}: {pattern}", angle, bounds)
            if angles.setdefault(robot.joint_names[i], float(value)) != value:
                raise InputError(field, pattern, "one angle a joint", f"{robot.joint_names[i]} has two: keep one.")
    for i, joint in enumerate(robot.joint_names):
        image = robot.joint_names[robot.mirror.joint_index[i]]
        if joint in angles and angles.get(image) != robot.mirror.joint_sign[i] * angles[joint]:
            allowed = f"{image}, the mirror image of {joint}, locked at the mirrored angle"
            raise InputError(field, joint, allowed, f"Lock {image} as well, or neither.")
    return angles
