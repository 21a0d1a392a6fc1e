"""A policy trained elsewhere, described in YAML: what it sees, in which order and scale, and what its actions mean."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import Field, model_validator

import robots
from locomotion.schema import Count, Finite, Positive, Range, Settings, Text, check
from robots import Robot, fields, yaml_file
from robots.errors import InputError, nearest
from robots.robot import PER_JOINT, check_figures

PerJoint = Finite | tuple[Finite, ...] | dict[str, Finite]  # one for all, a list in the order of joint_names, or {pattern: number}
VECTORS = ("base_ang_vel", "projected_gravity", "base_lin_vel")  # signals of three numbers
OF_JOINTS = ("joint_pos", "joint_vel")
WALK = ("forward", "left", "yaw")
Activation = Literal["elu", "relu", "selu", "tanh", "sigmoid", "lrelu", "softplus"]
COUNTS = Annotated[int, Field(ge=1, le=200)]


class Term(Settings):
    """A part of the observation: clipped, then scaled, both as given. Joints and the previous action stand in the policy's order."""

    term: Literal[
        "base_ang_vel",
        "projected_gravity",
        "base_lin_vel",
        "command",
        "joint_pos",
        "joint_vel",
        "previous_action",
        "gait_phase",
        "constant",
    ]
    scale: Finite | tuple[Finite, ...] = 1.0  # one number, or one for each number of the term
    clip: Range | None = None
    channels: tuple[Text, ...] | None = None  # of a command, in the policy's order; None: all of commands
    relative: bool = True  # joint_pos: less the default pose
    function: Literal["sin", "cos", "phase"] | None = None  # gait_phase: of each offset; "phase" is the share of the cycle, 0 to 1
    values: tuple[Finite, ...] | None = None  # constant

    @model_validator(mode="after")
    def _whole(self) -> Term:
        for name, owner in (("channels", "command"), ("function", "gait_phase"), ("values", "constant")):
            if getattr(self, name) is not None and self.term != owner:
                raise InputError(f"observation: {self.term}: {name}", getattr(self, name), f"none: it is of {owner}", f"Remove {name}.")
            if name != "channels" and self.term == owner and not getattr(self, name):
                raise InputError(f"observation: {self.term}: {name}", None, "a value", f"Add '{name}:'.")
        return self


class History(Settings):
    """The observation is the last ``length`` frames, each of all terms."""

    length: COUNTS = 1
    layout: Literal["by_term", "by_frame"] = "by_term"  # all frames of the first term, then of the next; or one frame after the other
    order: Literal["oldest_first", "newest_first"] = "oldest_first"
    start: Literal["zeros", "first"] = "zeros"  # what stands for frames before the first: zeros, or the first one


class Stand(Settings):
    """Below this speed (m/s, rad/s) of the command the clock stops: every foot at ``phase``, and it starts anew."""

    below: Positive
    phase: Finite  # cycles


class GaitClock(Settings):
    """Phase of foot i: offsets[i] + time / period, in cycles; the first observation has seen one control step."""

    period: Positive  # s
    offsets: Annotated[tuple[Finite, ...], Field(min_length=1)]
    stand: Stand | None = None


class Action(Settings):
    """Target of a joint: default pose + scale * clip(output). What is clipped so is also what ``previous_action`` shows."""

    scale: PerJoint
    clip: Positive | None = None
    joint_names: tuple[Text, ...] | None = None  # None: those of the policy; the others are held in the default pose


class State(Settings):
    """A recurrent state, zeros at the start: [batch, hidden] for one number, [layers, batch, hidden] for two."""

    input: Text
    output: Text
    size: Annotated[tuple[Count, ...], Field(min_length=1, max_length=2)]


class ForeignPolicy(Settings):
    """What a description's YAML holds."""

    policy: Text  # an .onnx file, a TorchScript one or a checkpoint of rl_games or rsl_rl, relative to the description
    robot: Text
    control_dt: Annotated[float, Field(ge=0.001, le=0.1)]  # s
    input: Text | None = None  # the observation's name in the file; None: its only input that is no state
    output: Text | None = None  # the action's
    activation: Activation | None = None  # between the layers of a checkpoint, which alone does not say it itself
    joint_names: tuple[Text, ...] | None = None  # in the policy's order; None: the robot's
    default_joint_pos: PerJoint | None = None  # rad; None: the robot's, as kp and kd
    kp: PerJoint | None = None  # N m/rad
    kd: PerJoint | None = None  # N m s/rad
    observation: Annotated[tuple[Term, ...], Field(min_length=1)]
    clip_observation: Positive | None = None  # of every number, after its scale
    history: History = History()
    gait: GaitClock | None = None
    action: Action
    commands: dict[str, Range] = {}  # as trained, by channel
    max_tilt: Annotated[float, Field(gt=0, le=math.pi)] | None = None  # rad that the policy has met
    state: tuple[State, ...] = ()


