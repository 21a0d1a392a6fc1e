"""A task of ours as skrl's environment. Needs ``skrl``: the extra ``skrl``."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from torch import Tensor

from locomotion.task.task import Task
from robots.errors import InputError

try:
    from skrl.envs.wrappers.torch import Wrapper
except ImportError as error:
    raise InputError("skrl", str(error), "skrl, installed", "pip install 'sim2real-locomotion[skrl]'") from error


class SkrlEnv(Wrapper):
    """The actor's observations; skrl's "states" are what the critic sees. Tensors stay on the task's device.

    Episodes restart in the same step. Where skrl asks for the value after a time-out (``time_limit_bootstrap``) it takes the next
    episode's first observation for it, as with all environments that restart by themselves.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._task = task

    @property
    def observation_space(self) -> gymnasium.Space:
        return _box(self._task, "actor")

    @property
    def state_space(self) -> gymnasium.Space:
        return _box(self._task, "critic")

    @property
    def action_space(self) -> gymnasium.Space:
        action = self._task.spaces.continuous("skrl")
        return gymnasium.spaces.Box(action.low.cpu().numpy(), action.high.cpu().numpy())

    def reset(self) -> tuple[Tensor, dict[str, Any]]:
        """The present observations: a task has begun when it is made, and goes on by itself."""
        return self._task.observations["actor"], {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Rewards and flags are [N, 1]."""
        with torch.no_grad():
            observations, terminated, truncated = self._task.step(actions)
            reward = self._task.rewards()[-1]
        return observations["actor"], reward[:, None], terminated[:, None], truncated[:, None], {}

    def state(self) -> Tensor:
        return self._task.observations["critic"]

    def render(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: 'locomotion play' shows an exported policy."""

    def close(self) -> None:
        self._task.close()


def _box(task: Task, group: str) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(-float("inf"), float("inf"), (task.spaces.groups[group],))
