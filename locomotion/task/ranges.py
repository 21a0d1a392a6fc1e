"""A closed range of numbers, checked where it enters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robots.errors import InputError


class Range(NamedTuple):
    low: float
    high: float

    @classmethod
    def parse(cls, field: str, value: object) -> Range:
        """``[low, high]`` as a range. Raises InputError unless both are numbers and low <= high."""
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
            raise InputError(field, value, "two numbers [min, max]", f"For example {field}=[-1.0,1.0].")
        if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in value):
            raise InputError(field, list(value), "two numbers [min, max]", f"For example {field}=[-1.0,1.0].")
        low, high = float(value[0]), float(value[1])
        if not low <= high:
            raise InputError(field, [low, high], "min <= max", f"Swap them: {field}=[{high},{low}].")
        return cls(low, high)

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Uniform in the range."""
        return torch.rand(shape, generator=generator).mul_(self.high - self.low).add_(self.low)
