"""Any Gymnasium environment as one that our algorithms learn on.

Every episode begins from a seed of its own, so that its state is a function of that seed and of the actions since: that is what
a checkpoint keeps, and what a resumed run plays again. It holds for every environment that its seed determines, and is checked.
"""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections.abc import Iterator
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.spaces.utils import flatten, flatten_space
from torch import Tensor, nn

from locomotion.environment import (
    ActionSpace,
    BrokenEnvironmentError,
    DiscreteActions,
    Ended,
    NotFiniteError,
    Observations,
    Spaces,
    Transition,
)
from robots.errors import InputError

PREFIX = "gymnasium:"  # of the setting ``env``
LONGEST = 10_000  # steps of an episode that is scored


class GymnasiumEnvironment:
    """``num_envs`` copies of the environment ``identity``, an :class:`~locomotion.environment.Environment`.

    Observations are flattened to one vector; the actor and the critic see the same. Actions are clipped to their bounds.
    ``score`` is the mean return of the episodes that ended since the last :meth:`statistics`.
    """

    def __init__(self, identity: str, num_envs: int, seed: int) -> None:
        self.identity, self.num_envs, self.device = identity, num_envs, torch.device("cpu")
        self._envs = [_make(identity) for _ in range(num_envs)]
        one = self._envs[0]
        self._space = one.observation_space
        self._plain = isinstance(self._space, spaces.Box) and len(self._space.shape) == 1
        width, self._choices = _width(identity, one), isinstance(one.action_space, spaces.Discrete)
        self.spaces = Spaces({"actor": width, "critic": width}, _actions(identity, one), None)
        self.step_seconds = float(getattr(one.unwrapped, "dt", 1.0))
        self._generator = torch.Generator().manual_seed(seed)
        self._seeds = np.zeros(num_envs, dtype=np.int64)
        self._played: list[list[np.ndarray]] = [[] for _ in range(num_envs)]  # actions since each episode began
        self._observation = np.zeros((num_envs, width), dtype=np.float32)
        self._returns = np.zeros(num_envs)
        self._last_score: float | None = None
        self.reset()

    @property
    def specification(self) -> str | None:
        """Gymnasium's own notation of the environment, as JSON; None where it has none, as of one made by a function."""
        try:
            return cast(Any, self._envs[0].spec).to_json()
        except ValueError:
            return None

    @property
    def observations(self) -> Observations:
        return self._groups(self._observation)

    def seed(self, seed: int) -> None:
        self._generator.manual_seed(seed)

    def reset(self) -> Observations:
        with _theirs(self.identity):
            for row in range(self.num_envs):
                self._begin(row)
        self._forget()
        return self.observations

    def step(self, action: Tensor) -> Transition:
        actions = self._bounded(action)
        reward, terminated, truncated = np.zeros(self.num_envs, np.float32), *np.zeros((2, self.num_envs), dtype=bool)
        with _theirs(self.identity):
            for row, env in enumerate(self._envs):
                observation, reward[row], terminated[row], cut, _ = env.step(actions[row])
                truncated[row] = cut and not terminated[row]
                self._played[row].append(actions[row])
                self._returns[row] += reward[row]
                self._observation[row] = self._flat(observation)
                if terminated[row] or truncated[row]:
                    self._ended.append((len(self._rewards), row, self._observation[row].copy()))
                    self._finished.append((self._returns[row], len(self._played[row])))
                    self._begin(row)
        if not np.isfinite(self._observation).all():
            raise NotFiniteError("observation", "not finite", "numbers", f"{self.identity} gave it.")
        self._rewards.append(reward)
        return Transition(self.observations, torch.from_numpy(terminated), torch.from_numpy(truncated))

    def rewards(self) -> Tensor:
        reward = np.stack(self._rewards) if self._rewards else np.zeros((0, self.num_envs), np.float32)
        self._rewards, self._ended = [], []
        if not np.isfinite(reward).all():
            raise NotFiniteError("reward", float(reward[~np.isfinite(reward)][0]), "a number", f"{self.identity} gave it.")
        return torch.from_numpy(reward)

    def ended(self) -> Ended:
        steps, rows, last = zip(*self._ended, strict=True) if self._ended else ((), (), ())
        observations = np.stack(last) if last else np.zeros((0, self._observation.shape[1]), np.float32)
        return Ended(torch.tensor(steps, dtype=torch.int64), torch.tensor(rows, dtype=torch.int64), self._groups(observations))

    def statistics(self) -> dict[str, float]:
        figures = {"episodes": float(len(self._finished))}
        if self._finished:
            returns, lengths = np.mean(self._finished, axis=0)
            self._last_score = float(returns)
            figures |= {"episode/length": float(lengths)}
            self._finished = []
        if self._last_score is None:  # no episode has ended yet
            return figures
        return figures | {"score": self._last_score, "episode/return": self._last_score}

    def policy(self, actor: nn.Module) -> nn.Module:
        """``actor`` itself: there is nothing around it."""
        return actor

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
        played = np.split(state["played"].numpy(), np.cumsum(state["lengths"].numpy())[:-1])
        with _theirs(self.identity):
            for row, actions in enumerate(played):
                self._again(row, int(state["seeds"][row]), actions[:, 0] if self._choices else actions)
        self._forget()
        if not np.array_equal(self._observation, state["observation"].numpy()):
            raise InputError(
                "resume", self.identity, "an environment that its seed and the actions determine",
                "It came to another state: go on with its weights alone (init=...).",
            )  # fmt: skip

    def close(self) -> None:
        with _theirs(self.identity):
            for env in self._envs:
                env.close()

    def _begin(self, row: int) -> None:
        self._start(row, int(torch.randint(2**31, (), generator=self._generator)))

    def _start(self, row: int, seed: int) -> None:
        self._seeds[row], self._played[row], self._returns[row] = seed, [], 0.0
        self._observation[row] = self._flat(self._envs[row].reset(seed=seed)[0])

    def _again(self, row: int, seed: int, actions: np.ndarray) -> None:
        self._start(row, seed)
        for action in actions:
            observation, reward, *_ = self._envs[row].step(action)
            self._played[row].append(action)
            self._returns[row] += np.float32(reward)
            self._observation[row] = self._flat(observation)

    def _forget(self) -> None:
        """There are no steps that nobody has asked about."""
        self._rewards: list[np.ndarray] = []
        self._ended: list[tuple[int, int, np.ndarray]] = []
        self._finished: list[tuple[float, int]] = []

    def _flat(self, observation: Any) -> np.ndarray:
        flat = np.asarray(observation if self._plain else flatten(self._space, observation))
        if flat.shape != self._observation.shape[1:]:  # numpy would repeat a single number
            raise ValueError(f"an observation of shape {list(flat.shape)}, where its space has {list(self._observation.shape[1:])}")
        return flat

    def _bounded(self, action: Tensor) -> np.ndarray:
        """What the environments are given; a copy."""
        bounds = self.spaces.action
        if isinstance(bounds, DiscreteActions):
            return action.numpy().copy()
        if not bool(torch.isfinite(action).all()):
            raise NotFiniteError("action", "not finite", "numbers", "Learning has diverged: lower its rate.")
        return torch.minimum(torch.maximum(action, bounds.low), bounds.high).numpy().copy()

    def _groups(self, observation: np.ndarray) -> Observations:
        tensor = torch.from_numpy(observation.copy())
        return {"actor": tensor, "critic": tensor}


