"""The task as a Gymnasium vector environment, for learners of other libraries."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from locomotion.task.velocity import VelocityTask


class VelocityVectorEnv(gymnasium.vector.VectorEnv):
    """Policy observations and raw actions of a :class:`VelocityTask`; episodes restart in the same step.

    ``infos["final_obs"]`` holds, for the rows in ``infos["_final_obs"]``, the observation (without noise) in which a
    truncated episode ended.
    """

    def __init__(self, task: VelocityTask) -> None:
        self.task, self.num_envs = task, task.num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        box = gymnasium.spaces.Box
        self.single_observation_space = box(-np.inf, np.inf, (task.encoder.size,), np.float32)
        self.single_action_space = box(-10.0, 10.0, (task.robot.num_joints,), np.float32)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, self.num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """``seed`` reseeds the task's generator."""
        if isinstance(seed, int):
            self.task.generator.manual_seed(seed)
        with torch.inference_mode():
            return self.task.reset().policy.numpy().copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance all environments by one control step."""
        with torch.inference_mode():
            result = self.task.step(torch.from_numpy(np.ascontiguousarray(actions, dtype=np.float32)))
        infos: dict[str, Any] = {}
        if len(result.final_ids):
            final = np.zeros((self.num_envs, self.task.encoder.size), dtype=np.float32)
            rows = result.final_ids.numpy()
            final[rows] = result.final_critic[:, : self.task.encoder.size].numpy()  # the critic sees the policy's first
            infos = {"final_obs": final, "_final_obs": result.truncated.numpy()}
        arrays = (result.observations.policy, result.reward, result.terminated, result.truncated)
        observation, reward, terminated, truncated = (tensor.numpy().copy() for tensor in arrays)
        return observation, reward, terminated, truncated, infos
