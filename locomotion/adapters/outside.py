"""What environments of somebody else's have in common, once they are ours: bounds, rewards, ends, figures, and errors in one line."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.spaces.utils import flatten_space
from torch import Tensor, nn

from locomotion.environment import (
    ActionSpace,
    BrokenEnvironmentError,
    DiscreteActions,
    Ended,
    Environment,
    NotFiniteError,
    Observations,
    Spaces,
    Transition,
)
from robots.errors import InputError

LONGEST = 10_000  # steps of an episode that is scored


class OutsideEnvironment:
    """N environments called ``name``, as far as they are alike. A subclass starts and steps them, and hands on what came of it.

    Observations are flattened to one vector; the actor and the critic see the same. Actions are clipped to their bounds.
    ``score`` is the mean return of the episodes that ended since the last :meth:`statistics`.
    """

    def __init__(self, name: str, num_envs: int, seed: int, observed: spaces.Space, acted: spaces.Space, step_seconds: float) -> None:
        self.name, self.num_envs, self.device, self.step_seconds = name, num_envs, torch.device("cpu"), step_seconds
        width, self._choices = _width(name, observed), isinstance(acted, spaces.Discrete)
        self.spaces = Spaces({"actor": width, "critic": width}, _actions(name, acted), None)
        self._generator = torch.Generator().manual_seed(seed)
        self._observation = np.zeros((num_envs, width), dtype=np.float32)
        self._last_score: float | None = None
        self._restart()

    @property
    def observations(self) -> Observations:
        return self._groups(self._observation)

    def seed(self, seed: int) -> None:
        self._generator.manual_seed(seed)

    def rewards(self) -> Tensor:
        reward = np.stack(self._rewards) if self._rewards else np.zeros((0, self.num_envs), np.float32)
        self._rewards, self._ended = [], []
        if not np.isfinite(reward).all():
            raise NotFiniteError("reward", float(reward[~np.isfinite(reward)][0]), "a number", f"{self.name} gave it.")
        return torch.from_numpy(reward)

    def ended(self) -> Ended:
        none = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, self._observation.shape[1]), np.float32))
        steps, rows, last = (np.concatenate(parts) for parts in zip(none, *self._ended, strict=True))
        return Ended(torch.from_numpy(steps), torch.from_numpy(rows), self._groups(last))

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

    def _took(self, reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, rows: np.ndarray, last: np.ndarray) -> Transition:
        """Note a step: rewards and flags [N], and the last observations [K, W] of the ``rows`` [K] that ended. New ones stand already."""
        if not np.isfinite(self._observation).all() or not np.isfinite(last).all():
            raise NotFiniteError("observation", "not finite", "numbers", f"{self.name} gave it.")
        self._returns += reward
        self._lengths += 1
        if len(rows):
            self._ended.append((np.full(len(rows), len(self._rewards)), rows, last))
            self._finished += zip(self._returns[rows].tolist(), self._lengths[rows].tolist(), strict=True)
            self._returns[rows], self._lengths[rows] = 0.0, 0
        self._rewards.append(reward)
        return Transition(self.observations, torch.from_numpy(terminated), torch.from_numpy(truncated))

    def _restart(self) -> None:
        """Episodes begin anew, and there are no steps that nobody has asked about."""
        self._returns, self._lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=np.int64)
        self._rewards: list[np.ndarray] = []
        self._ended: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # step, row and last observation of each
        self._finished: list[tuple[float, int]] = []

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
def theirs(name: str) -> Iterator[None]:
    """Whatever an environment of somebody else's raises, said in one line. Raises BrokenEnvironmentError."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})."
        raise BrokenEnvironmentError("env", name, "an environment that can be made, reset, stepped and closed", said) from error


def _width(name: str, space: spaces.Space) -> int:
    try:
        flat = flatten_space(space)
    except NotImplementedError:
        flat = None
    if not isinstance(flat, spaces.Box) or not flat.shape[0]:
        raise InputError("env", name, "observations of a fixed length", f"It has {space}: wrap it.")
    return int(flat.shape[0])


def _actions(name: str, space: spaces.Space) -> ActionSpace | DiscreteActions:
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
    raise InputError("env", name, "actions Box [A] with finite bounds, or Discrete from 0", f"It has {space}: wrap it.")


def returns(env: Environment, actor: nn.Module) -> np.ndarray:
    """[N] undiscounted returns of ``actor`` without exploration, of the first episode of each of ``env``, which is closed.

    An episode without an end counts as it is after ``LONGEST`` steps.
    """
    total, running = np.zeros(env.num_envs), np.ones(env.num_envs, dtype=bool)
    size = getattr(actor, "memory_size", 0)
    memory = torch.zeros(env.num_envs, size)
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
