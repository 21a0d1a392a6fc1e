"""locomotion train"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from locomotion import build, distributed, plugins
from locomotion.algorithms import ALGORITHMS
from locomotion.runs.start import resume, start
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.view import LiveView
from robots.errors import InputError


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Train, or go on with a run. ``given`` holds the settings that the person gave."""
    settings = check(TrainSettings, config)
    plugins.load(settings.plugins)
    _refuse_without_data(settings.algorithm)
    _refuse_unused(settings, given)
    with distributed.joined():
        return learn(settings, given, "locomotion train")


def learn(settings: TrainSettings, given: dict[str, Any], title: str) -> int:
    """A new run, or one that goes on, under ``title``; and what to do next."""
    with _memory(), LiveView(title, quiet=distributed.rank() > 0) as view:

        def view_of(folder: Path) -> LiveView:
            view.title = f"{title}  {folder}"
            return view

        if settings.resume is not None:
            done, folder = resume(settings.resume, given, view_of, view.say)
        else:
            done, folder = start(settings, view_of, view.say)
        view.phase("train", 1.0)
    if distributed.rank():
        return 0
    print(f"{done.iteration} iterations, {done.steps:,} steps in {done.seconds:.0f} s. Next:")
    if done.config["env"] is not None:
        print(f"  locomotion report run={folder}")
    elif build.actor_group(check(TrainSettings, done.config)) == "actor":
        print(f"  locomotion export checkpoint={folder}/best.pt output={folder}/policy.onnx")
    else:
        print(f"  locomotion train algorithm=distill algorithm.teacher={folder}/best.pt")
    return 0


SCARCE = ("out of memory", "allocate memory", "not enough memory")  # of the errors that torch has for it


@contextlib.contextmanager
def _memory() -> Iterator[None]:
    """Raises InputError where there is too little memory, which torch says by errors of several kinds."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in SCARCE):
            raise
        remedy = "Make algorithm.num_envs, its steps, batches or networks smaller; last.pt of a run is good."
        raise InputError("algorithm", " ".join(str(error).split()), "a training that fits into memory", remedy) from error


def learns_from_data(name: str) -> bool:
    """Whether the algorithm cannot do without a dataset: others act, and learn from that."""
    dataset = ALGORITHMS[name].settings_type.model_fields.get("dataset") if name in ALGORITHMS else None
    return dataset is not None and dataset.is_required()


def _refuse_without_data(algorithm: dict[str, Any]) -> None:
    name = str(algorithm.get("name"))
    if learns_from_data(name) and algorithm.get("dataset") is None:
        raise InputError("algorithm", name, "an algorithm that acts", f"From data: locomotion offline algorithm={name} dataset=...")


def _refuse_unused(settings: TrainSettings, given: dict[str, Any]) -> None:
    unused = [key for key in given if settings.env is not None and key.partition(".")[0] in ("robot", "task", "sim", "randomization")]
    if unused:
        raise InputError(unused[0], given[unused[0]], f"nothing beside env={settings.env}, which brings its own", f"Leave {unused[0]} out.")
