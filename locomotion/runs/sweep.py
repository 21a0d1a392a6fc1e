"""Many trainings: every combination of the values given, each a process and a run folder of its own.

A sweep's folder holds ``sweep.json`` (what is to be run), a run folder a trial, ``logs/`` and ``done/``. What is left to do follows from
these, so that a sweep that was killed goes on by the same rule as one that begins.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import robots
from locomotion import build, plugins
from locomotion.config import compose, quoted, readable
from locomotion.files import make_folder, write_json
from locomotion.schema import check
from locomotion.settings import SweepSettings, TrainSettings
from robots.errors import InputError

MOST = 10_000  # trials
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
PR_SET_PDEATHSIG = 1
Say = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """One training: its folder's name, and the overrides of ``locomotion train`` that make it."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    folder: Path
    trials: tuple[Trial, ...]

    def done(self, trial: Trial) -> bool:
        return (self.folder / "done" / trial.name).exists()

    def command(self, trial: Trial) -> list[str]:
        """What runs or continues a trial."""
        run, begin = self.folder / trial.name, [sys.executable, "-m", "locomotion.cli", "train"]
        if any((run / name).exists() for name in ("last.pt", "best.pt")):
            return [*begin, f"resume={quoted(run)}"]
        return [*begin, *trial.overrides, f"run={quoted(run)}"]

    def finished(self, trial: Trial) -> None:
        (self.folder / "done" / trial.name).touch()

    def log(self, trial: Trial) -> Path:
        return self.folder / "logs" / f"{trial.name}.txt"


def plan(overrides: Sequence[str]) -> tuple[Trial, ...]:
    """Every combination of the values of ``overrides``, in Hydra's grammar of sweeps (``a=1,2``, ``a=choice(x,y)``, ``a=range(3)``).

    Raises:
        InputError: an override that cannot be read, or settings that a training would refuse; nothing has run then.
    """
    choices = [_values(override) for override in overrides]
    trials = []
    varied = [i for i, values in enumerate(choices) if len(values) > 1]
    for number, words in enumerate(itertools.product(*choices)):
        if number >= MOST:
            raise InputError("sweep", "more combinations", f"at most {MOST}", "Give fewer values.")
        told = "_".join(words[i] for i in varied)
        trials.append(Trial(f"{number:03d}_{re.sub(r'[^A-Za-z0-9.-]+', '-', told)[:80]}".rstrip("_-"), words))
    _check(trials)
    return tuple(trials)


def _check(trials: Sequence[Trial]) -> None:
    """Every combination of settings; Hydra, which takes long, does not see those again that differ by their seed alone."""
    composed: dict[tuple[str, ...], dict[str, Any]] = {}
    for trial in trials:
        seeds = [word for word in trial.overrides if word.startswith("seed=")]
        others = tuple(word for word in trial.overrides if word not in seeds)
        new = others not in composed
        if new:
            composed[others] = compose("train", list(others))
        seed = {"seed": yaml.safe_load(seeds[-1].partition("=")[2])} if seeds else {}
        settings = check(TrainSettings, composed[others] | seed)
        if new:
            plugins.load(settings.plugins)
            build.algorithm_settings(settings)
            if settings.env is None:
                robots.load(settings.robot)


def _values(override: str) -> list[str]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    key, equals, _ = override.partition("=")
    if key in ("run", "resume"):
        raise InputError(key, override, "no setting of one training", "output=... names the folder of the sweep.")
    if not equals:
        raise InputError("override", override, "key=value", "For example seed=1,2,3.")
    try:
        override = override if "," in override else readable(override)  # a list with a slip in it is no path
        parsed = OverridesParser.create().parse_override(override)
        return [f"{key}={value}" for value in parsed.sweep_string_iterator()] if parsed.is_sweep_override() else [override]
    except Exception as error:  # hydra raises types of its own for each kind of bad override
        raise InputError("override", override, "key=value or key=value,value", " ".join(str(error).split())[:300]) from error


