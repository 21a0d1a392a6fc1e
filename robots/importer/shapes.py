"""The parts that move, each with the links welded to it, and primitive shapes fitted to what collides."""

from __future__ import annotations

from dataclasses import dataclass, field

import mujoco
import numpy as np

from robots.importer.limbs import Leg, Limbs, legs_as_modelled, shape_points
from robots.importer.read import Source

SLAB = 0.04  # share of the robot's height: a foot's lower end, of which its sole is taken
FLAT = 0.12  # share of the robot's height: a sole longer than this is flat
SLENDER = 1.8  # length over width of a capsule
SMALLEST = 0.005  # m, radius or half extent of a shape
PRIMITIVES = {
    mujoco.mjtGeom.mjGEOM_SPHERE: "sphere", mujoco.mjtGeom.mjGEOM_CAPSULE: "capsule", mujoco.mjtGeom.mjGEOM_CYLINDER: "cylinder",
    mujoco.mjtGeom.mjGEOM_BOX: "box",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Shape:
    kind: str  # of MuJoCo's primitive geoms
    size: np.ndarray  # m, as MuJoCo has it
    pos: np.ndarray  # m, in the part's frame
    rotation: np.ndarray  # [3, 3] part <- shape
    name: str = ""


@dataclass(eq=False)
class Part:
    """A body that moves. Its frame is the source body's."""

    name: str
    parent: int  # index of a part, -1 for the base
    joints: tuple[int, ...]  # ids in the source model
    pos: np.ndarray  # m, in the parent part's frame, joints at their reference
    rotation: np.ndarray
    mass: float
    com: np.ndarray  # m
    inertia: np.ndarray  # [3, 3] kg m^2 about the centre of mass, in the part's axes
    shapes: list[Shape] = field(default_factory=list)


def build_parts(source: Source, limbs: Limbs) -> tuple[list[Part], list[str]]:
    """The base and the parts of all legs, and the name of each leg's foot shape. Links that do not move, or no more, join their part."""
    model = source.model
    kept = [limbs.base, *sorted({int(model.jnt_bodyid[joint]) for leg in limbs.legs for joint in leg.joints})]
    owner = {limbs.base: limbs.base}
    for body in range(limbs.base + 1, model.nbody):
        owner[body] = body if body in kept else owner.get(int(model.body_parentid[body]), limbs.base)
    data = legs_as_modelled(model, limbs)
    parts = []
    for body in kept:
        members = [other for other, one in owner.items() if one == body]
        parent = -1 if body == limbs.base else kept.index(owner[int(model.body_parentid[body])])
        frame, place = _frame(data, body), data.xpos[body]
        above, above_place = (_frame(data, kept[parent]), data.xpos[kept[parent]]) if parent >= 0 else (np.eye(3), place)
        mass, com, inertia = _lump(model, data, members)
        first, count = model.body_jntadr[body], model.body_jntnum[body]
        joints = tuple(range(first, first + count)) if parent >= 0 else ()
        part = Part(model.body(body).name, parent, joints, above.T @ (place - above_place), above.T @ frame, mass,
                    frame.T @ (com - place), frame.T @ inertia @ frame)  # fmt: skip
        parts.append(part)
    tip = mujoco.MjData(model)
    tip.qpos[:] = limbs.qpos
    mujoco.mj_kinematics(model, tip)
    height = float(tip.xpos[limbs.base][2] - min(_points(model, tip, _solid(model, owner, leg.body))[:, 2].min() for leg in limbs.legs))
    feet, absorbed = [], set()
    for leg in limbs.legs:
        part = parts[kept.index(leg.body)]
        foot, geoms, rest = _sole(model, tip, leg, _solid(model, owner, leg.body), height)
        name = model.body(model.geom_bodyid[geoms[0]]).name
        name = name if name != part.name else f"{part.name}_foot"
        part.shapes.append(Shape(foot.kind, foot.size, foot.pos, foot.rotation, name))
        if not (len(geoms) == 1 and model.geom_type[geoms[0]] == mujoco.mjtGeom.mjGEOM_SPHERE):
            source.guessed.append(f"foot {name}: a {foot.kind} of {np.round(foot.size, 4).tolist()} m at the lower end of {part.name}")
        if len(rest) > 8:
            part.shapes.append(fit(rest))
        feet.append(name)
        absorbed |= set(geoms)
    for body in kept:
        part, frame, place = parts[kept.index(body)], _frame(data, body), data.xpos[body]
        for geom in _solid(model, owner, body):
            if geom in absorbed:
                continue
            kind = PRIMITIVES.get(mujoco.mjtGeom(model.geom_type[geom]))
            if kind is None:
                part.shapes.append(fit((shape_points(model, data, geom) - place) @ frame))
                source.guessed.append(f"shape of {model.body(model.geom_bodyid[geom]).name}: a {part.shapes[-1].kind} fitted to its mesh")
            else:
                rotation = frame.T @ data.geom_xmat[geom].reshape(3, 3)
                part.shapes.append(Shape(kind, model.geom_size[geom], frame.T @ (data.geom_xpos[geom] - place), rotation))
    if not parts[0].shapes:
        values, axes = np.linalg.eigh(parts[0].inertia)
        half = np.sqrt(np.maximum(1.5 * (values.sum() - 2 * values) / parts[0].mass, SMALLEST**2))  # a solid box of this inertia
        parts[0].shapes.append(Shape("box", half, parts[0].com, axes * np.sign(np.linalg.det(axes))))
        source.guessed.append(f"shape of the base: a box of its inertia, half extents {np.round(half, 3).tolist()} m")
    return parts, feet


def _frame(data: mujoco.MjData, body: int) -> np.ndarray:
    return data.xmat[body].reshape(3, 3)


def _lump(model: mujoco.MjModel, data: mujoco.MjData, members: list[int]) -> tuple[float, np.ndarray, np.ndarray]:
    """Mass, centre of mass and inertia about it, in world axes, of bodies welded together (parallel axes)."""
    masses = model.body_mass[members]
    mass = float(masses.sum())
    com = masses @ data.xipos[members] / mass if mass > 0 else data.xipos[members[0]]
    inertia = np.zeros((3, 3))
    for body in members:
        axes, arm = data.ximat[body].reshape(3, 3), data.xipos[body] - com
        inertia += axes @ np.diag(model.body_inertia[body]) @ axes.T + model.body_mass[body] * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    return mass, com, inertia


def _solid(model: mujoco.MjModel, owner: dict[int, int], body: int) -> list[int]:
    """Shapes that collide of a part."""
    solid = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    return [geom for geom in np.flatnonzero(solid).tolist() if owner.get(int(model.geom_bodyid[geom])) == body]


def _points(model: mujoco.MjModel, data: mujoco.MjData, geoms: list[int]) -> np.ndarray:
    return np.concatenate([shape_points(model, data, geom) for geom in geoms])


def _sole(model: mujoco.MjModel, data: mujoco.MjData, leg: Leg, geoms: list[int], height: float) -> tuple[Shape, list[int], np.ndarray]:
    """A sphere, or a box where the sole is flat; the shapes it stands for; and points of these above it, in the part's frame."""
    frame, place = _frame(data, leg.body), data.xpos[leg.body]
    lowest = {geom: float(shape_points(model, data, geom)[:, 2].min()) for geom in geoms}
    low = min(lowest.values())
    used = [geom for geom in geoms if lowest[geom] < low + 0.01 * height]
    used.sort(key=lambda geom: lowest[geom])
    if len(used) == 1 and model.geom_type[used[0]] == mujoco.mjtGeom.mjGEOM_SPHERE:
        shape = Shape("sphere", model.geom_size[used[0]], frame.T @ (data.geom_xpos[used[0]] - place), np.eye(3))
        return shape, used, np.zeros((0, 3))
    points = _points(model, data, used)
    slab = points[points[:, 2] < low + SLAB * height]
    corner, opposite = slab.min(0), slab.max(0)
    half, middle = 0.5 * (opposite - corner), 0.5 * (opposite + corner)
    if 2.0 * half[0] > FLAT * height:
        half = np.maximum(half, SMALLEST)
        middle[2] = low + half[2]
        shape, top = Shape("box", half, frame.T @ (middle - place), frame.T), low + 2.0 * half[2]
    else:
        radius = float(np.clip(max(half[0], half[1]), SMALLEST, 0.06 * height))
        middle[2] = low + radius
        shape, top = Shape("sphere", np.array([radius, 0, 0]), frame.T @ (middle - place), np.eye(3)), low + 2.0 * radius
    rest = points[points[:, 2] > top + 0.02 * height]
    return shape, used, (rest - place) @ frame


def fit(points: np.ndarray) -> Shape:
    """The capsule, where ``points`` [K, 3] are slender, or the box around them, along their principal axes."""
    axes = np.linalg.svd(points - points.mean(0), full_matrices=False)[2].T  # longest first
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    local = points @ axes
    low, high = local.min(0), local.max(0)
    half, middle = np.maximum(0.5 * (high - low), SMALLEST), axes @ (0.5 * (low + high))
    if half[0] > SLENDER * half[1]:
        radius = 0.5 * (half[1] + half[2])
        return Shape("capsule", np.array([radius, max(half[0] - radius, SMALLEST), 0]), middle, axes[:, [1, 2, 0]])
    return Shape("box", half, middle, axes)
