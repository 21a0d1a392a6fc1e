"""An environment of ours as a Gymnasium vector environment, for learners of other libraries."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from locomotion.environment import Environment
from robots.errors import InputError


class VectorEnv(gymnasium.vector.VectorEnv):
    """The actor's observations and raw actions; episodes restart in the same step.

    ``infos["final_obs"]`` holds, for the rows in ``infos["_final_obs"]``, the observation in which an episode ended, terminated
    or truncated. Actions are bounded by what they can change (joint limits over scale).
    """

    def __init__(self, env: Environment) -> None:
        self.env, self.num_envs = env, env.num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        size, action = env.spaces.groups["actor"], env.spaces.continuous("gymnasium")
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.single_action_space = gymnasium.spaces.Box(action.low.cpu().numpy(), action.high.cpu().numpy(), dtype=np.float32)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, self.num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """``seed`` reseeds the environment's generator."""
        if isinstance(seed, list):
            raise InputError("seed", seed, "one integer for all environments, or None", "They share one generator.")
        if seed is not None:
            self.env.seed(seed)
        with torch.inference_mode():
            return self.env.reset()["actor"].cpu().numpy().copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance all environments by one control step."""
        with torch.inference_mode():
            action = torch.as_tensor(np.ascontiguousarray(actions, dtype=np.float32), device=self.env.device)
            observations, terminated, truncated = self.env.step(action)
            ended = self.env.ended()
            reward = self.env.rewards()[-1]
        infos: dict[str, Any] = {}
        rows = ended.rows.cpu().numpy()
        if len(rows):
            final = np.zeros(observations["actor"].shape, dtype=np.float32)
            final[rows] = ended.observations["actor"].cpu().numpy()
            infos = {"final_obs": final, "_final_obs": np.isin(np.arange(self.num_envs), rows)}
        arrays = (tensor.cpu().numpy().copy() for tensor in (observations["actor"], reward, terminated, truncated))
        observation, rewards, terminations, truncations = arrays
        return observation, rewards, terminations, truncations, infos

    def close_extras(self, **kwargs: Any) -> None:
        self.env.close()
