"""What the policy sees, and how each of it looks in a mirror.

A policy observation is a list of terms, each a small module. Training calls the encoder that holds them, and the exported graph
contains it, so no second implementation exists that could differ. What a term carries from step to step is its part of
``memory`` [N, M]; zeros start an episode. A policy's inputs are the union of what its terms name: listed once, here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from locomotion.environment import MirrorMap, concatenate_mirrors, fixed
from locomotion.schema import Text
from locomotion.task.commands import Commands
from locomotion.task.frame import is_moving
from locomotion.task.gait import Gait, GaitCommand
from locomotion.task.terms import observation
from robots import Robot
from robots.errors import InputError

POLICY_INPUTS = ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "command")  # what a robot measures, or is told
TARGET, TARGET_TEXT = "joint_pos_target", "the last joint_pos_target less default_joint_pos, rad"  # remembered for the slew limit
Names = Annotated[tuple[Text, ...], Field(min_length=1)]
Length = Annotated[int, Field(ge=2, le=200)]
LIMIT = 100.0  # no sensor of a legged robot says more (rad, rad/s); a diverging simulation might
POLAR, AXIAL = fixed(1, -1, 1), fixed(-1, 1, -1)  # velocity-like, rotation-like


@dataclass(frozen=True)
class Context:
    """What observation terms are made for."""

    robot: Robot
    commands: Commands
    gait: Gait | None
    control_dt: float  # s

    @property
    def joint_mirror(self) -> MirrorMap:
        return self.robot.mirror.joint_index, self.robot.mirror.joint_sign

    @property
    def foot_mirror(self) -> MirrorMap:
        return self.robot.mirror.foot_index, np.ones(len(self.robot.feet))


class ObservationTerm(nn.Module):
    """A part of the policy's observation. ``mirror`` gives its width; None: it has no mirror image of the same shape."""

    inputs: tuple[str, ...] = ()  # of POLICY_INPUTS
    memory: int = 0  # numbers carried from step to step
    text: ClassVar[str] = ""  # what it is, for a person who has to rebuild it
    memory_text: ClassVar[str] = ""

    def __init__(self, mirror: MirrorMap | None, width: int | None = None) -> None:
        super().__init__()
        self.mirror = mirror
        self.width = len(mirror[0]) if mirror is not None else int(width or 0)

    def forward(self, inputs: dict[str, Tensor], memory: Tensor) -> Tensor:
        """[N, width] of the inputs [N, ...] of this step and what was remembered [N, memory]."""
        raise NotImplementedError

    def remember(self, inputs: dict[str, Tensor], action: Tensor, memory: Tensor) -> Tensor:
        """[N, memory] for the next step, after ``action`` [N, J] was chosen."""
        return memory


@observation
class base_ang_vel(ObservationTerm):
    inputs = ("base_ang_vel",)
    text = "gyroscope, rad/s, base frame"

    def __init__(self, context: Context) -> None:
        super().__init__(AXIAL)

    def forward(self, inputs: dict[str, Tensor], memory: Tensor) -> Tensor:
        return inputs["base_ang_vel"]


@observation
class projected_gravity(ObservationTerm):
    inputs = ("projected_gravity",)
    text = "direction of gravity, unit vector, base frame"

    def __init__(self, context: Context) -> None:
        super().__init__(POLAR)

    def forward(self, inputs: dict[str, Tensor], memory: Tensor) -> Tensor:
        return inputs["projected_gravity"]


@observation
class command(ObservationTerm):
    inputs = ("command",)
    text = "the command's channels"

    def __init__(self, context: Context) -> None:
        super().__init__(fixed(*context.commands.mirror))

    def forward(self, inputs: dict[str, Tensor], memory: Tensor) -> Tensor:
        return inputs["command"]


@observation
class joint_pos(ObservationTerm):
    inputs = ("joint_pos",)
    text = "joint positions less default_joint_pos, rad"
    default_joint_pos: Tensor

    def __init__(self, context: Context) -> None:
        super().__init__(context.joint_mirror)
        default = torch.as_tensor(np.array(context.robot.default_joint_pos), dtype=torch.float32)
        self.register_buffer("default_joint_pos", default, persistent=False)

    def forward(self, inputs: dict[str, Tensor], memory: Tensor) -> Tensor:
        return inputs["joint_pos"] - self.default_joint_pos


@observation
class joint_vel(ObservationTerm):
    inputs = ("joint_vel",)
    text = "joint velocities, rad/s"

    def __init__(self, context: Context) -> None:
        super().__init__(context.joint_mirror)

    def forward(self, inputs: dict[str, Tensor], memory: Tensor) -> Tensor:
        return inputs["joint_vel"]


