"""Read a URDF or an MJCF of any legged robot as a compiled MuJoCo model: what it says, and nothing guessed from shapes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as xml

import mujoco
import numpy as np

from robots.errors import InputError
from robots.importer.collada import read_points

MESHES = (".stl", ".obj", ".msh")  # that MuJoCo reads; of a .dae the bounding box is taken
# MuJoCo would otherwise weigh bodies without <inertial> by their shapes: ANYmal C became 81.5 kg instead of 52.
COMPILER = {
    "fusestatic": "false", "inertiafromgeom": "false", "discardvisual": "true", "strippath": "false", "balanceinertia": "true",
    "boundmass": "1e-6", "boundinertia": "1e-9",
}  # fmt: skip


@dataclass(eq=False)
class Source:
    """A file as read, and a growing list of what had to be guessed from here on."""

    model: mujoco.MjModel
    guessed: list[str] = field(default_factory=list)


def read(path: Path) -> Source:
    """Read ``path``.

    Raises:
        InputError: there is no such file, it is neither URDF nor MJCF, a mesh is missing, or it has no mass or no joint.
    """
    try:
        text = path.read_bytes()
        root = xml.fromstring(text)
    except OSError as error:
        raise InputError("import", str(path), "a URDF or an MJCF", f"{error.strerror or error}.") from error
    except xml.ParseError as error:
        raise InputError("import", str(path), "a URDF or an MJCF", f"It is no XML: {error}.") from error
    guessed: list[str] = []
    try:
        if root.tag == "robot":
            model = mujoco.MjSpec.from_string(_plain_urdf(root, path, guessed)).compile()
        elif root.tag == "mujoco":
            model = _plain_mjcf(path).compile()
        else:
            raise InputError("import", f"<{root.tag}>", "<robot> (URDF) or <mujoco> (MJCF)", f"Is {path.name} a robot?")
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError("import", str(path), "a model that MuJoCo reads", f"MuJoCo says: {' '.join(str(error).split())}.") from error
    if model.body_mass.sum() < 1e-3:
        raise InputError("import: mass", float(model.body_mass.sum()), "bodies with an <inertial>", f"{path.name} weighs nothing.")
    if not (model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE).any():
        raise InputError("import: joints", 0, "hinges (revolute or continuous joints)", f"{path.name} cannot move.")
    return Source(model, guessed)


def _plain_mjcf(path: Path) -> mujoco.MjSpec:
    """The robot of an MJCF alone: no motors, sensors, keyframes or floor."""
    spec = mujoco.MjSpec.from_file(str(path))
    for element in [*spec.actuators, *spec.sensors, *spec.keys, *spec.worldbody.geoms]:
        spec.delete(element)
    return spec


def _plain_urdf(root: xml.Element, path: Path, guessed: list[str]) -> str:
    """The URDF without what is only seen, its meshes found on the disk, as MuJoCo reads it."""
    _check_figures(root, path)
    for link in root.iter("link"):
        for visual in link.findall("visual"):
            link.remove(visual)
        for collision in link.findall("collision"):
            mesh = collision.find(".//mesh")
            if collision.find("geometry") is None:
                link.remove(collision)
            elif mesh is not None:
                file = _find_mesh(mesh.get("filename", ""), path)
                mesh.set("filename", str(file))
                if file.suffix.lower() not in MESHES:
                    _box_of_dae(collision, mesh, file)
                    guessed.append(f"shape of {link.get('name')}: the bounding box of {file.name}, a format that MuJoCo does not read")
    for old in root.findall("mujoco"):
        root.remove(old)
    extension = xml.SubElement(root, "mujoco")
    xml.SubElement(extension, "compiler", COMPILER)
    return xml.tostring(root, encoding="unicode")


def _check_figures(root: xml.Element, path: Path) -> None:
    """What MuJoCo passes over: names that stand twice, masses below zero, limits that are no numbers or the wrong way round."""
    for kind in ("link", "joint"):
        names = [element.get("name", "") for element in root.findall(kind)]
        for name in names:
            if not name or names.count(name) > 1:
                raise InputError(f"import: {kind}", name, f"a name of its own for every {kind}", f"Rename one in {path.name}.")
    for link in root.findall("link"):
        if (mass := link.find("inertial/mass")) is not None and not _number(mass, "value", link) >= 0.0:
            raise InputError(f"import: mass of {link.get('name')}", mass.get("value"), "kg, 0 or more", f"Mend it in {path.name}.")
    for joint in root.findall("joint"):
        if (limit := joint.find("limit")) is None:
            continue
        low, high, *_ = (_number(limit, key, joint) for key in ("lower", "upper", "effort", "velocity"))
        if low > high:
            raise InputError(f"import: limit of {joint.get('name')}", [low, high], "lower <= upper", f"Swap them in {path.name}.")


def _number(element: xml.Element, key: str, of: xml.Element) -> float:
    """An attribute; 0 where there is none, as URDF has it."""
    text = element.get(key, "0")
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InputError(f"import: {key} of {of.get('name')}", text, "a number", "Mend it in the file.")
    return value


def _find_mesh(name: str, path: Path) -> Path:
    """A mesh by file name, file:// or package://, looked for in the folders above the URDF."""
    plain = re.sub(r"^(package|file|model)://", "", name).lstrip("/") if "://" in name else name
    parts = Path(plain).parts
    for folder in (path.absolute().parent, *path.absolute().parents):
        for skip in (0, 1) if "://" in name else (0,):  # with the package's name as a folder, or without
            if len(parts) > skip and (folder.joinpath(*parts[skip:])).is_file():
                return folder.joinpath(*parts[skip:])
    raise InputError("import: mesh", name, "a mesh in a folder above the URDF", f"Looked in {path.absolute().parent} and above it.")


def _box_of_dae(collision: xml.Element, mesh: xml.Element, file: Path) -> None:
    """Put the bounding box of a COLLADA mesh into its place."""
    points = read_points(file) * np.array(mesh.get("scale", "1 1 1").split(), dtype=np.float64)
    low, high = points.min(0), points.max(0)
    origin = collision.find("origin")
    if origin is None:
        origin = xml.SubElement(collision, "origin")
    roll, pitch, yaw = np.array(origin.get("rpy", "0 0 0").split(), dtype=np.float64)
    turned = _rotation(roll, pitch, yaw) @ (0.5 * (low + high)) + np.array(origin.get("xyz", "0 0 0").split(), dtype=np.float64)
    origin.set("xyz", " ".join(map(repr, map(float, turned))))
    geometry = collision.find("geometry")
    assert geometry is not None
    geometry.clear()
    xml.SubElement(geometry, "box", size=" ".join(repr(float(value)) for value in np.maximum(high - low, 1e-3)))


def _rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """URDF's rpy: about the fixed axes x, y, z in turn."""
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    return np.array([
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ])  # fmt: skip
