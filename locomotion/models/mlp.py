"""Multi-layer perceptrons: plain, and one that commutes with the robot's left-right mirror."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from locomotion.environment import MirrorMap

ActivationName = Literal["elu", "relu", "silu", "tanh"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": nn.ELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"elu": F.elu, "relu": F.relu, "silu": F.silu, "tanh": torch.tanh}


class MLP(nn.Sequential):
    """Linear layers with an ``activation`` between them, orthogonal initialisation; ``output_gain`` scales the last layer."""

    def __init__(self, sizes: Sequence[int], output_gain: float, generator: torch.Generator, activation: str = "elu") -> None:
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(sizes)):
            last = i == len(sizes) - 2
            layer = nn.Linear(inputs, outputs)
            orthogonal(layer.weight, output_gain if last else 2**0.5, generator)
            nn.init.zeros_(layer.bias)
            layers += [layer] if last else [layer, ACTIVATIONS[activation]()]
        super().__init__(*layers)
        self.activation = FUNCTIONS[activation]

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of each layer."""
        return [(layer.weight, layer.bias) for layer in self if isinstance(layer, nn.Linear)]


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
        self, sizes: Sequence[int], output_gain: float, generator: torch.Generator, input_mirror: MirrorMap, output_mirror: MirrorMap,
        activation: str = "elu",
    ) -> None:  # fmt: skip
        super().__init__()
        self.activation = FUNCTIONS[activation]
        for name, (index, sign) in (("input", input_mirror), ("output", output_mirror)):
            self.register_buffer(f"{name}_index", torch.tensor(index), persistent=False)
            self.register_buffer(f"{name}_sign", torch.tensor(sign, dtype=torch.float32), persistent=False)
        half = [size // 2 for size in sizes[1:-1]]
        shapes = [(half[0], sizes[0]), *[(b, 2 * a) for a, b in pairwise(half)], (sizes[-1], half[-1])]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for i, shape in enumerate(shapes):
            last = i == len(shapes) - 1
            weight = torch.empty(shape)
            # the last layer is summed over a pair
            orthogonal(weight, output_gain / 2**0.5 if last else 2**0.5, generator)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(shape[0])))

    def forward(self, x: Tensor) -> Tensor:
        return feed_forward(self.layers(), x, self.activation)

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of each layer, the tied halves written out."""
        return list(zip(self._full_weights(), self._full_biases(), strict=True))

    def _full_weights(self) -> list[Tensor]:
        first, *middle, last = self.weights
        full = [tie_input(first, self.input_index, self.input_sign), *map(tie_hidden, middle)]
        full.append(torch.cat([last, mirrored(last.t(), self.output_index, self.output_sign).t()], dim=1))
        return full

    def _full_biases(self) -> list[Tensor]:
        *hidden, last = self.biases
        image = mirrored(last, self.output_index, self.output_sign)
        return [*(torch.cat([bias, bias]) for bias in hidden), 0.5 * (last + image)]


def tie_input(weight: Tensor, index: Tensor, sign: Tensor) -> Tensor:
    """The weight [2 H, D] of an input whose mirror image swaps the halves of the units, from the first half's [H, D]."""
    return torch.cat([weight, mirrored(weight, index, sign)])


def tie_hidden(weight: Tensor) -> Tensor:
    """The weight [[A, B], [B, A]] between layers of paired units, from [A, B]."""
    a, b = weight.chunk(2, dim=1)
    return torch.cat([weight, torch.cat([b, a], dim=1)])


def make_network(
    sizes: Sequence[int],
    output_gain: float,
    generator: torch.Generator,
    mirrors: tuple[MirrorMap, MirrorMap] | None,
    activation: str = "elu",
) -> MLP | SymmetricMLP:
    """A network that commutes with the ``mirrors`` of its input and output, or where there are none a plain one."""
    if mirrors:
        return SymmetricMLP(sizes, output_gain, generator, *mirrors, activation)
    return MLP(sizes, output_gain, generator, activation)


class _Mirror(torch.autograd.Function):
    """sign * x[..., index]. A mirror is its own inverse and orthogonal, so the gradient goes through the same map."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, sign: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(index, sign)
        return x.index_select(-1, index) * sign

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        index, sign = ctx.saved_tensors
        return gradient.index_select(-1, index) * sign, None, None


def mirrored(x: Tensor, index: Tensor, sign: Tensor) -> Tensor:
    """The mirror image of ``x`` [..., D]; much quicker to differentiate than indexing, whose gradient scatters."""
    if torch.is_grad_enabled() and x.requires_grad:
        return _Mirror.apply(x, index, sign)  # type: ignore[return-value]
    return x.index_select(-1, index) * sign


def feed_forward(layers: Sequence[tuple[Tensor, Tensor]], x: Tensor, activation: Callable[[Tensor], Tensor] = F.elu) -> Tensor:
    """Linear layers with an ``activation`` between them."""
    *hidden, last = layers
    for weight, bias in hidden:
        x = activation(F.linear(x, weight, bias))
    return F.linear(x, *last)


def orthogonal(weight: Tensor, gain: float, generator: torch.Generator) -> None:
    nn.init.orthogonal_(weight, gain, generator=generator)
