"""All that a learner knows of what it learns on: named observation groups, actions with bounds, rewards of a trajectory.

``N`` is the number of environments, ``A`` of actions; every tensor is float32 on ``device`` unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from robots.errors import InputError, nearest

MirrorMap = tuple[np.ndarray, np.ndarray]  # index and sign: mirrored = sign * x[index]
Observations = dict[str, Tensor]  # group -> [N, width]


class NotFiniteError(InputError):
    """Figures, actions or parameters that are no numbers any more: nothing after them can be trusted."""


class BrokenEnvironmentError(InputError):
    """An environment of somebody else's has raised an error of its own."""


@dataclass(frozen=True)
class ActionSpace:
    """Bounds [A] of what an action can change: beyond them it is clipped."""

    low: Tensor
    high: Tensor

    @property
    def size(self) -> int:
        return len(self.low)


@dataclass(frozen=True)
class DiscreteActions:
    """Choices 0 .. ``size`` - 1: a step takes int64 [N]. An actor gives one figure for each, [N, size]; the largest is chosen."""

    size: int


@dataclass(frozen=True)
class Symmetry:
    """How observation groups and actions look in a mirror of the environment."""

    groups: Mapping[str, MirrorMap]
    action: MirrorMap


@dataclass(frozen=True)
class Spaces:
    """The sizes of what goes in and out of a learner."""

    groups: Mapping[str, int]  # width of each observation group; "actor" is what a policy may see, "critic" what training may
    action: ActionSpace | DiscreteActions
    symmetry: Symmetry | None  # None: the environment has no mirror image
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # what a group is made of: widths by name, in order
    costs: tuple[str, ...] = ()  # constraints, whose violations a :class:`Constrained` environment tells

    def continuous(self, algorithm: str) -> ActionSpace:
        """The actions of an ``algorithm`` for continuous ones. Raises InputError where there are choices."""
        if isinstance(self.action, DiscreteActions):
            raise InputError("algorithm.name", algorithm, "an algorithm for discrete actions: here are choices", "Try algorithm=dqn.")
        return self.action

    def recorded(self, field: str, value: object) -> ActionSpace:
        """The actions that a dataset holds. Raises InputError of ``field`` where there are choices."""
        if isinstance(self.action, DiscreteActions):
            allowed = "one whose actions are numbers: datasets hold no choices"
            raise InputError(field, value, allowed, "Every algorithm that learns from data needs such actions.")
        return self.action

    def discrete(self, algorithm: str) -> DiscreteActions:
        """The actions of an ``algorithm`` for choices. Raises InputError where actions are continuous."""
        if isinstance(self.action, ActionSpace):
            raise InputError("algorithm.name", algorithm, "an algorithm for continuous actions, as here", "Try algorithm=ppo.")
        return self.action

    def constrained(self, algorithm: str) -> tuple[str, ...]:
        """The constraints, for an ``algorithm`` that keeps some. Raises InputError where there are none."""
        if not self.costs:
            raise InputError("algorithm.name", algorithm, "an environment with constraints", "Name some in task.constraints.")
        return self.costs

    def columns(self, setting: str, group: str, names: Sequence[str]) -> np.ndarray:
        """Where the parts ``names`` of ``group`` are, one after the other. Raises InputError for ``setting`` where one is missing."""
        widths = self.parts.get(group, {})
        ends = dict(zip(widths, np.cumsum([*widths.values()]), strict=True))
        for name in names:
            if name not in ends:
                raise InputError(setting, name, f"a part of what the {group} sees", nearest(name, ends) or "It has no named parts.")
        return np.concatenate([np.arange(ends[name] - widths[name], ends[name]) for name in names])


class Transition(NamedTuple):
    """One step. Where an episode ended, ``observations`` begin the next one."""

    observations: Observations
    terminated: Tensor  # [N] bool: it ended by what happened; nothing follows
    truncated: Tensor  # [N] bool: it was cut off; its last state has a value. Never true where terminated is


class Ended(NamedTuple):
    """The episodes that ended since the last call, and the observations in which they ended."""

    steps: Tensor  # [K] int64, which of the steps since the last call
    rows: Tensor  # [K] int64, which environments
    observations: Observations  # group -> [K, width]


class Environment(Protocol):
    """N environments that step together and start their next episode by themselves."""

    num_envs: int
    device: torch.device
    step_seconds: float
    spaces: Spaces

    @property
    def observations(self) -> Observations:
        """Of the present state."""
        ...

    def seed(self, seed: int) -> None:
        """Begin the environment's random numbers anew."""
        ...

    def reset(self) -> Observations:
        """Start an episode everywhere."""
        ...

    def step(self, action: Tensor) -> Transition:
        """Advance all by one step under ``action`` [N, A] (of choices: [N] int64). The caller's tensor is neither kept nor changed."""
        ...

    def rewards(self) -> Tensor:
        """[T, N] rewards of the T steps since the last call. Raises NotFiniteError where an action was no number."""
        ...

    def ended(self) -> Ended:
        """The episodes that ended in the steps that the next :meth:`rewards` will return; to be called before it."""
        ...

    def statistics(self) -> dict[str, float]:
        """Figures since the last call, for people and logs; ``score`` among them (the larger the better), once an episode has ended."""
        ...

    def policy(self, actor: nn.Module) -> nn.Module:
        """What is deployed: raw signals in, actions out, around a trained ``actor`` (observation -> mean action)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class Constrained(Environment, Protocol):
    """An environment with constraints, named in ``spaces.costs``. One without needs no such method."""

    def costs(self) -> Tensor:
        """[T, N, K] by how much each constraint was violated in the steps that the next :meth:`rewards` will return; 0: it held."""
        ...


def concatenate_mirrors(*parts: MirrorMap) -> MirrorMap:
    """The mirror map of concatenated vectors."""
    offsets = np.cumsum([0, *(len(index) for index, _ in parts[:-1])])
    index = np.concatenate([index + offset for (index, _), offset in zip(parts, offsets, strict=True)])
    return index, np.concatenate([sign for _, sign in parts])


def part_of(mirror: MirrorMap, columns: np.ndarray) -> MirrorMap:
    """The mirror map of some ``columns`` of a vector, which are mirrored among themselves."""
    index, sign = mirror
    place = {int(column): i for i, column in enumerate(columns)}
    return np.array([place[int(index[column])] for column in columns], dtype=np.int64), np.asarray(sign)[columns]


def fixed(*signs: float) -> MirrorMap:
    """A vector whose entries stay in place and change sign."""
    return np.arange(len(signs)), np.array(signs, dtype=np.float64)
