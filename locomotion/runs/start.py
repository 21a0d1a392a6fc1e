"""From what a person asked for to a run that is ready to train: new, resumed, or begun from other weights."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import platform
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

import robots
from locomotion import build, distributed, plugins
from locomotion.algorithms import Algorithm
from locomotion.runs import checkpoint
from locomotion.runs import folder as files
from locomotion.runs.pieces import Pieces
from locomotion.runs.train import Run, View, diverge, train
from locomotion.schema import check, merge, plain
from locomotion.settings import TrainSettings
from locomotion.task.settings import make_commands
from robots.errors import InputError
from sim.actuation import fingerprint

EPISODES, EVALUATION_SEED = 10, 1_000_003  # of a Gymnasium environment, at every scoring
PERSONAL = (
    "run",
    "resume",
    "init",
    "threads",
    "snapshot_every",
    "score_every",
    "score_sim",
    "iterations",
)  # of a config: not what is learned


def start(settings: TrainSettings, view_of: Callable[[Path], View], say: Callable[[str], None]) -> tuple[Run, Path]:
    """Train a new run, or one that begins from ``settings.init``; returns it when done, and its folder."""
    folder = Path(settings.run or distributed.shared(lambda: f"runs/{_title(settings)}_{datetime.now():%Y-%m-%d_%H-%M-%S}"))
    if isinstance(path := settings.algorithm.get("dataset"), str):  # a run may go on from another folder
        settings = settings.model_copy(update={"algorithm": {**settings.algorithm, "dataset": str(Path(path).absolute())}})
    config = plain(settings) | {"run": str(folder)}
    with _own(folder, new=True):
        run = make(settings, config)
        if settings.init is not None:
            initialize(run, settings.init)
        return _train(run, folder, view_of, say)


@contextlib.contextmanager
def _own(folder: Path, new: bool) -> Iterator[None]:
    """Process 0 alone writes a folder, and no other run does; the other processes wait until it may."""
    with contextlib.ExitStack() as stack:
        if distributed.rank() == 0:
            if new:
                files.refuse_if_used(folder)
            made_here, there = not (folder / ".lock").exists(), folder.exists()
            stack.enter_context(files.locked(folder))
            if made_here:  # of a training that was refused nothing is left; while locked, so that it is no other's
                stack.callback(files.remove_if_unused, folder, there)
            if new:
                files.refuse_if_used(folder)
        distributed.shared(lambda: True)
        yield


def _title(settings: TrainSettings) -> str:
    if settings.env is not None:
        return re.sub(r"[^A-Za-z0-9.-]+", "_", f"{settings.env.partition(':')[2]}_{settings.algorithm.get('name')}")
    return f"{robots.load(settings.robot).name}_{settings.task.name}"


def resume(path: str, given: dict[str, Any], view_of: Callable[[Path], View], say: Callable[[str], None]) -> tuple[Run, Path]:
    """Go on with the run of the checkpoint ``path``; ``given`` are the settings that the person gave, of which few count."""
    for key in given:
        if key not in ("resume", *PERSONAL) or key == "init":
            raise InputError(key, given[key], "no new setting: a run goes on with its own", f"Leave {key} out, or start a new run.")
    source = checkpoint.find(path, "resume")
    checkpoint.read(source, whole=False)  # before anything is made beside it
    branch = Path(given["run"]) if given.get("run") else None
    folder = branch or (source.parent.parent if source.parent.name == "checkpoints" else source.parent)
    with _own(folder, new=branch is not None):  # before the checkpoint is read: nobody else may write a newer one meanwhile
        state = checkpoint.load(source)
        if "environment" not in state:
            raise InputError("resume", str(source), "a complete checkpoint (last.pt or best.pt)", f"init={source} begins from its weights.")
        if not branch:
            _refuse_older(source, folder, state["iteration"], say)
        own = {key: given[key] for key in ("threads", "snapshot_every", "score_every", "score_sim", "iterations") if key in given}
        config = merge(state["config"], own) | {"run": str(folder), "resume": None}
        plugins.load(config["plugins"])
        settings = check(TrainSettings, config)
        run = make(settings, config)
        with _fitting(source):
            run.restore(state)
            _restore_replay(run, source.parent, state)
        if run.iteration >= config["iterations"] and not branch:
            say(f"{folder} has its {run.iteration} iterations: nothing to do. More with iterations={2 * run.iteration}.")
            run.env.close()
            return run, folder
        if branch and distributed.rank() == 0:
            files.write_config(folder, config)
            kept = {"replay": run.pieces.save()} if run.pieces else {}
            for name in ("best.pt", "last.pt"):
                checkpoint.save(folder / name, state | {"config": config} | kept)
        say(f"going on with {folder} after iteration {run.iteration} of {config['iterations']}")
        return _train(run, folder, view_of, say)


@contextlib.contextmanager
def _fitting(source: Path) -> Iterator[None]:
    """Raises InputError where the state in ``source`` is not of the classes that are here, ours or of plugins."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        said = f"{type(error).__name__}: {error}."
        allowed = "a checkpoint of this version of the toolkit, and of its plugins as they are"
        raise InputError(
            "resume", str(source), allowed, f"{said} Undo what has changed, or begin from its weights with init=..."
        ) from error


