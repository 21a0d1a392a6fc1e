"""What the policy is asked to do: named command channels, drawn anew at random times.

A command term has ``channels``, their ``rest`` (the command to stand), ``mirror`` signs and ``limits`` [C, 2], and ``sample``. Where it
draws between its tensors ``low`` and ``high`` [C], a curriculum may narrow these in place.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from locomotion.schema import PositiveRange, Range, Share, Text
from locomotion.task.terms import command

Choices = Annotated[tuple[Text, ...], Field(min_length=1)]
VELOCITY = ("forward", "left", "yaw")  # m/s, m/s, rad/s, base frame


def velocity_of(command: Tensor, names: tuple[str, ...]) -> Tensor:
    """Forward, left and yaw [..., 3] of commands [..., C] with the channels ``names``; zero where a channel does not exist."""
    if names[:3] == VELOCITY:
        return command[..., :3]
    zero = command.new_zeros(command.shape[:-1])
    return torch.stack([command[..., names.index(name)] if name in names else zero for name in VELOCITY], dim=-1)


def length(vectors: Tensor, keepdim: bool = False) -> Tensor:
    """Of ``vectors`` [..., K], [...]. Where columns are contiguous, several times as fast as ``torch.linalg.vector_norm``."""
    return vectors.square().sum(dim=-1, keepdim=keepdim).sqrt()


@command
class velocity:
    """A velocity of the base in its own frame."""

    channels = VELOCITY
    rest = (0.0, 0.0, 0.0)  # the command to stand
    mirror = (1.0, -1.0, -1.0)

    def __init__(self, device: torch.device, *, forward: Range, left: Range, yaw: Range, standing: Share = 0.1) -> None:
        self.limits = [forward, left, yaw]
        self.standing = standing  # share of commands that are zero
        self.low, self.high = torch.tensor(self.limits, device=device).T

    def sample(self, u: Tensor) -> Tensor:
        """Commands [n, 3] from uniform numbers ``u`` [n, 4] in 0..1."""
        return torch.lerp(self.low, self.high, u[:, :3]) * (u[:, 3:] >= self.standing)


@command
class gait:
    """How to walk: which of the robot's gaits, as its number among ``choices``, and its figures."""

    channels = ("gait", "frequency", "swing_height", "body_height", "pitch")  # -, Hz, m, m above the standing height, rad nose down
    mirror = (1.0, 1.0, 1.0, 1.0, 1.0)

    def __init__(
        self,
        device: torch.device,
        *,
        choices: Choices,
        frequency: PositiveRange,
        swing_height: PositiveRange,
        body_height: Range,
        pitch: Range,
    ) -> None:
        self.choices = choices
        self.limits = [(0.0, len(choices) - 1.0), frequency, swing_height, body_height, pitch]
        middle = [0.5 * (low + high) for low, high in (frequency, swing_height)]
        self.rest = (0.0, *middle, *(min(max(0.0, low), high) for low, high in (body_height, pitch)))
        self.low, self.high = torch.tensor(self.limits, device=device).T

    def sample(self, u: Tensor) -> Tensor:
        """Commands [n, 5] from uniform numbers ``u`` [n, 6] in 0..1."""
        number = (u[:, :1] * len(self.choices)).floor().clamp(max=len(self.choices) - 1.0)
        return torch.cat([number, torch.lerp(self.low[1:], self.high[1:], u[:, 1:5])], dim=-1)


class Commands:
    """All command terms of a task, their channels side by side."""

    def __init__(self, terms: list) -> None:
        self.terms = terms
        self.channels = tuple(name for term in terms for name in term.channels)
        self.rest = tuple(value for term in terms for value in term.rest)
        self.mirror = tuple(sign for term in terms for sign in term.mirror)
        self.gaits: tuple[str, ...] = next((term.choices for term in terms if hasattr(term, "choices")), ())  # to choose among
        self.draws = sum(len(term.channels) + 1 for term in terms)  # uniform numbers that sample() takes

    @property
    def limits(self) -> list[tuple[float, float]]:
        """[C, 2]"""
        return [limits for term in self.terms for limits in term.limits]

    def sample(self, u: Tensor) -> Tensor:
        """Commands [n, C] from uniform numbers ``u`` [n, draws]."""
        if not self.terms:
            return u  # [n, 0]
        parts = u.split([len(term.channels) + 1 for term in self.terms], dim=-1)
        return torch.cat([term.sample(part) for term, part in zip(self.terms, parts, strict=True)], dim=-1)
