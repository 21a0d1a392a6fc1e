"""Ways to a robot by name. Each is imported where it is opened, in the guard's process: what it needs, nothing else needs."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from deploy.guard_process import Factory
from deploy.interface import RealTime, RobotInterface
from robots import InputError, Robot
from robots.errors import nearest

WAYS = {
    "sim": "deploy.hil.simulated_robot:SimulatedRobot",
    "unitree_dds": "deploy.unitree.interface:UnitreeInterface",
}
"""Classes that take a robot, a clock and options of their own, all by name."""


def way_to(robot: Robot, name: str, **options: Any) -> Factory:
    """Opens the interface called ``name`` with its own ``options``, such as ``network`` of ``unitree_dds``. Raises InputError."""
    if name not in WAYS:
        raise InputError("interface.name", name, "the name of an interface", nearest(name, WAYS))
    return functools.partial(_open, WAYS[name], robot=robot, clock=RealTime(), **options)


def _open(place: str, **arguments: Any) -> RobotInterface:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)(**arguments)
