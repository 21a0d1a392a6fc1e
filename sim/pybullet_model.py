"""The robot for PyBullet: a URDF written from the compiled MuJoCo model's bodies, hinges and primitive shapes.

Masses, centres of mass and inertias are filled in for each episode: Bullet cannot move a loaded body's centre of mass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as xml

import mujoco
import numpy as np

from robots import InputError, Robot

SHELL = "_shell"  # the root link carries no mass, so that its frame is the robot's base frame
HOLE = "<hole />"  # where a body's inertial comes into the text
LIGHTEST = 0.2  # share of its mass that a base keeps, whatever is taken off


@dataclass(frozen=True)
class BulletRobot:
    """What a process needs to make robots of: no MuJoCo. ``B`` bodies, the base first; ``J`` joints in canonical order."""

    parts: tuple[str, ...]  # of the URDF, B + 1: between them the inertials
    joint_names: tuple[str, ...]
    feet: tuple[str, ...]
    mass: np.ndarray  # [B] kg
    com: np.ndarray  # [B, 3] m, body frame
    inertia: np.ndarray  # [B, 3, 3] kg m^2, about the centre of mass, body frame
    carrier: np.ndarray  # [B] the joint that moves a body, -1 for the base and what is welded to it
    armature: np.ndarray  # [J] kg m^2, reflected inertia of the rotors
    axis: np.ndarray  # [J, 3] of each joint, its body's frame
    damping: np.ndarray  # [J] N m s/rad
    dry_friction: np.ndarray  # [J] N m

    @classmethod
    def of(cls, model: mujoco.MjModel, robot: Robot) -> BulletRobot:
        """Of a compiled MuJoCo model. Raises InputError for shapes that Bullet has not."""
        base = model.body(robot.base_body).id
        bodies = range(base, model.nbody)
        ids = [model.joint(name).id for name in robot.joint_names]
        dofs = model.jnt_dofadr[ids]
        moved = np.array([model.body_weldid[base:] == model.jnt_bodyid[joint] for joint in ids])
        return cls(
            tuple(to_urdf(model, robot).split(HOLE)), robot.joint_names, robot.feet,
            model.body_mass[base:].copy(), model.body_ipos[base:].copy(),
            np.array([_inertia_in_body_frame(model, body) for body in bodies]),
            np.where(moved.any(axis=0), moved.argmax(axis=0), -1),
            model.dof_armature[dofs].copy(), model.jnt_axis[ids].copy(),
            model.dof_damping[dofs].copy(), model.dof_frictionloss[dofs].copy(),
        )  # fmt: skip

    def urdf(self, values: Mapping[str, np.ndarray]) -> str:
        """With the masses and inertias of one robot's physical parameters; a payload is a part of the base."""
        values = {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}
        factor = np.append(values["link_mass_scale"], 1.0)[self.carrier]
        factor[0] = max(self.mass[0] + values["base_mass_offset"], LIGHTEST * self.mass[0]) / self.mass[0]
        mass, com = self.mass * factor, self.com.copy()
        inertia = self.inertia * (factor * values["inertia_scale"])[:, None, None]
        payload, at, own = values["payload_mass"], values["payload_pos"], com[0] + values["base_com_offset"]
        com[0] = (mass[0] * own + payload * at) / (mass[0] + payload)
        inertia[0] += mass[0] * parallel_axis(own - com[0]) + payload * parallel_axis(at - com[0])
        mass[0] += payload
        filled = [_inertial_text(*one) for one in zip(mass, com, inertia, strict=True)]
        return "".join(text for pair in zip(self.parts, [*filled, ""], strict=True) for text in pair)


def parallel_axis(offset: np.ndarray) -> np.ndarray:
    """Inertia of 1 kg at ``offset`` [3] (m): |r|^2 1 - r r^T, the theorem of Huygens and Steiner."""
    return offset @ offset * np.eye(3) - np.outer(offset, offset)


def to_urdf(model: mujoco.MjModel, robot: Robot) -> str:
    """URDF of a compiled MuJoCo model: its bodies, hinges and colliding boxes, spheres and capsules; each foot a link.

    In place of every body's inertial stands a :data:`HOLE`.
    """
    root = xml.Element("robot", name=robot.name)
    base, feet = model.body(robot.base_body).id, {shape for shapes in robot.foot_geoms for shape in shapes}
    shell = xml.SubElement(root, "link", name=model.body(base).name + SHELL)
    _inertial(shell, 1e-6, np.zeros(3), 1e-9 * np.eye(3))
    for body in range(base, model.nbody):
        name = model.body(body).name
        link = xml.SubElement(root, "link", name=name)
        xml.SubElement(link, "hole")
        joint_id = model.body_jntadr[body] if body != base else -1
        parent = model.body(model.body_parentid[body]).name if body != base else name + SHELL
        _joint(root, model, body, joint_id, parent)
        for geom in range(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body]):
            if model.geom_conaffinity[geom] == 0 and model.geom_contype[geom] == 0:
                continue
            if model.geom(geom).name not in feet:
                _collision(link, model, geom, model.geom_pos[geom], model.geom_quat[geom])
    for foot, shapes in zip(robot.feet, robot.foot_geoms, strict=True):
        _foot(root, model, foot, [model.geom(shape).id for shape in shapes])
    for link in root.iter("link"):  # something to see that costs nothing: Bullet would make meshes of all shapes, 20 ms a robot
        xml.SubElement(xml.SubElement(xml.SubElement(link, "visual"), "geometry"), "box", size="0.01 0.01 0.01")
    xml.indent(root)  # Bullet reads lines of limited length
    return xml.tostring(root, encoding="unicode")


