"""From a dataset on disk to what a learner on an environment can use: checked against it, rewards as asked for."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from locomotion.algorithms.replay import Replay, from_arrays
from locomotion.data.dataset import Dataset
from locomotion.data.episode import Steps
from locomotion.data.rewards import recomputed
from locomotion.environment import Environment
from locomotion.task.task import Task
from robots.errors import InputError

FIELD = "algorithm.dataset"


def replay_of(
    path: str, env: Environment, groups: set[str], reward: Literal["recorded", "recomputed"], scale: float | Literal["returns"],
    fingerprint: str | None, half: bool = False, field: str = FIELD,
) -> Replay:  # fmt: skip
    """The data of ``path`` as a full buffer of the observation ``groups``; ``fingerprint`` is that of the robot of ``env``, if it has one.

    Raises:
        InputError: another robot, other observations or actions, or what :class:`Dataset` and :func:`recomputed` refuse.
    """
    dataset = Dataset(path, field)
    bounds = env.spaces.recorded(field, str(dataset.path))
    _check(dataset, env, groups, fingerprint, field)
    steps = dataset.steps(signals=reward == "recomputed")
    rewards = steps.reward
    if reward == "recomputed":
        if not isinstance(env, Task):
            raise InputError("algorithm.reward", reward, "recorded: here is no task that rewards signals", "Set algorithm.reward=recorded.")
        rewards = recomputed(steps, env)
    rewards = rewards * (returns_scale(steps, rewards) if scale == "returns" else scale)

    def tensor(value: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(value)).to(env.device)

    seen, following = ({name: tensor(table[name]) for name in sorted(groups)} for table in (steps.observations, steps.following))
    action = torch.minimum(torch.maximum(tensor(steps.action), bounds.low), bounds.high)  # what an environment makes of it
    flags = (tensor(steps.terminated), tensor(steps.truncated))
    return from_arrays(seen, action, tensor(rewards.astype(np.float32)), following, *flags, env.device, half)


def returns_scale(steps: Steps, reward: np.ndarray) -> float:
    """1000 / (best - worst return of an episode), as IQL's authors scale the rewards of locomotion."""
    returns = np.add.reduceat(reward.astype(np.float64), steps.starts)
    return 1000.0 / max(float(returns.max() - returns.min()), 1e-6)


def _check(dataset: Dataset, env: Environment, groups: set[str], fingerprint: str | None, field: str) -> None:
    theirs = dataset.about.get("robot_sha256")
    if fingerprint is not None and dataset.about and theirs != fingerprint:
        name = dataset.about.get("robot_name", "another environment")
        raise InputError(field, str(dataset.path), "data of this robot, as it is", f"They are of {name}, or its description has changed.")
    for name in sorted(groups):
        if name not in dataset.groups:
            remedy = "Set algorithm.critic_group=actor." if name == "critic" else "Choose other data."
            raise InputError(field, str(dataset.path), f"the observation group {name}; there are {', '.join(dataset.groups)}", remedy)
        if dataset.groups[name] != env.spaces.groups[name]:
            allowed = f"{env.spaces.groups[name]} numbers in the observation group {name}"
            raise InputError(field, str(dataset.path), allowed, f"They have {dataset.groups[name]}: of another task or environment.")
    if dataset.action != env.spaces.action.size:
        raise InputError(field, str(dataset.path), f"{env.spaces.action.size} actions", f"They have {dataset.action}: of another robot.")