def _restore_replay(run: Run, source: Path, state: dict[str, Any]) -> None:
    """The replay buffer of an off-policy run, from the folder of its checkpoint, which may not be the one that is written."""
    if run.pieces is None:
        return
    own = Pieces(source, run.pieces.replay)
    own.load(state["replay"])
    if distributed.rank():  # process 0's; what this one lives through next does not follow from it
        run.pieces.replay.cut()
    if own.folder == run.pieces.folder:
        run.pieces = own


def _refuse_older(source: Path, folder: Path, iteration: int, say: Callable[[str], None]) -> None:
    """Raises InputError where the run has a newer checkpoint that going on from ``source`` would write over."""
    last = folder / "last.pt"
    if not last.exists() or files.same_file(last, source):
        return
    try:
        newest = checkpoint.load(last)["iteration"]
    except InputError as error:
        say(f"{last} cannot be used ({error.allowed} was expected): going on from {source}")
        return
    if newest > iteration:
        raise InputError(
            "resume", str(source), f"the newest checkpoint of its run (iteration {newest})",
            f"It is of iteration {iteration}: add run=NEW_FOLDER to go on from it elsewhere, or resume={folder}.",
        )  # fmt: skip


def make(settings: TrainSettings, config: dict[str, Any]) -> Run:
    """A run at its beginning."""
    torch.set_num_threads(settings.threads)
    if settings.env is None:
        check_protocol(settings)
        _check_scoring_engine(settings)
    env = build.environment(settings)
    run = Run(config, env, build.algorithm(settings, env), provenance(settings, config))
    _check_algorithm(run, build.actor_group(settings))
    diverge(run.learner, settings.seed)
    return run


def check_protocol(settings: TrainSettings) -> None:
    """The task can be scored. Raises InputError where its protocol is unknown, or asks for commands that it has not."""
    from locomotion.evaluation import protocols
    from locomotion.evaluation.rollout import channels

    commands = make_commands(settings.task, torch.device("cpu"))
    if settings.task.protocol == protocols.VELOCITY:
        channels([(0.0, 0.0, 0.0)], commands.channels, commands.rest)
    else:
        protocol = protocols.find(settings.task.protocol)
        protocols.command_of(protocol, len(protocol.rows), commands.channels, torch.tensor(commands.rest))


def _check_scoring_engine(settings: TrainSettings) -> None:
    """Raises InputError where scorecards are to be taken in an engine that is missing, or lacks what the robot has."""
    from locomotion.evaluation.rollout import make_simulator

    if settings.score_every and settings.score_sim != settings.sim.engine:
        robot, own, task = robots.load(settings.robot), settings.sim, settings.task
        lying = task.self_collision
        try:
            make_simulator(robot, 1, task.control_dt, own.actuator, settings.score_sim, self_collision=lying, device=own.device).close()
        except InputError as error:
            if error.field != "sim.engine":
                raise
            raise InputError("score_sim", settings.score_sim, error.allowed, error.remedy) from error


def _check_algorithm(run: Run, group: str) -> None:
    """An algorithm of somebody's own fails now, not after the training. Raises InputError that says what it lacks."""
    field, learner = "algorithm", run.learner
    for name in ("actor", "iteration_steps", "iterate", "initialize", "state_dict", "load_state_dict", "settings_type"):
        if not hasattr(learner, name):
            raise InputError(field, type(learner).__name__, f"an Algorithm: it has no '{name}'", "See docs/add_an_algorithm.md.")
    size = run.env.spaces.action.size
    with torch.no_grad():
        action = learner.actor(run.env.observations[group])
    if tuple(action.shape) != (run.env.num_envs, size):
        raise InputError(field, list(action.shape), f"an actor that gives [N, {size}]", "Mend make_actor().")
    state = learner.state_dict()
    if "actor" not in state:
        raise InputError(field, sorted(state), "a state_dict() with 'actor'", "See docs/add_an_algorithm.md.")
    try:
        learner.load_state_dict(state)
    except Exception as error:
        raise InputError(field, f"{type(error).__name__}: {error}", "a state_dict() that load_state_dict() takes", "Mend them.") from error


