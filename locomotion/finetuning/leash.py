"""How far a policy that learns has gone from the one that it began as: a price on the way, and an end to it."""

from __future__ import annotations

import torch
from torch import Tensor

from locomotion.models.distributions import gaussian_kl


def distance(mean: Tensor, base: Tensor, std: Tensor) -> Tensor:
    """[] mean KL(policy || base) in nats of actions with means [S, A] and the exploration's ``std`` [A]."""
    log_std = torch.log(std)
    return gaussian_kl(mean, log_std, base, log_std).mean()


def shortened(distance: float, limit: float) -> float:
    """The share of its way from the base that a policy keeps, so that it is ``limit`` away at most: KL grows with the square."""
    return 1.0 if distance <= limit else (limit / distance) ** 0.5
