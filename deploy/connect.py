"""Ways to a robot, and operators, by name. A way is imported where it is opened, in the guard's process."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from deploy.calibration import Calibration, calibrated
from deploy.contract import Contract
from deploy.dry_run import DryRun, Observer
from deploy.guard import lease
from deploy.guard_process import Factory, GuardedInterface
from deploy.interface import RealTime, RobotInterface
from deploy.keyboard import KeyboardOperator
from deploy.limits import Limits
from deploy.operator import Operator, ScriptedOperator
from deploy.supervisor import Supervisor
from deploy.unitree.operator import RemoteOperator
from robots import InputError, Robot
from robots.errors import nearest

WAYS = {
    "sim": "deploy.hil.simulated_robot:SimulatedRobot",
    "unitree_dds": "deploy.unitree.interface:UnitreeInterface",
}
"""Classes that take a robot, a clock and options of their own, all by name."""
READING = {"unitree_dds": {"release": False, "commands": False}}
"""Options with which a way sends nothing, where it has such."""


def way_to(robot: Robot, name: str, **options: Any) -> Factory:
    """Opens the interface called ``name`` with its own ``options``, such as ``network`` of ``unitree_dds``. Raises InputError."""
    if name not in WAYS:
        raise InputError("interface.name", name, "the name of an interface", nearest(name, WAYS))
    return functools.partial(_open, WAYS[name], robot=robot, clock=RealTime(), **options)


def _open(place: str, **arguments: Any) -> RobotInterface:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)(**arguments)


def connect(
    robot: Robot, control_dt: float, limits: Limits, interface: dict[str, Any], calibration: Calibration | None, dry_run: bool
) -> tuple[RobotInterface, Supervisor]:
    """A robot behind the guard, and its supervisor; in a dry run neither of them sends anything, and there is no guard.

    ``interface`` holds its name and options. Raises InputError, and GuardDead where the robot cannot be reached.
    """
    options = {**interface, **(READING.get(interface["name"], {}) if dry_run else {})}
    factory = way_to(robot, **options)
    if calibration:
        factory = functools.partial(calibrated, factory, calibration)
    if dry_run:
        return DryRun(factory()), Observer(robot, control_dt, limits)
    return GuardedInterface(factory, robot, limits.damping_kd, lease(control_dt)), Supervisor(robot, control_dt, limits)


def operator_of(commands: Any, contract: Contract, interface: RobotInterface) -> Operator:
    """Who follows a script, or ``keyboard`` (a context: enter it), or ``remote``, the robot's own. Raises InputError."""
    if commands == "keyboard":
        return KeyboardOperator(contract)
    if commands != "remote":
        return ScriptedOperator(commands, contract)
    if getattr(interface, "remote", None) is None:
        raise InputError("commands", "remote", "an interface with a remote", "Use interface unitree_dds, or commands: keyboard.")
    return RemoteOperator(lambda: getattr(interface, "remote"), contract)  # noqa: B009
