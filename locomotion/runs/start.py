"""From what a person asked for to a run that is ready to train: new, resumed, or begun from other weights."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from locomotion import build, plugins
from locomotion.algorithms import Algorithm
from locomotion.runs import checkpoint
from locomotion.runs import folder as files
from locomotion.runs.train import Run, View, train
from locomotion.schema import check, merge, plain
from locomotion.settings import TrainSettings
from robots.errors import InputError

PERSONAL = ("run", "resume", "init", "threads", "snapshot_every", "score_every", "iterations")  # of a config: not what is learned


def start(settings: TrainSettings, view_of: Callable[[Path], View], say: Callable[[str], None]) -> tuple[Run, Path]:
    """Train a new run, or one that begins from ``settings.init``; returns it when done, and its folder."""
    folder = Path(settings.run or f"runs/{settings.robot}_{settings.task.name}_{datetime.now():%Y-%m-%d_%H-%M-%S}")
    files.refuse_if_used(folder)
    config = plain(settings) | {"run": str(folder)}
    with files.locked(folder):
        files.refuse_if_used(folder)
        run = make(settings, config)
        if settings.init is not None:
            initialize(run, settings.init)
        return _train(run, folder, view_of, say)


def resume(path: str, given: dict[str, Any], view_of: Callable[[Path], View], say: Callable[[str], None]) -> tuple[Run, Path]:
    """Go on with the run of the checkpoint ``path``; ``given`` are the settings that the person gave, of which few count."""
    source = checkpoint.find(path, "resume")
    state = checkpoint.load(source)
    if "environment" not in state:
        raise InputError("resume", str(source), "a complete checkpoint (last.pt or best.pt)", f"init={source} begins from its weights.")
    folder = Path(given["run"]) if given.get("run") else source.parent
    for key in given:
        if key not in ("resume", *PERSONAL) or key == "init":
            raise InputError(key, given[key], "no new setting: a run goes on with its own", f"Leave {key} out, or start a new run.")
    own = {key: given[key] for key in PERSONAL if key in given and key not in ("run", "resume", "init")}
    config = merge(state["config"], own) | {"run": str(folder), "resume": None, "init": state["config"]["init"]}
    plugins.load(config["plugins"])
    settings = check(TrainSettings, config)
    if given.get("run"):
        files.refuse_if_used(folder)
    with files.locked(folder):
        last = folder / "last.pt"
        if last.exists() and not files.same_file(last, source):
            newest = checkpoint.load(last)["iteration"]
            if newest > state["iteration"]:
                raise InputError(
                    "resume", str(source), f"the newest checkpoint of its run (iteration {newest})",
                    f"It is of iteration {state['iteration']}: add run=NEW_FOLDER to go on from it elsewhere, or resume={folder}.",
                )  # fmt: skip
        run = make(settings, config)
        run.restore(state)
        if run.iteration >= config["iterations"]:
            say(f"{folder} has its {run.iteration} iterations: nothing to do. More with iterations={2 * run.iteration}.")
        else:
            say(f"going on with {folder} after iteration {run.iteration} of {config['iterations']}")
        return _train(run, folder, view_of, say)


def make(settings: TrainSettings, config: dict[str, Any]) -> Run:
    """A run at its beginning."""
    torch.set_num_threads(settings.threads)
    task = build.task(settings)
    return Run(config, task, build.algorithm(settings, task), provenance(settings, config))


def initialize(run: Run, path: str) -> None:
    """Begin from the weights of another run. Raises InputError where they do not fit."""
    source = checkpoint.find(path, "init")
    state = checkpoint.load(source)
    try:
        run.learner.initialize(state["learner"])
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError("init", str(source), "weights of the same networks and observations", reason) from error


def provenance(settings: TrainSettings, config: dict[str, Any]) -> dict[str, Any]:
    """Where a policy comes from, as of its training."""
    learned = {key: value for key, value in config.items() if key not in PERSONAL}
    text = json.dumps(learned, sort_keys=True)
    return {
        "commit": _commit(),
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "seed": settings.seed,
        "engine": settings.sim.engine,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of the toolkit, Python and the libraries that decide a result."""
    from importlib.metadata import version

    names = ("sim2real-locomotion", "mujoco", "torch", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _commit() -> str | None:
    """The toolkit's git commit, with ``+`` where files have changed since; None outside a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _train(run: Run, folder: Path, view_of: Callable[[Path], View], say: Callable[[str], None]) -> tuple[Run, Path]:
    train(run, folder, view_of(folder), scorer(run) if run.config["score_every"] else None)
    return run, folder


def scorer(run: Run) -> Callable[[Algorithm], dict[str, float]]:
    """The scorecard, nominal, of the policy as it is."""
    from locomotion.evaluation import scorecard

    task: Any = run.env

    def score(learner: Algorithm) -> dict[str, float]:
        return scorecard.quick(task.policy(learner.actor), task.robot, task.step_seconds, task.commands)

    return score
