"""From logs of deployments to a dataset: what a robot did becomes episodes that offline algorithms learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import robots
from deploy.log_reader import RunLog, read_log
from locomotion import build, plugins
from locomotion.data import exchange
from locomotion.data.dataset import Dataset, Writer
from locomotion.data.episode import Episode, end_to_end
from locomotion.data.kinematics import Kinematics
from locomotion.data.replayed import SAME, Replayed, episodes_of, replayed
from locomotion.data.rewards import recomputed, unmeasured
from locomotion.data.stretches import Walk, walks_of
from locomotion.schema import check, plain
from locomotion.settings import FromLogsSettings, TrainSettings
from locomotion.task.task import Task
from robots import Robot
from robots.errors import InputError


def run(settings: FromLogsSettings, paths: list[Path]) -> Dataset:
    """Write the dataset ``settings.output`` of the logs ``paths``. Raises InputError where one of them cannot be used."""
    Writer.refuse_if_used(Path(settings.output))  # before the work
    logs = _read(paths)
    robot = _robot_of(settings, logs)
    config = _config(settings, logs)
    plugins.load(config["plugins"])
    task = build.task(check(TrainSettings, config))
    counts: Counter[str] = Counter()
    episodes: list[Episode] = []
    kinematics = Kinematics(robot)
    for path, log in logs.items():
        _check_policy(path, log, task)
        found = walks_of(log, path)
        counts.update(found.counts)
        counts["logs that end early"] += bool(log.damage)
        for walk in found.walks:
            episodes += episodes_of(*_as_actions(walk, log, task, path, counts), task, kinematics, path.name)
    if not episodes:
        raise InputError("log", str(next(iter(logs))), "at least two steps of walking in a row", "None of the logs has them.")
    episodes, left_out = _rewarded(episodes, task, config)
    groups = dict(task.spaces.groups)
    if not all(np.isfinite(one.observations["critic"]).all() for one in episodes):
        groups = {"actor": groups["actor"]}
    counts["steps"] = sum(len(one) for one in episodes)
    space = task.spaces.continuous("dataset from-logs")
    bounds = np.stack([space.low.numpy(), space.high.numpy()])
    return exchange.whole(Path(settings.output), groups, bounds, _about(config, logs, task, dict(counts), left_out), episodes)


def _read(paths: list[Path]) -> dict[Path, RunLog]:
    """Each run once. Raises InputError where there is none, or the same one twice."""
    if not paths:
        raise InputError("log", None, "at least one .mcap file of 'locomotion deploy'", "locomotion dataset from-logs LOG... output=FOLDER")
    logs: dict[Path, RunLog] = {}
    runs: dict[tuple[Any, ...], Path] = {}
    for path in paths:
        logs[path] = log = read_log(path)
        run = (log.about["epoch_ns"], log.about["graph_sha256"], int(log.steps[0]) if len(log.steps) else -1)
        if run in runs:
            raise InputError("log", str(path), "every run once", f"It is the same as {runs[run]}: name one of them.")
        runs[run] = path
    return logs


def _robot_of(settings: FromLogsSettings, logs: Mapping[Path, RunLog]) -> Robot:
    """The robot of all of the logs, as it is described now."""
    first = next(iter(logs.values())).about["robot"]
    robot = robots.load(settings.robot or first)
    for path, log in logs.items():
        if log.about["robot"] != robot.name or log.about["robot_fingerprint"] != robot.fingerprint():
            said = f"{path} is of {log.about['robot']} (description and gains {log.about['robot_fingerprint'][:12]})"
            allowed = f"logs of {robot.name} (description and gains {robot.fingerprint()[:12]})"
            raise InputError("log", str(path), allowed, f"{said}: make a dataset of each robot, as it was described.")
    return robot


def _config(settings: FromLogsSettings, logs: Mapping[Path, RunLog]) -> dict[str, Any]:
    """A training's, of whose task the data will be. No curriculum changes weights on the way."""
    own = plain(settings)
    config = {name: own[name] for name in ("task", "sim", "randomization", "plugins")}
    config |= {"env": None, "robot": own["robot"] or next(iter(logs.values())).about["robot"]}
    config["task"] = config["task"] | {"curricula": {}}
    runner = {"snapshot_every": 1, "score_every": 0, "run": None, "resume": None, "init": None, "iterations": 1, "seed": 0, "threads": 1}
    return {**config, **runner, "algorithm": {"num_envs": 1}}


def _check_policy(path: Path, log: RunLog, task: Task) -> None:
    """The policy was told what the task tells one, as often."""
    for name, theirs, ours in (
        ("command_names", tuple(log.contract["command_names"]), task.commands.channels),
        ("control_dt", log.control_dt, task.step_seconds),
    ):
        if theirs != ours:
            raise InputError("task", task.settings.name, f"a task with the {name} of {path}: {theirs}", f"It has {ours}: choose task=.")


def _as_actions(walk: Walk, log: RunLog, task: Task, path: Path, counts: Counter[str]) -> tuple[Walk, Replayed]:
    """``walk`` with actions that this task decodes, its own, or, of a policy that sees something else, those that ask for its targets; and
    as it was seen."""
    observed, _ = task.encoder.describe()
    theirs = [(term["name"], term["width"]) for term in log.contract.get("observation", [])]
    if theirs != [(term["name"], term["width"]) for term in observed]:
        counts["of a policy that sees something else"] += len(walk.action)
        robot = task.robot
        walk = replace(walk, action=(walk.asked - robot.default_joint_pos) / robot.action_scale)
        return walk, replayed(walk, task)
    again = replayed(walk, task)
    if again.off > SAME:
        allowed = f"actions that ask for the targets that {path} has, within {SAME} rad"
        raise InputError("task", task.settings.name, allowed, f"They are {again.off:.3g} rad off: the policy was trained on another task.")
    return walk, again


def _rewarded(episodes: list[Episode], task: Task, config: dict[str, Any]) -> tuple[list[Episode], list[str]]:
    """With the rewards of the task, and the terms that are left out for it: they look at what no robot measures."""
    steps = end_to_end(episodes)
    left_out = unmeasured(steps, task)
    if left_out:
        kept = {name: value for name, value in config["task"]["rewards"].items() if name not in left_out}
        config["task"] = config["task"] | {"rewards": kept}
        task = build.task(check(TrainSettings, config))
    rewards = np.split(recomputed(steps, task), steps.starts[1:])
    return [replace(one, reward=reward) for one, reward in zip(episodes, rewards, strict=True)], left_out


def _about(config: dict[str, Any], logs: Mapping[Path, RunLog], task: Task, counts: dict[str, int], left_out: list[str]) -> dict[str, Any]:
    """What a learner and a person need to know of the data."""
    return {
        "config": {name: config[name] for name in ("env", "robot", "task", "sim", "randomization", "plugins")},
        "noise": None, "seed": None, "step_seconds": task.step_seconds,
        "robot_sha256": task.robot.fingerprint(), "robot_name": task.robot.name, "joint_names": list(task.robot.joint_names),
        "command_names": list(task.commands.channels), "command_range": [list(limits) for limits in task.commands.limits],
        "logs": [{"path": path.name, **{key: log.about[key] for key in ("graph_sha256", "created")}} for path, log in logs.items()],
        "counts": counts, "rewards_left_out": left_out,
    }  # fmt: skip
