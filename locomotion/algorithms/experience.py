"""What the off-policy algorithms have in common: how they act, and what they remember of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor

from locomotion.algorithms.replay import Batch, Replay
from locomotion.environment import Environment, MirrorMap, Observations, Spaces
from locomotion.models.mlp import mirrored
from locomotion.schema import Count, Settings
from robots.errors import InputError

Capacity = Annotated[int, Field(ge=1, le=1_000_000_000)]


class ExperienceSettings(Settings):
    num_envs: Count
    steps: Count  # control steps of all environments between updates
    updates: Count  # gradient steps after these
    rounds: Count  # such rounds make an iteration
    warm_up: Annotated[int, Field(ge=0)]  # transitions before the first update
    capacity: Capacity  # transitions remembered
    half: bool  # ... in 16 bits
    batch_size: Count
    n_steps: Annotated[int, Field(ge=1, le=100)]  # rewards counted before the value of what follows
    gamma: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _capacity(self) -> ExperienceSettings:
        least = self.num_envs * max(self.n_steps, self.steps)
        if self.capacity < least:
            allowed = f"at least num_envs * the larger of n_steps and steps: {least}"
            raise InputError("algorithm.capacity", self.capacity, allowed, "Raise it.")
        return self

    @property
    def iteration_steps(self) -> int:
        return self.num_envs * self.steps * self.rounds

    def warm(self, replay: Replay) -> bool:
        """Enough is remembered to learn from."""
        return replay.written * self.num_envs >= self.warm_up


def collect(env: Environment, replay: Replay, act: Callable[[Observations], Tensor], steps: int) -> Tensor:
    """Act, remember, and return the sum [] of all rewards. Terminated and truncated steps are kept with the state they really led to."""
    total = torch.zeros((), device=env.device)
    for _ in range(steps):
        observations = env.observations
        action = act(observations)
        replay.begin(observations, action)
        step = env.step(action)
        ended = env.ended()  # of the one step since the last rewards()
        reward = env.rewards()[0]
        replay.finish(step, ended, reward)
        total += reward.sum()
    return total


class Mirror:
    """Every second sample of a batch as it looks in the environment's mirror: a critic so learns both halves from either."""

    def __init__(self, spaces: Spaces, device: torch.device) -> None:
        assert spaces.symmetry is not None, "an actor was made for it"

        def map_of(mirror: MirrorMap) -> tuple[Tensor, Tensor]:
            return torch.tensor(mirror[0], device=device), torch.tensor(mirror[1], dtype=torch.float32, device=device)

        self._groups = {name: map_of(mirror) for name, mirror in spaces.symmetry.groups.items()}
        self._action = map_of(spaces.symmetry.action)

    def __call__(self, batch: Batch) -> Batch:
        def half(x: Tensor, index: Tensor, sign: Tensor) -> Tensor:
            x = x.clone()
            x[::2] = mirrored(x[::2], index, sign)
            return x

        seen, follows = (
            {name: half(x, *self._groups[name]) for name, x in group.items()} for group in (batch.observations, batch.following)
        )
        return replace(batch, observations=seen, following=follows, action=half(batch.action, *self._action))
