"""A task of ours as rsl_rl's vector environment. Needs ``rsl-rl-lib``: the extra ``rsl-rl``."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from locomotion.environment import MirrorMap
from locomotion.schema import plain
from locomotion.task.task import Task
from robots.errors import InputError

try:
    from rsl_rl.env import VecEnv
    from tensordict import TensorDict
except ImportError as error:
    raise InputError("rsl_rl", str(error), "rsl_rl, installed", "pip install 'sim2real-locomotion[rsl-rl]'") from error

LOG_EVERY = 16  # steps between figures for rsl_rl's log


class RslRlEnv(VecEnv):
    """Observation groups "actor" and "critic"; episodes restart in the same step, and what time ended is in ``extras["time_outs"]``.

    Tensors stay on the task's device. rsl_rl wants no true last observation: on a time-out it adds the value of the one before.
    """

    def __init__(self, task: Task) -> None:
        self.env, self.num_envs, self.device = task, task.num_envs, task.device
        self.num_actions = task.spaces.continuous("rsl_rl").size
        self.max_episode_length, self._steps = task.max_steps, 0
        self.figures: dict[str, float] = {}  # of training, the newest; rsl_rl logs them
        self.cfg = {"robot": task.robot.name, "task": plain(task.settings), "randomization": plain(task.randomization)}

    @property
    def episode_length_buf(self) -> Tensor:
        """[N] int64 steps since each episode began. rsl_rl sets it where it is asked for ``init_at_random_ep_len``."""
        return self.env.elapsed

    @episode_length_buf.setter
    def episode_length_buf(self, steps: Tensor) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.env.elapsed = steps

    def get_observations(self) -> TensorDict:
        return TensorDict(dict(self.env.observations), batch_size=[self.num_envs], device=self.device)

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        with torch.inference_mode():
            _, terminated, truncated = self.env.step(actions)
            reward = self.env.rewards()[-1]
        extras: dict[str, Any] = {"time_outs": truncated}
        self._steps += 1
        if self._steps % LOG_EVERY == 0:
            self.figures = self.env.statistics()
            extras["log"] = {f"/{name}": value for name, value in self.figures.items()}
        return self.get_observations(), reward, terminated | truncated, extras


def mirrored(env: RslRlEnv, obs: TensorDict | None, actions: Tensor | None) -> tuple[TensorDict | None, Tensor | None]:
    """Each sample, and after all of them each in the robot's mirror: rsl_rl's ``symmetry_cfg["data_augmentation_func"]``."""
    symmetry = env.env.spaces.symmetry
    if symmetry is None:
        raise InputError("symmetry_cfg", env.env.settings.name, "a task with a mirror image", "Leave symmetry_cfg out.")
    seen = None
    if obs is not None:
        groups = {name: _with_mirror(cast(Tensor, value), symmetry.groups[str(name)]) for name, value in obs.items()}
        seen = TensorDict(groups, batch_size=[2 * obs.batch_size[0]], device=obs.device)
    return seen, None if actions is None else _with_mirror(actions, symmetry.action)


def _with_mirror(value: Tensor, mirror: MirrorMap) -> Tensor:
    index, sign = mirror
    return torch.cat([value, value[:, torch.as_tensor(index)] * torch.as_tensor(sign, dtype=value.dtype, device=value.device)])