@dataclass(frozen=True, eq=False)
class Description:
    """A description made definite: joints as indices of the robot's, figures as arrays."""

    settings: ForeignPolicy
    file: Path  # the policy's
    robot: Robot  # with the policy's gains and default pose
    own: Robot  # as its robot.yaml has it
    observed: np.ndarray  # [K] int: the joints that the policy sees, in its order
    acted: np.ndarray  # [A] int: those that it moves
    action_scale: np.ndarray  # [A] rad per unit of action

    def width(self, term: Term) -> int:
        """Numbers of a term in one frame."""
        if term.term == "command":
            return len(self.channels(term))
        if term.term == "gait_phase":
            return len(self.settings.gait.offsets) if self.settings.gait else 0
        if term.term == "constant":
            return len(term.values or ())
        return {**dict.fromkeys(VECTORS, 3), **dict.fromkeys(OF_JOINTS, len(self.observed)), "previous_action": len(self.acted)}[term.term]

    def channels(self, term: Term) -> list[int]:
        """Places of a command term's channels among the commands."""
        names = list(self.settings.commands)
        return [names.index(channel) for channel in term.channels or names]

    @property
    def frame_width(self) -> int:
        return sum(map(self.width, self.settings.observation))


def read(path: Path) -> Description:
    """The description in a YAML file.

    Raises:
        InputError: a file that cannot be read, or a field that is missing, unknown or impossible.
    """
    try:
        data = yaml_file.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("description", str(path), "a YAML file that can be read", f"{' '.join(str(error).split())}.") from error
    if not isinstance(data, Mapping):
        raise InputError("description", data, "settings as {key: value}", "See docs/foreign_policies.md.")
    return describe(check(ForeignPolicy, data), path.parent)


def describe(settings: ForeignPolicy, folder: Path) -> Description:
    """Bind ``settings`` to their robot. Raises InputError where they do not fit it or each other."""
    own = robots.load(settings.robot)
    observed = _joints("joint_names", settings.joint_names, own)
    acted = _joints("action.joint_names", settings.action.joint_names, own) if settings.action.joint_names else observed
    changed = {
        name: _figures(name, value, own, observed, np.arange(own.num_joints))
        for name in ("default_joint_pos", "kp", "kd")
        if (value := getattr(settings, name)) is not None
    }
    robot = dataclasses.replace(own, **changed)
    check_figures(robot, lambda key: key)
    scale = _figures("action.scale", settings.action.scale, own, acted, acted)
    found = Description(settings, folder / settings.policy, robot, own, observed, acted, scale)
    _check_terms(found)
    return found


def _joints(field: str, names: tuple[str, ...] | None, robot: Robot) -> np.ndarray:
    """Indices of ``names`` among the robot's joints."""
    for name in names or ():
        if name not in robot.joint_names:
            raise InputError(field, name, f"a joint of {robot.name}", nearest(name, robot.joint_names))
        if (names or ()).count(name) > 1:
            raise InputError(field, name, "every joint once", f"Remove the second '{name}'.")
    return np.array([robot.joint_names.index(name) for name in names or robot.joint_names])


def _figures(field: str, value: Any, robot: Robot, order: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Figures of the joints ``places``, in that order; of the policy's ``order`` where ``value`` is a list."""
    bounds = PER_JOINT["action_scale" if field == "action.scale" else field]
    names = [robot.joint_names[i] for i in places]
    if isinstance(value, tuple):
        if len(value) != len(order) or set(order) != set(places):
            allowed = f"{len(places)} numbers in the order of joint_names, which then names every joint"
            raise InputError(field, value, allowed, "Or write {pattern: number}.")
        value = {robot.joint_names[i]: number for i, number in zip(order, value, strict=True)}
    return fields.per_joint(field, value, names, bounds)


def _check_terms(found: Description) -> None:
    settings = found.settings
    for i, term in enumerate(settings.observation):
        field = f"observation.{i}: {term.term}"
        for channel in term.channels or ():
            if channel not in settings.commands:
                raise InputError(field, channel, "a channel of commands", nearest(channel, settings.commands))
        if term.term == "gait_phase" and settings.gait is None:
            raise InputError("gait", None, "a clock, since the policy sees its phase", "Add 'gait: {period: ..., offsets: [...]}'.")
        width = found.width(term)
        if width == 0:
            raise InputError("commands", settings.commands, "a channel, since the policy sees the command", "Add 'commands:'.")
        if isinstance(term.scale, tuple) and len(term.scale) != width:
            raise InputError(f"{field}: scale", term.scale, f"one number, or {width}", "One for each number of the term.")
    if settings.gait and settings.gait.stand and not set(WALK) <= set(settings.commands):
        raise InputError("gait.stand", list(settings.commands), f"the commands {', '.join(WALK)}", "Remove stand.")
    for name, (low, high) in settings.commands.items():
        if not low <= 0.0 <= high:
            raise InputError(f"commands.{name}", [low, high], "a range around zero, which means: stand", "Widen it.")
