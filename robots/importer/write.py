"""Write a robot folder: model.xml of parts and primitive shapes, and robot.yaml with what was guessed in front."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import mujoco
import numpy as np
import yaml

from robots.importer.shapes import Part

LIGHTEST = 1e-4  # kg
LEAST_INERTIA = 1e-7  # kg m^2


def model_xml(name: str, parts: list[Part], joints: Mapping[int, Mapping[str, float]], source: mujoco.MjModel, imu: np.ndarray) -> str:
    """An MJCF of the toolkit's kind. ``joints``: armature and limits by the joint's id in ``source``; ``imu`` [3] m in the base."""
    root = xml.Element("mujoco", model=name)
    xml.SubElement(root, "compiler", angle="radian", autolimits="true")
    default = xml.SubElement(root, "default")
    xml.SubElement(default, "geom", group="1", contype="0", conaffinity="1", condim="3", rgba=".7 .73 .78 1")
    world = xml.SubElement(root, "worldbody")
    elements: list[xml.Element] = []
    for part in parts:
        parent = world if part.parent < 0 else elements[part.parent]
        body = xml.SubElement(parent, "body", name=part.name)
        elements.append(body)
        if part.parent < 0:
            xml.SubElement(body, "freejoint", name="floating_base")
            xml.SubElement(body, "site", name="imu", pos=_text(imu))
        else:
            body.set("pos", _text(part.pos))
            body.set("quat", _text(_quat(part.rotation)))
        inertia = part.inertia + LEAST_INERTIA * np.eye(3)
        entries = [inertia[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
        xml.SubElement(body, "inertial", pos=_text(part.com), mass=_text([max(part.mass, LIGHTEST)]), fullinertia=_text(entries))
        for joint in part.joints:
            dof, figures = source.jnt_dofadr[joint], joints[joint]
            xml.SubElement(
                body, "joint", name=source.joint(joint).name, pos=_text(source.jnt_pos[joint]), axis=_text(source.jnt_axis[joint]),
                range=_text([figures["lower"], figures["upper"]]), armature=_text([figures["armature"]]),
                damping=_text([source.dof_damping[dof][()]]), frictionloss=_text([source.dof_frictionloss[dof]]),
                ref=_text([source.qpos0[source.jnt_qposadr[joint]]]),
            )  # fmt: skip
        for number, shape in enumerate(part.shapes):
            size = shape.size[: {"sphere": 1, "box": 3}.get(shape.kind, 2)]
            geom = xml.SubElement(body, "geom", name=shape.name or f"{part.name}_{number}", type=shape.kind, size=_text(size))
            geom.set("pos", _text(shape.pos))
            geom.set("quat", _text(_quat(shape.rotation)))
            if shape.name:
                geom.set("rgba", ".1 .1 .12 1")
    xml.indent(root)
    return xml.tostring(root, encoding="unicode") + "\n"


def robot_yaml(fields: Mapping[str, Any], title: str, guessed: list[str]) -> str:
    """The description, behind a comment of all that a person should confirm."""
    text = io.StringIO()
    text.write(f"# {title}\n# Guessed, to be confirmed or mended; 'locomotion robots check' says what does not fit:\n")
    text.writelines(f"#  - {' '.join(line.split())}\n" for line in guessed)
    text.write(yaml.safe_dump(dict(fields), sort_keys=False, default_flow_style=None, width=130, allow_unicode=True))
    return text.getvalue()


def write_folder(folder: Path, model: str, description: str) -> None:
    """Both files. Raises OSError."""
    folder.mkdir(exist_ok=True)
    for name, text in (("model.xml", model), ("robot.yaml", description)):
        (folder / name).write_text(text, encoding="utf-8")


def _quat(rotation: np.ndarray) -> np.ndarray:
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rotation).ravel())
    return quat


def _text(values: Any) -> str:
    return " ".join(f"{float(value):.9g}" for value in np.asarray(values).ravel())
