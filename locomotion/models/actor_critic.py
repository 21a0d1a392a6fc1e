"""The actor, a Gaussian policy, and the critic. Each owns the normaliser of its observation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from locomotion.environment import MirrorMap, Spaces, Symmetry
from locomotion.models.mlp import MLP, SymmetricMLP, feed_forward, mirrored
from locomotion.models.normalizer import Normalizer
from robots.errors import InputError

INVARIANT = (np.zeros(1, dtype=np.int64), np.ones(1))  # a number that is the same in the mirror


class Actor(nn.Module):
    """Mean action from a network; log standard deviations of their own, equal for mirrored actions.

    ``observation`` and ``action`` are mirror maps with which the network commutes, or None for a plain network.
    """

    mirror_index: Tensor
    mirror_sign: Tensor

    def __init__(
        self,
        sizes: tuple[int, int],
        hidden: Sequence[int],
        mirrors: tuple[MirrorMap, MirrorMap] | None,
        initial_std: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.network = _network([sizes[0], *hidden, sizes[1]], 0.01, generator, mirrors)
        self.normalizer = Normalizer(sizes[0], mirrors[0] if mirrors else None)
        self.log_std_parameter = nn.Parameter(torch.full((sizes[1],), math.log(initial_std)))
        partner = mirrors[1][0] if mirrors else np.arange(sizes[1])
        self.register_buffer("mirror_index", torch.tensor(partner), persistent=False)
        self.register_buffer("mirror_sign", torch.ones(sizes[1]), persistent=False)  # a spread has no direction

    @property
    def log_std(self) -> Tensor:
        """[A]"""
        return 0.5 * (self.log_std_parameter + mirrored(self.log_std_parameter, self.mirror_index, self.mirror_sign))

    def forward(self, observation: Tensor) -> Tensor:
        """Mean action [N, A] of a raw observation [N, D]."""
        return self.network(self.normalizer(observation))

    def frozen(self) -> Callable[[Tensor], Tensor]:
        """forward() with its tied weights written out once: for a rollout, in which they do not change."""
        layers, normalizer = self.network.layers(), self.normalizer
        return lambda observation: feed_forward(layers, normalizer.forward(observation))


class Critic(nn.Module):
    """Value of a raw critic observation; equal for mirrored states where symmetric."""

    def __init__(self, size: int, hidden: Sequence[int], mirror: MirrorMap | None, generator: torch.Generator) -> None:
        super().__init__()
        self.network = _network([size, *hidden, 1], 1.0, generator, (mirror, INVARIANT) if mirror else None)
        self.normalizer = Normalizer(size, mirror)

    def forward(self, observation: Tensor) -> Tensor:
        """[N]"""
        return self.network(self.normalizer(observation)).squeeze(-1)


def make_actor(spaces: Spaces, hidden: Sequence[int], symmetric: bool, initial_std: float, generator: torch.Generator) -> Actor:
    """An actor for the group "actor". Raises InputError where ``symmetric`` is asked of an environment without a mirror."""
    mirrors = (_mirror(spaces).groups["actor"], _mirror(spaces).action) if symmetric else None
    return Actor((spaces.groups["actor"], spaces.action.size), hidden, mirrors, initial_std, generator)


def make_critic(spaces: Spaces, hidden: Sequence[int], symmetric: bool, generator: torch.Generator) -> Critic:
    """A critic for the group "critic"."""
    mirror = _mirror(spaces).groups["critic"] if symmetric else None
    return Critic(spaces.groups["critic"], hidden, mirror, generator)


def _mirror(spaces: Spaces) -> Symmetry:
    if spaces.symmetry is None:
        raise InputError(
            "algorithm.symmetric", True, "an environment that is its own mirror image (this one, or its gait, is not)",
            "Set algorithm.symmetric=false.",
        )  # fmt: skip
    return spaces.symmetry


def _network(sizes: list[int], gain: float, generator: torch.Generator, mirrors: tuple[MirrorMap, MirrorMap] | None) -> MLP | SymmetricMLP:
    return SymmetricMLP(sizes, gain, generator, *mirrors) if mirrors else MLP(sizes, gain, generator)
