"""A Gymnasium vector environment, by name or as an object, as one that our algorithms learn on."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.spaces.utils import flatten
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from torch import Tensor

from locomotion.adapters.gymnasium_environment import PREFIX, GymnasiumEnvironment
from locomotion.adapters.outside import OutsideEnvironment, theirs
from locomotion.environment import Environment, Observations, Transition
from robots.errors import InputError

VECTOR = "gymnasium_vec:"  # of the setting ``env``: all at once, as the environment's makers have it


def make(env: str, num_envs: int, seed: int) -> Environment:
    """What the setting ``env`` names: ``num_envs`` single environments, or a vector environment."""
    if not env.startswith(VECTOR):
        return GymnasiumEnvironment(env.removeprefix(PREFIX), num_envs, seed)
    identity = env.removeprefix(VECTOR)
    with warnings.catch_warnings(), theirs(env):
        warnings.simplefilter("ignore")
        try:
            made = gymnasium.make_vec(identity, num_envs)
        except (gymnasium.error.Error, ImportError) as error:
            raise InputError("env", env, "a vector environment that Gymnasium knows", str(error)) from error
    return VectorEnvironment(made, seed, env)


class VectorEnvironment(OutsideEnvironment):
    """``env`` itself, an :class:`~locomotion.environment.Environment`. A training on it cannot be resumed bit for bit, so not at all.

    Raises:
        InputError: one that begins episodes a step late, or whose spaces are not for our algorithms.
    """

    def __init__(self, env: gymnasium.vector.VectorEnv, seed: int, name: str | None = None) -> None:
        name = name or type(env.unwrapped).__name__
        self._env, self._space = env, env.single_observation_space
        # its own word first: the metadata of Gymnasium 1.1's vector environments are one dictionary for all
        mode = getattr(env.unwrapped, "autoreset_mode", None) or env.metadata.get("autoreset_mode")
        if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED) and not _restarts_rows(env.unwrapped):
            raise InputError(
                "env", f"{name} with autoreset_mode {mode}", "a vector environment whose rows can be begun anew at once: "
                "AutoresetMode.SAME_STEP or DISABLED, or Gymnasium's own SyncVectorEnv or AsyncVectorEnv (with shared memory)",
                f"Let it begin episodes in the step that ends them, or where reset(options={{'reset_mask': ...}}) says; or env={PREFIX}ID.",
            )  # fmt: skip
        self._restarts_itself = mode == AutoresetMode.SAME_STEP
        step_seconds = float(getattr(env.unwrapped, "dt", 1.0))
        super().__init__(name, env.num_envs, seed, self._space, env.single_action_space, step_seconds)
        self.reset()

    def reset(self) -> Observations:
        self._restart()
        with theirs(self.name):
            seen, _ = self._env.reset(seed=int(torch.randint(2**31 - self.num_envs, (), generator=self._generator)))
            self._observation[:] = _rows(self._space, seen, self.num_envs)
        return self.observations

    def step(self, action: Tensor) -> Transition:
        n, given = self.num_envs, self._bounded(action)
        with theirs(self.name):
            seen, reward, terminated, cut, infos = self._env.step(given)
            terminated, cut = np.array(terminated, dtype=bool), np.array(cut, dtype=bool)
            if len({np.shape(x) for x in (reward, terminated, cut)} - {(n,)}):
                raise ValueError(f"rewards and flags of shapes {np.shape(reward)}, {terminated.shape}, {cut.shape}: not [{n}]")
            rows, last = (terminated | cut).nonzero()[0], np.zeros((0, self._observation.shape[1]), np.float32)
            observation = _rows(self._space, seen, n)
            if len(rows) and self._restarts_itself:
                last = np.stack([np.asarray(flatten(self._space, infos["final_obs"][row]), dtype=np.float32) for row in rows])
            elif len(rows):
                last = observation[rows].astype(np.float32)
                seen, _ = self._env.reset(options={"reset_mask": terminated | cut})
                observation = _rows(self._space, seen, n)
            self._observation[:] = observation
        return self._took(np.array(reward, np.float32), terminated, cut & ~terminated, rows, last)

    def state_dict(self) -> dict[str, Any]:
        return {"identity": self.name}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises InputError: nobody knows what a vector environment remembers."""
        allowed, remedy = "an environment whose state can be come back to", "Begin from its weights: init=... run=NEW_FOLDER."
        raise InputError("resume", self.name, allowed, f"A vector environment's cannot. {remedy}")

    def close(self) -> None:
        with theirs(self.name):
            self._env.close()


def _restarts_rows(env: gymnasium.vector.VectorEnv) -> bool:
    """Whether ``reset`` takes a mask of rows although the next step would begin their episodes anew, which then does not."""
    return isinstance(env, SyncVectorEnv) or (isinstance(env, AsyncVectorEnv) and env.shared_memory)


def _rows(space: spaces.Space, seen: Any, n: int) -> np.ndarray:
    """[n, W] observations of all, as :func:`gymnasium.spaces.utils.flatten` lays out each."""
    if isinstance(space, spaces.Dict):
        return np.concatenate([_rows(part, seen[name], n) for name, part in space.spaces.items()], axis=1)
    if isinstance(space, spaces.Tuple):
        return np.concatenate([_rows(part, value, n) for part, value in zip(space.spaces, seen, strict=True)], axis=1)
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[np.asarray(seen) - space.start]
    array = np.asarray(seen)
    if not isinstance(space, spaces.Box | spaces.MultiBinary) or array.shape != (n, *(space.shape or ())):
        raise ValueError(f"observations of shape {list(array.shape)}, where {n} of {space} were expected")
    return array.reshape(n, -1)
