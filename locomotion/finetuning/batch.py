"""From walks to what a learner takes: the robot's own reward, and what a critic sees, both of what a robot itself knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from locomotion import build
from locomotion.data.episode import Steps
from locomotion.data.kinematics import Kinematics
from locomotion.data.measured import MEASURED, signals_of
from locomotion.data.rewards import recomputed
from locomotion.finetuning.base import Base
from locomotion.finetuning.rollback import Walked
from locomotion.finetuning.runner import Episode
from locomotion.schema import check, merge, plain
from locomotion.settings import TrainSettings
from robots.errors import InputError

EARLY = ("tilt", "supervisor")  # ends that are the robot's own doing


@dataclass(frozen=True)
class Batch:
    """S steps of E walks, one after the other."""

    observation: Tensor  # [S, D] of the policy
    mean: Tensor  # [S, A]
    action: Tensor  # [S, A] that was asked for
    critic: Tensor  # [S, C] what a critic sees
    final: Tensor  # [E, C] and saw last
    reward: Tensor  # [S]
    terminated: Tensor  # [S] bool
    done: Tensor  # [S] bool
    first: Tensor  # [S] bool
    changed: Tensor  # [S] bool, by the supervisor's filters

    def __len__(self) -> int:
        return len(self.reward)


def joined(batches: Sequence[Batch]) -> Batch:
    """As one."""
    return Batch(*(torch.cat([getattr(one, item.name) for one in batches]) for item in fields(Batch)))


class Measure:
    """Walks to rewards and batches. ``rewards`` is a table of the task's own terms, of which each must be one that a robot can measure.

    Raises InputError for a term that is unknown, or needs what no robot measures.
    """

    def __init__(self, base: Base, rewards: dict[str, Any]) -> None:
        self.base, self.kinematics = base, Kinematics(base.robot)
        task = plain(base.settings)["task"] | {"rewards": rewards, "reward_floor": None, "curricula": {}, "constraints": {}}
        config = plain(base.settings) | {"task": task, "randomization": {}}
        self.settings = check(TrainSettings, merge(config, {"algorithm": {"num_envs": 1}}))
        self.task = build.task(self.settings)

    @property
    def control_dt(self) -> float:
        return self.base.settings.task.control_dt

    def signals(self, episode: Episode) -> dict[str, np.ndarray]:
        """What the robot knows of the walk, [T + 1, ...] by the simulator's names."""
        return signals_of(self.kinematics, {name: episode.columns[name] for name in MEASURED}, self.control_dt)

    def rewards(self, episode: Episode, signals: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """[T] the robot's own reward of each step."""
        known = self.signals(episode) if signals is None else signals
        steps, ends = len(episode), np.zeros(len(episode), dtype=bool)
        ends[-1] = True
        early = episode.ended in EARLY
        table = {"command": episode.columns["command"].astype(np.float32), "memory": episode.memory.numpy()}
        before, after = ({name: value[part] for name, value in known.items()} for part in (slice(-1), slice(1, None)))
        whole = Steps(
            {}, {}, episode.action.numpy(), np.zeros(steps, np.float32), ends & early, ends & (not early), before, after, table,
            np.zeros(1, dtype=int),
        )  # fmt: skip
        found = recomputed(whole, self.task)
        if not np.isfinite(found).all():
            remedy = "Nothing is learned of it: mend the term."
            raise InputError("rewards", f"{found[~np.isfinite(found)][0]} at step {np.isfinite(found).argmin()}", "numbers", remedy)
        return found

    def walked(self, episode: Episode) -> Walked:
        """What a paired test compares. What the robot's own doing cut short earns nothing in the time that is missing, or, where that
        would be more than it earned before, goes on so."""
        known, robot, early = self.signals(episode), self.base.robot, episode.ended in EARLY
        earned = float(self.rewards(episode, known).sum())
        seconds = episode.walk.seconds if early and earned > 0.0 else len(episode) * self.control_dt
        tilt = np.arccos((-known["projected_gravity"][:, 2]).clip(-1.0, 1.0)).max()
        return Walked(
            earned / seconds, float(episode.changed.mean()), early, float(tilt),
            float(known["base_pos"][:, 2].min()) / robot.standing_height, episode.findings,
            float(np.square(episode.columns["joint_torque"] / robot.effort_limit).mean(axis=0).max()),
        )  # fmt: skip

    def batch(self, episodes: Sequence[Episode]) -> Batch:
        """All ``episodes`` for a learner."""
        return joined([self._one(episode) for episode in episodes])

    def _one(self, episode: Episode) -> Batch:
        signals, steps = self.signals(episode), len(episode)
        last = torch.zeros(steps, dtype=torch.bool)
        last[-1] = True
        seen = {name: torch.from_numpy(np.asarray(value, dtype=np.float32)) for name, value in signals.items()}
        told = self.task.physics.nominal_told.expand(steps + 1, -1)  # of the robot as it is described: nobody knows this one's
        extra = [term(seen, told) for term in self.task.privileged]
        critic = torch.cat([torch.cat([episode.observation, self._last(episode)]), *extra], dim=-1)
        return Batch(
            episode.observation, episode.mean, episode.action, critic[:-1], critic[-1:],
            torch.from_numpy(self.rewards(episode, signals)).float(), last & (episode.ended in EARLY), last, last.roll(1),
            torch.from_numpy(episode.changed),
        )  # fmt: skip

    def _last(self, episode: Episode) -> Tensor:
        """[1, D] the observation that the last step led to."""
        names, columns = self.base.encoder.inputs, episode.columns
        rows = {name: columns[name][-1:] for name in names}  # the command is the last that was told
        inputs = {name: torch.from_numpy(value.astype(np.float32)) for name, value in rows.items()}
        return self.base.encoder(inputs, episode.memory[-1:])