def check_launcher(name: str) -> None:
    """Raises InputError where what is to start the trainings is not installed."""
    if name == "ray" and importlib.util.find_spec("ray") is None:
        raise InputError("launcher", "ray", "local, or Ray installed", "pip install 'sim2real-locomotion[ray]'")


def create(folder: Path, trials: Sequence[Trial]) -> Sweep:
    """A new sweep. Raises InputError where ``folder`` holds one."""
    if (folder / "sweep.json").exists():
        raise InputError("output", str(folder), "a folder without a sweep", f"Go on with resume={folder}, or choose another name.")
    for name in ("logs", "done"):
        make_folder(folder / name, "output")
    write_json(folder / "sweep.json", {"trials": [[trial.name, list(trial.overrides)] for trial in trials]}, "output")
    return Sweep(folder, tuple(trials))


def load(folder: Path) -> Sweep:
    """The sweep of a folder. Raises InputError where it has none."""
    try:
        data = json.loads((folder / "sweep.json").read_text())
        return Sweep(folder, tuple(Trial(str(name), tuple(map(str, overrides))) for name, overrides in data["trials"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError("resume", str(folder), "the folder of a sweep", f"It has no sweep.json that can be read: {error}") from error


def run(sweep: Sweep, settings: SweepSettings, say: Say) -> list[Trial]:
    """Run what is left of ``sweep``. Returns the trials that failed; each one's log says why."""
    left = [trial for trial in sweep.trials if not sweep.done(trial)]
    say(f"{sweep.folder}: {len(sweep.trials)} trainings, {len(sweep.trials) - len(left)} of them done")
    failed = []
    for trial, code in (_ray if settings.launcher == "ray" else _processes)(sweep, left, settings):
        if code == 0:
            sweep.finished(trial)
            say(f"done    {trial.name}")
        else:
            failed.append(trial)
            say(f"failed  {trial.name}: {_last_line(sweep.log(trial))}")
    return failed


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n") if path.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")


def _end_with_parent() -> None:
    """Linux ends this process when the one that started it is gone, however that ended."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _processes(sweep: Sweep, left: Sequence[Trial], settings: SweepSettings) -> Iterator[tuple[Trial, int]]:
    """Trials and how each ended, ``settings.jobs`` at a time. Whatever ends this ends them, too."""
    running: list[subprocess.Popen[bytes]] = []
    stopping = False

    def work(trial: Trial) -> int:
        if stopping:
            return -signal.SIGTERM
        with sweep.log(trial).open("ab") as log:
            process = subprocess.Popen(
                sweep.command(trial), stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent if LIBC else None
            )
        running.append(process)
        if stopping:
            process.terminate()
        return process.wait()

    pool = ThreadPoolExecutor(settings.jobs)
    try:
        tasks = {pool.submit(work, trial): trial for trial in left}
        for task in as_completed(tasks):
            yield tasks[task], task.result()
    finally:
        stopping = True
        for process in running:
            if process.poll() is None:
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _ray(sweep: Sweep, left: Sequence[Trial], settings: SweepSettings) -> Iterator[tuple[Trial, int]]:
    """As :func:`_processes`, wherever a Ray cluster has room."""
    import ray  # type: ignore[import-not-found]

    def work(command: list[str], log: str, folder: str) -> int:
        import subprocess

        with open(log, "ab") as stream:
            return subprocess.run(command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, cwd=folder).returncode

    try:
        ray.init(address=settings.address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError("address", settings.address, "a Ray cluster that answers", str(error)) from error
    try:
        remote: Any = ray.remote(num_cpus=settings.cpus, num_gpus=settings.gpus, max_retries=2)(work)
        here = str(Path.cwd())
        waiting = {remote.remote(sweep.command(trial), str(sweep.log(trial).resolve()), here): trial for trial in left}
        while waiting:
            for reference in ray.wait(list(waiting), num_returns=1)[0]:
                trial = waiting.pop(reference)
                try:
                    yield trial, ray.get(reference)
                except ray.exceptions.RayError:
                    yield trial, -1
    finally:
        ray.shutdown()
