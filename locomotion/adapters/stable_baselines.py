"""An environment of ours as stable-baselines3's vector environment, and what it learned as an actor to export.

Needs ``stable-baselines3``: the extra ``stable-baselines``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from locomotion.adapters.gymnasium import VectorEnv
from locomotion.environment import Environment
from robots.errors import InputError

try:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.vec_env import VecEnv, VecNormalize
except ImportError as error:
    remedy = "pip install 'sim2real-locomotion[stable-baselines]'"
    raise InputError("stable_baselines", str(error), "stable-baselines3, installed", remedy) from error


class StableBaselinesEnv(VecEnv):
    """Of an episode that ended, ``infos[i]["terminal_observation"]``, and ``["TimeLimit.truncated"]``: it was cut off."""

    def __init__(self, env: Environment) -> None:
        self.env = VectorEnv(env)
        super().__init__(env.num_envs, self.env.single_observation_space, self.env.single_action_space)

    def reset(self) -> np.ndarray:
        observation, _ = self.env.reset(seed=self._seeds[0], options=self._options[0])
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        observation, reward, terminated, truncated, infos = self.env.step(self._actions)
        rows: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]  # as stable-baselines3 wants it
        for i in np.flatnonzero(terminated | truncated):
            rows[i] = {"TimeLimit.truncated": bool(truncated[i]), "terminal_observation": infos["final_obs"][i]}
        return observation, reward, terminated | truncated, rows

    def close(self) -> None:
        self.env.close()

    # there is one environment of many robots: what is asked of each is asked of it

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return [getattr(self.env, method_name)(*args, **kwargs)] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * len(list(self._get_indices(indices)))


class Actor(nn.Module):
    """What a trained ``model`` with an actor-critic policy (PPO, A2C, TRPO) does without exploration, ``normalize`` inside.

    Raises:
        InputError: a model with another policy.
    """

    mean: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, model: BaseAlgorithm, normalize: VecNormalize | None = None) -> None:
        super().__init__()
        policy, width = model.policy, model.observation_space.shape or (0,)
        if not isinstance(policy, ActorCriticPolicy):
            raise InputError("model", type(policy).__name__, "a model with an ActorCriticPolicy, as PPO's", "Write a module of your own.")
        self.network, self.action = policy.mlp_extractor.policy_net, policy.action_net
        statistics: Any = normalize.obs_rms if normalize and normalize.norm_obs else None
        mean, scale = np.zeros(width), np.ones(width)
        if statistics is not None and normalize is not None:
            mean, scale = statistics.mean, np.sqrt(statistics.var + normalize.epsilon)
        self.clip = normalize.clip_obs if statistics is not None and normalize is not None else float("inf")
        space: Any = model.action_space
        for name, value in {"mean": mean, "scale": scale, "low": space.low, "high": space.high}.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))

    def forward(self, observation: Tensor) -> Tensor:
        """[N, A] actions within their bounds, of [N, W] observations."""
        seen = ((observation - self.mean) / self.scale).clamp(-self.clip, self.clip)
        return torch.clamp(self.action(self.network(seen)), self.low, self.high)
