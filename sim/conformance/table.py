"""The table: what is checked, and how far from the answer an engine may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import mujoco
import numpy as np

from robots import Robot
from sim.conformance import bytes, contact, motion
from sim.conformance.bench import Bench
from sim.mujoco_model import PAYLOAD


@dataclass(frozen=True)
class Check:
    """``measure`` gives the largest difference from the answer; at most ``tolerance`` (in ``unit``) is right."""

    name: str
    measure: Callable[[Bench], float]
    unit: str  # "1": a share
    tolerance: float
    needs: tuple[str, ...] = ()  # parameters and features that the engine must support
    proves: tuple[str, ...] = ()  # parameters that reach the physics, where it holds
    wider: Mapping[str, tuple[float, str]] = field(default_factory=dict)  # by engine: a tolerance of its own, and the reason

    @property
    def text(self) -> str:
        """What is measured, in words."""
        function = self.measure.func if isinstance(self.measure, partial) else self.measure
        return (function.__doc__ or "").strip()


def parameter(name: str, measure: Callable[[Bench], float], unit: str, tolerance: float, **more: dict) -> Check:
    """A check that a parameter reaches the physics."""
    return Check(name, measure, unit, tolerance, (name,), (name,), **more)


def law(name: str, value: float) -> Check:
    """A parameter of the motors."""
    return parameter(name, partial(motion.law, **{name: value}), "1", 1e-5)


def masses(name: str, edit: Callable[[mujoco.MjModel, Robot], None], value: object, **more: object) -> Check:
    """A parameter of the bodies; ``edit`` does to a model what it should."""
    return parameter(name, partial(motion.driven_joint, edit=edit, **{name: value}, **more), "1", 1e-4)


ON_BASE, AT, LOAD = 2.0, (0.1, -0.05, 0.04), 3.0  # kg, m, kg
FACTORS = (1.5, 0.8, 1.2)  # of joints in turn


def heavier_base(model: mujoco.MjModel, robot: Robot) -> None:
    base = model.body(robot.base_body).id
    factor = 1.0 + ON_BASE / model.body_mass[base]
    model.body_mass[base] *= factor
    model.body_inertia[base] *= factor


def moved_centre(model: mujoco.MjModel, robot: Robot) -> None:
    model.body_ipos[model.body(robot.base_body).id] += AT


def loaded(model: mujoco.MjModel, robot: Robot) -> None:
    model.body_mass[model.body(PAYLOAD).id], model.body_ipos[model.body(PAYLOAD).id] = LOAD, AT


def loaded_amid(model: mujoco.MjModel, robot: Robot) -> None:
    model.body_mass[model.body(PAYLOAD).id] = LOAD


def factors(robot: Robot) -> np.ndarray:
    return np.resize(FACTORS, robot.num_joints)


def heavier_links(model: mujoco.MjModel, robot: Robot) -> None:
    for name, factor in zip(robot.joint_names, factors(robot), strict=True):
        moved = model.body_weldid == model.joint(name).bodyid[0]
        model.body_mass[moved] *= factor
        model.body_inertia[moved] *= factor


def wider_bodies(model: mujoco.MjModel, robot: Robot) -> None:
    model.body_inertia *= 2.0


def heavier_rotors(model: mujoco.MjModel, robot: Robot) -> None:
    model.dof_armature *= 2.0


def of_joints(name: str) -> Callable[[Bench], float]:
    return partial(motion.friction_of_joints, name=name)


ROTORS = "a rotor's inertia is added to its link's: all else is measured against that robot"
CHECKS: tuple[Check, ...] = (
    Check("free fall", motion.free_fall, "m/s", 1e-4),
    Check("kinematics and frames", motion.kinematics, "m, m/s, 1", 1e-5),
    Check("driven joint", motion.driven_joint, "1", 1e-4, ("gravity_scale",)),
    Check("rotors", partial(motion.driven_joint, exact=True), "1", 1e-4, wider={"pybullet": (2.0, ROTORS)}),
    Check("PD hold", motion.response, "1", 0.02),
    Check("motor law", motion.law, "1", 1e-5),
    Check("effort limit", motion.effort_limit, "1", 1e-6),
    Check("target acts at once", motion.delay, "steps", 0),
    Check("passive swing", motion.passive_swing, "1", 0.01),
    Check("force on the base", motion.wrench, "1", 1e-3),
    Check("torque on the base", motion.torque_on_base, "1", 1e-3),
    Check("push", motion.push, "m/s", 1e-5),
    Check("symmetry in the air", partial(motion.symmetry, height=2.0), "rad", 1e-3),
    Check("symmetry on the ground", motion.symmetry, "rad", 0.005),
    Check("resting forces", contact.resting_forces, "1", 0.01),
    Check("friction beyond its cone", contact.friction_limit, "1", 0.05),
    Check("grip within the cone", contact.grip, "m/s", 0.05),
    Check("same seed, same bytes", bytes.same_again, "numbers", 0, ("cpu",)),
    Check("neighbours do not matter", bytes.neighbours, "numbers", 0, ("cpu",)),
    Check("nothing accumulates", bytes.nominal, "numbers", 0, ("cpu",)),
    Check("continuation", bytes.continuation, "numbers", 0, ("cpu", "resume")),
    parameter("friction", contact.sliding, "1", 0.06),
    parameter("restitution", contact.rebound, "1", 0.03),
    masses("base_mass_offset", heavier_base, ON_BASE),
    masses("base_com_offset", moved_centre, AT),
    masses("payload_mass", loaded_amid, LOAD),
    masses("payload_pos", loaded, AT, payload_mass=LOAD),
    masses("link_mass_scale", heavier_links, factors),
    masses("inertia_scale", wider_bodies, 2.0),
    masses("armature_scale", heavier_rotors, 2.0),
    law("kp_scale", 0.8),
    law("kd_scale", 1.5),
    law("motor_strength", 0.7),
    law("effort_limit_scale", 0.6),
    law("joint_zero_offset", 0.05),
    parameter("joint_friction_scale", of_joints("joint_friction_scale"), "1", 0.1),
    parameter("joint_damping_scale", of_joints("joint_damping_scale"), "1", 0.02),
    parameter("action_delay", partial(motion.delay, action_delay=(0.0, 0.003, 0.01, 0.02)), "steps", 0),
    parameter("action_jitter", partial(motion.delay, action_delay=(0.005,), action_jitter=0.003), "steps", 0),
    parameter("gravity_scale", partial(motion.free_fall, gravity_scale=0.5), "m/s", 1e-4),
    parameter("ground_slope", partial(motion.free_fall, ground_slope=(0.1, -0.2)), "m/s", 1e-4),
)
