"""The policy as it acts: raw signals in, joint targets out. This module is what is exported."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Policy(nn.Module):
    """The modules that training runs, in the order in which it runs them, without exploration noise.

    ``encoder`` (a :class:`locomotion.task.observations.Encoder`) names the inputs; ``actor`` maps an observation to an action,
    where it remembers (:class:`locomotion.models.actor_critic.RecurrentActor`) with a part of ``memory`` of its own, the last.
    """

    def __init__(self, encoder: Any, actor: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.actor, self.decoder = encoder, actor, decoder
        self.inputs: tuple[str, ...] = encoder.inputs
        self.recurrent: int = getattr(actor, "memory_size", 0)
        self.memory_size: int = encoder.memory_size + self.recurrent

    def forward(self, *signals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``joint_pos_target`` [N, J], ``action`` [N, J] and ``memory_out`` [N, M] of :attr:`inputs` and ``memory``, in that order."""
        *values, memory = signals
        inputs = dict(zip(self.inputs, values, strict=True))
        if self.recurrent:
            memory, own = memory.split([self.encoder.memory_size, self.recurrent], dim=-1)
            action, own = self.actor.step(self.encoder(inputs, memory), own)
            target, offset = self.decoder(action, inputs["joint_pos"], inputs["joint_vel"], memory)
            return target, action, torch.cat([self.encoder.remember(inputs, action, memory, offset), own], dim=-1)
        action = self.actor(self.encoder(inputs, memory))
        target, offset = self.decoder(action, inputs["joint_pos"], inputs["joint_vel"], memory)
        return target, action, self.encoder.remember(inputs, action, memory, offset)

    def describe(self) -> tuple[list[dict], list[dict]]:
        """Observation terms and memory layout in words: name, width and text of each, in order."""
        observed, remembered = self.encoder.describe()
        own = [{"name": "recurrent", "width": self.recurrent, "text": "the network's own memory"}] if self.recurrent else []
        return observed, [*remembered, *own]
