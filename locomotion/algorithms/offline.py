"""What the offline algorithms have in common: what they learn from, and the pure functions of their losses."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from locomotion.algorithms.experience import Mirror
from locomotion.algorithms.replay import Batch, Replay, refuse_other_data
from locomotion.environment import Environment, MirrorMap, Spaces
from locomotion.models.mlp import ActivationName
from locomotion.models.normalizer import Normalizer
from locomotion.schema import Count, Positive, Settings, Text
from robots.errors import InputError

Sizes = Annotated[tuple[Count, ...], Field(min_length=1, max_length=8)]
Discount = Annotated[float, Field(gt=0, le=1)]
AHEAD = 16  # updates whose samples are drawn in one call


class OfflineSettings(Settings):
    dataset: Text  # a folder of 'locomotion dataset'
    reward: Literal["recorded", "recomputed"]  # recomputed: the task's, from the recorded signals
    reward_scale: Positive | Literal["returns"]  # rewards are multiplied by it; returns: 1000 / (best - worst return of an episode)
    updates: Count  # gradient steps an iteration
    batch_size: Count
    learning_rate: Positive
    max_grad_norm: Positive | None
    actor_hidden: Sizes
    normalize: bool  # observations, by those of the data
    symmetric: bool  # the policy commutes with the mirror, critics learn every second sample mirrored

    @model_validator(mode="after")
    def _even(self) -> OfflineSettings:
        if self.symmetric and any(size % 2 for size in self.actor_hidden):
            raise InputError("algorithm.actor_hidden", self.actor_hidden, "even sizes for a symmetric network", "Round them up.")
        return self


class CriticSettings(OfflineSettings):
    gamma: Discount
    n_steps: Annotated[int, Field(ge=1, le=100)]  # rewards of the data that are counted before the value of what follows
    tau: Annotated[float, Field(gt=0, le=1)]  # share by which the targets follow the critics at each update
    critics: Annotated[int, Field(ge=1, le=16)]  # the least of them counts
    critic_group: Literal["actor", "critic"]  # what the critics see
    critic_hidden: Sizes
    activation: ActivationName
    layer_norm: bool  # of the critics


class Samples:
    """Batches of ``data``, uniform with replacement, drawn ahead; every second sample mirrored where there is a mirror."""

    def __init__(self, data: Replay, env: Environment, symmetric: bool, size: int, n_steps: int = 1, gamma: float = 1.0) -> None:
        self.data, self.size, self.n_steps, self.gamma = data, size, n_steps, gamma
        self._mirror = Mirror(env.spaces, env.device) if symmetric and env.spaces.symmetry else None
        self.fingerprint = data.fingerprint()
        self.action_std = float(data.actions.float().std().clamp(min=1e-6))  # of all joints together

    def batches(self, count: int, generator: torch.Generator) -> list[Batch]:
        """``count`` of them, at most :data:`AHEAD`."""
        batch = self.data.sample(count * self.size, self.n_steps, self.gamma, generator)
        batch = self._mirror(batch) if self._mirror else batch
        return [batch.part(slice(i * self.size, (i + 1) * self.size)) for i in range(count)]

    def normalizer(self, group: str, mirror: MirrorMap | None) -> Normalizer:
        """Of all that ``data`` has of an observation group."""
        normalizer = Normalizer(self.data.widths[group], mirror).to(self.data.device)
        normalizer.update(self.data.newest(len(self.data))[group])
        return normalizer

    def check(self, state: dict[str, Any]) -> None:
        """Raises InputError where a run learned from other data."""
        refuse_other_data(state["data"], self.fingerprint)


def mirror_of(spaces: Spaces, group: str, symmetric: bool) -> MirrorMap | None:
    return spaces.symmetry.groups[group] if symmetric and spaces.symmetry else None


def chunks(updates: int) -> list[int]:
    """``updates`` in groups of at most :data:`AHEAD`."""
    return [min(AHEAD, updates - first) for first in range(0, updates, AHEAD)]


def expectile_loss(error: Tensor, expectile: float) -> Tensor:
    """[] mean of |expectile - 1(error < 0)| error^2, least where a value is that expectile: Kostrikov et al. (2021, IQL), equation 5."""
    return ((expectile - (error < 0.0).to(error.dtype)).abs() * error.square()).mean()


def advantage_weight(advantage: Tensor, temperature: float, relative: bool = False, limit: float = 100.0) -> Tensor:
    """min(exp(temperature * advantage), limit): of advantage-weighted regression, IQL's equation 7.

    ``relative``: advantages [B] in standard deviations of the batch, as MARWIL's (Wang et al., 2018, "Exponentially weighted imitation
    learning for batched historical data", section 4) in multiples of their usual size: the weights are the same whatever the scale of
    rewards, and as uneven as ``temperature`` says, however small or noisy advantages are.
    """
    scale = 1.0 / advantage.std().clamp(min=1e-12) if relative else 1.0
    return (temperature * scale * advantage).clamp(max=math.log(limit)).exp()


def cosine(rate: float, share: float) -> float:
    """A learning rate that falls from ``rate`` to 0 as ``share`` goes from 0 to 1: Loshchilov and Hutter (2017), equation 5."""
    return 0.5 * rate * (1.0 + math.cos(math.pi * min(share, 1.0)))


def behaviour_scale(value: Tensor, weight: float) -> Tensor:
    """weight / mean |Q|: by what TD3+BC multiplies Q (Fujimoto and Gu, 2021, equation 5); no gradient goes through it."""
    return weight / value.detach().abs().mean().clamp(min=1e-6)


def conservative_gap(values: Tensor, log_density: Tensor, data: Tensor) -> Tensor:
    """[...] log sum exp(Q - log density) over the sampled actions (the last dimension of ``values``), less Q of the ``data`` [...].

    Kumar et al., "Conservative Q-learning" (2020), equation 4 and appendix F: importance sampling of the soft maximum, up to the log of
    how many samples there are.
    """
    return torch.logsumexp(values - log_density, dim=-1) - data
