"""The policy as it acts: raw signals in, joint targets out. This module is what is exported."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Policy(nn.Module):
    """The modules that training runs, in the order in which it runs them, without exploration noise.

    ``encoder`` (a :class:`locomotion.task.observations.Encoder`) names the inputs; ``actor`` maps an observation to an action.
    """

    def __init__(self, encoder: Any, actor: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.actor, self.decoder = encoder, actor, decoder
        self.inputs: tuple[str, ...] = encoder.inputs
        self.memory_size: int = encoder.memory_size

    def forward(self, *signals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``joint_pos_target`` [N, J], ``action`` [N, J] and ``memory_out`` [N, M] of :attr:`inputs` and ``memory``, in that order."""
        *values, memory = signals
        inputs = dict(zip(self.inputs, values, strict=True))
        action = self.actor(self.encoder(inputs, memory))
        target, offset = self.decoder(action, inputs["joint_pos"], inputs["joint_vel"], memory)
        return target, action, self.encoder.remember(inputs, action, memory, offset)
