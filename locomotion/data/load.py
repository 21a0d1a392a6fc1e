"""From a dataset on disk to what a learner on an environment can use: checked against it, rewards as asked for."""

from __future__ import annotations

import math
import os
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from locomotion.algorithms.replay import GIB, Replay, free_memory, from_arrays
from locomotion.data.dataset import Dataset
from locomotion.data.episode import Steps
from locomotion.data.rewards import recomputed
from locomotion.environment import Environment
from locomotion.task.task import Task
from robots.errors import InputError
from sim.signals import signal_shapes

FIELD = "algorithm.dataset"


def replay_of(
    path: str, env: Environment, groups: set[str], reward: Literal["recorded", "recomputed"], scale: float | Literal["returns"],
    fingerprint: str | None, half: bool = False, field: str = FIELD, name: str | None = None,
) -> Replay:  # fmt: skip
    """The data of ``path`` as a full buffer of the observation ``groups``; ``fingerprint`` is that of the robot of ``env``, if it has one,
    and ``name`` that of an environment of Gymnasium.

    Raises:
        InputError: another robot or environment, other observations or actions, more than fits into memory, or what :class:`Dataset` and
            :func:`recomputed` refuse.
    """
    dataset = Dataset(path, field)
    bounds = env.spaces.recorded(field, str(dataset.path))
    _check(dataset, env, groups, fingerprint, field, name)
    _refuse_beyond_memory(dataset, env, groups, reward == "recomputed", field)
    steps = dataset.steps(signals=reward == "recomputed")
    rewards = steps.reward
    if reward == "recomputed":
        if not isinstance(env, Task):
            raise InputError("algorithm.reward", reward, "recorded: here is no task that rewards signals", "Set algorithm.reward=recorded.")
        rewards = recomputed(steps, env)
    if scale == "returns":
        scale = returns_scale(steps, rewards)
        if not np.isfinite(scale):
            allowed = "a number where all episodes have the same return, or there is one alone"
            raise InputError("algorithm.reward_scale", "returns", allowed, "Set algorithm.reward_scale=1.")
    rewards = rewards * scale

    def tensor(value: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(value)).to(env.device)

    seen, following = ({name: tensor(table[name]) for name in sorted(groups)} for table in (steps.observations, steps.following))
    action = torch.minimum(torch.maximum(tensor(steps.action), bounds.low), bounds.high)  # what an environment makes of it
    flags = (tensor(steps.terminated), tensor(steps.truncated))
    return from_arrays(seen, action, tensor(rewards.astype(np.float32)), following, *flags, env.device, half)


def returns_scale(steps: Steps, reward: np.ndarray) -> float:
    """1000 / (best - worst return of an episode), as IQL's authors scale the rewards of locomotion; infinite where these are the same."""
    returns = np.add.reduceat(reward.astype(np.float64), steps.starts)
    between = float(returns.max() - returns.min())
    return 1000.0 / between if between > 0.0 else np.inf


def _refuse_beyond_memory(dataset: Dataset, env: Environment, groups: set[str], signals: bool, field: str) -> None:
    """Raises InputError before anything is read where it would not fit: as episodes, end to end, and in the buffer."""
    seen, kept, others = sum(dataset.groups.values()), sum(dataset.groups[name] for name in groups), dataset.action + 2
    if signals and isinstance(env, Task):
        seen += sum(math.prod(shape) for shape in signal_shapes(env.robot.num_joints, len(env.robot.feet)).values())
    free, numbers = free_memory(torch.device("cpu")), (seen + others) + (2 * seen + others) + (2 * kept + others)
    needed = 4 * numbers * dataset.total_steps * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # by each process of this machine
    if free is not None and needed > 0.9 * free:
        allowed = f"data that fit into memory: to read them takes {needed / GIB:.1f} GiB, and {free / GIB:.1f} GiB are free"
        raise InputError(field, str(dataset.path), allowed, f"At most {int(0.9 * free / needed * dataset.total_steps):,} steps fit.")


def _check(dataset: Dataset, env: Environment, groups: set[str], fingerprint: str | None, field: str, environment: str | None) -> None:
    theirs, config = dataset.about.get("robot_sha256"), dataset.about.get("config") or {}
    recorded = config.get("env") or dataset.about.get("robot_name") or dataset.environment
    if environment is not None and recorded is not None and recorded.rpartition(":")[2] != environment.rpartition(":")[2]:
        raise InputError(field, str(dataset.path), f"data of {environment}", f"They are of {recorded}.")
    if fingerprint is not None and dataset.about and theirs != fingerprint:
        name = dataset.about.get("robot_name", "another environment")
        raise InputError(field, str(dataset.path), "data of this robot, as it is", f"They are of {name}, or its description has changed.")
    if isinstance(env, Task):
        seconds, seen = dataset.about.get("step_seconds"), (config.get("task") or {}).get("observations") or {}
        if seconds is not None and abs(seconds - env.step_seconds) > 1e-9:
            raise InputError(field, str(dataset.path), f"steps of {env.step_seconds} s, the task's", f"They have steps of {seconds} s.")
        for name in sorted(groups & set(seen)):
            if list(seen[name]) != (own := list(getattr(env.settings.observations, name))):
                allowed = f"data of the task's observations for the {name}: {', '.join(own)}"
                raise InputError(field, str(dataset.path), allowed, f"They have {', '.join(seen[name])}.")
    for name in sorted(groups):
        if name not in dataset.groups:
            remedy = "Set algorithm.critic_group=actor." if name == "critic" else "Choose other data."
            raise InputError(field, str(dataset.path), f"the observation group {name}; there are {', '.join(dataset.groups)}", remedy)
        if dataset.groups[name] != env.spaces.groups[name]:
            allowed = f"{env.spaces.groups[name]} numbers in the observation group {name}"
            raise InputError(field, str(dataset.path), allowed, f"They have {dataset.groups[name]}: of another task or environment.")
    if dataset.action != env.spaces.action.size:
        raise InputError(field, str(dataset.path), f"{env.spaces.action.size} actions", f"They have {dataset.action}: of another robot.")
