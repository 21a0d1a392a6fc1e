"""What the policy is asked to do: named command channels, drawn anew at random times."""

from __future__ import annotations

import torch
from torch import Tensor

from locomotion.schema import Range, Share
from locomotion.task.terms import command


@command
class velocity:
    """A velocity of the base in its own frame: the first three channels of every task that walks."""

    channels = ("forward", "left", "yaw")  # m/s, m/s, rad/s
    rest = (0.0, 0.0, 0.0)  # the command to stand
    mirror = (1.0, -1.0, -1.0)

    def __init__(self, device: torch.device, *, forward: Range, left: Range, yaw: Range, standing: Share = 0.1) -> None:
        self.limits = [forward, left, yaw]
        self.standing = standing  # share of commands that are zero
        self._low, self._high = torch.tensor(self.limits, device=device).T

    def sample(self, u: Tensor) -> Tensor:
        """Commands [n, 3] from uniform numbers ``u`` [n, 4] in 0..1."""
        return torch.lerp(self._low, self._high, u[:, :3]) * (u[:, 3:] >= self.standing)


class Commands:
    """All command terms of a task, their channels side by side."""

    def __init__(self, terms: list) -> None:
        self.terms = terms
        self.channels = tuple(name for term in terms for name in term.channels)
        self.rest = tuple(value for term in terms for value in term.rest)
        self.mirror = tuple(sign for term in terms for sign in term.mirror)
        self.draws = sum(len(term.channels) + 1 for term in terms)  # uniform numbers that sample() takes

    @property
    def limits(self) -> list[tuple[float, float]]:
        """[C, 2]"""
        return [limits for term in self.terms for limits in term.limits]

    def sample(self, u: Tensor) -> Tensor:
        """Commands [n, C] from uniform numbers ``u`` [n, draws]."""
        parts = u.split([len(term.channels) + 1 for term in self.terms], dim=-1)
        return torch.cat([term.sample(part) for term, part in zip(self.terms, parts, strict=True)], dim=-1)
