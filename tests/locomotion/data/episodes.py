"""Episodes of noise, and datasets of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from locomotion.data.dataset import Dataset, Writer
from locomotion.data.episode import Episode

BOUNDS = np.array([[-1.0, -1.0], [1.0, 1.0]], dtype=np.float32)
GROUPS = {"actor": 3, "critic": 4}


def episode(steps: int = 5, falls: bool = False, seed: int = 0, groups: dict[str, int] = GROUPS, **changes: Any) -> Episode:
    rng = np.random.default_rng(seed)
    flags = np.zeros((2, steps), dtype=bool)
    flags[0 if falls else 1, -1] = True
    values: dict[str, Any] = {
        "observations": {name: rng.standard_normal((steps + 1, width), dtype=np.float32) for name, width in groups.items()},
        "action": rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
        "reward": rng.standard_normal(steps, dtype=np.float32),
        "terminated": flags[0],
        "truncated": flags[1],
        "signals": {"base_lin_vel": rng.standard_normal((steps + 1, 3), dtype=np.float32)},
        "steps": {"command": rng.standard_normal((steps, 3), dtype=np.float32)},
    }
    return Episode(**(values | changes))


def written(folder: Path, *episodes: Episode, groups: dict[str, int] = GROUPS, **about: Any) -> Writer:
    writer = Writer(folder, groups, BOUNDS, about)
    for one in episodes:
        writer.add(one)
    writer.flush()
    return writer


def same(a: Episode, b: Episode) -> bool:
    tables = ("observations", "signals", "steps")
    arrays = ("action", "reward", "terminated", "truncated")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays) and all(
        set(getattr(a, t)) == set(getattr(b, t)) and all(np.array_equal(getattr(a, t)[k], getattr(b, t)[k]) for k in getattr(a, t))
        for t in tables
    )


def reread(writer: Writer) -> Dataset:
    return Dataset(writer.folder)