@observation
class previous_action(ObservationTerm):
    text = "the raw action of the step before"
    memory_text = "the raw action"

    def __init__(self, context: Context) -> None:
        super().__init__(context.joint_mirror)
        self.memory = self.width

    def forward(self, inputs: dict[str, Tensor], memory: Tensor) -> Tensor:
        return memory

    def remember(self, inputs: dict[str, Tensor], action: Tensor, memory: Tensor) -> Tensor:
        return action


@observation
class gait_clock(ObservationTerm):
    inputs = ("command",)
    memory = 1
    text = "sine and cosine of the gait's phase, zero where the command is to stand"
    memory_text = (
        "phase of the gait in cycles; advances by (a + b |command[:2]|) control_dt a step, a and b in Hz; 0 where the command is to stand"
    )

    def __init__(self, context: Context) -> None:
        if context.gait is None:
            raise InputError("task.observations", "gait_clock", "a task with a gait", "Set task.gait, or remove the gait_clock.")
        if len(context.gait.names) > 1:
            raise InputError("task.observations.actor", "gait_clock", "a task with one gait", "Use foot_clock: {}.")
        super().__init__(context.gait.clock_mirror, 2)
        self._gait, self._control_dt = context.gait, context.control_dt

    def forward(self, inputs: dict[str, Tensor], memory: Tensor) -> Tensor:
        angle = (2 * math.pi) * memory
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1) * is_moving(self._gait.velocity(inputs["command"]))

    def remember(self, inputs: dict[str, Tensor], action: Tensor, memory: Tensor) -> Tensor:
        return advance_clock(self._gait.asked(inputs["command"]), memory, self._control_dt)


@observation
class foot_clock(ObservationTerm):
    """The clock as each foot has it: unlike the gait's, it has a mirror image that holds for all gaits at once."""

    inputs = ("command",)
    memory = 1
    text = "sine of each foot's phase, then cosine of each; zero where the command is to stand"
    memory_text = "phase of the gait in cycles; advances by the commanded (or the robot's) frequency times control_dt a step"

    def __init__(self, context: Context) -> None:
        if context.gait is None:
            raise InputError("task.observations", "foot_clock", "a task with a gait", "Set task.gait, or remove the foot_clock.")
        mirror = concatenate_mirrors(context.foot_mirror, context.foot_mirror) if context.gait.is_mirrored else None
        super().__init__(mirror, 2 * len(context.robot.feet))
        self._gait, self._control_dt = context.gait, context.control_dt

    def forward(self, inputs: dict[str, Tensor], memory: Tensor) -> Tensor:
        asked = self._gait.asked(inputs["command"])
        angle = (2 * math.pi) * (memory + asked.offsets)
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1) * is_moving(asked.velocity)

    def remember(self, inputs: dict[str, Tensor], action: Tensor, memory: Tensor) -> Tensor:
        return advance_clock(self._gait.asked(inputs["command"]), memory, self._control_dt)


def advance_clock(asked: GaitCommand, phase: Tensor, control_dt: float) -> Tensor:
    """The clock's phase a step later, [N, 1] in cycles; 0 where the command is to stand."""
    phase = torch.add(phase, asked.frequency, alpha=control_dt) * is_moving(asked.velocity)
    return phase - torch.floor(phase)


@observation
class history(ObservationTerm):
    """The last values of other terms, the present ones first; zeros from before the episode."""

    def __init__(self, context: Context, *, terms: Names, length: Length) -> None:
        field = "task.observations.actor.history.terms"
        parts = [observation.bind(field, name, {})(context) for name in terms]
        for name, part in zip(terms, parts, strict=True):
            if part.memory:
                raise InputError(field, name, "terms without a memory of their own", "The last action is in joint_pos a step later.")
        mirrors = [part.mirror for part in parts]
        known = all(mirror is not None for mirror in mirrors)
        self_width = sum(part.width for part in parts)
        super().__init__(concatenate_mirrors(*mirrors * length) if known else None, self_width * length)
        self.parts, self.memory = nn.ModuleList(parts), self_width * (length - 1)
        self.inputs = tuple({name: None for part in parts for name in part.inputs})
        named = ", ".join(terms)
        self.text = f"{named}, as they are now, a step ago, ..., {length - 1} steps ago"
        self.memory_text = f"{named}, a step ago, ..., {length - 1} steps ago"

    def forward(self, inputs: dict[str, Tensor], memory: Tensor) -> Tensor:
        now = [part.forward(inputs, memory[..., :0]) for part in self.parts]  # type: ignore[operator]
        return torch.cat([*now, memory], dim=-1)

    def remember(self, inputs: dict[str, Tensor], action: Tensor, memory: Tensor) -> Tensor:
        return self.forward(inputs, memory)[..., : self.memory]