def _joint(root: xml.Element, model: mujoco.MjModel, body: int, joint_id: int, parent: str) -> None:
    kind = "revolute" if joint_id >= 0 else "fixed"
    name = model.joint(joint_id).name if joint_id >= 0 else f"{model.body(body).name}_mount"
    joint = xml.SubElement(root, "joint", name=name, type=kind)
    xml.SubElement(joint, "parent", link=parent)
    xml.SubElement(joint, "child", link=model.body(body).name)
    if not parent.endswith(SHELL):
        _origin(joint, model.body_pos[body], model.body_quat[body])
    if joint_id >= 0:
        xml.SubElement(joint, "axis", xyz=_text(model.jnt_axis[joint_id]))
        low, high = model.jnt_range[joint_id]
        xml.SubElement(joint, "limit", lower=str(low), upper=str(high), effort="1000", velocity="100")


def _foot(root: xml.Element, model: mujoco.MjModel, name: str, geoms: list[int]) -> None:
    """A link of its own, its frame amid the foot's shapes."""
    link, centre = xml.SubElement(root, "link", name=name), model.geom_pos[geoms].mean(axis=0)
    _inertial(link, 1e-6, np.zeros(3), 1e-9 * np.eye(3))
    for geom in geoms:
        _collision(link, model, geom, model.geom_pos[geom] - centre, model.geom_quat[geom])
    joint = xml.SubElement(root, "joint", name=f"{name}_mount", type="fixed")
    xml.SubElement(joint, "parent", link=model.body(model.geom_bodyid[geoms[0]]).name)
    xml.SubElement(joint, "child", link=name)
    _origin(joint, centre, np.array([1.0, 0, 0, 0]))


def _collision(link: xml.Element, model: mujoco.MjModel, geom: int, pos: np.ndarray, quat: np.ndarray) -> None:
    collision = xml.SubElement(link, "collision")
    _origin(collision, pos, quat)
    shape, size = xml.SubElement(collision, "geometry"), model.geom_size[geom]
    match mujoco.mjtGeom(model.geom_type[geom]):
        case mujoco.mjtGeom.mjGEOM_SPHERE:
            xml.SubElement(shape, "sphere", radius=str(size[0]))
        case mujoco.mjtGeom.mjGEOM_CAPSULE:
            xml.SubElement(shape, "capsule", radius=str(size[0]), length=str(2 * size[1]))
        case mujoco.mjtGeom.mjGEOM_CYLINDER:
            xml.SubElement(shape, "cylinder", radius=str(size[0]), length=str(2 * size[1]))
        case mujoco.mjtGeom.mjGEOM_BOX:
            xml.SubElement(shape, "box", size=_text(2 * size))
        case other:
            name = model.geom(geom).name or f"a shape of {model.body(model.geom_bodyid[geom]).name}"
            allowed = "a box, sphere, capsule or cylinder in engine pybullet"
            raise InputError(f"model: {name}", other.name.removeprefix("mjGEOM_").lower(), allowed, "Use primitive shapes for collisions.")


def _inertia_in_body_frame(model: mujoco.MjModel, body: int) -> np.ndarray:
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
    rotation = rotation.reshape(3, 3)
    return rotation @ np.diag(model.body_inertia[body]) @ rotation.T


def _inertial_text(mass: float, com: np.ndarray, inertia: np.ndarray) -> str:
    link = xml.Element("link")
    _inertial(link, mass, com, inertia)
    xml.indent(link)
    return xml.tostring(link[0], encoding="unicode")


def _inertial(link: xml.Element, mass: float, com: np.ndarray, inertia: np.ndarray) -> None:
    inertial = xml.SubElement(link, "inertial")
    xml.SubElement(inertial, "origin", xyz=_text(com))
    xml.SubElement(inertial, "mass", value=str(mass))
    entries = {f"i{a}{b}": str(inertia["xyz".index(a), "xyz".index(b)]) for a, b in ("xx", "xy", "xz", "yy", "yz", "zz")}
    xml.SubElement(inertial, "inertia", entries)


def _origin(element: xml.Element, pos: np.ndarray, quat: np.ndarray) -> None:
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, np.asarray(quat, dtype=np.float64))
    r = rotation.reshape(3, 3)
    roll, pitch, yaw = np.arctan2(r[2, 1], r[2, 2]), np.arcsin(np.clip(-r[2, 0], -1, 1)), np.arctan2(r[1, 0], r[0, 0])
    xml.SubElement(element, "origin", xyz=_text(pos), rpy=_text((roll, pitch, yaw)))


def _text(values: Any) -> str:
    return " ".join(repr(float(value)) for value in values)
