"""The ground as a height grid: one torch function gives scans, foot clearance and spawn heights on every engine."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from robots.errors import InputError

Tensor = torch.Tensor


@dataclass(frozen=True)
class Terrain:
    """Heights on a regular grid centred on the origin; outside it the border goes on. Flat ground has no grid."""

    heights: Tensor | None = None  # [X, Y] m; heights[0, 0] is at the smallest x and y
    spacing: float = 0.1  # m between grid points

    def __post_init__(self) -> None:
        h = self.heights
        if h is not None and (h.dim() != 2 or min(h.shape) < 2 or not bool(torch.isfinite(h).all())):
            raise InputError("terrain.heights", tuple(h.shape), "finite heights [X, Y] of at least 2 x 2", "Mend the grid.")
        if not self.spacing > 0:
            raise InputError("terrain.spacing", self.spacing, "metres above 0", "For example 0.1.")

    @property
    def flat(self) -> bool:
        return self.heights is None

    def height(self, xy: Tensor) -> Tensor:
        """Height (m) of the ground below ``xy`` [..., 2] (m, world), bilinear between grid points; [...]."""
        h = self.heights
        if h is None:
            return torch.zeros_like(xy[..., 0])
        (i, x), (j, y) = (self._cell(xy[..., axis], h.shape[axis] - 1) for axis in (0, 1))
        below = torch.lerp(h[i, j], h[i + 1, j], x)
        above = torch.lerp(h[i, j + 1], h[i + 1, j + 1], x)
        return torch.lerp(below, above, y)

    def to(self, device: torch.device) -> Terrain:
        """The same ground on another device."""
        return self if self.heights is None else Terrain(self.heights.to(device), self.spacing)

    def _cell(self, x: Tensor, cells: int) -> tuple[Tensor, Tensor]:
        """The cell along one axis, and the share of it that was gone through."""
        grid = (x / self.spacing + 0.5 * cells).clamp(0.0, float(cells))
        low = grid.floor().clamp(max=cells - 1.0)
        return low.long(), grid - low
