"""Checkpoints: complete, atomic, and readable without running code of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from locomotion.files import write_atomically
from robots.errors import InputError

FORMAT = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` in place of ``path``. Raises OSError where the disk is full; the older file then stays."""
    write_atomically(path, lambda stream: torch.save({"format": FORMAT, **state}, stream))


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Raises InputError where it is missing, damaged or of another format."""
    if not path.is_file():
        raise InputError("checkpoint", str(path), "the path of a checkpoint (last.pt or best.pt of a run)", "List the run's folder.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile, pickle and torch raise types of their own for each kind of damage
        raise InputError("checkpoint", str(path), "an undamaged checkpoint", "Use another one, such as the run's best.pt.") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise InputError("checkpoint", str(path), f"format {FORMAT}", "It was written by another version or another program.")
    return state
