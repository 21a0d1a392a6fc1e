"""The files of an imported task: configs/task, configs/randomization, a robot with its gains and pose, a description of its policies."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

import robots
from locomotion.adapters.isaac_settings import Imported
from locomotion.files import make_folder, write_atomically, writing
from locomotion.schema import check
from locomotion.task import task as _every_term  # noqa: F401  # importing it makes them known
from locomotion.task import terms
from locomotion.task.randomization import RandomizationSettings
from locomotion.task.settings import TaskSettings
from robots import Robot
from robots.check import joint_pose, sole_heights
from robots.errors import InputError
from robots.model import build_spec


def write(found: Imported, robot: Robot, folder: Path) -> dict[str, Path]:
    """Write what ``found`` holds under ``folder``, by what it is; nothing is written over.

    Raises:
        InputError: a file is there already or cannot be written, or a value is out of the bounds that it has here.
    """
    _check(found)
    name = found.name
    paths = {"task": folder / "configs" / "task" / f"{name}.yaml", "randomization": folder / "configs" / "randomization" / f"{name}.yaml"}
    if found.policy is not None:
        paths["policy"] = folder / "policies" / f"{name}.yaml"
    paths["robot"] = folder / "robots" / name
    for path in paths.values():
        if path.exists():
            raise InputError("output", str(path), "a place where nothing is yet", "Choose another output= or name=.")
    texts = {"task": _comment(found) + _yaml(found.task), "randomization": _yaml(found.randomization), "policy": _description(found)}
    try:
        _write_robot(found, robot, paths["robot"])
        for kind, path in paths.items():
            if kind in texts:
                make_folder(path.parent, "output")
                data = texts[kind].encode()
                with writing("output", path):
                    write_atomically(path, lambda stream, data=data: stream.write(data))
    except BaseException:  # half of it would be in the way of the next try
        shutil.rmtree(paths["robot"], ignore_errors=True)
        for kind in texts.keys() & paths.keys():
            paths[kind].unlink(missing_ok=True)
        raise
    return paths


def _check(found: Imported) -> None:
    """The settings as a training would check them."""
    task = check(TaskSettings, found.task, "task")
    for registry, table in ((terms.command, "commands"), (terms.termination, "terminations"), (terms.metric, "metrics")):
        for name, value in getattr(task, table).items():
            registry.bind(f"task.{table}", name, value)
    for name, value in task.resets.items():
        terms.reset.bind("task.resets", name, value, without=("share",))
    for name, value in task.rewards.items():
        terms.reward.bind("task.rewards", name, value, without=("weight", "per"))
    check(RandomizationSettings, found.randomization, "randomization")


def _yaml(data: dict[str, Any]) -> str:
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=120)


def _comment(found: Imported) -> str:
    """All that was not carried over as it was, on top of the task's file."""
    lines = [f"Imported from {found.source.name} of {found.source.kind} with sim.physics_dt={found.physics_dt:g}. What only resembles it:"]
    lines += [f"  {key}: {text}" for key, text in found.resembles.items()]
    lines += [f"  {note}" for note in found.notes]
    lines += ["Without a counterpart:", *(f"  {key} = {value}: {why}" for key, (value, why) in found.left().items())]
    return "".join(f"# {' '.join(line.splitlines())}\n" for line in lines)


def _description(found: Imported) -> str:
    head = "# Of a checkpoint trained on the task, which lies beside this file. joint_names are the task's dof_names: compare them.\n"
    return head + _yaml(found.policy or {})


def _write_robot(found: Imported, robot: Robot, folder: Path) -> None:
    """The robot's folder with another name, pose, gains and scale. It appears whole, or not at all."""
    parent = make_folder(folder.parent, "output")
    with writing("output", folder), tempfile.TemporaryDirectory(prefix=".import-", dir=parent) as work:
        made = Path(work) / folder.name
        shutil.copytree(robot.model.parent, made)
        data = yaml.safe_load((made / "robot.yaml").read_text(encoding="utf-8"))
        data |= {"name": folder.name, **found.robot}
        model = build_spec(robot).compile()
        pose = joint_pose(model, robot, robots.fields.per_joint("pose", found.robot["default_joint_pos"], robot.joint_names, ANY))
        data["standing_height"] = round(float(-sole_heights(robot, model, pose).min()), 4)  # where the soles touch in that pose
        (made / "robot.yaml").write_text(
            f"# {robot.name} with the gains and the pose of {found.source.name}\n" + _yaml(data), encoding="utf-8"
        )
        robots.load(made)  # its figures fit each other
        made.replace(folder)


ANY = robots.fields.Bounds(-math.inf, math.inf, "rad")
