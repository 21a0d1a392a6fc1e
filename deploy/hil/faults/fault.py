"""Faults by name: each a function of a bench and its settings that says what it breaks, and where.

A setting's type is its annotation; signals are those of a RobotState, joints are numbers in the robot's canonical order. In real time a
fault acts in one process, by its side: that of the robot on the wire, or that of the runtime.
"""

from __future__ import annotations

import enum
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deploy.interface import MotorCommand, RobotState
from deploy.monitors import SHAPES
from deploy.operator import Intent
from robots import InputError
from robots.errors import nearest

IMU = ("base_ang_vel", "projected_gravity")
ENCODERS = ("joint_pos", "joint_vel", "joint_torque")


@dataclass(frozen=True)
class Hooks:
    """What a fault breaks while it lasts."""

    begin: Callable[[], None] = lambda: None
    end: Callable[[], None] = lambda: None
    packet: Callable[[bytes], Iterable[bytes]] = lambda data: (data,)  # of the state, encoded: there are none in lockstep
    sample: Callable[[RobotState], Any] = lambda sample: sample  # on the wire from the robot
    command: Callable[[MotorCommand], Iterable[MotorCommand]] = lambda command: (command,)  # on the wire to the motors
    runtime: Callable[[], None] = lambda: None  # as it begins a step
    target: Callable[[np.ndarray], np.ndarray] = lambda target: target  # [J] rad, of the policy
    intent: Callable[[Intent], Intent] = lambda intent: intent  # of the operator


class Side(enum.Enum):
    """Where a fault acts."""

    ROBOT = enum.auto()  # on the wire, and beyond it
    RUNTIME = enum.auto()  # in the runtime's process
    LOCKSTEP = enum.auto()  # nowhere but in lockstep: what no wire carries
    WIRE = enum.auto()  # as ROBOT, and nowhere but in real time: packets, and other programs
    PROCESS = enum.auto()  # as RUNTIME, and nowhere but in real time: what befalls a process that lockstep does not have


MODES = {"lockstep": (Side.ROBOT, Side.RUNTIME, Side.LOCKSTEP), "realtime": (Side.ROBOT, Side.RUNTIME, Side.WIRE, Side.PROCESS)}
NOTHING = Hooks()
FAULTS: dict[str, Callable[..., Hooks]] = {}
SIDES: dict[str, Side] = {}


def on(side: Side) -> Callable[[Callable[..., Hooks]], Callable[..., Hooks]]:
    """A fault of that side, known by its name."""

    def known(function: Callable[..., Hooks]) -> Callable[..., Hooks]:
        FAULTS[function.__name__], SIDES[function.__name__] = function, side
        return function

    return known


fault = on(Side.ROBOT)


class During:
    """``hooks`` from ``start`` to ``stop``, s; nothing before and after."""

    def __init__(self, hooks: Hooks, start: float, stop: float) -> None:
        self._hooks, self._start, self._stop = hooks, start, stop
        self._began = self._ended = False

    def __call__(self, now: float) -> Hooks:
        """What is broken now."""
        if not self._began and now >= self._start - 1e-9:
            self._began = True
            self._hooks.begin()
        if self._began and not self._ended and now >= self._stop - 1e-9:
            self._ended = True
            self._hooks.end()
        return self._hooks if self._began and not self._ended else NOTHING


def make(name: str, scene: Any, settings: Mapping[str, Any]) -> Hooks:
    """The fault with settings as they come out of a YAML file."""
    return FAULTS[name](scene, **{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})


def check(name: Any, settings: Any, field: str, mode: str) -> None:
    """Raises InputError where there is no such fault in that mode, or it has no such settings."""
    if name not in FAULTS:
        raise InputError(f"{field}.fault", name, f"one of {', '.join(FAULTS)}", nearest(str(name), FAULTS))
    if SIDES[name] not in MODES[mode]:
        raise InputError(f"{field}.fault", name, f"a fault of mode={mode}", "It is one of the other mode alone.")
    known = {key: p for key, p in inspect.signature(FAULTS[name]).parameters.items() if key != "bench"}
    for key, value in settings.items():
        if key not in known:
            raise InputError(f"{field}.settings.{key}", value, f"a setting of {name}: {', '.join(known) or 'it has none'}", "Remove it.")
        if problem := _unfit(str(known[key].annotation), value):
            raise InputError(f"{field}.settings.{key}", value, problem, f"As in {key}: {known[key].default!r}.")


def _unfit(kind: str, value: Any) -> str:
    """What the value should have been, or nothing."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind == "float":
        return "" if whole or (isinstance(value, float) and math.isfinite(value)) else "a number"
    if kind == "int":
        return "" if whole and value >= 0 else "a whole number"
    if kind == "str":
        return "" if value in SHAPES else f"a signal: {', '.join(SHAPES)}"
    if not isinstance(value, list | tuple) or not value:
        return "a list"
    if kind == "Signals":
        return "" if all(item in SHAPES for item in value) else f"signals: {', '.join(SHAPES)}"
    return next((problem for item in value if (problem := _unfit("int" if kind == "Joints" else "float", item))), "")


Signals = tuple[str, ...]
Joints = tuple[int, ...]
Numbers = tuple[float, ...]


def changed(sample: RobotState, names: Iterable[str], change: Callable[[np.ndarray], np.ndarray]) -> RobotState:
    return replace(sample, **{name: change(getattr(sample, name)) for name in names})


def physics_of(bench: Any, act: Callable[[], None]) -> Hooks:
    """``act`` before each step of the physics."""

    def end() -> None:
        bench.plant.physics = lambda: None
        bench.plant.data.xfrc_applied[:] = bench.plant.data.qfrc_applied[:] = 0.0

    return Hooks(begin=lambda: setattr(bench.plant, "physics", act), end=end)
