"""locomotion offline"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locomotion import distributed, plugins
from locomotion.adapters.gymnasium_environment import PREFIX
from locomotion.algorithms import ALGORITHMS
from locomotion.commands import train
from locomotion.config import compose, quoted
from locomotion.data.dataset import Dataset
from locomotion.schema import check, merge
from locomotion.settings import OfflineSettings, TrainSettings
from robots.errors import InputError

DATASETS = ("env", "robot", "task", "sim", "randomization", "plugins")  # settings that are the dataset's


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Learn from a dataset, or go on with a run that does."""
    if config["resume"] is not None:
        return train.run(compose("train", [f"resume={quoted(config['resume'])}"]), given)
    named = config["algorithm"].pop("dataset", None)
    settings = check(OfflineSettings, config)
    _refuse_online(str(config["algorithm"].get("name")))
    path = settings.dataset or named
    if path is None:
        raise InputError("dataset", None, "a folder of 'locomotion dataset'", "Add dataset=...")
    base = of_dataset(Dataset(path))
    if settings.rewards:
        base["task"] = merge(base["task"], {"rewards": settings.rewards})
        config["algorithm"]["reward"] = "recomputed"
    runner = {key: value for key, value in config.items() if key not in ("dataset", "rewards", "algorithm")}
    plugins.load(base["plugins"])
    chosen = check(TrainSettings, {**base, **runner, "algorithm": {**config["algorithm"], "dataset": str(Path(path).absolute())}})
    with distributed.joined():
        return train.learn(chosen, given, "locomotion offline")


def _refuse_online(name: str) -> None:
    """Raises InputError where the algorithm does not need a dataset: it would act, and learn from that, too."""
    if name in ALGORITHMS and not train.learns_from_data(name):
        remedy = "Try bc, iql, td3_bc or cql; 'locomotion train algorithm=sac algorithm.dataset=...' learns from both."
        raise InputError("algorithm", name, "an algorithm that learns from data alone", remedy)


def of_dataset(dataset: Dataset) -> dict[str, Any]:
    """The settings of what a dataset was recorded in. Raises InputError where it does not say."""
    recorded = dataset.about.get("config")
    if isinstance(recorded, dict) and all(name in recorded for name in DATASETS):
        return {name: recorded[name] for name in DATASETS}
    if "config" in dataset.about or dataset.environment is None:
        remedy = "Give it one: locomotion dataset import FOLDER output=... env=gymnasium:ID."
        raise InputError("dataset", str(dataset.path), "a dataset that says what it was recorded in", remedy)
    config = compose("train", [])
    return {key: config[key] for key in DATASETS} | {"env": PREFIX + dataset.environment}
