"""From what a person asked for to episodes on disk: whose policy acts, where, and with how much exploration."""

from __future__ import annotations

import hashlib
import importlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import robots
from deploy import policy as bundles
from locomotion import build, plugins
from locomotion.adapters.gymnasium_environment import GymnasiumEnvironment
from locomotion.data.collect import Act, Begin, collect, exploring
from locomotion.data.dataset import Writer
from locomotion.environment import Environment, Observations
from locomotion.models.actor_critic import RecurrentActor
from locomotion.models.squashed import SquashedActor
from locomotion.runs import checkpoint
from locomotion.runs.train import refuse_other_robot
from locomotion.schema import check, plain
from locomotion.settings import CollectSettings, TrainSettings
from locomotion.task.task import Task
from robots.errors import InputError

Acting = tuple[Act, Begin, Tensor | float]  # and the standard deviation of its own exploration


def run(settings: CollectSettings, given: dict[str, Any], progress: Callable[[float], None] = lambda share: None) -> Writer:
    """Write the dataset ``settings.output``; ``given`` are the settings that the person gave, which count beside a checkpoint's own."""
    torch.set_num_threads(settings.threads)
    path = Path(settings.policy)
    foreign = path.suffix in (".onnx", ".zip")
    state = None if foreign else checkpoint.load(checkpoint.find(settings.policy, "policy"))
    train = _train_settings(settings, given, state)
    plugins.load(train.plugins)
    env = build.environment(train)
    bounds = env.spaces.recorded("policy", settings.policy)
    if state:
        act, begin, std = _checkpoint(train, env, state, settings)
    elif path.suffix == ".zip":
        act, begin, std = _stable_baselines(path, env, settings.noise is None)
    else:
        act, begin, std = _bundle(path, env)
    generator = torch.Generator(device=env.device).manual_seed(settings.seed)
    noise = std if settings.noise is None else settings.noise
    if isinstance(noise, Tensor) or noise > 0.0:
        act = exploring(act, noise, bounds, generator)
    writer = Writer(
        Path(settings.output), _groups(env), torch.stack([bounds.low, bounds.high]).numpy(force=True), *_about(settings, train, env)
    )
    try:
        collect(env, act, settings.steps, writer, begin, progress)
    finally:
        env.close()
    return writer


def _train_settings(settings: CollectSettings, given: dict[str, Any], state: dict[str, Any] | None) -> TrainSettings:
    """What is acted in: of a checkpoint that of its training, with full weights and ranges: no curriculum changes them on the way."""
    own = plain(settings)
    config = {name: own[name] for name in ("env", "robot", "task", "sim", "randomization", "plugins")}
    if state:
        named = {key.partition(".")[0] for key in given}
        for name in sorted(named & {"env", "robot", "task"}):
            raise InputError(name, own[name], "nothing beside a checkpoint: it brings its own", f"Leave {name} out.")
        changed = named & {"sim", "randomization"}
        config = {name: state["config"][name] for name in config} | {name: own[name] for name in changed}
        refuse_other_robot(state, "policy")
    if str(config["env"]).startswith("isaacgym:"):
        raise InputError("env", config["env"], "a robot's task here, or an environment of Gymnasium", "Isaac Gym's are not recorded yet.")
    config["task"] = config["task"] | {"curricula": {}}
    runner = {"snapshot_every": 1, "score_every": 0, "run": None, "resume": None, "init": None, "iterations": 1}
    algorithm = {"num_envs": settings.num_envs}  # nothing else of it matters to an environment
    return check(TrainSettings, {**config, **runner, "algorithm": algorithm, "seed": settings.seed, "threads": settings.threads})


def _groups(env: Environment) -> dict[str, int]:
    """Where the critic sees what the actor does (Gymnasium), once is enough."""
    seen, groups = env.observations, dict(env.spaces.groups)
    return {"actor": groups["actor"]} if seen["actor"] is seen["critic"] else groups


