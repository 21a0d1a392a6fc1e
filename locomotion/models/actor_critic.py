"""The actor, a Gaussian policy, and the critic. Each owns the normaliser of its observation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from locomotion.models.mlp import MLP, SymmetricMLP
from locomotion.models.normalizer import Normalizer

MirrorMap = tuple[np.ndarray, np.ndarray]
LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


def gaussian_log_prob(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log-density of a diagonal Gaussian, summed over the last dimension."""
    z = (action - mean) * torch.exp(-log_std)
    return (-0.5 * z.square() - log_std - LOG_SQRT_2PI).sum(dim=-1)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Entropy of a diagonal Gaussian, summed over the last dimension."""
    return (log_std + 0.5 + LOG_SQRT_2PI).sum(dim=-1)


def gaussian_kl(mean_p: Tensor, log_std_p: Tensor, mean_q: Tensor, log_std_q: Tensor) -> Tensor:
    """KL(p || q) of diagonal Gaussians, summed over the last dimension."""
    var_ratio = torch.exp(2.0 * (log_std_p - log_std_q))
    shift = (mean_p - mean_q).square() * torch.exp(-2.0 * log_std_q)
    return 0.5 * (var_ratio + shift - 1.0 - 2.0 * (log_std_p - log_std_q)).sum(dim=-1)


class Actor(nn.Module):
    """Mean action from a network; log standard deviations of their own, equal for mirrored joints."""

    mirror_index: Tensor

    def __init__(
        self,
        observation: MirrorMap,
        action: MirrorMap,
        hidden: Sequence[int],
        symmetric: bool,
        initial_std: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        sizes = [len(observation[0]), *hidden, len(action[0])]
        if symmetric:
            self.network: nn.Module = SymmetricMLP(sizes, 0.01, generator, observation, action)
        else:
            self.network = MLP(sizes, 0.01, generator)
        self.normalizer = Normalizer(sizes[0], observation if symmetric else None)
        self.log_std_parameter = nn.Parameter(torch.full((sizes[-1],), math.log(initial_std)))
        partner = action[0] if symmetric else np.arange(sizes[-1])
        self.register_buffer("mirror_index", torch.as_tensor(partner), persistent=False)

    @property
    def log_std(self) -> Tensor:
        """[J]"""
        return 0.5 * (self.log_std_parameter + self.log_std_parameter[self.mirror_index])

    def forward(self, observation: Tensor) -> Tensor:
        """Mean action [N, J] of a raw observation [N, D]."""
        return self.network(self.normalizer(observation))


class Critic(nn.Module):
    """Value of a raw critic observation; equal for mirrored states where symmetric."""

    def __init__(self, observation: MirrorMap, hidden: Sequence[int], symmetric: bool, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [len(observation[0]), *hidden, 1]
        if symmetric:
            invariant = (np.zeros(1, dtype=np.int64), np.ones(1))
            self.network: nn.Module = SymmetricMLP(sizes, 1.0, generator, observation, invariant)
        else:
            self.network = MLP(sizes, 1.0, generator)
        self.normalizer = Normalizer(sizes[0], observation if symmetric else None)

    def forward(self, observation: Tensor) -> Tensor:
        """[N]"""
        return self.network(self.normalizer(observation)).squeeze(-1)
