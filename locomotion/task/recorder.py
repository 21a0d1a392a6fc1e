"""A rollout kept in place, [T, N, ...]: what rewards and the ends of episodes are worked out from, once, afterwards."""

from __future__ import annotations

import torch
from torch import Tensor

from sim.signals import columns


class Recorder:
    """Buffers of ``capacity`` steps, filled from the first."""

    def __init__(self, capacity: int, num_envs: int, signals: int, state: int, memory: int, actions: int, device: torch.device) -> None:
        def buffer(width: int) -> Tensor:
            return columns(capacity, num_envs, width, device=device)

        self.capacity, self.length = capacity, 0
        self.before, self.after = buffer(signals), buffer(signals)  # packed signals around each step
        self.state = buffer(state)  # what the task carried into each step
        self.memory = buffer(memory)  # of the policy, after each step
        self.action = buffer(actions)
        self.flags = torch.zeros(capacity, 3, num_envs, dtype=torch.bool, device=device)  # terminated, truncated, fault
        # the slots of each step, made once: looking one up costs as much as filling it
        self.slots = list(
            zip(*(x.unbind(0) for x in (self.before, self.state, self.action, self.after, self.memory, self.flags)), strict=True)
        )

    @property
    def full(self) -> bool:
        return self.length == self.capacity
