"""Rewards worked out anew from recorded signals, so that data can be learned from under another reward."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from locomotion.data.episode import Steps
from locomotion.task.past import Past
from locomotion.task.task import Task
from robots.errors import InputError
from sim import Signals
from sim.signals import columns, signal_shapes

NEEDED = ("command", "memory")
FILLS = (0.0, 1000.0)  # in the place of what was not measured: a term that does not look at it says the same


def recomputed(steps: Steps, task: Task) -> np.ndarray:
    """[S] the reward of ``task`` for every step, its terms run once over all of them as over a rollout of one robot.

    Weights are those of its YAML, whatever a curriculum had come to. Raises InputError where a signal that a term needs is missing.
    """
    reward, terms = _evaluated(steps, task, 0.0)
    names = unmeasured(steps, task)
    names += [name for name, value in zip(task.rewards_function.names, terms, strict=True) if not bool(torch.isfinite(value).all())]
    if names:
        missing = [name for name, value in steps.after.items() if not np.isfinite(value).all()]
        allowed = f"numbers: it needs what was not measured everywhere ({', '.join(missing)})"
        raise InputError(f"task.rewards.{names[0]}", "not finite", allowed, f"Set rewards.{names[0]}=null, or reward=recorded.")
    return reward[:, 0].numpy()


def unmeasured(steps: Steps, task: Task) -> list[str]:
    """The reward terms of ``task`` that look at what was not measured (NaN). Asked of the terms: a comparison with NaN is no NaN."""
    if all(np.isfinite(value).all() for table in (steps.before, steps.after) for value in table.values()):
        return []
    low, high = (_evaluated(steps, task, fill)[1] for fill in FILLS)
    return [name for name, a, b in zip(task.rewards_function.names, low, high, strict=True) if not torch.equal(a, b)]


def _evaluated(steps: Steps, task: Task, fill: float) -> tuple[Tensor, Tensor]:
    """The reward [S, 1] and its terms [K, S, 1], with ``fill`` in the place of what was not measured."""
    shapes, size, j = signal_shapes(task.robot.num_joints, len(task.robot.feet)), len(steps), task.robot.num_joints
    missing = [name for name in shapes if name not in steps.before] + [name for name in NEEDED if name not in steps.steps]
    if missing:
        allowed = f"signals of every step: {', '.join([*shapes, *NEEDED])}"
        raise InputError("dataset", f"no {missing[0]}", allowed, "Its rewards can only be taken as they were recorded.")

    def packed(table: dict[str, np.ndarray]) -> Signals:
        whole = np.concatenate([table[name].reshape(size, -1) for name in shapes], axis=-1, dtype=np.float32)
        whole[np.isnan(whole)] = fill
        return Signals(one(whole), j, len(task.robot.feet))

    def one(value: Any) -> Tensor:
        value = torch.from_numpy(np.asarray(value))[:, None]  # columns as in a rollout: sums then go the same way, to the last bit
        return value if value.dim() < 3 else columns(*value.shape).copy_(value)

    previous = np.concatenate([np.zeros_like(steps.action[:1]), steps.action[:-1]])
    previous[steps.starts] = 0.0
    terminated = one(steps.terminated)
    past = Past(1, j, len(task.robot.feet), torch.device("cpu"))
    with torch.inference_mode():
        frame = task.frame(
            packed(steps.after), packed(steps.before), one(steps.action), one(previous), one(steps.steps["command"]),
            one(steps.steps["memory"]), terminated, terminated | one(steps.truncated), past,
        )  # fmt: skip
        return task.rewards_function(frame, torch.ones_like(terminated))
