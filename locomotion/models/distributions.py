"""Diagonal Gaussians as pure functions; sums are over the last dimension."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


def gaussian_log_prob(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log-density."""
    z = (action - mean) * torch.exp(-log_std)
    return (z * z).sum(dim=-1) * -0.5 - (log_std + LOG_SQRT_2PI).sum(dim=-1)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Entropy."""
    return (log_std + 0.5 + LOG_SQRT_2PI).sum(dim=-1)


def gaussian_kl(mean_p: Tensor, log_std_p: Tensor, mean_q: Tensor, log_std_q: Tensor) -> Tensor:
    """KL(p || q)."""
    var_ratio = torch.exp(2.0 * (log_std_p - log_std_q))
    shift = (mean_p - mean_q).square() * torch.exp(-2.0 * log_std_q)
    return 0.5 * (var_ratio + shift - 1.0 - 2.0 * (log_std_p - log_std_q)).sum(dim=-1)
