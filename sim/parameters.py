"""The physical parameters that an engine can be told, in one table: randomization, critic and engines read it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from robots.errors import InputError, nearest

Tensor = torch.Tensor
MAX_ACTION_DELAY = 0.06  # s, the longest that the engines' control history holds
MAX_JITTER = 0.01  # s


@dataclass(frozen=True)
class Parameter:
    """One physical parameter of one robot and its ground."""

    shape: tuple[int | str, ...]  # "J" stands for the number of joints
    unit: str
    text: str
    nominal: float
    bounds: tuple[float, float]  # what is physically possible
    mirror: Literal["even", "polar", "slope", "joint"]  # how it looks in the robot's left-right mirror
    told: float | None = None  # the factor with which the critic is told it; None: it is not
    every_step: bool = False  # drawn anew for every command; else it is held for an episode

    def size(self, num_joints: int) -> int:
        """Numbers a robot."""
        return math.prod(num_joints if part == "J" else int(part) for part in self.shape)


J = ("J",)
PARAMETERS: dict[str, Parameter] = {
    "friction": Parameter((), "1", "sliding friction of the ground on every shape", 0.8, (0.01, 5.0), "even", 1.0),
    "restitution": Parameter((), "1", "speed after over speed before an impact on the ground", 0.0, (0.0, 1.0), "even"),
    "base_mass_offset": Parameter((), "kg", "added to the base, of which a fifth stays", 0.0, (-100.0, 500.0), "even", 1.0),
    "base_com_offset": Parameter((3,), "m", "added to the base's centre of mass", 0.0, (-0.5, 0.5), "polar", 20.0),
    "payload_mass": Parameter((), "kg", "a point mass fixed to the base", 0.0, (0.0, 500.0), "even"),
    "payload_pos": Parameter((3,), "m", "where the payload is, base frame", 0.0, (-2.0, 2.0), "polar"),
    "link_mass_scale": Parameter(J, "1", "factor on mass and inertia of the link that a joint moves", 1.0, (0.1, 10.0), "joint"),
    "inertia_scale": Parameter((), "1", "factor on the inertia of base and links beyond that of mass", 1.0, (0.1, 10.0), "even"),
    "kp_scale": Parameter(J, "1", "factor on kp", 1.0, (0.05, 20.0), "joint"),
    "kd_scale": Parameter(J, "1", "factor on kd", 1.0, (0.0, 20.0), "joint"),
    "motor_strength": Parameter(J, "1", "factor on the torque that a motor delivers, its limit included", 1.0, (0.0, 5.0), "joint"),
    "effort_limit_scale": Parameter(J, "1", "factor on the torque limit alone", 1.0, (0.0, 5.0), "joint"),
    "armature_scale": Parameter(J, "1", "factor on the rotor's reflected inertia", 1.0, (0.0, 20.0), "joint"),
    "joint_friction_scale": Parameter(J, "1", "factor on a joint's dry friction", 1.0, (0.0, 20.0), "joint"),
    "joint_damping_scale": Parameter(J, "1", "factor on a joint's viscous friction", 1.0, (0.0, 20.0), "joint"),
    "joint_zero_offset": Parameter(J, "rad", "an encoder reads so much too much; its motor follows it", 0.0, (-0.5, 0.5), "joint"),
    "action_delay": Parameter((), "s", "from a new target to its effect in the motors", 0.0, (0.0, MAX_ACTION_DELAY), "even", 100.0),
    "action_jitter": Parameter((), "s", "added to action_delay for one command", 0.0, (0.0, MAX_JITTER), "even", every_step=True),
    "gravity_scale": Parameter((), "1", "factor on gravity", 1.0, (0.0, 3.0), "even"),
    "ground_slope": Parameter((2,), "rad", "inclination of the ground along x and y", 0.0, (-0.7, 0.7), "slope", 10.0),
}


def check_supported(engine: str, supports: frozenset[str], names: set[str]) -> None:
    """Raises InputError for a parameter that is unknown, or that ``engine`` cannot express."""
    from sim import engines_with

    for name in sorted(names):
        if name not in PARAMETERS:
            raise InputError("randomization.parameters", name, "the name of a physical parameter", nearest(name, PARAMETERS))
        if name not in supports:
            able = ", ".join(sorted(supports & PARAMETERS.keys()))
            remedy = f"Engines with {name}: {', '.join(other for other in engines_with(name) if other != engine)}. Here: {able}."
            raise InputError(f"randomization.parameters.{name}", "a range", f"a parameter that engine {engine} can express", remedy)


def nominal_values(num_envs: int, num_joints: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Every parameter at its nominal value, [N, ...] each."""
    return {
        name: torch.full((num_envs, *(num_joints if part == "J" else int(part) for part in p.shape)), p.nominal, device=device)
        for name, p in PARAMETERS.items()
    }
