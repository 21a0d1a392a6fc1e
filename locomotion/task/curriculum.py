"""What changes as learning goes on: all on the device.

A curriculum is told the smoothed score whenever steps have been worked out, and how many rollouts of :data:`ROLLOUT` steps these
were (a share of one for whoever asks for rewards every step). One that changes what episodes are drawn from says so in ``narrow``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from locomotion.schema import Positive, Range, Share, Text
from locomotion.task.terms import curriculum
from robots.errors import InputError, nearest
from sim import PARAMETERS

if TYPE_CHECKING:
    from locomotion.task.task import Task

ROLLOUT = 16  # control steps: in these curricula count their speed


@dataclass
class Ranges:
    """What episodes are drawn from, [min, max] by name, for the contract of a policy."""

    commands: dict[str, list[float]]  # by channel
    parameters: dict[str, list[float]]  # of physics


@curriculum
class ramp_weights:
    """The weights of some reward terms grow from a share of themselves to the whole as the score rises; they never shrink again."""

    def __init__(self, task: Task, *, terms: dict[str, Share], score: Range = (0.5, 0.75)) -> None:
        names = task.rewards_function.names
        for name in terms:
            if name not in names:
                raise InputError("task.curricula.ramp_weights.terms", name, "the name of a reward term", nearest(name, names))
        self._low, high = score
        self._span = max(high - self._low, 1e-6)
        self._start = torch.tensor([terms.get(name, 1.0) for name in names], device=task.device)
        self._full = task.rewards_function.weights.clone()
        self._weights = task.rewards_function.weights
        self.level = torch.zeros((), device=task.device)  # 0..1
        self.apply()

    def update(self, score: Tensor, rollouts: float) -> None:
        """``score`` [] is smoothed; it says itself how far to go."""
        self.level.copy_(torch.maximum(self.level, ((score - self._low) / self._span).clamp(0.0, 1.0)))
        self.apply()

    def apply(self) -> None:
        self._weights.copy_(self._full * torch.lerp(self._start, torch.ones_like(self._start), self.level))


@curriculum
class widen_ranges:
    """Automatic domain randomization (Akkaya et al. 2019, arXiv:1910.07113), by one level for all of ``parameters``.

    Their ranges grow from the nominal value outwards by ``rate`` of themselves a rollout while the score is above ``score``, and shrink
    while it is below. Episodes drawn from then on have them.
    """

    def __init__(
        self, task: Task, *, parameters: tuple[str, ...], start: Share = 0.0, score: Range = (0.5, 0.7), rate: Positive = 0.01
    ) -> None:
        self._physics, self._score, self._rate = task.physics, score, rate
        known = set(task.randomization.parameters) & self._physics.names
        for name in parameters:
            if name not in known:
                remedy = nearest(name, known) or "Give it a range in randomization.parameters."
                raise InputError("task.curricula.widen_ranges.parameters", name, "a parameter drawn for every episode", remedy)
        self._columns = self._physics.columns(parameters)
        self.level = torch.tensor(start, device=task.device)  # 0..1
        self.apply()

    @staticmethod
    def narrow(ranges: Ranges, level: float, *, parameters: tuple[str, ...], **others: object) -> None:
        """What of ``ranges`` is drawn from at ``level``."""
        for name in parameters:
            low, high = ranges.parameters[name]
            nominal = min(max(PARAMETERS[name].nominal, low), high)
            ranges.parameters[name] = [nominal + (limit - nominal) * level for limit in (low, high)]

    def update(self, score: Tensor, rollouts: float) -> None:
        """``score`` [] is smoothed."""
        low, high = self._score
        self.level.add_(self._rate * rollouts * ((score > high).float() - (score < low).float())).clamp_(0.0, 1.0)
        self.apply()

    def apply(self) -> None:
        self._physics.widen(self._columns, self.level)


@curriculum
class grow_commands:
    """The range of a command's channel grows towards the one that the task gives, by a step with every rollout that scores enough."""

    def __init__(self, task: Task, *, channel: Text, start: Range, score: Share = 0.7, rollouts: Positive = 200.0) -> None:
        owner = next((term for term in task.commands.terms if channel in term.channels), None)
        if owner is None:
            field, names = "task.curricula.grow_commands.channel", task.commands.channels
            raise InputError(field, channel, "a channel of the task's commands", nearest(channel, names))
        i = owner.channels.index(channel)
        if not hasattr(owner, "low"):
            remedy = "Keep its ranges in tensors low and high [C], see locomotion/task/commands.py."
            raise InputError("task.curricula.grow_commands.channel", channel, "a channel whose range can be narrowed", remedy)
        low, high = owner.limits[i]  # the contract's range is that of the task's file
        if not low <= start[0] <= start[1] <= high:
            raise InputError("task.curricula.grow_commands.start", list(start), f"a range within [{low}, {high}]", "Begin with less.")
        self._bounds = owner.low[i : i + 1], owner.high[i : i + 1]  # views of what is drawn from
        self._ends = (start[0], low), (start[1], high)
        self._score, self._step = score, 1.0 / rollouts
        self.level = torch.zeros((), device=task.device)  # 0..1
        self.apply()

    @staticmethod
    def narrow(ranges: Ranges, level: float, *, channel: str, start: tuple[float, float], **others: object) -> None:
        """What of ``ranges`` is drawn from at ``level``."""
        ranges.commands[channel] = [a + (b - a) * level for a, b in zip(start, ranges.commands[channel], strict=True)]

    def update(self, score: Tensor, rollouts: float) -> None:
        """``score`` [] is smoothed."""
        self.level.add_((score >= self._score) * (self._step * rollouts)).clamp_(max=1.0)
        self.apply()

    def apply(self) -> None:
        for bound, (first, last) in zip(self._bounds, self._ends, strict=True):
            bound.copy_(first + (last - first) * self.level)