def initialize(run: Run, path: str) -> None:
    """Begin from the weights of another run. Raises InputError where they do not fit."""
    source = checkpoint.find(path, "init")
    state = checkpoint.load(source)
    theirs, ours = state["config"], run.config
    for name, get in (
        ("env", lambda config: config.get("env")),
        ("robot", lambda config: config["robot"]),
        ("task.observations.actor", lambda config: list(config["task"]["observations"]["actor"])),
        ("task.control_dt", lambda config: config["task"]["control_dt"]),
        ("algorithm.action_limit", lambda config: config["algorithm"].get("action_limit")),  # what 1 is of a bounded policy's output
    ):
        if get(theirs) != get(ours):
            raise InputError("init", str(source), f"a run with the same {name}: {get(ours)}", f"It has {get(theirs)}.")
    allowed, (given, own) = "weights of the same networks and observations", (_networks(config) for config in (theirs, ours))
    critics = all("target" in learner for learner in (state["learner"], run.learner.state_dict())) and getattr(run.learner, "acts", True)
    for name in ("activation", *(("layer_norm",) if critics else ())):
        if given.get(name) != own.get(name):  # such weights fit, and mean something else
            reason = f"Their {name} is {given.get(name)}, and algorithm {own['name']} has {own.get(name)} alone."
            raise InputError("init", str(source), allowed, _unlike(theirs, ours) or reason)
    if critics and not math.isclose(heard := _heard(given), _heard(own)):
        reason = f"Their critics heard actions times {heard:g}"
        remedy = (
            f"set algorithm.action_gain={heard * own['initial_std']:g}."
            if "action_gain" in own
            else f"{own['name']}'s hear them as they are."
        )
        raise InputError("init", str(source), allowed, f"{reason}: {remedy}")
    try:
        run.learner.initialize(state["learner"])
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError("init", str(source), allowed, _unlike(theirs, ours) or reason) from error


NETWORKS = ("actor_hidden", "critic_hidden", "activation", "layer_norm", "critics", "memory", "symmetric", "normalize", "normalize_values")


def _networks(config: dict[str, Any]) -> dict[str, Any]:
    """Settings of an algorithm, and what its networks are like where it has no such setting."""
    own = config["algorithm"]
    return {"activation": "elu", **({"normalize_values": False} if "critic_hidden" in own else {}), **own}


def _heard(algorithm: dict[str, Any]) -> float:
    """By what critics hear actions in [-1, 1] multiplied."""
    return algorithm["action_gain"] / algorithm["initial_std"] if "action_gain" in algorithm else 1.0


def _unlike(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """What makes our networks like theirs, where both algorithms can be told; empty where nothing does."""
    a, b = _networks(theirs), ours["algorithm"]
    apart = [name for name in NETWORKS if name in a and name in b and a[name] != b[name]]
    words = [f"algorithm.{name}={json.dumps(a[name], separators=(',', ':'))}".replace('"', "") for name in apart]
    return f"Make them alike: {' '.join(words)}." if words else ""


def provenance(settings: TrainSettings, config: dict[str, Any]) -> dict[str, Any]:
    """Where a policy comes from, as of its training."""
    learned = {key: value for key, value in config.items() if key not in PERSONAL}
    text = json.dumps(learned, sort_keys=True)
    network = fingerprint(settings.sim.actuator) if settings.env is None else None
    return {
        "commit": _commit(),
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "robot_sha256": robots.load(settings.robot).fingerprint() if settings.env is None else None,
        **({"actuator_sha256": network} if network else {}),
        "seed": settings.seed,
        "engine": settings.sim.engine if settings.env is None else settings.env,
        "versions": versions(*(("mujoco-warp", "warp-lang") if settings.sim.engine == "mujoco_warp" else ())),
    }


def versions(*more: str) -> dict[str, str]:
    """Of the toolkit, Python and the libraries that decide a result, ``more`` among them."""
    from importlib.metadata import version

    names = ("sim2real-locomotion", "mujoco", "torch", "numpy", "gymnasium", *more)
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
    robots_see = run.config["algorithm"].get("actor_group", "actor") == "actor"  # a teacher cannot walk outside of its training
    train(run, folder, view_of(folder), scorer(run) if run.config["score_every"] and robots_see else None)
    return run, folder


def scorer(run: Run) -> Callable[[Algorithm], dict[str, float]] | None:
    """The scorecard, nominal, of the policy as it is; in a Gymnasium environment its mean return. In Isaac Gym, whose process holds one
    simulation, None: the training score chooses."""
    if str(run.config["env"]).startswith("isaacgym:"):
        return None
    if run.config["env"] is not None:
        return lambda learner: _returns(run, learner)
    from locomotion.evaluation import scorecard

    task: Any = run.env

    def score(learner: Algorithm) -> dict[str, float]:
        policy, engine = task.policy(learner.actor), run.config["sim"]
        return scorecard.quick(
            policy, task.robot, task.step_seconds, task.commands, task.settings.protocol, engine["actuator"],
            run.config.get("score_sim", "mujoco"), engine.get("device"),
        )  # fmt: skip

    return score


def _returns(run: Run, learner: Algorithm) -> dict[str, float]:
    from locomotion.adapters import outside, vector_environment

    totals = outside.returns(vector_environment.make(run.config["env"], EPISODES, EVALUATION_SEED), learner.actor)
    return {"return": float(totals.mean()), "return_std": float(totals.std()), "selection": float(totals.mean())}
