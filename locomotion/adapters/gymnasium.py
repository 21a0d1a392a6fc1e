"""An environment of ours as Gymnasium's: a vector environment, and a single one. For learners of other libraries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from locomotion import build, plugins
from locomotion.config import compose, quoted
from locomotion.environment import Environment, Transition
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.task.observations import LIMIT
from locomotion.task.task import Task
from robots.errors import InputError

STAGGER = "stagger"  # of the options of reset()
OWN = ("task.", "sim", "randomization", "seed", "plugins")  # what overrides may begin with: the rest is in the name, or a learner's


def make_task(robot: str, task: str, num_envs: int, overrides: Sequence[str] = ()) -> Task:
    """``task`` (a file of ``configs/task``) on ``robot``, ``num_envs`` times.

    ``overrides`` are as on the command line: ``["randomization=none", "seed=3", "task.episode_seconds=10"]``.

    Raises:
        InputError: a robot, task or setting that is unknown or out of its bounds.
    """
    if isinstance(num_envs, bool) or not isinstance(num_envs, int | np.integer):
        raise InputError("num_envs", num_envs, "an integer of at least 1", "For example 64.")
    for word in [overrides] if isinstance(overrides, str) or not isinstance(overrides, Sequence) else overrides:
        if not isinstance(word, str) or isinstance(overrides, str) or not word.lstrip("+").startswith(OWN):
            allowed = "a list of key=value whose keys begin with " + ", ".join(OWN)
            raise InputError(
                "overrides", word, allowed, 'For example ["seed=3"]. Robot and task are in the name, num_envs stands beside it.'
            )
    words = [f"robot={quoted(robot)}", f"task={task}", "algorithm=ppo", f"algorithm.num_envs={num_envs}"]
    settings = check(TrainSettings, compose("train", [*words, *overrides]))
    plugins.load(settings.plugins)
    return build.task(settings)


def make(robot: str, task: str, overrides: Sequence[str] = (), render_mode: None = None, **others: Any) -> Env:
    """What ``gymnasium.make`` calls. See :func:`make_task`."""
    _refuse(others, "gymnasium.make takes overrides")
    if render_mode is not None:
        raise InputError("render_mode", render_mode, "None", "Export the policy, and watch it with 'locomotion play'.")
    return Env(make_task(robot, task, 1, overrides))


def make_vec(robot: str, task: str, num_envs: int = 1, overrides: Sequence[str] = (), **others: Any) -> VectorEnv:
    """What ``gymnasium.make_vec`` calls. See :func:`make_task`."""
    _refuse(others, "gymnasium.make_vec takes num_envs and overrides")
    return VectorEnv(make_task(robot, task, num_envs, overrides))


def _refuse(others: dict[str, Any], takes: str) -> None:
    for name, value in others.items():
        raise InputError(name, value, f"nothing: {takes} alone", 'Settings go into overrides=["seed=3", "task.episode_seconds=10"].')


class VectorEnv(gymnasium.vector.VectorEnv):
    """The actor's observations and raw actions; episodes restart in the same step.

    ``infos["final_obs"]`` holds, for the rows in ``infos["_final_obs"]``, the observation in which an episode ended, terminated
    or truncated; ``final_info`` is empty. Actions are bounded by what they can change (joint limits over scale).
    """

    def __init__(self, env: Environment) -> None:
        self.env, self.num_envs = env, env.num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}
        self.single_observation_space, self.single_action_space = _spaces(env)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, self.num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self._new = env.state_dict()

    def reset(self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start an episode everywhere. With a ``seed`` all that follows is as in an environment newly made, curricula included.

        Of a task the first episodes are of different lengths, so that time-outs are spread: a learner learns best so. Returns
        are measured over whole episodes: ``options={"stagger": False}``.
        """
        if seed is not None and not isinstance(seed, int | np.integer):
            raise InputError("seed", seed, "one integer for all environments, or None", "They share one generator.")
        _start(self.env, self._new, seed, _option(options))
        return _array(self.env.observations["actor"]), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance all environments by one control step."""
        (observations, terminated, truncated), reward, rows, last = _step(self.env, actions)
        infos: dict[str, Any] = {}
        if len(rows):
            final = np.zeros((self.num_envs, last.shape[1]), dtype=np.float32)
            final[rows] = last
            mask = np.isin(np.arange(self.num_envs), rows)
            infos = {"final_obs": final, "_final_obs": mask, "final_info": {}, "_final_info": mask.copy()}
        return _array(observations["actor"]), reward, _array(terminated), _array(truncated), infos

    def close_extras(self, **kwargs: Any) -> None:
        self.env.close()


class Env(gymnasium.Env[np.ndarray, np.ndarray]):
    """One environment. It does not restart by itself, and all its episodes are whole."""

    metadata = {"render_modes": []}

    def __init__(self, env: Task) -> None:
        self.env, self._new, self._over = env, env.state_dict(), True
        self.observation_space, self.action_space = _spaces(env)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode. With a ``seed`` all that follows is as in an environment newly made, curricula included."""
        super().reset(seed=seed)
        _start(self.env, self._new, seed, stagger=False)
        self._over = False
        return _array(self.env.observations["actor"][0]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by one control step. Raises InputError where the episode is over."""
        if self._over:
            raise InputError("step", "an episode that is over", "a reset before", "Call reset().")
        (observations, terminated, truncated), reward, _, last = _step(self.env, np.asarray(action)[None])
        self._over = bool(terminated[0] | truncated[0])
        observation = last[0] if self._over else _array(observations["actor"][0])
        return observation, float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}

    def close(self) -> None:
        self.env.close()


def _spaces(env: Environment) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    size, action = env.spaces.groups["actor"], env.spaces.continuous("gymnasium")
    bound = LIMIT if isinstance(env, Task) else np.inf
    observation = gymnasium.spaces.Box(-bound, bound, (size,), np.float32)
    return observation, gymnasium.spaces.Box(action.low.cpu().numpy(), action.high.cpu().numpy(), dtype=np.float32)


def _option(options: dict[str, Any] | None) -> bool:
    """Whether first episodes are to be of different lengths."""
    stagger = (options or {}).get(STAGGER, True)
    if not isinstance(stagger, bool):
        raise InputError(f"options[{STAGGER!r}]", stagger, "True or False", "False: whole episodes from the beginning.")
    return stagger


def _start(env: Environment, new: dict[str, Any], seed: int | None, stagger: bool) -> None:
    with torch.inference_mode():
        if seed is not None:
            env.load_state_dict(new)
            env.seed(int(seed))
        env.reset()
        if not stagger and isinstance(env, Task):
            env.elapsed = torch.zeros_like(env.elapsed)


def _step(env: Environment, actions: np.ndarray) -> tuple[Transition, np.ndarray, np.ndarray, np.ndarray]:
    """The transition, its rewards [N], and the rows [K] that ended with their last observations [K, W]."""
    shape, given = (env.num_envs, env.spaces.continuous("gymnasium").size), np.shape(actions)
    if given != shape:
        raise InputError("action", list(given), f"numbers of shape {list(shape)}", "As action_space.sample() gives them.")
    with torch.inference_mode():
        transition = env.step(torch.as_tensor(np.ascontiguousarray(actions, dtype=np.float32), device=env.device))
        ended = env.ended()
        return transition, _array(env.rewards()[-1]), _array(ended.rows), _array(ended.observations["actor"])


def _array(tensor: torch.Tensor) -> np.ndarray:
    """A copy that is the caller's."""
    return np.array(tensor.cpu().numpy())
