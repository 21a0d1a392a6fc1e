"""What may be identified: parameters of :data:`sim.PARAMETERS`, with what is believed of each before any log is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from robots import Robot
from robots.errors import InputError, nearest
from sim import PARAMETERS

OTHERS = "others"  # joints of no group


@dataclass(frozen=True)
class Belief:
    """How far a robot may be from its description, one standard deviation, and the step of its differences."""

    deviation: float
    step: float
    start: float | None = None  # None: nominal


# steps are large beside what a contact that comes or goes changes at once, and small beside what bends the simulation's answer
BELIEFS = {
    "motor_strength": Belief(0.3, 0.05),
    "joint_friction_scale": Belief(1.0, 0.2),
    "joint_damping_scale": Belief(1.0, 0.2),
    "armature_scale": Belief(0.5, 0.1),
    "kp_scale": Belief(0.3, 0.05),
    "kd_scale": Belief(0.5, 0.1),
    "action_delay": Belief(0.02, 0.002, 0.008),
    "base_mass_offset": Belief(5.0, 0.4),
    "base_com_offset": Belief(0.05, 0.006),
    "payload_mass": Belief(5.0, 0.4),
    "link_mass_scale": Belief(0.2, 0.05),
    "inertia_scale": Belief(0.3, 0.1),
    "joint_zero_offset": Belief(0.05, 0.01),
    "friction": Belief(0.5, 0.1),
}
DEFAULT = (
    "motor_strength", "joint_friction_scale", "joint_damping_scale", "armature_scale", "action_delay", "payload_mass",
    "base_com_offset",
)  # fmt: skip
OF_THE_BASE = frozenset({"base_mass_offset", "base_com_offset", "payload_mass", "friction"})  # what a robot on a stand does not show
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Unknown:
    """One number to find."""

    parameter: str
    part: str  # of the robot: a group of joints, a joint or an axis; empty where there is but one
    columns: tuple[int, ...]  # entries of the parameter that it sets; empty: the parameter has none

    @property
    def name(self) -> str:
        return f"{self.parameter} {self.part}".strip()

    @property
    def belief(self) -> Belief:
        return BELIEFS[self.parameter]

    @property
    def start(self) -> float:
        start = self.belief.start
        return PARAMETERS[self.parameter].nominal if start is None else start

    @property
    def unit(self) -> str:
        return PARAMETERS[self.parameter].unit

    @property
    def bounds(self) -> tuple[float, float]:
        return PARAMETERS[self.parameter].bounds


def unknowns(robot: Robot, names: Sequence[str], joints: str, held: bool = False) -> list[Unknown]:
    """The numbers to find of the parameters ``names``; of a joint's, one for ``all`` joints, each ``group`` or each ``joint``. Those of the
    base are left out where a stand has ``held`` it.

    Raises InputError for a name that cannot be identified, or where none is left.
    """
    groups = parts_of(robot, joints)
    found: list[Unknown] = []
    for name in names:
        if name not in BELIEFS:
            raise InputError("parameters", name, f"of {', '.join(BELIEFS)}", nearest(name, BELIEFS))
        if held and name in OF_THE_BASE:
            continue
        shape = PARAMETERS[name].shape
        if shape == ("J",):
            found += [Unknown(name, part, columns) for part, columns in groups.items()]
        elif shape:
            found += [Unknown(name, axis, (i,)) for i, axis in enumerate(AXES)]
        else:
            found.append(Unknown(name, "", ()))
    if not found:
        allowed = f"others than {', '.join(sorted(OF_THE_BASE))}, which a robot on a stand does not show"
        raise InputError("parameters", list(names), allowed, "Record a log on the ground for these.")
    return found


def parts_of(robot: Robot, joints: str) -> dict[str, tuple[int, ...]]:
    """Which joints share a value, by the name of their part."""
    if joints == "joint":
        return {name: (i,) for i, name in enumerate(robot.joint_names)}
    if joints == "all":
        return {"": tuple(range(robot.num_joints))}
    left, parts = set(range(robot.num_joints)), {}
    for name, members in robot.joint_groups.items():
        own = tuple(sorted(left & set(members.tolist())))
        if own:
            parts[name] = own
            left -= set(own)
    return parts | ({OTHERS: tuple(sorted(left))} if left else {})


def values_of(sought: Sequence[Unknown], theta: np.ndarray, num_joints: int) -> Mapping[str, torch.Tensor]:
    """``theta`` [N, P] as :meth:`sim.Simulator.set_parameters` takes it, without the delay, which commands have and engines need not."""
    values: dict[str, torch.Tensor] = {}
    for p, unknown in enumerate(sought):
        if unknown.parameter == "action_delay":
            continue
        parameter = PARAMETERS[unknown.parameter]
        shape = tuple(num_joints if part == "J" else int(part) for part in parameter.shape)
        value = values.setdefault(unknown.parameter, torch.full((len(theta), *shape), parameter.nominal))
        column = torch.from_numpy(theta[:, p].astype(np.float32))
        if unknown.columns:
            value[:, list(unknown.columns)] = column[:, None]
        else:
            value[:] = column
    return values
