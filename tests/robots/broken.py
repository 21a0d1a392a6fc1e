"""Copies of robots' folders, changed in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from robots.robot import CURVE, FOLDER, PER_JOINT

SOURCE = FOLDER / "unitree_go2"
MISSING = object()
Data = dict[str, Any]


def go2_copy(folder: Path, changes: Mapping[str, Any] | None = None, model: tuple[str, str] | None = None) -> Path:
    """The robot.yaml of a copy in ``folder``: fields replaced or left out, and one text of the model replaced everywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    data = yaml.safe_load((SOURCE / "robot.yaml").read_text()) | dict(changes or {})
    data = {key: value for key, value in data.items() if value is not MISSING}
    xml = (SOURCE / "model.xml").read_text()
    if model is not None:
        assert model[0] in xml
        xml = xml.replace(*model)
    (folder / "model.xml").write_text(xml)
    (folder / "robot.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / "robot.yaml"


def robot_copy(name: str, folder: Path, change: Callable[[Data, ElementTree.ElementTree], object]) -> Path:
    """The folder ``folder/name``, a copy of that robot after ``change`` of its description, figures spelled out by joint, and its model."""
    data, model = yaml.safe_load((FOLDER / name / "robot.yaml").read_text()), ElementTree.parse(FOLDER / name / "model.xml")
    data.pop("variants", None)
    for key in ({*PER_JOINT, *CURVE, "joint_pos_limit"}) & data.keys():
        patterns = data[key] if isinstance(data[key], dict) else {"*": data[key]}
        data[key] = {joint: next(v for p, v in patterns.items() if fnmatchcase(joint, p)) for joint in data["joint_names"]}
    change(data, model)
    copy = folder / name
    copy.mkdir(parents=True)
    model.write(copy / "model.xml")
    (copy / "robot.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return copy


def group(data: Data, name: str) -> list[str]:
    """The joints of a group."""
    return [joint for joint in data["joint_names"] if any(fnmatchcase(joint, pattern) for pattern in data["joint_groups"][name])]
