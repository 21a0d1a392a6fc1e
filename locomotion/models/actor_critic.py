"""The actor, a policy of numbers (Gaussian) or of choices, and the critic. Each owns the normaliser of its observation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from locomotion.environment import DiscreteActions, MirrorMap, Spaces, Symmetry, concatenate_mirrors
from locomotion.models.distributions import Categorical, Distribution, Gaussian
from locomotion.models.estimator import Estimator, EstimatorSettings
from locomotion.models.mlp import MLP, SymmetricMLP, feed_forward, make_network, mirrored
from locomotion.models.normalizer import Normalizer
from locomotion.models.recurrent import RecurrentNetwork
from robots.errors import InputError

INVARIANT = (np.zeros(1, dtype=np.int64), np.ones(1))  # a number that is the same in the mirror


class Actor(nn.Module):
    """Mean action from a network; log standard deviations of their own, equal for mirrored actions. Or a choice's logits.

    ``mirrors`` of observation and action are maps with which the network commutes, or None for a plain network. With an
    ``estimator`` the network sees its estimates beside the observation; a policy's gradient ends there. ``initial_std`` is
    None for choices. Learners know the network's output [..., P] and the :meth:`distribution` that it means.
    """

    mirror_index: Tensor | None  # None: not symmetric
    mirror_sign: Tensor
    log_std_parameter: Any  # nn.Parameter [A], or None for choices
    memory_size = 0  # numbers carried from step to step

    def __init__(
        self,
        sizes: tuple[int, int],
        hidden: Sequence[int],
        mirrors: tuple[MirrorMap, MirrorMap] | None,
        initial_std: float | None,
        generator: torch.Generator,
        estimator: Estimator | None = None,
        activation: str = "elu",
    ) -> None:
        super().__init__()
        self.estimator = estimator
        inputs, through = sizes[0], mirrors
        if estimator is not None:
            inputs += len(estimator.columns)
            through = (concatenate_mirrors(mirrors[0], estimator.mirror), mirrors[1]) if mirrors and estimator.mirror else None
        self.output_size = sizes[1]
        self.network = self.make_network([inputs, *hidden, sizes[1]], generator, through, activation)
        self.normalizer = Normalizer(sizes[0], mirrors[0] if mirrors else None)
        spread = None if initial_std is None else nn.Parameter(torch.full((sizes[1],), math.log(initial_std)))
        self.register_parameter("log_std_parameter", spread)
        self.register_buffer("mirror_index", torch.tensor(mirrors[1][0]) if mirrors else None, persistent=False)
        self.register_buffer("mirror_sign", torch.ones(sizes[1]), persistent=False)  # a spread has no direction

    def make_network(
        self, sizes: Sequence[int], generator: torch.Generator, mirrors: tuple[MirrorMap, MirrorMap] | None, activation: str
    ) -> Any:
        return make_network(sizes, 0.01, generator, mirrors, activation)

    @property
    def log_std(self) -> Tensor:
        """[A], of numbers; not the parameter, which an optimizer moves in place."""
        if self.mirror_index is None:
            return self.log_std_parameter.clone()
        return 0.5 * (self.log_std_parameter + mirrored(self.log_std_parameter, self.mirror_index, self.mirror_sign))

    def forward(self, observation: Tensor) -> Tensor:
        """Mean action [N, A] of a raw observation [N, D]."""
        return self.network(self.features(observation))

    def features(self, observation: Tensor) -> Tensor:
        """What the network sees of a raw observation: it, normalised, and beside it the estimates."""
        seen = self.normalizer(observation)
        return seen if self.estimator is None else torch.cat([seen, self.estimator(seen).detach()], dim=-1)

    def distribution(self, output: Tensor) -> Distribution:
        """What an output [..., P] of the network means."""
        return Categorical(output) if self.log_std_parameter is None else Gaussian(output, self.log_std)

    def present_distribution(self) -> Callable[[Tensor], Distribution]:
        """:meth:`distribution` as it is now, whatever is learned after."""
        return Categorical if self.log_std_parameter is None else partial(Gaussian, log_std=self.log_std.detach().clone())

    def noise(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Exploration [..., P] for :meth:`act`: normal, or Gumbel, whose perturbed maximum is a sample of the choice."""
        if self.log_std_parameter is None:
            return -torch.empty(shape, device=generator.device).exponential_(generator=generator).log_()
        std = self.log_std.exp()
        return torch.randn(shape, generator=generator, device=std.device).mul_(std)

    def act(self, output: Tensor, noise: Tensor) -> Tensor:
        """Action columns [..., W]: numbers, or the number of a choice."""
        perturbed = output + noise
        return perturbed.argmax(dim=-1, keepdim=True).float() if self.log_std_parameter is None else perturbed

    def policy_parameters(self) -> Iterator[nn.Parameter]:
        """All but the estimator's, which learns by itself."""
        return (parameter for name, parameter in self.named_parameters() if not name.startswith("estimator."))

    def frozen(self) -> Callable[[Tensor], Tensor]:
        """forward() with its tied weights written out once: for a rollout, in which they do not change."""
        layers, normalizer, activation = self.network.layers(), self.normalizer, self.network.activation
        if self.estimator is None:
            return lambda observation: feed_forward(layers, normalizer.forward(observation), activation)
        estimating = self.estimator.network.layers()

        def act(observation: Tensor) -> Tensor:
            seen = normalizer.forward(observation)
            return feed_forward(layers, torch.cat([seen, feed_forward(estimating, seen)], dim=-1), activation)

        return act


