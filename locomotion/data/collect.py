"""A policy acts in an environment, and what happens becomes episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from locomotion.data.dataset import Writer
from locomotion.data.episode import Arrays, Episode
from locomotion.environment import ActionSpace, Environment, Observations
from locomotion.task.task import CAPACITY, Task
from sim.signals import signal_shapes

Act = Callable[[Observations], Tensor]  # groups [N, width] -> actions [N, A]
Begin = Callable[[Tensor], None]  # told where [N] episodes have just begun


def exploring(act: Act, std: Tensor | float, space: ActionSpace, generator: torch.Generator) -> Act:
    """``act`` with Gaussian noise of ``std`` (of an action, or [A]), within the action space."""

    def noisy(observations: Observations) -> Tensor:
        action = act(observations)
        noise = torch.randn(action.shape, generator=generator, device=action.device)
        return torch.minimum(torch.maximum(action + std * noise, space.low), space.high)

    return noisy


def collect(
    env: Environment,
    act: Act,
    steps: int,
    writer: Writer,
    begin: Begin = lambda rows: None,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Act for ``steps`` steps of all environments together; the last episodes are cut where that ends.

    Of a task's environment the signals around every step are kept, so that rewards can be worked out anew. Raises InputError where the
    disk is full; finished episodes that had been written can be read. Nobody may have stepped ``env`` without asking for its rewards.
    """
    n, total = env.num_envs, max(1, round(steps / env.num_envs))
    rows = [_Row() for _ in range(n)]
    capacity = env.capacity if isinstance(env, Task) else CAPACITY
    for first in range(0, total, capacity):
        block = _block(env, act, begin, min(capacity, total - first))
        for row, kept in enumerate(rows):
            for episode in kept.take(block, row):
                writer.add(episode)
        progress((first + len(block["reward"])) / total)
    for kept in rows:
        for episode in kept.cut():
            writer.add(episode)
    writer.flush()


def _block(env: Environment, act: Act, begin: Begin, steps: int) -> dict[str, Any]:
    """``steps`` steps: tables [T, N, ...] by their place in an episode, and the ends."""
    seen: list[Observations] = []
    actions, flags = [], []
    with torch.inference_mode():
        for _ in range(steps):
            seen.append({name: value.clone() for name, value in env.observations.items()})
            actions.append(act(env.observations).clone())
            step = env.step(actions[-1])
            flags.append((step.terminated.clone(), step.truncated.clone()))
            begin(step.terminated | step.truncated)
        tables = _signals(env) if isinstance(env, Task) else {"before": {}, "after": {}, "steps": {}}
        ended, reward = env.ended(), env.rewards()
    last = {name: value.numpy(force=True) for name, value in ended.observations.items()}
    places = zip(ended.steps.tolist(), ended.rows.tolist(), strict=True)
    ends = {place: {name: value[i] for name, value in last.items()} for i, place in enumerate(places)}
    return {
        "seen": {name: torch.stack([group[name] for group in seen]).numpy(force=True) for name in seen[0]},
        "now": {name: value.numpy(force=True).copy() for name, value in env.observations.items()},
        "action": torch.stack(actions).numpy(force=True), "reward": reward.numpy(force=True),
        "terminated": torch.stack([one for one, _ in flags]).numpy(force=True),
        "truncated": torch.stack([one for _, one in flags]).numpy(force=True),
        "ends": ends, **tables,
    }  # fmt: skip


def _signals(task: Task) -> dict[str, Arrays]:
    """The recorded steps of ``task``, as they are before anybody asks for their rewards."""
    frame, names = task.recorded_frame(), signal_shapes(task.robot.num_joints, len(task.robot.feet))
    before, after = ({name: getattr(x, name).numpy(force=True).copy() for name in names} for x in (frame.before, frame.signals))
    target = task.robot_tensors.default_joint_pos + frame.memory["joint_pos_target"]
    kept = {"command": frame.command, "joint_pos_target": target, "memory": torch.cat([*frame.memory.values()], dim=-1)}
    steps = {name: value.numpy(force=True).copy() for name, value in kept.items()} | {
        "fault": task.recorded_faults().numpy(force=True).copy()
    }
    return {"before": before, "after": after, "steps": steps}


class _Row:
    """One environment's episode so far, as pieces of blocks."""

    def __init__(self) -> None:
        self._pieces: list[tuple[dict[str, Any], int, slice]] = []

    def take(self, block: dict[str, Any], row: int) -> list[Episode]:
        """The episodes that end in ``block``."""
        done, begin = [], 0
        for end in np.flatnonzero(block["terminated"][:, row] | block["truncated"][:, row]):
            self._pieces.append((block, row, slice(begin, int(end) + 1)))
            done += self._finish(block["ends"][int(end), row])
            begin = int(end) + 1
        if begin < len(block["reward"]):
            self._pieces.append((block, row, slice(begin, None)))
        return done

    def cut(self) -> list[Episode]:
        """What has not ended, truncated here."""
        if not self._pieces:
            return []
        block, row, _ = self._pieces[-1]
        return self._finish({name: value[row] for name, value in block["now"].items()})

    def _finish(self, last: Arrays) -> list[Episode]:
        def joined(pick: Callable[[dict[str, Any]], np.ndarray]) -> np.ndarray:
            return np.concatenate([pick(block)[part, row] for block, row, part in self._pieces])

        first = self._pieces[0][0]
        names = {table: list(first[table]) for table in ("seen", "before", "steps")}
        seen = {name: np.concatenate([joined(lambda b, n=name: b["seen"][n]), last[name][None]]) for name in names["seen"]}
        after = {name: joined(lambda b, n=name: b["after"][n]) for name in names["before"]}
        signals = {name: np.concatenate([joined(lambda b, n=name: b["before"][n])[:1], after[name]]) for name in after}
        steps = {name: joined(lambda b, n=name: b["steps"][n]) for name in names["steps"]}
        action, reward, terminated, truncated = (joined(lambda b, n=n: b[n]) for n in ("action", "reward", "terminated", "truncated"))
        self._pieces = []
        length = len(reward)
        faults = steps.pop("fault", np.zeros(length, dtype=bool))
        if faults.any():  # a simulation that diverged: what it says of its last step means nothing
            length = int(np.argmax(faults))
            terminated = np.zeros_like(terminated)
        if not length:
            return []
        to = slice(length)
        truncated = np.zeros(length, dtype=bool)
        truncated[-1] = not terminated[length - 1]
        whole = slice(length + 1)
        return [
            Episode(
                {name: value[whole] for name, value in seen.items()}, action[to], reward[to], terminated[to], truncated,
                {name: value[whole] for name, value in signals.items()}, {name: value[to] for name, value in steps.items()},
            )
        ]  # fmt: skip
