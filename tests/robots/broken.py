"""Copies of the Go2's folder, changed in one place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from robots.robot import FOLDER

SOURCE = FOLDER / "unitree_go2"
MISSING = object()


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
