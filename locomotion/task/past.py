"""What rewards remember of the steps before a block of steps: computed once a block from the record, so that a step pays nothing for it."""

from __future__ import annotations

import torch
from torch import Tensor


class Past:
    """N robots as a block of steps begins. Zero where an episode begins with it. ``packed`` is all of it, for a checkpoint."""

    def __init__(self, num_envs: int, num_joints: int, num_feet: int, device: torch.device) -> None:
        self.packed = torch.zeros(num_envs, num_joints + num_feet, device=device)
        self.action = self.packed[:, :num_joints]  # [N, J] before the previous one
        self.airborne = self.packed[:, num_joints:]  # [N, F] steps since each foot was on the ground, in whole numbers

    def advance(self, previous_action: Tensor, airborne: Tensor, ended: Tensor) -> None:
        """To the end of a block: its previous actions [T, N, J], airborne steps [T, N, F], and whether an episode ended [T, N]."""
        self.action.copy_(previous_action[-1])
        self.airborne.copy_(airborne[-1])
        self.packed.masked_fill_(ended[-1][:, None], 0.0)


def a_step_ago(values: Tensor, first: Tensor, ended: Tensor) -> Tensor:
    """``values`` [T, N, K] of the step before each; ``first`` [N, K] before the first, zero where an episode had just ended."""
    kept = torch.where(ended[:-1, :, None], 0.0, values[:-1])
    return torch.cat([first[None], kept])


def steps_airborne(contact: Tensor, first: Tensor, ended: Tensor) -> Tensor:
    """Steps since each foot was on the ground, or since its episode began, after each step, [T, N, F].

    ``contact`` [T, N, F] after each step, ``first`` [N, F] before the first. The last step on the ground is a running maximum.
    """
    step = torch.arange(1.0, len(contact) + 1.0, device=contact.device)[:, None, None]
    began = torch.cat([torch.zeros_like(ended[:1]), ended[:-1]])[..., None]
    grounded = torch.where(contact > 0.0, step, torch.where(began, step - 1.0, -first))
    return step - grounded.cummax(dim=0).values
