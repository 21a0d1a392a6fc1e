"""What happens to a robot now and then, whatever it does: pushes, and forces that last."""

from __future__ import annotations

import torch
from torch import Tensor

from locomotion.schema import PositiveRange, Range, Share
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


@event
class wrench:
    """A force and a torque on the base, world frame, for the time until the next one; none in the rest of the cases."""

    draws = 7

    def __init__(self, *, force: Range, torque: Range = (0.0, 0.0), share: Share = 0.2, interval: PositiveRange) -> None:
        low, high = zip(*(force, force, force, torque, torque, torque), strict=True)  # N, N m, each axis
        self._low, self._span = low, tuple(b - a for a, b in zip(low, high, strict=True))
        self.share, self.interval = share, interval  # of the intervals, in which something presses; s

    def apply(self, simulator: Simulator, mask: Tensor, u: Tensor, severity: Tensor | float = 1.0) -> None:
        """As :meth:`push.apply`."""
        low, span = (torch.tensor(x, device=u.device) for x in (self._low, self._span))
        pressing = u[:, 6:] < self.share
        simulator.wrench(mask, (u[:, :6] * span + low) * severity * pressing)
