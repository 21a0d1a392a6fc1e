"""Training: iterate an algorithm, and after every iteration leave a run folder from which it can go on bit for bit."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.tensorboard import SummaryWriter

import robots
from locomotion import distributed
from locomotion.algorithms import Algorithm
from locomotion.environment import BrokenEnvironmentError, Environment, NotFiniteError
from locomotion.runs import checkpoint
from locomotion.runs import folder as files
from locomotion.runs.pieces import Pieces
from robots.errors import InputError
from sim.simulator import LostWorkerError

BEST_EVERY = 10  # iterations between looks at the training score for best.pt, where nothing better scores
SMOOTHING = 0.9  # of the training score, per iteration
COUNTS = ("falls", "timeouts", "faults", "overflows", "episodes")  # figures of which several processes have the sum
LOG_EVERY = 5  # iterations between TensorBoard points

Scorer = Callable[[Algorithm], dict[str, float]]
"""Figures of the present policy by a protocol of its own; ``selection`` among them (the larger the better) chooses best.pt."""


class View(Protocol):
    """Shows progress to a person."""

    def iteration(self, iteration: int, iterations: int, figures: dict[str, float]) -> None: ...


class Run:
    """One training run: an environment, a learner, and how far they are."""

    def __init__(self, config: dict[str, Any], env: Environment, learner: Algorithm, provenance: dict[str, Any]) -> None:
        self.config, self.env, self.learner, self.provenance = config, env, learner, provenance
        self.iteration, self.steps, self.seconds = 0, 0, 0.0  # steps of all environments of all processes
        self.score: float | None = None  # of training, smoothed, once an episode has ended
        self.best_score = -math.inf
        replay = getattr(learner, "replay", None)
        self.pieces = Pieces(Path(config["run"]), replay) if replay is not None else None

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a complete checkpoint; :attr:`pieces` are the caller's."""
        if "environment" not in state or (self.pieces and "replay" not in state):
            what = "the policy alone" if "environment" not in state else "all but the replay buffer"
            raise InputError(
                "resume", what, "a complete checkpoint (last.pt)", "Go on from that, or begin from these weights with init=..."
            )
        self.iteration, self.steps, self.seconds = (state[name] for name in ("iteration", "steps", "seconds"))
        self.score, self.best_score = state["score"], state["best_score"]
        refuse_other_robot(state, "resume")
        _refuse_other_actuator(state, self.provenance)
        self.provenance = state["provenance"]
        others, place = state.get("others", []), distributed.rank()
        as_it_was = len(others) + 1 == distributed.world()
        own = others[place - 1] if place and as_it_was else state
        self.learner.load_state_dict(own["learner"])
        if place == 0 or as_it_was:  # one that was not there before has environments of its own
            self.env.load_state_dict(own["environment"])
            if place and (load := getattr(self.env, "load_levels", None)):  # a task's curricula, once of each process alone
                load(state["environment"]["curricula"])
        else:
            if follow := getattr(self.env, "follow", None):  # a task's, whose curricula are at some level
                follow(state["environment"])
            diverge(self.learner, self.config["seed"] + self.iteration)

    def checkpoint(self) -> dict[str, Any]:
        """A complete checkpoint, in process 0. All processes call this, and of each the learner and environment are in it."""
        own = {"learner": self.learner.state_dict(), "environment": self.env.state_dict()}
        first, *others = distributed.gathered(own) or [own]
        state = {**self.snapshot(), "best_score": self.best_score, **first}
        return {**state, "others": others} if others else state

    def snapshot(self) -> dict[str, Any]:
        """What an export needs, and no more."""
        names = ("config", "provenance", "iteration", "steps", "seconds", "score")
        state = {name: getattr(self, name) for name in names}
        return {**state, "learner": {"actor": self.learner.actor.state_dict()}}


def diverge(learner: Algorithm, seed: int) -> None:
    """Explore otherwise than the other processes do, from the same weights."""
    generator = getattr(learner, "generator", None)
    if distributed.rank() and generator is not None:
        generator.manual_seed(distributed.seed(seed))


def refuse_other_robot(state: dict[str, Any], field: str) -> None:
    """Raises InputError where the robot's description has changed since the checkpoint was trained."""
    name, trained = state["config"]["robot"], state["provenance"].get("robot_sha256")
    if trained is not None and robots.load(name).fingerprint() != trained:
        raise InputError(field, name, "the robot as it was in training: its robot.yaml or model has changed", "Undo that, or train anew.")


