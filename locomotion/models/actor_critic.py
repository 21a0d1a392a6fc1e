"""The actor, a Gaussian policy, and the critic. Each owns the normaliser of its observation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from locomotion.environment import MirrorMap, Spaces, Symmetry, concatenate_mirrors
from locomotion.models.estimator import Estimator, EstimatorSettings
from locomotion.models.mlp import feed_forward, make_network, mirrored
from locomotion.models.normalizer import Normalizer
from robots.errors import InputError

INVARIANT = (np.zeros(1, dtype=np.int64), np.ones(1))  # a number that is the same in the mirror


class Actor(nn.Module):
    """Mean action from a network; log standard deviations of their own, equal for mirrored actions.

    ``mirrors`` of observation and action are maps with which the network commutes, or None for a plain network. With an
    ``estimator`` the network sees its estimates beside the observation; a policy's gradient ends there.
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
        estimator: Estimator | None = None,
    ) -> None:
        super().__init__()
        self.estimator = estimator
        inputs, through = sizes[0], mirrors
        if estimator is not None:
            inputs += len(estimator.columns)
            through = (concatenate_mirrors(mirrors[0], estimator.mirror), mirrors[1]) if mirrors and estimator.mirror else None
        self.network = make_network([inputs, *hidden, sizes[1]], 0.01, generator, through)
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
        return self.network(self.features(observation))

    def features(self, observation: Tensor) -> Tensor:
        """What the network sees of a raw observation: it, normalised, and beside it the estimates."""
        seen = self.normalizer(observation)
        return seen if self.estimator is None else torch.cat([seen, self.estimator(seen).detach()], dim=-1)

    def policy_parameters(self) -> Iterator[nn.Parameter]:
        """All but the estimator's, which learns by itself."""
        return (parameter for name, parameter in self.named_parameters() if not name.startswith("estimator."))

    def frozen(self) -> Callable[[Tensor], Tensor]:
        """forward() with its tied weights written out once: for a rollout, in which they do not change."""
        layers, normalizer = self.network.layers(), self.normalizer
        if self.estimator is None:
            return lambda observation: feed_forward(layers, normalizer.forward(observation))
        estimating = self.estimator.network.layers()

        def act(observation: Tensor) -> Tensor:
            seen = normalizer.forward(observation)
            return feed_forward(layers, torch.cat([seen, feed_forward(estimating, seen)], dim=-1))

        return act


class Critic(nn.Module):
    """Value of a raw critic observation; equal for mirrored states where symmetric."""

    def __init__(self, size: int, hidden: Sequence[int], mirror: MirrorMap | None, generator: torch.Generator) -> None:
        super().__init__()
        self.network = make_network([size, *hidden, 1], 1.0, generator, (mirror, INVARIANT) if mirror else None)
        self.normalizer = Normalizer(size, mirror)

    def forward(self, observation: Tensor) -> Tensor:
        """[N]"""
        return self.network(self.normalizer(observation)).squeeze(-1)


def make_actor(
    spaces: Spaces,
    hidden: Sequence[int],
    symmetric: bool,
    initial_std: float,
    generator: torch.Generator,
    group: str = "actor",
    estimator: EstimatorSettings | None = None,
) -> Actor:
    """An actor for an observation ``group``. Raises InputError where ``symmetric`` is asked of an environment without a mirror."""
    mirrors = (_mirror(spaces).groups[group], _mirror(spaces).action) if symmetric else None
    made = Estimator(estimator, spaces, symmetric, generator) if estimator else None
    return Actor((spaces.groups[group], spaces.action.size), hidden, mirrors, initial_std, generator, made)


def make_critic(spaces: Spaces, hidden: Sequence[int], symmetric: bool, generator: torch.Generator) -> Critic:
    """A critic for the group "critic"."""
    mirror = _mirror(spaces).groups["critic"] if symmetric else None
    return Critic(spaces.groups["critic"], hidden, mirror, generator)


def _mirror(spaces: Spaces) -> Symmetry:
    if spaces.symmetry is None:
        raise InputError(
            "algorithm.symmetric", True, "an environment that is its own mirror image (this one, or its gait, is not)",
            "Set algorithm.symmetric=false, or choose algorithm=ppo_gymnasium.",
        )  # fmt: skip
    return spaces.symmetry