def _about(settings: CollectSettings, train: TrainSettings, env: Environment) -> tuple[dict[str, Any], str | None]:
    """What a learner, a person and Minari's loader need to know of the data."""
    config = plain(train)
    source = Path(settings.policy)
    file = source if source.is_file() else checkpoint.find(settings.policy, "policy")
    about = {
        "config": {name: config[name] for name in ("env", "robot", "task", "sim", "randomization", "plugins")},
        "policy": {"path": str(settings.policy), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        "noise": settings.noise, "seed": settings.seed, "step_seconds": env.step_seconds,
    }  # fmt: skip
    if isinstance(env, GymnasiumEnvironment):
        return about | {"robot_sha256": None}, env.specification
    assert isinstance(env, Task)
    about |= {
        "robot_sha256": robots.load(train.robot).fingerprint(), "robot_name": env.robot.name, "joint_names": list(env.robot.joint_names),
        "command_names": list(env.commands.channels), "command_range": [list(limits) for limits in env.commands.limits],
    }  # fmt: skip
    return about, None


def _checkpoint(train: TrainSettings, env: Environment, state: dict[str, Any], settings: CollectSettings) -> Acting:
    """A policy of our own, with what it sees in training."""
    trained = train.model_copy(update={"algorithm": state["config"]["algorithm"]})
    group, actor = build.actor_group(trained), build.actor(trained, env.spaces, state["learner"]["actor"]).to(env.device)
    if settings.noise is None and isinstance(actor, SquashedActor) and actor.stochastic:
        generator = torch.Generator(device=env.device).manual_seed(settings.seed)

        def sample(observations: Observations) -> Tensor:
            """Its spread depends on what it sees, and is within the bounds."""
            noise = torch.randn(env.num_envs, env.spaces.action.size, generator=generator, device=env.device)
            return actor.unscale(actor.sample(observations[group], noise)[0])

        return sample, _nothing, 0.0
    std = getattr(actor, "log_std", torch.full((), -torch.inf)).detach().exp()
    if isinstance(actor, RecurrentActor):
        memory = torch.zeros(env.num_envs, actor.memory_size, device=env.device)

        def remember(observations: Observations) -> Tensor:
            action, after = actor.step(observations[group], memory)
            memory.copy_(after)
            return action

        def forget(rows: Tensor) -> None:
            memory[rows] = 0.0

        return remember, forget, std
    return (lambda observations: actor(observations[group])), _nothing, std


def _bundle(path: Path, env: Environment) -> Acting:
    """A policy as a robot runs it, with the sensors' word for what it measures. Its action is that which asks for its target."""
    if not isinstance(env, Task):
        raise InputError("policy", str(path), "a run or a checkpoint, or a stable-baselines3 .zip", "A bundle is of a robot.")
    loaded = bundles.load(path)
    policy, contract, robot = bundles.RobotPolicy(loaded, env.robot), loaded.contract, env.robot
    for name, theirs, ours in (
        ("robot", contract.robot, robot.name),
        ("control_dt", contract.control_dt, env.step_seconds),
        ("command_names", list(contract.command_names), list(env.commands.channels)),
        ("kp", policy.robot.kp.tolist(), robot.kp.tolist()),
        ("kd", policy.robot.kd.tolist(), robot.kd.tolist()),
    ):
        if theirs != ours:
            raise InputError(
                "policy", str(path), f"a policy with the task's {name}: {ours}", f"It has {theirs}: choose robot= and task= for it."
            )
    policy.reset(env.num_envs)

    def act(observations: Observations) -> Tensor:
        target, _ = policy.step({name: env.policy_inputs[name].numpy(force=True) for name in policy.inputs})
        return torch.from_numpy(((target - robot.default_joint_pos) / robot.action_scale).astype(np.float32)).to(env.device)

    def begin(rows: Tensor) -> None:
        loaded.memory[rows.numpy(force=True)] = 0.0

    return act, begin, 0.0


def _stable_baselines(path: Path, env: Environment, exploring: bool) -> Acting:
    """A model of stable-baselines3, exploring as it does in training where it does by its distribution. Only files that you trust."""
    try:
        library = importlib.import_module("stable_baselines3")
        with zipfile.ZipFile(path) as file:
            name = json.loads(file.read("data"))["policy_class"]["__module__"].split(".")[1]
        model = getattr(library, name.upper()).load(path, device="cpu")
    except ImportError as error:
        raise InputError("policy", str(path), "stable-baselines3, which wrote it", "pip install stable-baselines3") from error
    except Exception as error:  # zipfile, json and their loader raise types of their own
        raise InputError("policy", str(path), "a model of stable-baselines3", f"{type(error).__name__}: {error}") from error
    if model.observation_space.shape != (env.spaces.groups["actor"],):
        raise InputError("policy", str(path), f"{env.spaces.groups['actor']} observations", f"It takes {model.observation_space.shape}.")

    def act(observations: Observations) -> Tensor:
        return torch.from_numpy(model.predict(observations["actor"].numpy(), deterministic=not exploring)[0])

    return act, _nothing, 0.0


def _nothing(rows: Tensor) -> None:
    return None
