"""A policy that stands: untrained networks whose last layer says nothing. Enough to be run, to explore, and to learn."""

from __future__ import annotations

from pathlib import Path

import torch

from locomotion import build
from locomotion.config import compose
from locomotion.finetuning import base as bases
from locomotion.finetuning.base import Base
from locomotion.finetuning.settings import RecipeSettings
from locomotion.runs import checkpoint
from locomotion.runs.start import provenance
from locomotion.schema import check, merge, plain
from tests.conftest import tiny

QUICK = {
    "minutes": 3.0, "walk_seconds": 4.0, "warm_up_walks": 2, "walks": 2, "pairs": 2, "final_pairs": 2, "std": 0.05,
    "commands": [[0.0, 0.0, 0.0]], "gate": {"episodes": 1, "margin": 1.0},
    "learner": {"warm_up_epochs": 2, "value_epochs": 1, "directions": 4},
}  # fmt: skip


def state_of(*overrides: str, weight: float = 0.0) -> dict:
    """A checkpoint; ``weight`` scales the actor's last layer."""
    settings = tiny(*overrides)
    task = build.task(settings)
    learner = build.algorithm(settings, task)
    learner.actor.normalizer.update(torch.randn(200, task.encoder.size, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        for part in (*learner.actor.network.weights[-1:], *learner.actor.network.biases[-1:]):
            part.mul_(weight)
    config = plain(settings)
    return {"config": config, "provenance": provenance(settings, config), "iteration": 1, "steps": 48, "learner": learner.state_dict()}


def write(folder: Path, *overrides: str, weight: float = 0.0) -> Path:
    path = folder / "best.pt"
    checkpoint.save(path, state_of(*overrides, weight=weight))
    return path


def standing_base(folder: Path, weight: float = 0.0) -> Base:
    return bases.load(str(write(folder, weight=weight)))


def recipe(**changes) -> RecipeSettings:
    config = compose("finetune", ["policy=p", "output=o"])
    return check(RecipeSettings, merge({name: config[name] for name in RecipeSettings.model_fields}, merge(QUICK, changes)))
