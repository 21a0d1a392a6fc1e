"""Several networks of one shape, evaluated as one: a batched product a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from locomotion.models.mlp import ACTIVATIONS


class Ensemble(nn.Module):
    """``count`` networks with weights of their own: [B, inputs] -> [count, B, outputs].

    Weights and biases begin uniform within 1 / sqrt(inputs of the layer). With ``layer_norm`` (without parameters of its own) what
    enters an activation has mean 0 and variance 1, which bounds how far values go beyond the data (Ball et al., 2023: RLPD).
    """

    def __init__(self, count: int, sizes: Sequence[int], activation: str, layer_norm: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.activation, self.layer_norm = ACTIVATIONS[activation](), layer_norm
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in pairwise(sizes):
            bound = 1.0 / math.sqrt(inputs)
            for shape, parameters in (((count, inputs, outputs), self.weights), ((count, 1, outputs), self.biases)):
                parameters.append(nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator)))

    def forward(self, x: Tensor, frozen: bool = False) -> Tensor:
        """``frozen``: the gradient goes to ``x`` alone."""
        count, last = self.weights[0].shape[0], len(self.weights) - 1
        x = x.expand(count, *x.shape)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if frozen:
                weight, bias = weight.detach(), bias.detach()
            x = torch.baddbmm(bias, x, weight)
            if i < last:
                x = self.activation(F.layer_norm(x, x.shape[-1:]) if self.layer_norm else x)
        return x