def _refuse_other_actuator(state: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises InputError where the network that stood for the motors has changed since the checkpoint was written."""
    if now.get("actuator_sha256") != state["provenance"].get("actuator_sha256"):
        remedy = "Put the file back, or begin from these weights with init=..."
        raise InputError("resume", state["config"]["sim"]["actuator"], "the actuator network as it was in training: it has changed", remedy)


def train(run: Run, folder: Path, view: View, scorer: Scorer | None = None) -> None:
    """Train into ``folder``, which the caller has locked, until ``run.config["iterations"]``.

    Raises:
        InputError: a disk that is full, learning that has diverged, or a process that died; the message names the last good checkpoint.
    """
    config, started, before = run.config, time.perf_counter(), run.seconds
    try:
        with _keeping(run, folder) if distributed.rank() == 0 else contextlib.nullcontext() as keep:
            while run.iteration < config["iterations"]:
                figures = _iterate(run)
                selection = _score(run, figures, scorer) if keep else -math.inf
                run.seconds = before + time.perf_counter() - started
                figures |= {"iteration": run.iteration, "steps": run.steps, "seconds": run.seconds}
                if run.score is not None:
                    figures["smoothed_score"] = run.score
                _check_finite(run, figures)
                better = selection > run.best_score
                run.best_score = max(selection, run.best_score)
                state = run.checkpoint()
                if keep:
                    keep(figures, state, better)
                view.iteration(run.iteration, config["iterations"], figures)
    except (NotFiniteError, BrokenEnvironmentError, LostWorkerError, distributed.LostProcessError) as error:
        raise type(error)(error.field, error.value, error.allowed, f"{error.remedy} {_last_good(folder)}") from error
    finally:
        run.env.close()


Keep = Callable[[dict[str, float], dict[str, Any], bool], None]
"""Writes an iteration's figures and checkpoint, and whether it is the best one."""


@contextlib.contextmanager
def _keeping(run: Run, folder: Path) -> Iterator[Keep]:
    with _disk(folder):
        files.truncate_metrics(folder, run.iteration)
        files.write_config(folder, run.config)
        events, metrics = SummaryWriter(str(folder), purge_step=run.steps), (folder / "metrics.jsonl").open("a")

    def keep(figures: dict[str, float], state: dict[str, Any], better: bool) -> None:
        with _disk(folder):
            # an iteration is done once its checkpoint stands; a line that is ahead of it is dropped on resuming
            files.append_line(metrics, figures)
            _save(run, folder, state, better)
            if run.iteration % LOG_EVERY == 0 or run.iteration == run.config["iterations"]:
                for name, value in figures.items():
                    events.add_scalar(name, value, run.steps)

    with events, metrics:
        yield keep


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError("run", str(folder), "a disk with room", f"{error.strerror or error}: {_last_good(folder)}") from error


def _last_good(folder: Path) -> str:
    path = folder / "last.pt"
    return f"The last good checkpoint is {path}." if path.exists() else "There is no good checkpoint."


def _iterate(run: Run) -> dict[str, float]:
    began = time.perf_counter()
    figures = run.learner.iterate()
    run.iteration += 1
    acts = getattr(run.learner, "acts", True)
    steps = run.learner.iteration_steps * (distributed.world() if acts else 1)  # gradient steps are those of all
    run.steps += steps
    seen = run.env.statistics() if acts else {}
    figures = distributed.everywhere(figures | seen, COUNTS)
    if "score" in figures:
        run.score = figures["score"] if run.score is None else SMOOTHING * run.score + (1.0 - SMOOTHING) * figures["score"]
    rate = steps / (time.perf_counter() - began)
    return figures | {"steps_per_second": rate}


def _score(run: Run, figures: dict[str, float], scorer: Scorer | None) -> float:
    """What chooses best.pt: the scorer's figure, or without a scorer the smoothed training score; -inf where this iteration has none."""
    every, last = run.config["score_every"], run.iteration == run.config["iterations"]
    if scorer is not None and every:
        if run.iteration % every and not last:
            return -math.inf
        scores = scorer(run.learner)
        figures |= {f"scorecard/{name}": value for name, value in scores.items()}
        return scores["selection"]
    looked_at = run.iteration == 1 or run.iteration % BEST_EVERY == 0 or last
    return run.score if looked_at and run.score is not None else -math.inf


def _check_finite(run: Run, figures: dict[str, float]) -> None:
    for name, value in figures.items():
        if not math.isfinite(value):
            raise NotFiniteError(name, value, "a finite figure", "Learning has diverged: lower its rate, or mend the reward.")
    for name, value in run.learner.actor.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise NotFiniteError(f"actor.{name}", "not finite", "finite weights", "Learning has diverged: lower its rate.")


def _save(run: Run, folder: Path, state: dict[str, Any], better: bool) -> None:
    data = checkpoint.to_bytes(state)
    # last.pt comes last: a kill before it repeats this iteration, and with it whatever is missing
    if run.iteration % run.config["snapshot_every"] == 0 or run.iteration == run.config["iterations"]:
        checkpoint.save(folder / "checkpoints" / f"{run.iteration:06d}.pt", run.snapshot())
    whole = checkpoint.to_bytes(state | {"replay": run.pieces.save()}) if run.pieces else data
    if better or not (folder / "best.pt").exists():  # no buffer, whose pieces will go: but the first may be all that a kill leaves
        checkpoint.write(folder / "best.pt", data if (folder / "last.pt").exists() else whole)
    checkpoint.write(folder / "last.pt", whole)
    if run.pieces:
        run.pieces.clean()
