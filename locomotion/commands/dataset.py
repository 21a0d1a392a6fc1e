"""locomotion dataset inspect DATASET [output=page.html] | import SOURCE output=FOLDER [env=gymnasium:ID] | export DATASET output=NEW"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from locomotion.data import exchange
from locomotion.data.dataset import Dataset
from locomotion.files import output_file
from robots.errors import InputError, nearest


def run(words: list[str]) -> int:
    """One action; ``collect`` and ``from-logs`` are commands with settings of their own."""
    action, *rest = words or [""]
    if action not in ACTIONS:
        known = ("collect", "from-logs", *ACTIONS)
        raise InputError("dataset", action, f"one of {', '.join(known)}", nearest(action, known))
    return ACTIONS[action](rest)


def _arguments(action: str, words: list[str], *keys: str) -> tuple[Path, dict[str, str]]:
    """The source, and the values of ``keys`` that are given."""
    given = dict(word.split("=", 1) for word in words if word.partition("=")[0] in keys and "=" in word)
    others = [word for word in words if word.partition("=")[0] not in keys]
    if len(others) != 1 or "" in given.values():
        allowed = f"a dataset, and perhaps {', '.join(f'{key}=' for key in keys)}"
        raise InputError(f"dataset {action}", " ".join(words), allowed, "See 'locomotion dataset --help'.")
    return Path(others[0]), given


def _inspect(words: list[str]) -> int:
    """A table, and a page."""
    from locomotion.evaluation import dataset_page

    source, given = _arguments("inspect", words, "output")
    dataset = Dataset(source)
    path = output_file(Path(given.get("output", source / "inspect.html")), "output")
    summary = dataset_page.summarize(dataset)
    print(source)
    for name, figure in dataset_page.lines(dataset, summary):
        print(f"  {name:28} {figure}")
    print(dataset_page.write(dataset, summary, path))
    return 0


def _import(words: list[str]) -> int:
    """A folder of Minari's, or an .npz file, as a dataset that says what it was recorded in."""
    source, given = _arguments("import", words, "output", "env")
    if "output" not in given:
        raise InputError("output", None, "a new folder", "Add output=...")
    folder, named = Path(given["output"]), given.get("env")
    about, spec, bounds = _environment(named) if named else (None, None, None)
    if source.suffix == ".npz":
        told = exchange.about_of_npz(source)
        if about is None and "config" not in told:
            raise InputError("env", None, "what the data were recorded in", "Add env=gymnasium:ID.")
        bounds = bounds if bounds is not None else told.get("action_space")
        if bounds is None:
            raise InputError("env", None, "what the data were recorded in: bounds of actions are missing", "Add env=gymnasium:ID.")
        own = {key: value for key, value in told.items() if key not in ("format", "action_space")}
        written = exchange.from_npz(source, folder, bounds, about if about is not None else own, spec)
    else:
        written = exchange.copied(Dataset(source), folder, about, spec)
    print(f"{written.total_episodes} episodes, {written.total_steps:,} steps in {folder}. Next:\n  locomotion dataset inspect {folder}")
    return 0


def _export(words: list[str]) -> int:
    """One .npz file, or a folder with one HDF5 file."""
    source, given = _arguments("export", words, "output")
    if "output" not in given:
        raise InputError("output", None, "a new .npz file or folder", "Add output=...")
    dataset, output = Dataset(source), Path(given["output"])
    if output.suffix == ".npz":
        exchange.to_npz(dataset, output_file(output, "output"))
    else:
        exchange.copied(dataset, output, one_file=True)
    print(f"{output}: {dataset.total_episodes} episodes, {dataset.total_steps:,} steps")
    return 0


def _environment(named: str) -> tuple[dict[str, Any], str | None, np.ndarray]:
    """What a dataset says of the Gymnasium environment ``named``, Gymnasium's own notation of it, and the bounds of actions."""
    from locomotion.adapters.gymnasium_environment import PREFIX, GymnasiumEnvironment
    from locomotion.config import compose

    if not named.startswith(PREFIX):
        raise InputError("env", named, f"{PREFIX}ID", f"For example env={PREFIX}Hopper-v5.")
    env = GymnasiumEnvironment(named.removeprefix(PREFIX), 1, 0)
    space = env.spaces.recorded("env", named)
    config = compose("train", [])
    about = {"config": {name: config[name] for name in ("env", "robot", "task", "sim", "randomization", "plugins")} | {"env": named}}
    env.close()
    bounds = np.stack([space.low.numpy(), space.high.numpy()])
    return about | {"robot_sha256": None, "step_seconds": env.step_seconds}, env.specification, bounds


ACTIONS: dict[str, Callable[[list[str]], int]] = {"inspect": _inspect, "import": _import, "export": _export}
