"""Ways to a robot, and operators, by name. A way is imported where it is opened, in the guard's process."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.calibration import Calibration, calibrated
from deploy.contract import Contract
from deploy.dry_run import DryRun, Observer
from deploy.estop import EStopServer, place
from deploy.guard import GuardDead, lease
from deploy.guard_process import Factory, GuardedInterface
from deploy.heading import HeadingHold
from deploy.interface import RealTime, RobotInterface
from deploy.keyboard import KeyboardOperator
from deploy.limits import Limits
from deploy.operator import Operator, ScriptedOperator
from deploy.policy import RobotPolicy
from deploy.supervisor import Supervisor
from deploy.unitree.operator import RemoteOperator
from robots import InputError, Robot
from robots.errors import nearest

REMOTE = "remote"
WAYS = {
    "sim": "deploy.hil.simulated_robot:SimulatedRobot",
    "unitree_dds": "deploy.unitree.interface:UnitreeInterface",
}
"""Classes that take a robot, a clock and options of their own, all by name."""
READING = {"unitree_dds": {"release": False, "commands": False}}
"""Options with which a way sends nothing, where it has such."""
STANDBY = {"unitree_dds": {"release": False, "standby": True}}
"""Options with which a way is open and silent until its ``take_over``, where it has such."""


def way_to(robot: Robot, name: str, /, **options: Any) -> Factory:
    """Opens the interface called ``name`` with its own ``options``, such as ``network`` of ``unitree_dds``. Raises InputError."""
    if name not in WAYS:
        raise InputError("interface.name", name, "the name of an interface", nearest(name, WAYS))
    return functools.partial(_open, WAYS[name], robot, options)


def standby_of(robot: Robot, name: str, /, **options: Any) -> Factory | None:
    """Opens the same for a guard that waits for the other one's death; None where only one may ever be open."""
    return way_to(robot, name, **options | STANDBY[name]) if name in STANDBY else None


def _open(place: str, robot: Robot, options: Mapping[str, Any]) -> RobotInterface:
    module, _, name = place.partition(":")
    interface = getattr(importlib.import_module(module), name)
    check_options(interface, options)
    return interface(robot=robot, clock=RealTime(), **options)


def check_options(interface: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Each is one of ``interface``'s own, of the type that it is annotated with, and none is missing: 'no' in quotes is true, too.

    Raises InputError.
    """
    parameters, types = inspect.signature(interface).parameters, typing.get_type_hints(getattr(interface, "__init__", interface))
    known = [option for option in parameters if option not in ("robot", "clock")]
    for option, value in options.items():
        if option not in known:
            raise InputError(f"interface.{option}", value, f"one of {', '.join(known) or 'no options'}", nearest(str(option), known))
        wanted = (int, float) if types[option] is float else types[option]
        finite = not isinstance(value, int | float) or abs(value) <= sys.float_info.max
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool) or not finite:
            raise InputError(
                f"interface.{option}", value, f"a value of type {types[option].__name__}", f"Without it: {parameters[option].default!r}."
            )
    for option in known:
        if parameters[option].default is inspect.Parameter.empty and option not in options:
            raise InputError(f"interface.{option}", None, f"a value of type {types[option].__name__}", f"Add {option} to the interface.")


@dataclass(frozen=True)
class Extras:
    """What a run may have beyond a robot and an operator: the same names in FILE.yaml, on the command line and in code.

    with extras.beside(policy.contract) as (estop, heading):
        interface, supervisor, operator = connect(..., interpolate=extras.interpolate)
        runtime = Runtime(policy, interface, supervisor, clock, log, estop, heading)
    """

    estop: Mapping[str, Any] | None = None  # key, and address and port: see deploy.estop.place
    heading_hold: bool = False  # keep the heading while nobody turns the robot
    interpolate: bool = False  # the guard leads targets from one step's to the next's, in place of holding them
    folder: Path = Path()  # that the key's file is in

    @contextlib.contextmanager
    def beside(self, contract: Contract) -> Iterator[tuple[EStopServer | None, HeadingHold | None]]:
        """Of one run. The runtime closes the e-stop's side; it is closed here where no runtime comes of it. Raises InputError."""
        heading = HeadingHold(contract) if self.heading_hold else None
        switch = EStopServer(place(self.estop, self.folder)) if self.estop is not None else None
        try:
            yield switch, heading
        except BaseException:
            if switch:
                switch.close()
            raise


NOTHING = Extras()


def connect(
    policy: RobotPolicy,
    limits: Limits,
    interface: Mapping[str, Any],
    commands: Any,
    calibration: Calibration | None,
    dry_run: bool,
    interpolate: bool = False,
) -> tuple[RobotInterface, Supervisor, Operator]:
    """A robot behind the guard, its supervisor and its operator; a dry run sends nothing, and has no guard.

    ``interface`` holds its name and options; with ``interpolate`` the guard leads targets from one step's to the next's. Raises
    InputError, also where the robot cannot be reached.
    """
    robot, control_dt = policy.robot, policy.contract.control_dt
    operator = None if commands == REMOTE else operator_of(commands, policy.contract)  # a mistake there is found before robots fall
    name, options = interface["name"], {key: value for key, value in interface.items() if key != "name"}
    factory = way_to(robot, name, **options | (READING.get(name, {}) if dry_run else {}))
    if calibration:
        factory = functools.partial(calibrated, factory, calibration)
    try:
        opened = DryRun(factory()) if dry_run else GuardedInterface(
            factory, robot, limits.damping_kd, lease(control_dt), control_dt if interpolate else 0.0, standby_of(robot, name, **options)
        )  # fmt: skip
    except GuardDead as error:
        remedy = f"{error}. 'locomotion deploy doctor' looks closer."
        raise InputError("interface", interface["name"], "a robot that can be reached", remedy) from error
    supervisor = Observer(robot, control_dt, limits) if dry_run else Supervisor(robot, control_dt, limits)
    try:
        return opened, supervisor, operator or operator_of(commands, policy.contract, opened)
    except InputError:
        opened.close()
        raise


def operator_of(commands: Any, contract: Contract, interface: RobotInterface | None = None) -> Operator:
    """Who follows a script, or ``keyboard`` (a context: enter it), or ``remote``, that of ``interface``. Raises InputError."""
    if commands == "keyboard":
        return KeyboardOperator(contract)
    if commands != REMOTE:
        return ScriptedOperator(commands, contract)
    if getattr(interface, REMOTE, None) is None:
        raise InputError("commands", commands, "an interface with a remote", "Use interface unitree_dds, or commands: keyboard.")
    return RemoteOperator(lambda: getattr(interface, REMOTE), contract)
