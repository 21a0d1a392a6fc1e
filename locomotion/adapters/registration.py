"""``locomotion/Go2-velocity-flat-v0`` and its like: names under which Gymnasium makes our tasks. It needs no torch and no engine."""

from __future__ import annotations

import gymnasium

import robots
from locomotion import config
from robots.errors import InputError

NAMESPACE = "locomotion"
VENDOR = "unitree_"  # left out of the names of its robots


def register() -> None:
    """Register every task of ``configs/task`` on every robot of the search path and its variants. What is registered stays."""
    known = robots.available()
    for robot in known:
        for one in (robot, *_variants(robot)):
            for task in config.options("task"):
                name = identity(one if robot.removeprefix(VENDOR) in known else one.removeprefix(VENDOR), task)
                if name not in gymnasium.registry:
                    gymnasium.register(
                        name,
                        entry_point="locomotion.adapters.gymnasium:make",
                        vector_entry_point="locomotion.adapters.gymnasium:make_vec",
                        kwargs={"robot": one, "task": task},
                    )


def identity(robot: str, task: str) -> str:
    """The name of ``task`` on ``robot``: ``anymal_c`` and ``velocity_flat`` are ``locomotion/AnymalC-velocity-flat-v0``."""
    name, dot, variant = robot.partition(".")
    words = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    return f"{NAMESPACE}/{words}{dot}{variant}-{task.replace('_', '-')}-v0"


def _variants(robot: str) -> list[str]:
    try:
        return robots.variants(robot)
    except InputError:  # a description with faults: the robot is registered all the same, and making it says what is wrong
        return []
