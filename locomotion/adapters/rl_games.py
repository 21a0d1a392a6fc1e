"""A task of ours as rl_games' vector environment. Needs ``rl-games``: the extra ``rl-games``."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from torch import Tensor

from locomotion.task.task import Task
from robots.errors import InputError

try:
    from rl_games.common import env_configurations, vecenv
    from rl_games.common.ivecenv import IVecEnv
except ImportError as error:
    raise InputError("rl_games", str(error), "rl_games, installed", "pip install 'sim2real-locomotion[rl-games]'") from error


def register(name: str, task: Task) -> None:
    """Let ``task`` be what rl_games makes of ``config["env_name"] = name``; its ``num_actors`` are the environments of ``task``."""

    def make(config_name: str, num_actors: int, **kwargs: Any) -> RlGamesEnv:
        if num_actors != task.num_envs:
            raise InputError("num_actors", num_actors, f"the number of environments of the task, {task.num_envs}", "Make them equal.")
        return RlGamesEnv(task)

    vecenv.register(name, make)
    env_configurations.register(name, {"vecenv_type": name, "env_creator": lambda **kwargs: task})


class RlGamesEnv(IVecEnv):
    """See :func:`register`.

    "obs" is what the actor sees, "states" what the critic does (for a central value). What time ended is in ``infos["time_outs"]``
    (for ``value_bootstrap``). With ``clip_actions`` rl_games' actions in [-1, 1] are stretched to the bounds of ours.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    def reset(self) -> dict[str, Tensor]:
        return self._seen()

    def step(self, actions: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, dict[str, Any]]:
        with torch.no_grad():
            _, terminated, truncated = self.task.step(actions)
            reward = self.task.rewards()[-1]
        return self._seen(), reward, terminated | truncated, {"time_outs": truncated}

    def get_env_info(self) -> dict[str, Any]:  # type: ignore[override]
        groups, action = self.task.spaces.groups, self.task.spaces.continuous("rl_games")
        observed, state = (gymnasium.spaces.Box(-float("inf"), float("inf"), (groups[name],)) for name in ("actor", "critic"))
        actions = gymnasium.spaces.Box(action.low.cpu().numpy(), action.high.cpu().numpy())
        return {"observation_space": observed, "state_space": state, "action_space": actions, "agents": 1, "value_size": 1}

    def _seen(self) -> dict[str, Tensor]:
        return {"obs": self.task.observations["actor"], "states": self.task.observations["critic"]}
