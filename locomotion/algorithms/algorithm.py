"""What a run needs of an algorithm, and how one is found by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from locomotion.environment import Spaces
from locomotion.schema import Settings


class Algorithm(Protocol):
    """A learner on one environment. It is made as ``Class(settings, environment, seed, iterations)``.

    One that learns from data alone says ``acts = False``: then no figures of an environment are shown.
    Where its settings have a ``teacher``, a run's path, it also gets ``teacher``, a module from the group "critic" to an action.
    Where they name a ``dataset``, it also gets ``data``, that as a full :class:`locomotion.algorithms.replay.Replay`.
    Where it has a ``replay`` (:class:`locomotion.algorithms.replay.Replay`), a run keeps that beside its checkpoint.
    Where they have an ``actor_group`` other than "actor", its actor sees that group, and cannot be exported.
    """

    settings_type: type[Settings]  # its settings: configs/algorithm/<file>.yaml without "name"
    actor: nn.Module  # made by make_actor; group "actor" [N, D] -> action [N, A]; what is exported
    iteration_steps: int  # steps of all environments together that one iteration takes

    @staticmethod
    def make_actor(settings: Any, spaces: Spaces, generator: torch.Generator) -> nn.Module:
        """The actor alone, untrained: for an export, which has no environment."""
        ...

    def iterate(self) -> dict[str, float]:
        """One iteration of acting and learning. Returns figures by name, for people and logs."""
        ...

    def initialize(self, state: dict[str, Any]) -> None:
        """Start from the weights of another run's :meth:`state_dict`, with optimizers and schedules of its own."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs, the environment and a ``replay`` excluded; ``["actor"]`` is the actor's."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


ALGORITHMS: dict[str, Any] = {}


def algorithm(name: str) -> Callable[[Any], Any]:
    """Class decorator: make an :class:`Algorithm` known as ``algorithm.name`` of the configuration."""

    def register(cls: Any) -> Any:
        ALGORITHMS[name] = cls
        return cls

    return register
