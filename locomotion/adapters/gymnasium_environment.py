"""Any Gymnasium environment as one that our algorithms learn on.

Every episode begins from a seed of its own, so that its state is a function of that seed and of the actions since: that is what
a checkpoint keeps, and what a resumed run plays again. It holds for every environment that its seed determines, and is checked.
"""

from __future__ import annotations

import warnings
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.spaces.utils import flatten
from torch import Tensor

from locomotion.adapters.outside import OutsideEnvironment, theirs
from locomotion.environment import Observations, Transition
from robots.errors import InputError

PREFIX = "gymnasium:"  # of the setting ``env``


class GymnasiumEnvironment(OutsideEnvironment):
    """``num_envs`` copies of the environment ``identity``, an :class:`~locomotion.environment.Environment`."""

    def __init__(self, identity: str, num_envs: int, seed: int) -> None:
        self.identity = identity
        self._envs = [_make(identity) for _ in range(num_envs)]
        one = self._envs[0]
        self._space = one.observation_space
        self._plain = isinstance(self._space, spaces.Box) and len(self._space.shape) == 1
        step_seconds = float(getattr(one.unwrapped, "dt", 1.0))
        super().__init__(PREFIX + identity, num_envs, seed, self._space, one.action_space, step_seconds)
        self._seeds = np.zeros(num_envs, dtype=np.int64)
        self._played: list[list[np.ndarray]] = [[] for _ in range(num_envs)]  # actions since each episode began
        self.reset()

    @property
    def specification(self) -> str | None:
        """Gymnasium's own notation of the environment, as JSON; None where it has none, as of one made by a function."""
        try:
            return cast(Any, self._envs[0].spec).to_json()
        except ValueError:
            return None

    def reset(self) -> Observations:
        self._restart()
        with theirs(self.name):
            for row in range(self.num_envs):
                self._begin(row)
        return self.observations

    def step(self, action: Tensor) -> Transition:
        actions, rows, last = self._bounded(action), [], []
        reward, terminated, truncated = np.zeros(self.num_envs, np.float32), *np.zeros((2, self.num_envs), dtype=bool)
        with theirs(self.name):
            for row, env in enumerate(self._envs):
                observation, reward[row], terminated[row], cut, _ = env.step(actions[row])
                truncated[row] = cut and not terminated[row]
                self._played[row].append(actions[row])
                self._observation[row] = self._flat(observation)
                if terminated[row] or truncated[row]:
                    rows.append(row)
                    last.append(self._observation[row].copy())
                    self._begin(row)
        shape = (len(rows), self._observation.shape[1])
        return self._took(reward, terminated, truncated, np.array(rows, np.int64), np.array(last, np.float32).reshape(shape))

    def state_dict(self) -> dict[str, Any]:
        kind, width = (np.int64, 1) if self._choices else (np.float32, self.spaces.action.size)
        played = [np.array(actions, dtype=kind).reshape(len(actions), width) for actions in self._played]
        return {
            "identity": self.identity,
            "generator": self._generator.get_state(),
            "seeds": torch.from_numpy(self._seeds.copy()),
            "played": torch.from_numpy(np.concatenate(played)),
            "lengths": torch.tensor([len(actions) for actions in self._played]),
            "observation": torch.from_numpy(self._observation.copy()),
            "last_score": self._last_score,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if len(state["seeds"]) != self.num_envs or state["identity"] != self.identity:
            there = f"{len(state['seeds'])} of {state['identity']}"
            raise InputError("resume", there, f"a checkpoint of {self.num_envs} environments of {self.identity}", "Start a new run.")
        self._generator.set_state(state["generator"])
        self._last_score = state["last_score"]
        self._restart()
        played = np.split(state["played"].numpy(), np.cumsum(state["lengths"].numpy())[:-1])
        with theirs(self.name):
            for row, actions in enumerate(played):
                self._again(row, int(state["seeds"][row]), actions[:, 0] if self._choices else actions)
        if not np.array_equal(self._observation, state["observation"].numpy()):
            raise InputError(
                "resume", self.identity, "an environment that its seed and the actions determine",
                "It came to another state: go on with its weights alone (init=...).",
            )  # fmt: skip

    def close(self) -> None:
        with theirs(self.name):
            for env in self._envs:
                env.close()

    def _begin(self, row: int) -> None:
        self._start(row, int(torch.randint(2**31, (), generator=self._generator)))

    def _start(self, row: int, seed: int) -> None:
        self._seeds[row], self._played[row] = seed, []
        self._observation[row] = self._flat(self._envs[row].reset(seed=seed)[0])

    def _again(self, row: int, seed: int, actions: np.ndarray) -> None:
        self._start(row, seed)
        for action in actions:
            observation, reward, *_ = self._envs[row].step(action)
            self._played[row].append(action)
            self._returns[row] += np.float32(reward)
            self._lengths[row] += 1
            self._observation[row] = self._flat(observation)

    def _flat(self, observation: Any) -> np.ndarray:
        flat = np.asarray(observation if self._plain else flatten(self._space, observation))
        if flat.shape != self._observation.shape[1:]:  # numpy would repeat a single number
            raise ValueError(f"an observation of shape {list(flat.shape)}, where its space has {list(self._observation.shape[1:])}")
        return flat


def _make(identity: str) -> gymnasium.Env[Any, Any]:
    with warnings.catch_warnings(), theirs(PREFIX + identity):
        warnings.simplefilter("ignore")
        try:
            return gymnasium.make(identity, disable_env_checker=True)
        except (gymnasium.error.Error, ImportError) as error:
            raise InputError("env", PREFIX + identity, "an environment that Gymnasium knows", str(error)) from error
