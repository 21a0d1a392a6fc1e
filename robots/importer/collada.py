"""The points of a COLLADA mesh (.dae): of its geometry alone, placed as its scene has it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as xml

import numpy as np

from robots.errors import InputError


def read_points(file: Path) -> np.ndarray:
    """[K, 3] m, in the file's axes.

    Raises:
        InputError: the file is no COLLADA, or holds no positions.
    """
    try:
        root = xml.parse(file).getroot()
        scale = next((float(unit.get("meter", "1")) for unit in root.iter() if _is(unit, "unit")), 1.0)
        geometries = {geometry.get("id", ""): _positions(geometry) for geometry in root.iter() if _is(geometry, "geometry")}
        found = [
            points
            for scene in root.iter() if _is(scene, "visual_scene")
            for node in scene if _is(node, "node")
            for points in _placed(node, np.eye(4), geometries)
        ]  # fmt: skip
    except (OSError, ValueError) as error:
        raise InputError("import: mesh", str(file), "a mesh (.stl, .obj, .dae)", f"{error}.") from error
    except xml.ParseError as error:
        raise InputError("import: mesh", str(file), "a mesh (.stl, .obj, .dae)", f"It is no XML: {error}.") from error
    if not sum(map(len, found)):
        raise InputError("import: mesh", str(file), "a COLLADA file with positions", "Convert it to .stl.")
    return scale * np.concatenate(found)


def _is(element: xml.Element, name: str) -> bool:
    return element.tag.rpartition("}")[2] == name


def _numbers(element: xml.Element) -> np.ndarray:
    return np.array((element.text or "").split(), dtype=np.float64)


def _positions(geometry: xml.Element) -> np.ndarray:
    arrays = [array for array in geometry.iter() if _is(array, "float_array") and "position" in array.get("id", "").lower()]
    return np.concatenate([_numbers(array).reshape(-1, 3) for array in arrays]) if arrays else np.zeros((0, 3))


def _placed(node: xml.Element, above: np.ndarray, geometries: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Points of a node and the nodes below it; a node's transforms apply in the order in which they stand."""
    here, found = above, []
    for child in node:
        transform = np.eye(4)
        if _is(child, "matrix"):
            transform = _numbers(child).reshape(4, 4)
        elif _is(child, "translate"):
            transform[:3, 3] = _numbers(child)
        elif _is(child, "scale"):
            transform[:3, :3] = np.diag(_numbers(child))
        elif _is(child, "rotate"):
            *axis, degrees = _numbers(child)
            x, y, z = np.array(axis) / np.linalg.norm(axis)
            cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
            angle = np.radians(degrees)  # Rodrigues' formula
            transform[:3, :3] += np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
        here = here @ transform
    for child in node:
        if _is(child, "instance_geometry"):
            points = geometries.get(child.get("url", "").lstrip("#"), np.zeros((0, 3)))
            found.append(points @ here[:3, :3].T + here[:3, 3])
        elif _is(child, "node"):
            found += _placed(child, here, geometries)
    return found
