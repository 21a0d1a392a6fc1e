"""A module's parameters as one vector: one operation for clipping and one for the optimizer, however many layers there are."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class FlatAdam:
    """Adam (Kingma and Ba, 2015) on all parameters of ``module``, whose tensors become views of one vector."""

    def __init__(self, module: nn.Module, learning_rate: float) -> None:
        parameters = list(module.parameters())
        self.flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
        self.flat.grad = torch.zeros_like(self.flat)
        start = 0
        for parameter in parameters:
            part = slice(start, start + parameter.numel())
            parameter.data = self.flat.data[part].view_as(parameter)
            parameter.grad = self.flat.grad[part].view_as(parameter)
            start = part.stop
        self._adam = torch.optim.Adam([self.flat], lr=learning_rate, fused=True)

    def descend(self, loss: torch.Tensor, max_grad_norm: float, learning_rate: float | None = None) -> None:
        """One step down the gradient of ``loss``, its norm clipped to ``max_grad_norm``."""
        assert self.flat.grad is not None
        if learning_rate is not None:
            self._adam.param_groups[0]["lr"] = learning_rate
        self.flat.grad.zero_()
        loss.backward()
        nn.utils.clip_grad_norm_([self.flat], max_grad_norm)
        self._adam.step()

    def state_dict(self) -> dict[str, Any]:
        return self._adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._adam.load_state_dict(state)