class RecurrentActor(Actor):
    """An actor with a ``memory`` of M numbers (see :mod:`locomotion.models.recurrent`).

    Learners give it rows [..., D + M + 1] of observation, memory and beginnings, and its network sequences of them.
    """

    network: RecurrentNetwork

    def __init__(self, memory: int, *arguments: Any) -> None:
        self.memory_size = memory
        super().__init__(*arguments)
        self._widths = [self.normalizer.mean.shape[0], memory, 1]

    def make_network(
        self, sizes: Sequence[int], generator: torch.Generator, mirrors: tuple[MirrorMap, MirrorMap] | None, activation: str
    ) -> Any:
        return RecurrentNetwork(sizes, self.memory_size, 0.01, generator, mirrors, activation)

    def forward(self, observation: Tensor) -> Tensor:
        """Mean action [N, A] of the raw observation [N, D] that begins an episode."""
        return self.step(observation, observation.new_zeros(len(observation), self.memory_size))[0]

    def step(self, observation: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Mean action [N, A] of a raw observation [N, D] and the memory [N, M], and the memory after it."""
        return self.network.stepping()(self.normalizer(observation), memory)

    def features(self, observation: Tensor) -> Tensor:
        seen, *rest = observation.split(self._widths, dim=-1)
        return torch.cat([self.normalizer(seen), *rest], dim=-1)

    def frozen(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:  # type: ignore[override]
        """Output and memory after it of rows [N, D + M + 1]."""
        step, normalizer, widths = self.network.stepping(), self.normalizer, self._widths

        def act(row: Tensor) -> tuple[Tensor, Tensor]:
            observation, memory, _ = row.split(widths, dim=-1)
            return step(normalizer.forward(observation), memory)

        return act


class Critic(nn.Module):
    """Value of a raw critic observation; equal for mirrored states where symmetric.

    With ``normalize_values`` its network says values in standard deviations of the targets that it has learned, so that what it has to
    learn is of size 1 whatever the rewards' units are.
    """

    def __init__(
        self, size: int, hidden: Sequence[int], mirror: MirrorMap | None, generator: torch.Generator,
        activation: str = "elu", normalize_values: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network = make_network([size, *hidden, 1], 1.0, generator, (mirror, INVARIANT) if mirror else None, activation)
        self.normalizer = Normalizer(size, mirror)
        self.targets = Normalizer(1, None, floor=1e-12, limit=math.inf) if normalize_values else None

    def forward(self, observation: Tensor) -> Tensor:
        """[N]"""
        return self.value(self.normalizer(observation))

    def value(self, seen: Tensor) -> Tensor:
        """[N] of observations [N, D] that are normalised."""
        said = self.network(seen).squeeze(-1)
        return said if self.targets is None else self.targets.inverse(said)

    def said(self, value: Tensor) -> Tensor:
        """What the network is to say where the value is ``value``."""
        return value if self.targets is None else self.targets(value)


def make_actor(
    spaces: Spaces,
    hidden: Sequence[int],
    symmetric: bool,
    initial_std: float,
    generator: torch.Generator,
    group: str = "actor",
    estimator: EstimatorSettings | None = None,
    memory: int = 0,
    activation: str = "elu",
) -> Actor:
    """An actor for an observation ``group``, with a ``memory`` of so many numbers.

    Raises InputError where ``symmetric`` is asked of an environment without a mirror.
    """
    mirrors = (_mirror(spaces).groups[group], _mirror(spaces).action) if symmetric else None
    made = Estimator(estimator, spaces, symmetric, generator) if estimator else None
    kind = partial(RecurrentActor, memory) if memory else Actor
    std = None if isinstance(spaces.action, DiscreteActions) else initial_std
    return kind((spaces.groups[group], spaces.action.size), hidden, mirrors, std, generator, made, activation)


def make_critic(
    spaces: Spaces,
    hidden: Sequence[int],
    symmetric: bool,
    generator: torch.Generator,
    activation: str = "elu",
    normalize_values: bool = False,
) -> Critic:
    """A critic for the group "critic"."""
    mirror = _mirror(spaces).groups["critic"] if symmetric else None
    return Critic(spaces.groups["critic"], hidden, mirror, generator, activation, normalize_values)


def make_costs(
    spaces: Spaces, hidden: Sequence[int], symmetric: bool, generator: torch.Generator, activation: str = "elu"
) -> MLP | SymmetricMLP:
    """From what a critic sees, normalised, to the value of each of ``spaces.costs``."""
    k = len(spaces.costs)
    mirrors = (_mirror(spaces).groups["critic"], (np.arange(k), np.ones(k))) if symmetric else None
    return make_network([spaces.groups["critic"], *hidden, k], 1.0, generator, mirrors, activation)


def _mirror(spaces: Spaces) -> Symmetry:
    if spaces.symmetry is None:
        raise InputError(
            "algorithm.symmetric", True, "an environment that is its own mirror image (this one, or its gait, is not)",
            "Set algorithm.symmetric=false, or choose algorithm=ppo_gymnasium.",
        )  # fmt: skip
    return spaces.symmetry
