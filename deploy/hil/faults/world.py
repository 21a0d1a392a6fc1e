"""What happens to the body."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deploy.hil.faults.fault import Hooks, Joints, Numbers, fault, physics_of
from sim.mujoco_model import GROUND

if TYPE_CHECKING:
    from deploy.hil.bench import Bench

ON_ITS_BACK = -0.7  # of the base's upward axis along the world's


@fault
def push(bench: Bench, velocity: Numbers = (0.0, 1.0, 0.0)) -> Hooks:
    """The base gets so many m/s at once, in the world's frame."""

    def begin() -> None:
        bench.plant.data.qvel[:3] += velocity

    return Hooks(begin=begin)


@fault
def turn_over(bench: Bench, rate: Numbers = (8.0, 0.0, 0.0)) -> Hooks:
    """Somebody rolls the base at so many rad/s, in its own frame, until it lies on its back."""
    data, base = bench.plant.data, bench.plant.base

    def physics() -> None:
        if data.xmat[base, 8] > ON_ITS_BACK:
            data.qvel[3:6] = rate

    return physics_of(bench, physics)


@fault
def slip(bench: Bench, friction: float = 0.1) -> Hooks:
    """The ground turns to ice."""

    def begin() -> None:
        bench.plant.model.geom(GROUND).friction[0] = friction

    return Hooks(begin=begin)


@fault
def load(bench: Bench, mass: float = 10.0) -> Hooks:
    """So many kg lie on the base at once."""

    def physics() -> None:
        bench.plant.data.xfrc_applied[bench.plant.base, 2] = -9.81 * mass

    return physics_of(bench, physics)


@fault
def blocked(bench: Bench, joints: Joints = (5,), stiffness: float = 400.0) -> Hooks:
    """Joints are held where they are: a stone in the linkage (N m/rad)."""
    held: dict[int, float] = {}
    data, where = bench.plant.data, [bench.plant.index(joint) for joint in joints]

    def physics() -> None:
        for position, velocity in where:
            data.qfrc_applied[velocity] = stiffness * (held.setdefault(position, float(data.qpos[position])) - data.qpos[position])
            data.qfrc_applied[velocity] -= 0.01 * stiffness * data.qvel[velocity]

    return physics_of(bench, physics)


@fault
def held_in_the_air(bench: Bench, height: float = 0.3) -> Hooks:
    """Somebody lifts the robot by its base, m in a second, and holds it there."""
    data, weight = bench.plant.data, 9.81 * float(bench.plant.model.body_subtreemass[bench.plant.base])
    floor: list[float] = []

    def physics() -> None:
        floor.append(float(data.qpos[2])) if not floor else None
        wanted = floor[0] + height * min(1.0, bench.physics_time - bench.start)
        rotation = data.xmat[bench.plant.base].reshape(3, 3)
        force = data.xfrc_applied[bench.plant.base]
        force[:3] = -5.0 * weight * data.qvel[:3]
        force[2] += weight * (1.0 + 50.0 * (wanted - data.qpos[2]))
        force[3:] = weight * (np.cross(rotation[:, 2], [0.0, 0.0, 1.0]) - 0.1 * rotation @ data.qvel[3:6])

    return physics_of(bench, physics)
