"""Which bodies are base, legs and feet: from the kinematics alone, whatever they are called."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from robots.errors import InputError
from robots.importer.read import Source

REACH = 0.2  # share of the robot's height that a leg's end may be above the lowest


@dataclass(frozen=True, eq=False)
class Leg:
    """A chain of hinges from the base to the body that touches the ground."""

    joints: tuple[int, ...]  # ids in the source model, base first
    body: int  # the last body that a joint moves
    name: str


@dataclass(frozen=True, eq=False)
class Limbs:
    base: int
    legs: tuple[Leg, ...]  # front to back, left before right
    qpos: np.ndarray  # the source model's, base upright in the origin, each joint at the angle nearest to zero within its limits
    locked: tuple[str, ...]  # joints of arms, head and waist, held at that angle


def find_limbs(source: Source) -> Limbs:
    """Base, and the limbs that reach the ground when all joints are at zero.

    Raises:
        InputError: no limb, or only one, reaches the ground, or a leg has a joint that is no hinge.
    """
    model = source.model
    free = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
    base = int(model.jnt_bodyid[free[0]]) if len(free) else 1
    data = mujoco.MjData(model)
    for joint in range(model.njnt):
        kind, address = model.jnt_type[joint], model.jnt_qposadr[joint]
        if kind in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
            low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-np.inf, np.inf)
            data.qpos[address] = np.clip(0.0, low, high)
    if len(free):
        data.qpos[model.jnt_qposadr[free[0]] :][:7] = 0, 0, 0, 1, 0, 0, 0
    mujoco.mj_kinematics(model, data)
    lowest = {body: _lowest(model, data, body) for body in range(base, model.nbody) if _joints_above(model, body, base)}
    moving = {body for body in lowest if model.body_jntnum[body]}
    parents = {chain_body for body in moving for chain_body in _chain(model, body, base)[1:] if model.body_jntnum[chain_body]}
    leaves = [body for body in moving if body not in parents]
    if not lowest:
        raise InputError("import: legs", 0, "at least two limbs with shapes that reach the ground", "No joint moves a body with a shape.")
    reach = {leaf: min((lowest[b] for b in lowest if leaf in _chain(model, b, base)), default=np.inf) for leaf in leaves}
    floor, top = min(reach.values()), float(data.xpos[base][2])
    ends = [leaf for leaf in leaves if reach[leaf] < floor + REACH * (top - floor)]
    chains = {leaf: tuple(reversed(_joints_above(model, leaf, base))) for leaf in ends}
    ends = [leaf for leaf in ends if len(chains[leaf]) > 1]
    if len(ends) < 2:
        names = [model.body(leaf).name for leaf in ends]
        raise InputError(
            "import: legs", names, "at least two limbs of two joints or more that reach the ground", "Are the shapes that collide given?"
        )
    for leaf in ends:
        for joint in chains[leaf]:
            if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_HINGE:
                raise InputError("import: joints", model.joint(joint).name, "hinges in legs", "It slides or is a ball.")
    place = {leaf: data.xanchor[chains[leaf][0]] for leaf in ends}
    middle = np.mean([place[leaf][0] for leaf in ends])
    ends.sort(key=lambda leaf: (place[leaf][0] < middle - 0.02, place[leaf][1] < 0))
    legs = tuple(Leg(chains[leaf], leaf, model.body(leaf).name) for leaf in ends)
    used = {joint for leg in legs for joint in leg.joints}
    locked = tuple(model.joint(j).name for j in range(model.njnt) if j not in used and model.jnt_type[j] != mujoco.mjtJoint.mjJNT_FREE)
    if locked:
        source.guessed.append(f"locked at the angle nearest to zero: {', '.join(locked)}")
    source.guessed.append(f"legs: {', '.join(leg.name for leg in legs)}; base {model.body(base).name}")
    return Limbs(base, legs, data.qpos.copy(), locked)


def legs_as_modelled(model: mujoco.MjModel, limbs: Limbs) -> mujoco.MjData:
    """Bodies in their places, the legs' joints as the file draws them and all others as ``limbs`` hold them."""
    data = mujoco.MjData(model)
    data.qpos[:] = limbs.qpos
    for leg in limbs.legs:
        for joint in leg.joints:
            data.qpos[model.jnt_qposadr[joint]] = model.qpos0[model.jnt_qposadr[joint]]
    mujoco.mj_kinematics(model, data)
    return data


def _chain(model: mujoco.MjModel, body: int, base: int) -> list[int]:
    """``body`` and the bodies above it, the base excluded; empty where it does not hang on the base."""
    chain = []
    while body not in (base, 0):
        chain.append(body)
        body = int(model.body_parentid[body])
    return chain


def _joints_above(model: mujoco.MjModel, body: int, base: int) -> list[int]:
    """Joints from ``body`` up to the base."""
    found = []
    for one in _chain(model, body, base):
        found += reversed(range(model.body_jntadr[one], model.body_jntadr[one] + model.body_jntnum[one]) if model.body_jntnum[one] else [])
    return found


def _lowest(model: mujoco.MjModel, data: mujoco.MjData, body: int) -> float:
    """Height of the lowest corner of a body's shapes, m; infinite where it has none that collides."""
    low = np.inf
    for geom in range(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body]):
        if model.geom_contype[geom] or model.geom_conaffinity[geom]:
            low = min(low, float(shape_points(model, data, geom)[:, 2].min()))
    return low


def shape_points(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> np.ndarray:
    """[K, 3] m, world: points of a shape's surface: a mesh's vertices, ends of a sphere and of a capsule, corners of all else."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    center, rotation = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        points = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]].astype(np.float64)
        return center + points @ rotation.T
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return center + size[0] * axes
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        ends = center + np.outer([size[1], -size[1]], rotation[:, 2])
        return np.concatenate([end + size[0] * axes for end in ends])
    box = model.geom_aabb[geom]
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        angle = np.arange(16) * np.pi / 8
        rim = np.stack([np.cos(angle) * size[0], np.sin(angle) * size[0], np.full(16, size[1])], 1)
        return center + np.concatenate([rim, rim * (1, 1, -1)]) @ rotation.T
    return center + (box[:3] + corners * box[3:]) @ rotation.T
