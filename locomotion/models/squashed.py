"""Policies whose actions cannot leave their bounds: tanh of what the network says, over the space's middle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from locomotion.environment import ActionSpace, Spaces, concatenate_mirrors
from locomotion.models.distributions import squashed_log_prob
from locomotion.models.mlp import make_network
from locomotion.models.normalizer import Normalizer
from robots.errors import InputError


class SquashedActor(nn.Module):
    """action = middle + half * tanh(u), where u = rest + network(observation); the untrained policy's is about 0, where 0 is allowed.

    A ``stochastic`` one has a second half of outputs, log standard deviations of u, that depend on the observation too.
    """

    middle: Tensor  # [A]
    half_range: Tensor
    rest: Tensor

    def __init__(
        self, network: nn.Module, normalizer: Normalizer | None, space: ActionSpace, stochastic: bool,
        initial_std: float = 1.0, log_std_range: tuple[float, float] = (-20.0, 2.0),
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.normalizer, self.stochastic = network, normalizer, stochastic
        self.log_std_shift, self.log_std_range = math.log(initial_std), log_std_range
        low, high = space.low.detach().clone().float(), space.high.detach().clone().float()
        middle, half = 0.5 * (low + high), 0.5 * (high - low)
        inside = (low < 0.0) & (high > 0.0)
        rest = torch.where(inside, torch.atanh((-middle / half).clamp(-0.99, 0.99)), 0.0)
        for name, value in (("middle", middle), ("half_range", half), ("rest", rest)):
            self.register_buffer(name, value, persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """The action [N, A] without exploration, of a raw observation [N, D]."""
        return self.unscale(torch.tanh(self.outputs(observation)[0]))

    def outputs(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of u, both [N, A]; the latter is empty where the policy is deterministic."""
        out = self.network(observation if self.normalizer is None else self.normalizer(observation))
        size = len(self.half_range)
        mean, log_std = out[..., :size], out[..., size:]
        return mean + self.rest, (log_std + self.log_std_shift).clamp(*self.log_std_range)

    def sample(self, observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled action [N, A] in [-1, 1] under standard normal ``noise`` [N, A], and its log-density [N] there."""
        mean, log_std = self.outputs(observation)
        u = mean + log_std.exp() * noise
        return torch.tanh(u), squashed_log_prob(noise, u, log_std)

    def unscale(self, action: Tensor) -> Tensor:
        """From [-1, 1] to the environment's units."""
        return torch.addcmul(self.middle, action, self.half_range)

    def scale(self, action: Tensor) -> Tensor:
        """From the environment's units to [-1, 1]."""
        return (action - self.middle) / self.half_range


def make_squashed_actor(
    spaces: Spaces,
    name: str,
    hidden: Sequence[int],
    activation: str,
    symmetric: bool,
    normalize: bool,
    generator: torch.Generator,
    stochastic: bool,
    initial_std: float = 1.0,
    log_std_range: tuple[float, float] = (-20.0, 2.0),
    limit: float | None = None,
) -> SquashedActor:
    """The actor of the algorithm ``name``, whose actions are within the space's bounds and +-``limit``.

    Raises InputError where actions are choices or unbounded, or a mirror is missing.
    """
    space = spaces.continuous(name)
    if limit is not None:
        space = ActionSpace(space.low.clamp(min=-limit), space.high.clamp(max=limit))
    if not bool((torch.isfinite(space.low) & torch.isfinite(space.high) & (space.low < space.high)).all()):
        raise InputError("algorithm.name", name, "an algorithm that needs no bounds: here actions are unbounded", "Try algorithm=ppo.")
    mirrors = None
    if symmetric:
        if spaces.symmetry is None:
            allowed = "an environment that is its own mirror image (this one, or its gait, is not)"
            raise InputError("algorithm.symmetric", True, allowed, "Set algorithm.symmetric=false.")
        index, sign = spaces.symmetry.action
        output = concatenate_mirrors((index, sign), (index, np.abs(sign))) if stochastic else (index, sign)  # a spread has no direction
        mirrors = (spaces.symmetry.groups["actor"], output)
    width = spaces.groups["actor"]
    network = make_network([width, *hidden, (1 + stochastic) * space.size], 0.01, generator, mirrors, activation)
    normalizer = Normalizer(width, mirrors[0] if mirrors else None) if normalize else None
    return SquashedActor(network, normalizer, space, stochastic, initial_std, log_std_range)


def load_policy(actor: SquashedActor, state: dict[str, Tensor]) -> None:
    """``state`` of another such actor; of one without a spread of its own the means alone, the spread then being the untrained one.

    Raises RuntimeError where it is of another shape.
    """
    own = actor.state_dict()

    def fitting(name: str, value: Tensor) -> Tensor:
        mine = own.get(name)
        if mine is None or mine.shape == value.shape or len(mine) != 2 * len(value):
            return value
        return torch.cat([value, mine[len(value) :]])

    actor.load_state_dict({name: fitting(name, value) for name, value in state.items()})
