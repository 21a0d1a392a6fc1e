"""Velocity commands, drawn anew at random times."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from locomotion.task.ranges import Range


@dataclass(frozen=True)
class CommandConfig:
    """Ranges of the command in the base frame."""

    forward: Range  # m/s
    left: Range  # m/s
    yaw: Range  # rad/s
    standing: float  # share of commands that are zero
    duration: Range  # s until the next command

    def __post_init__(self) -> None:
        if not 0 <= self.standing <= 1:
            from robots.errors import InputError

            raise InputError("task.command.standing", self.standing, "a share between 0 and 1", "0.1 means one command in ten.")

    @property
    def limits(self) -> list[tuple[float, float]]:
        return [(r.low, r.high) for r in (self.forward, self.left, self.yaw)]


def sample_commands(config: CommandConfig, count: int, generator: torch.Generator) -> Tensor:
    """``count`` commands, [count, 3]: forward m/s, left m/s, yaw rad/s."""
    low, high = torch.tensor(config.limits).T
    u = torch.rand(count, 4, generator=generator)
    return (low + (high - low) * u[:, :3]) * (u[:, 3:] >= config.standing)
