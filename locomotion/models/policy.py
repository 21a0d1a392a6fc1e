"""The policy as it acts: raw signals in, joint targets out. This module is what is exported."""

from __future__ import annotations

from torch import Tensor, nn

from locomotion.models.actor_critic import Actor
from locomotion.task.actions import ActionDecoder
from locomotion.task.observations import ObservationEncoder


class Policy(nn.Module):
    """The modules that training runs, in the order in which it runs them, without exploration noise."""

    def __init__(self, encoder: ObservationEncoder, actor: Actor, decoder: ActionDecoder) -> None:
        super().__init__()
        self.encoder, self.actor, self.decoder = encoder, actor, decoder

    def forward(
        self, base_ang_vel: Tensor, projected_gravity: Tensor, joint_pos: Tensor, joint_vel: Tensor, command: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``joint_pos_target`` [N, J], ``action`` [N, J] and ``memory_out`` [N, M] of the signals of one control step."""
        action = self.actor(self.encoder(base_ang_vel, projected_gravity, joint_pos, joint_vel, command, memory))
        return self.decoder(action, joint_pos, joint_vel), action, self.encoder.next_memory(action, command, memory)