@contextlib.contextmanager
def _theirs(identity: str) -> Iterator[None]:
    """Whatever an environment of somebody else's raises, said in one line. Raises BrokenEnvironmentError."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})."
        raise BrokenEnvironmentError(
            "env", PREFIX + identity, "an environment that can be made, reset, stepped and closed", said
        ) from error


def _make(identity: str) -> gymnasium.Env[Any, Any]:
    with warnings.catch_warnings(), _theirs(identity):
        warnings.simplefilter("ignore")
        try:
            return gymnasium.make(identity, disable_env_checker=True)
        except (gymnasium.error.Error, ImportError) as error:
            raise InputError("env", PREFIX + identity, "an environment that Gymnasium knows", str(error)) from error


def _width(identity: str, env: gymnasium.Env[Any, Any]) -> int:
    try:
        space = flatten_space(env.observation_space)
    except NotImplementedError:
        space = None
    if not isinstance(space, spaces.Box) or not space.shape[0]:
        raise InputError("env", PREFIX + identity, "observations of a fixed length", f"It has {env.observation_space}: wrap it.")
    return int(space.shape[0])


def _actions(identity: str, env: gymnasium.Env[Any, Any]) -> ActionSpace | DiscreteActions:
    space = env.action_space
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return DiscreteActions(int(space.n))
    if (
        isinstance(space, spaces.Box)
        and len(space.shape) == 1
        and space.shape[0]
        and np.isfinite(space.low).all()
        and np.isfinite(space.high).all()
    ):
        return ActionSpace(torch.from_numpy(space.low.astype(np.float32)), torch.from_numpy(space.high.astype(np.float32)))
    raise InputError("env", PREFIX + identity, "actions Box [A] with finite bounds, or Discrete from 0", f"It has {space}: wrap it.")


def returns(identity: str, actor: nn.Module, episodes: int, seed: int) -> np.ndarray:
    """[episodes] undiscounted returns of ``actor`` without exploration, in ``episodes`` copies of the environment at once.

    An episode without an end counts as it is after ``LONGEST`` steps.
    """
    env = GymnasiumEnvironment(identity, episodes, seed)
    total, running = np.zeros(episodes), np.ones(episodes, dtype=bool)
    size = getattr(actor, "memory_size", 0)
    memory = torch.zeros(episodes, size)
    with torch.inference_mode():
        for _ in range(LONGEST):
            if not running.any():
                break
            seen = env.observations["actor"]
            figures, memory = cast(Any, actor).step(seen, memory) if size else (actor(seen), memory)
            step = env.step(figures.argmax(dim=-1) if isinstance(env.spaces.action, DiscreteActions) else figures)
            total += np.where(running, env.rewards()[0].numpy(), 0.0)
            running &= ~(step.terminated | step.truncated).numpy()
    env.close()
    return total
