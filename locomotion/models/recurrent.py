"""Networks that remember: a gated recurrent unit before a multi-layer perceptron, and a rollout's record of what was remembered.

A recurrent network's input [..., D + M + 1] is an observation, beside it the memory that it was met with, and 1 where an episode
begins. So a learner that gives a network what it gave it before needs to know nothing else: sequences [T, n, ...] for steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from locomotion.environment import MirrorMap
from locomotion.models.mlp import make_network, orthogonal, tie_hidden, tie_input


class GRU(nn.Module):
    """Gated recurrent unit (Cho et al., 2014, arXiv:1406.1078, in the form whose reset gate follows the product).

    With the ``mirror`` of its input its units come in pairs that a mirrored input swaps, as in
    :class:`~locomotion.models.mlp.SymmetricMLP`: the mirror image of what is seen leads to the mirror image of what is remembered.
    """

    input_index: Tensor
    input_sign: Tensor

    def __init__(self, inputs: int, memory: int, mirror: MirrorMap | None, generator: torch.Generator) -> None:
        super().__init__()
        self.tied = mirror is not None
        index, sign = mirror if mirror is not None else (np.arange(inputs), np.ones(inputs))
        self.register_buffer("input_index", torch.tensor(index), persistent=False)
        self.register_buffer("input_sign", torch.tensor(sign, dtype=torch.float32), persistent=False)
        rows = memory // 2 if self.tied else memory
        self.input_weight, self.memory_weight = (nn.Parameter(torch.empty(3, rows, width)) for width in (inputs, memory))
        for weight in (*self.input_weight, *self.memory_weight):
            orthogonal(weight.data, 1.0, generator)
        self.input_bias, self.memory_bias = (nn.Parameter(torch.zeros(3, rows)) for _ in range(2))

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of input and memory [3 M, ...], and the biases [3 M]: for the reset and update gates, and for what is new."""
        w, u, b, c = self.input_weight, self.memory_weight, self.input_bias, self.memory_bias
        if self.tied:
            w = torch.stack([tie_input(gate, self.input_index, self.input_sign) for gate in w])
            u = torch.stack([tie_hidden(gate) for gate in u])
            b, c = torch.cat([b, b], dim=1), torch.cat([c, c], dim=1)
        return w.flatten(0, 1), u.flatten(0, 1), b.flatten(), c.flatten()


def gru_step(seen: Tensor, memory: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The memory [N, M] after a step; ``seen`` [N, 3 M] is the input through its weights."""
    seen_reset, seen_update, seen_new = seen.chunk(3, dim=-1)
    reset, update, new = F.linear(memory, weight, bias).chunk(3, dim=-1)
    candidate = torch.tanh(seen_new + torch.sigmoid(seen_reset + reset) * new)
    return torch.lerp(candidate, memory, torch.sigmoid(seen_update + update))


class RecurrentNetwork(nn.Module):
    """``sizes`` are of the input D, the hidden layers and the output; ``mirrors`` as of :func:`~locomotion.models.mlp.make_network`."""

    def __init__(
        self, sizes: Sequence[int], memory: int, output_gain: float, generator: torch.Generator,
        mirrors: tuple[MirrorMap, MirrorMap] | None, activation: str = "elu",
    ) -> None:  # fmt: skip
        super().__init__()
        self.split = [sizes[0], memory, 1]
        self.gru = GRU(sizes[0], memory, mirrors[0] if mirrors else None, generator)
        swap: MirrorMap = (np.roll(np.arange(memory), memory // 2), np.ones(memory))
        self.head = make_network([memory, *sizes[1:]], output_gain, generator, (swap, mirrors[1]) if mirrors else None, activation)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [T, n, P] of sequences [T, n, D + M + 1]: the gradient goes back through their steps to their beginning."""
        observation, memories, begins = x.split(self.split, dim=-1)
        weight, memory_weight, bias, memory_bias = self.gru.weights()
        seen, memory, after = F.linear(observation, weight, bias), memories[0], []
        for t in range(len(x)):
            memory = gru_step(seen[t], memory * (1.0 - begins[t]), memory_weight, memory_bias)
            after.append(memory)
        return self.head(torch.stack(after))

    def stepping(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """One step with tied weights written out once: observation [N, D] and memory [N, M] to output [N, P] and memory."""
        weight, memory_weight, bias, memory_bias = self.gru.weights()
        head = self.head

        def step(observation: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
            after = gru_step(F.linear(observation, weight, bias), memory, memory_weight, memory_bias)
            return head(after), after

        return step


class Memory:
    """What the policies of N environments remember, [N, M], and whether an episode begins: beside the observation in one row."""

    def __init__(self, num_envs: int, size: int, device: torch.device) -> None:
        self.state = torch.zeros(num_envs, size + 1, device=device)
        self.state[:, -1] = 1.0

    def beside(self, observation: Tensor) -> Tensor:
        """[N, D + M + 1]"""
        return torch.cat([observation, self.state], dim=-1)

    def keep(self, memory: Tensor, done: Tensor) -> None:
        """What is remembered after a step, nothing where the episode is ``done`` [N]."""
        self.state[:, :-1] = memory.masked_fill(done[:, None], 0.0)
        self.state[:, -1] = done
