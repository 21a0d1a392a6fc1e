"""Running mean and variance of observations, moved only between iterations."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from locomotion import distributed
from locomotion.environment import MirrorMap

LIMIT = 10.0  # standard deviations


def mean_and_var(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population variance [D] of ``batch`` [B, D]."""
    var, mean = torch.var_mean(batch, dim=0, correction=0)
    return mean, var


def merge(count: Tensor, mean: Tensor, var: Tensor, n: Tensor, batch_mean: Tensor, batch_var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and population variance of the union of what was seen and ``n`` more, of which mean and variance are known.

    Parallel algorithm of Chan, Golub and LeVeque (1979), equations 2.1.
    """
    total = count + n
    delta = batch_mean - mean
    merged = (var * count + batch_var * n + delta.square() * (count * n / total)) / total
    return total, mean + delta * (n / total), merged


class Normalizer(nn.Module):
    """(x - mean) / std, clipped to +-``limit``; ``floor`` is added to the variance. Where a mirror map is given, a state and its mirror
    image count as both seen."""

    mean: Tensor
    var: Tensor
    count: Tensor
    shift: Tensor  # float32, what forward() uses
    scale: Tensor
    mirror_index: Tensor
    mirror_sign: Tensor

    def __init__(self, size: int, mirror: MirrorMap | None, floor: float = 1e-4, limit: float = LIMIT) -> None:
        super().__init__()
        self.floor, self.limit = floor, limit
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("var", torch.ones(size, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(size), persistent=False)
        self.register_buffer("scale", torch.ones(size), persistent=False)
        index, sign = mirror if mirror is not None else (np.arange(size), np.ones(size))
        self.register_buffer("mirror_index", torch.tensor(index), persistent=False)
        self.register_buffer("mirror_sign", torch.tensor(sign, dtype=torch.float64), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, keys: module._refresh())
        self._refresh()

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.shift) * self.scale).clip(-self.limit, self.limit)

    def inverse(self, x: Tensor) -> Tensor:
        """What :meth:`forward` makes ``x`` of, where it does not clip."""
        return x / self.scale + self.shift

    @torch.no_grad()
    def update(self, batch: Tensor) -> None:
        """Take ``batch`` [B, size] into the statistics."""
        count, mean, var = self.count, self.mean, self.var
        batch = batch.double()
        ours = torch.cat([count.new_full((1, batch.shape[1]), batch.shape[0]), *(x[None] for x in mean_and_var(batch))])
        for n, batch_mean, batch_var in distributed.stacked(ours):
            count, mean, var = merge(count, mean, var, n[0], batch_mean, batch_var)
        mirrored = self.mirror_sign * mean[self.mirror_index]
        spread = 0.25 * (mean - mirrored).square()  # between the two halves of the mirrored union
        self.count.copy_(count)
        self.mean.copy_(0.5 * (mean + mirrored))
        self.var.copy_(0.5 * (var + var[self.mirror_index]) + spread)
        self._refresh()

    @torch.no_grad()
    def _refresh(self) -> None:
        self.shift.copy_(self.mean)
        self.scale.copy_(torch.rsqrt(self.var + self.floor))