def check_term(field: str, term: object, context: Context) -> None:
    """Try a term once: what it gives must be what it says. Raises InputError that names it."""
    if not isinstance(term, ObservationTerm):
        raise InputError(field, type(term).__name__, "an ObservationTerm", "Derive it from locomotion.task.observations.ObservationTerm.")
    j, c = context.robot.num_joints, len(context.commands.channels)
    sizes = {"base_ang_vel": 3, "projected_gravity": 3, "joint_pos": j, "joint_vel": j, "command": c}
    inputs = {name: torch.zeros(2, sizes[name]) for name in term.inputs if name in sizes}
    try:
        value = term.forward(inputs, torch.zeros(2, term.memory))
        kept = term.remember(inputs, torch.zeros(2, j), torch.zeros(2, term.memory))
    except KeyError as error:
        raise InputError(
            field, f"reads {error}", f"inputs named in 'inputs', of {POLICY_INPUTS}", "Name it, or give it to the critic."
        ) from error
    except Exception as error:  # whatever a term of somebody else's raises
        raise InputError(field, f"{type(error).__name__}: {error}", "a term that can be computed", "Mend it.") from error
    for name, found, wanted in (("forward", value, term.width), ("remember", kept, term.memory)):
        if found.shape != (2, wanted) or found.dtype != torch.float32:
            raise InputError(
                f"{field}.{name}", f"{found.dtype} {list(found.shape)}", f"float32 [N, {wanted}]", "Mend it, or its mirror or memory."
            )
    if term.mirror is not None and sorted(term.mirror[0].tolist()) != list(range(term.width)):
        raise InputError(f"{field}.mirror", term.mirror[0].tolist(), f"a permutation of 0..{term.width - 1}", "Mend the mirror's index.")


class Encoder(nn.Module):
    """The policy's observation: its terms side by side, and what is remembered: by the terms, and last the ``num_joints`` targets."""

    def __init__(self, terms: dict[str, ObservationTerm], num_joints: int) -> None:
        super().__init__()
        self.terms = nn.ModuleDict(terms)
        self.size = sum(term.width for term in terms.values())
        self._memory_sizes = [*(term.memory for term in terms.values()), num_joints]
        self.memory_size = sum(self._memory_sizes)
        named = {name for term in terms.values() for name in term.inputs}
        for name in sorted(named - set(POLICY_INPUTS)):
            raise InputError("task.observations.actor", name, f"inputs that a robot measures: {POLICY_INPUTS}", "Give it to the critic.")
        # the action's decoder needs the joints' state, whatever the policy sees
        self.inputs = tuple(name for name in POLICY_INPUTS if name in named | {"joint_pos", "joint_vel"})

    @property
    def widths(self) -> dict[str, int]:
        """Of each term, in order."""
        return {name: term.width for name, term in self.terms.items()}  # type: ignore[misc]

    @property
    def mirror(self) -> MirrorMap | None:
        """Of the whole observation; None where a term has no mirror image."""
        mirrors = [term.mirror for term in self.terms.values()]  # type: ignore[union-attr]
        return None if any(mirror is None for mirror in mirrors) else concatenate_mirrors(*mirrors)  # type: ignore[arg-type]

    def forward(self, inputs: dict[str, Tensor], memory: Tensor) -> Tensor:
        """The observation, [N, size], within +-LIMIT."""
        parts = zip(self.terms.values(), memory.split(self._memory_sizes, dim=-1)[:-1], strict=True)
        # forward() rather than a call: the hooks of a module's call cost as much as the arithmetic here
        return torch.cat([term.forward(inputs, part) for term, part in parts], dim=-1).clip(-LIMIT, LIMIT)  # type: ignore[operator]

    def remember(self, inputs: dict[str, Tensor], action: Tensor, memory: Tensor, target: Tensor) -> Tensor:
        """The memory for the next step, [N, M]; ``target`` [N, J] is the joints' target less the default (rad)."""
        pairs = zip(self.terms.values(), memory.split(self._memory_sizes, dim=-1)[:-1], strict=True)
        parts = [term.remember(inputs, action, part) for term, part in pairs if term.memory]  # type: ignore[operator]
        return torch.cat([*parts, target], dim=-1)

    def split_memory(self, memory: Tensor) -> dict[str, Tensor]:
        """``memory`` [..., M] by the name of its term, and last the target."""
        return dict(zip((*self.terms, TARGET), memory.split(self._memory_sizes, dim=-1), strict=True))

    def describe(self) -> tuple[list[dict], list[dict]]:
        """Observation terms and memory layout in words: name, width and text of each, in order."""
        terms = self.terms.items()
        observed = [{"name": name, "width": term.width, "text": term.text or name} for name, term in terms]
        remembered = [{"name": name, "width": term.memory, "text": term.memory_text or name} for name, term in terms if term.memory]
        remembered.append({"name": TARGET, "width": self._memory_sizes[-1], "text": TARGET_TEXT})
        return observed, remembered
