"""From a walk in a log to episodes: the task's own encoder sees again what the policy saw."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from locomotion.data.episode import Arrays, Episode
from locomotion.data.kinematics import Kinematics
from locomotion.data.measured import signals_of
from locomotion.data.stretches import Walk
from locomotion.task.task import Task

POLICY = ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel")  # what a policy may see, beside the command
SAME = 1e-3  # rad by which the target of an action, decoded here, may be off what the policy asked


class Replayed(NamedTuple):
    """A walk of T steps, as the policy saw it."""

    seen: np.ndarray  # [T + 1, D], by an actor before each step and after the last
    memory: np.ndarray  # [T, M], after each step
    off: float  # rad, at most, by which targets decoded here are off those that were asked


def replayed(walk: Walk, task: Task) -> Replayed:
    """``walk`` once more through the encoder and decoder of ``task``."""
    steps, command = len(walk.action), walk.seen["command"]
    inputs = {name: _tensor(walk.measured[name]) for name in POLICY} | {"command": _tensor(np.concatenate([command, command[-1:]]))}
    action, memory = _tensor(walk.action), torch.zeros(1, task.encoder.memory_size)
    seen, kept, targets = [], [], []
    with torch.inference_mode():
        for t in range(steps + 1):
            now = {name: inputs[name][t : t + 1] for name in task.encoder.inputs}
            seen.append(task.encoder.forward(now, memory))
            if t == steps:
                break
            target, offset = task.decoder.forward(action[t : t + 1], inputs["joint_pos"][t : t + 1], inputs["joint_vel"][t : t + 1], memory)
            memory = task.encoder.remember(now, action[t : t + 1], memory, offset)
            kept.append(memory)
            targets.append(target)
    off = np.abs(torch.cat(targets).numpy() - walk.asked).max(axis=-1)
    return Replayed(torch.cat(seen).numpy(), torch.cat(kept).numpy(), float(off.max()))


def episodes_of(walk: Walk, again: Replayed, task: Task, kinematics: Kinematics, source: str) -> list[Episode]:
    """One of each piece of ``walk``, with rewards that are still 0 and a critic's observation as far as it is known: NaN where not."""
    result = []
    for piece in walk.pieces:
        after = slice(piece.start, piece.stop + 1)
        signals = signals_of(kinematics, {name: value[after] for name, value in walk.measured.items()}, task.step_seconds)
        steps = piece.stop - piece.start
        terminated, truncated = np.zeros((2, steps), dtype=bool)
        terminated[-1] = walk.fell and piece.stop == len(walk.action)
        truncated[-1] = not terminated[-1]
        observations = {"actor": again.seen[after], "critic": _critic(again.seen[after], signals, task)}
        tables: Arrays = {
            "command": walk.seen["command"][piece].astype(np.float32), "memory": again.memory[piece],
            "joint_pos_target": walk.asked[piece], "heard_joint_pos_target": walk.heard[piece], "changed": walk.changed[piece],
        }  # fmt: skip
        action = walk.action[piece].astype(np.float32)
        result.append(Episode(observations, action, np.zeros(steps, np.float32), terminated, truncated, signals, tables, {"log": source}))
    return result


def _critic(seen: np.ndarray, signals: Arrays, task: Task) -> np.ndarray:
    """[T, D] with estimates in the place of what only a simulator knows, and the physics that nobody knows as it nominally is."""
    views = {name: _tensor(value) for name, value in signals.items()}
    told = task.physics.nominal_told.cpu().expand(len(seen), -1)
    return torch.cat([_tensor(seen), *(term(views, told) for term in task.privileged)], dim=-1).numpy()


def _tensor(value: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
