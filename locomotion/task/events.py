"""What happens to a robot now and then, whatever it does: pushes."""

from __future__ import annotations

from torch import Tensor

from locomotion.schema import PositiveRange, Range
from locomotion.task.terms import event
from sim import Simulator


@event
class push:
    """A sudden change of the base's horizontal velocity."""

    draws = 2

    def __init__(self, *, velocity: Range, interval: PositiveRange) -> None:
        self.velocity, self.interval = velocity, interval  # m/s, each axis; s

    def apply(self, simulator: Simulator, mask: Tensor, u: Tensor, severity: Tensor | float = 1.0) -> None:
        """Push the robots where ``mask`` [N] is true; ``u`` [N, draws] uniform in 0..1, ``severity`` [N, 1] scales the push."""
        low, high = self.velocity
        simulator.push(mask, (u * (high - low) + low) * severity)
