"""What a policy's network says of the next action: a diagonal Gaussian, or a choice. Sums are over the last dimension."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

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
    log_ratio = 2.0 * (log_std_p - log_std_q)  # of the variances
    shift = (mean_p - mean_q).square() * torch.exp(-2.0 * log_std_q)
    return 0.5 * (torch.exp(log_ratio) + shift - 1.0 - log_ratio).sum(dim=-1)


def squashed_log_prob(noise: Tensor, u: Tensor, log_std: Tensor) -> Tensor:
    """Log-density of tanh(u), u = mean + std * ``noise``, among actions of [-1, 1]; of scaled ones, subtract the sum of log(scale).

    log(1 - tanh(u)^2) is 2 (log 2 - u - softplus(-2 u)) exactly, for any u; log(1 - tanh^2 + 1e-6) ends at -13.8.
    """
    gaussian = -0.5 * noise.square() - log_std - LOG_SQRT_2PI
    return (gaussian - 2.0 * (math.log(2.0) - u - F.softplus(-2.0 * u))).sum(dim=-1)


class Distribution(Protocol):
    """Of actions, which are columns [..., W]: W = A numbers, or the number of one choice. ``other`` is of the same kind."""

    def log_prob(self, action: Tensor) -> Tensor:
        """[...] log-density, or log-probability."""
        ...

    def entropy(self) -> Tensor:
        """[...], or [] where it is the same everywhere."""
        ...

    def kl(self, other: Distribution) -> Tensor:
        """KL(self || other), [...]."""
        ...


class Gaussian(NamedTuple):
    """Numbers, each normally distributed by itself."""

    mean: Tensor  # [..., A]
    log_std: Tensor  # [A]

    def log_prob(self, action: Tensor) -> Tensor:
        return gaussian_log_prob(action, self.mean, self.log_std)

    def entropy(self) -> Tensor:
        return gaussian_entropy(self.log_std)

    def kl(self, other: Distribution) -> Tensor:
        assert isinstance(other, Gaussian)
        return gaussian_kl(self.mean, self.log_std, other.mean, other.log_std)


class Categorical(NamedTuple):
    """One choice, with probabilities softmax(logits)."""

    logits: Tensor  # [..., K]

    def log_prob(self, action: Tensor) -> Tensor:
        return self.logits.log_softmax(dim=-1).gather(-1, action.long()).squeeze(-1)

    def entropy(self) -> Tensor:
        log_p = self.logits.log_softmax(dim=-1)
        return -(log_p.exp() * log_p).sum(dim=-1)

    def kl(self, other: Distribution) -> Tensor:
        assert isinstance(other, Categorical)
        log_p = self.logits.log_softmax(dim=-1)
        return (log_p.exp() * (log_p - other.logits.log_softmax(dim=-1))).sum(dim=-1)
