"""The description of a robot: what every layer needs to know of it, read from ``robots/<name>/robot.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from robots.errors import InputError, nearest

FOLDER = Path(__file__).parent
Floats = np.ndarray


@dataclass(frozen=True)
class Mirror:
    """Left-right mirror of per-joint and per-foot signals: ``mirrored = sign * signal[index]``."""

    joint_index: np.ndarray  # [J] int
    joint_sign: Floats  # [J] +-1
    foot_index: np.ndarray  # [F] int


@dataclass(frozen=True)
class Robot:
    """A legged robot with J joints and F feet. Per-joint arrays are float64 in the order of ``joint_names``."""

    name: str
    model: Path  # MJCF of bodies, joints and shapes
    base_body: str
    imu_site: str
    feet: tuple[str, ...]  # geom names
    standing_height: float  # m, base above the ground in the default pose
    joint_names: tuple[str, ...]
    default_joint_pos: Floats  # [J] rad
    lie_joint_pos: Floats  # [J] rad, folded on the ground
    kp: Floats  # [J] N m/rad
    kd: Floats  # [J] N m s/rad
    action_scale: Floats  # [J] rad per unit of action
    joint_pos_limit: Floats  # [J, 2] rad
    joint_vel_limit: Floats  # [J] rad/s
    effort_limit: Floats  # [J] N m
    mirror: Mirror

    @property
    def num_joints(self) -> int:
        return len(self.joint_names)


def available() -> list[str]:
    """Names of the robots that ship with the toolkit."""
    return sorted(path.parent.name for path in FOLDER.glob("*/robot.yaml"))


def load(name: str) -> Robot:
    """The robot called ``name``.

    Raises:
        InputError: no such robot, or its ``robot.yaml`` has a missing, unknown or misshapen field.
    """
    path = FOLDER / name / "robot.yaml"
    if name not in available():
        raise InputError("robot", name, "the name of a folder in robots/ with a robot.yaml", nearest(name, available()))
    return from_yaml(path)


def from_yaml(path: Path) -> Robot:
    """Read a ``robot.yaml``; its ``model`` is relative to it."""
    data: dict[str, Any] = yaml.safe_load(path.read_text())
    known = {field.name for field in fields(Robot)}
    for key in data.keys() - known:
        raise InputError(f"{path.name}: {key}", data[key], "a field of Robot", nearest(key, known))
    for key in known - data.keys():
        raise InputError(f"{path.name}: {key}", None, "a value", f"Add '{key}:' to {path}.")
    joints = tuple(data["joint_names"])
    feet = tuple(data["feet"])
    per_joint = {
        key: _per_joint(key, data[key], joints)
        for key in (
            "default_joint_pos", "lie_joint_pos", "kp", "kd", "action_scale", "joint_pos_limit", "joint_vel_limit", "effort_limit"
        )
    }  # fmt: skip
    low, high = per_joint["joint_pos_limit"].T
    for key in ("default_joint_pos", "lie_joint_pos"):
        outside = (per_joint[key] < low) | (per_joint[key] > high)
        if outside.any():
            name = joints[int(np.flatnonzero(outside)[0])]
            raise InputError(f"{path.name}: {key}", name, "poses within joint_pos_limit", f"Move {name} inside its limits.")
    for key in ("kp", "kd", "action_scale", "joint_vel_limit", "effort_limit"):
        if not (per_joint[key] > 0).all():
            raise InputError(f"{path.name}: {key}", data[key], "positive numbers", "Give a positive value for every joint.")
    return Robot(
        name=data["name"],
        model=path.parent / data["model"],
        base_body=data["base_body"],
        imu_site=data["imu_site"],
        feet=feet,
        standing_height=float(data["standing_height"]),
        joint_names=joints,
        mirror=_mirror(data["mirror"], joints, feet),
        **per_joint,
    )


def _per_joint(key: str, value: object, joints: tuple[str, ...]) -> Floats:
    """A number for every joint, from one number or a mapping of name patterns."""
    if not isinstance(value, Mapping):
        value = {"*": value}
    rows = []
    for joint in joints:
        matches = [number for pattern, number in value.items() if fnmatchcase(joint, pattern)]
        if len(matches) != 1:
            raise InputError(key, joint, f"exactly one matching pattern, found {len(matches)}", f"Patterns: {list(value)}.")
        rows.append(matches[0])
    array = np.asarray(rows, dtype=np.float64)
    array.flags.writeable = False
    return array


def _mirror(data: Mapping[str, Any], joints: tuple[str, ...], feet: tuple[str, ...]) -> Mirror:
    swap = {**data["swap"], **{right: left for left, right in data["swap"].items()}}

    def other(name: str) -> str:
        for prefix, replacement in swap.items():
            if name.startswith(prefix):
                return replacement + name[len(prefix) :]
        return name

    def index(names: tuple[str, ...]) -> np.ndarray:
        missing = [name for name in names if other(name) not in names]
        if missing:
            raise InputError("mirror", missing[0], "a name whose mirror image exists", "Mend 'swap' in robot.yaml.")
        return np.array([names.index(other(name)) for name in names])

    negate = [any(fnmatchcase(joint, pattern) for pattern in data["negate"]) for joint in joints]
    return Mirror(joint_index=index(joints), joint_sign=np.where(negate, -1.0, 1.0), foot_index=index(feet))
