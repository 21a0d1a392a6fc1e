"""A sum tree: numbers that can be sampled in proportion to themselves, and changed, each in the logarithm of how many there are."""

from __future__ import annotations

import torch
from torch import Tensor


class SumTree:
    """A complete binary tree in one float64 vector: the root at 1, the children of i, whose sum it is, at 2 i and 2 i + 1."""

    def __init__(self, size: int, device: torch.device | str) -> None:
        self.depth = max(size - 1, 1).bit_length()
        self.nodes = torch.zeros(2 << self.depth, dtype=torch.float64, device=device)

    @property
    def leaves(self) -> Tensor:
        return self.nodes[1 << self.depth :]

    @property
    def total(self) -> Tensor:
        return self.nodes[1]

    def set(self, rows: Tensor, values: Tensor) -> None:
        """Leaves ``rows`` [B] become ``values`` [B]; a row that is named twice needs the same value twice."""
        node = rows + (1 << self.depth)
        self.nodes[node] = values
        for _ in range(self.depth):
            node = node >> 1
            self.nodes[node] = self.nodes[2 * node] + self.nodes[2 * node + 1]

    def load(self, leaves: Tensor) -> None:
        """The first leaves become ``leaves``, the others 0."""
        self.nodes.zero_()
        self.leaves[: len(leaves)] = leaves
        for level in range(self.depth - 1, -1, -1):
            first = 1 << level
            children = self.nodes[2 * first : 4 * first].view(-1, 2)
            self.nodes[first : 2 * first] = children[:, 0] + children[:, 1]

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows [size] int64, the i-th from the i-th of ``size`` equal shares of the total, and their probabilities [size]."""
        device = self.nodes.device
        offset = torch.rand(size, dtype=torch.float64, generator=generator, device=device)
        rest = (torch.arange(size, device=device) + offset) * (self.total / size)
        node = torch.ones(size, dtype=torch.int64, device=device)
        for _ in range(self.depth):
            left = self.nodes[2 * node]
            right = (rest >= left) & (self.nodes[2 * node + 1] > 0.0)  # rounding must not lead to a leaf of priority 0
            rest = torch.where(right, rest - left, rest)
            node = 2 * node + right
        return node - (1 << self.depth), self.nodes[node] / self.total
