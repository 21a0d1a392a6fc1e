"""Training: iterate the algorithm, and after every iteration leave a run folder from which it can go on bit for bit.

``runs/<name>/`` holds ``config.yaml``, ``last.pt`` (after every iteration), ``best.pt`` (best training score), ``checkpoints/``
(the policy alone, now and then), ``metrics.jsonl`` (a line an iteration) and TensorBoard events.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from locomotion import build, checkpoint
from locomotion.algorithms.ppo import PPO
from locomotion.files import make_folder, write_atomically
from locomotion.task.velocity import VelocityTask
from robots.errors import InputError

BEST_EVERY = 10  # iterations between looks at the training score for best.pt
SMOOTHING = 0.9  # of the training score, per iteration
LOG_EVERY = 5  # iterations between TensorBoard points


class View(Protocol):
    """Shows progress to a person."""

    def iteration(self, iteration: int, iterations: int, figures: dict[str, float]) -> None: ...


class Run:
    """One training run and its folder."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self.config, self.folder = config, folder
        self.iteration, self.seconds, self.score, self.best_score = 0, 0.0, 0.0, -1.0
        self.task: VelocityTask = build.task(config)
        self.learner: PPO = build.algorithm(config, self.task)
        self.observations = self.task.reset()

    @property
    def steps(self) -> int:
        """Control steps of all environments so far."""
        return self.iteration * self.learner.config.num_envs * self.learner.config.steps

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a complete checkpoint."""
        self.iteration, self.seconds = state["iteration"], state["seconds"]
        self.score, self.best_score = state["score"], state["best_score"]
        self.learner.load_state_dict(state["learner"])
        self.task.load_state_dict(state["task"])
        self.observations = self.task.observations

    def checkpoint(self) -> dict[str, Any]:
        """A complete checkpoint."""
        return {
            "config": self.config,
            "iteration": self.iteration,
            "steps": self.steps,
            "seconds": self.seconds,
            "score": self.score,
            "best_score": self.best_score,
            "learner": self.learner.state_dict(),
            "task": self.task.state_dict(),
        }

    def snapshot(self) -> dict[str, Any]:
        """What an export needs, and no more."""
        state = {name: getattr(self, name) for name in ("config", "iteration", "steps", "seconds", "score")}
        return {**state, "learner": {"actor": self.learner.actor.state_dict()}}


def train(config: dict[str, Any], folder: Path, view: View, resume: dict[str, Any] | None = None) -> Run:
    """Train into ``folder`` until ``config["iterations"]``; ``resume`` is a complete checkpoint to go on from.

    Raises:
        InputError: a bad configuration, a folder that cannot be written to, or a disk that is full.
    """
    for name in ("iterations", "threads", "snapshot_every"):
        if config[name] < 1:
            raise InputError(name, config[name], "an integer of at least 1", f"Leave it out for the default of {name}.")
    started = time.perf_counter()
    torch.set_num_threads(config["threads"])
    run = Run(config, folder)
    make_folder(folder / "checkpoints", "run")
    if resume is not None:
        run.restore(resume)
    before = run.seconds
    try:
        _truncate_metrics(folder / "metrics.jsonl", run.iteration)
        _write_config(folder / "config.yaml", config)
        with SummaryWriter(str(folder), purge_step=run.steps) as events, (folder / "metrics.jsonl").open("a") as metrics:
            while run.iteration < config["iterations"]:
                figures = _iterate(run)
                run.seconds = before + time.perf_counter() - started
                figures |= {"iteration": run.iteration, "steps": run.steps, "seconds": run.seconds, "score": run.score}
                # an iteration is done once its checkpoint stands; a line that is ahead of it is dropped on resuming
                metrics.write(json.dumps(figures) + "\n")
                metrics.flush()
                _save(run)
                if run.iteration % LOG_EVERY == 0 or run.iteration == config["iterations"]:
                    for name, value in figures.items():
                        events.add_scalar(name, value, run.steps)
                view.iteration(run.iteration, config["iterations"], figures)
    except OSError as error:
        raise InputError(
            "run", str(folder), "a disk with room", f"{error.strerror or error}: the last good checkpoint is {folder / 'last.pt'}."
        ) from error
    finally:
        run.task.simulator.close()
    return run


def _iterate(run: Run) -> dict[str, float]:
    began = time.perf_counter()
    run.observations, figures = run.learner.iterate(run.observations)
    run.iteration += 1
    figures |= run.task.metrics.pop()
    now = min(figures["tracking_score"], figures["yaw_score"])
    weight = SMOOTHING if run.iteration > 1 else 0.0
    run.score = weight * run.score + (1.0 - weight) * now
    batch = run.learner.config.num_envs * run.learner.config.steps
    return figures | {"steps_per_second": batch / (time.perf_counter() - began)}


def _save(run: Run) -> None:
    better = (run.iteration == 1 or run.iteration % BEST_EVERY == 0) and run.score > run.best_score
    if better:
        run.best_score = run.score
    state = run.checkpoint()
    checkpoint.save(run.folder / "last.pt", state)
    if better:
        checkpoint.save(run.folder / "best.pt", state)
    if run.iteration % run.config["snapshot_every"] == 0:
        checkpoint.save(run.folder / "checkpoints" / f"{run.iteration:06d}.pt", run.snapshot())


def _write_config(path: Path, config: dict[str, Any]) -> None:
    """The configuration, under the commands that the run was started and resumed with."""
    earlier = [line for line in path.read_text().splitlines() if line.startswith("# ")] if path.is_file() else []
    command = "# " + shlex.join(["locomotion", *sys.argv[1:]])
    text = "\n".join([*earlier, command, yaml.safe_dump(config, sort_keys=False)])
    write_atomically(path, lambda stream: stream.write(text.encode()))


def _truncate_metrics(path: Path, iteration: int) -> None:
    """Forget lines of iterations after ``iteration``, and a line that a kill cut short."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["iteration"] <= iteration:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            break
    write_atomically(path, lambda stream: stream.write("".join(kept).encode()))
