"""Multi-layer perceptrons: plain, and one that commutes with the robot's left-right mirror."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MirrorMap = tuple[np.ndarray, np.ndarray]


class MLP(nn.Sequential):
    """Linear layers with ELU between them, orthogonal initialisation; ``output_gain`` scales the last layer."""

    def __init__(self, sizes: Sequence[int], output_gain: float, generator: torch.Generator) -> None:
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(sizes)):
            last = i == len(sizes) - 2
            layer = nn.Linear(inputs, outputs)
            _orthogonal(layer.weight, output_gain if last else 2**0.5, generator)
            nn.init.zeros_(layer.bias)
            layers += [layer] if last else [layer, nn.ELU()]
        super().__init__(*layers)


class SymmetricMLP(nn.Module):
    """An MLP f with f(mirror(x)) = mirror(f(x)) exactly, at the cost of the plain one.

    Hidden units come in pairs that a mirrored input swaps (the regular representation of the group of two elements), so a
    hidden layer's weight is [[A, B], [B, A]]; the first and last layers tie their halves through the mirror maps. See
    Ravanbakhsh et al., "Equivariance through parameter sharing" (2017).
    """

    input_index: Tensor
    input_sign: Tensor
    output_index: Tensor
    output_sign: Tensor

    def __init__(
        self, sizes: Sequence[int], output_gain: float, generator: torch.Generator, input_mirror: MirrorMap, output_mirror: MirrorMap
    ) -> None:
        super().__init__()
        for name, (index, sign) in (("input", input_mirror), ("output", output_mirror)):
            self.register_buffer(f"{name}_index", torch.as_tensor(index), persistent=False)
            self.register_buffer(f"{name}_sign", torch.as_tensor(sign, dtype=torch.float32), persistent=False)
        half = [size // 2 for size in sizes[1:-1]]
        shapes = [(half[0], sizes[0]), *[(b, 2 * a) for a, b in pairwise(half)], (sizes[-1], half[-1])]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for i, shape in enumerate(shapes):
            last = i == len(shapes) - 1
            weight = torch.empty(shape)
            # the last layer is summed over a pair
            _orthogonal(weight, output_gain / 2**0.5 if last else 2**0.5, generator)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(shape[0])))

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = zip(self._full_weights(), self._full_biases(), strict=True)
        for weight, bias in hidden:
            x = F.elu(F.linear(x, weight, bias))
        return F.linear(x, *last)

    def _full_weights(self) -> list[Tensor]:
        first, *middle, last = self.weights
        full = [torch.cat([first, self.input_sign * first[:, self.input_index]])]
        for weight in middle:
            a, b = weight.chunk(2, dim=1)
            full.append(torch.cat([weight, torch.cat([b, a], dim=1)]))
        full.append(torch.cat([last, self.output_sign[:, None] * last[self.output_index]], dim=1))
        return full

    def _full_biases(self) -> list[Tensor]:
        *hidden, last = self.biases
        mirrored = self.output_sign * last[self.output_index]
        return [*(torch.cat([bias, bias]) for bias in hidden), 0.5 * (last + mirrored)]


def _orthogonal(weight: Tensor, gain: float, generator: torch.Generator) -> None:
    nn.init.orthogonal_(weight, gain, generator=generator)
