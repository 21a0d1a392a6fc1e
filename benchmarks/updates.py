"""Gradient steps a second of SAC, and steps a second of PPO: ours and stable-baselines3's, in the same run on the same work.

SAC: batches of 256 from a full buffer of Hopper's sizes (11 observations, 3 actions), networks of 256-256, sampling included; the two
take turns, so that what else the machine does slows both. PPO: an environment that costs nothing, 8 environments of 128 steps, 10
epochs of 4 minibatches, networks of 64-64, acting and learning.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from benchmarks.common import machine
from locomotion.algorithms.ppo import PPO, PPOSettings
from locomotion.algorithms.sac import SAC, SACSettings
from locomotion.config import compose
from locomotion.environment import ActionSpace, Ended, Observations, Spaces, Transition
from locomotion.schema import check

OBSERVATIONS, ACTIONS, ROUNDS = 11, 3, 12


class Nothing:
    """An environment that costs nothing: noise in, noise out."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.device, self.step_seconds = num_envs, torch.device("cpu"), 0.01
        bounds = torch.ones(ACTIONS)
        self.spaces = Spaces({"actor": OBSERVATIONS, "critic": OBSERVATIONS}, ActionSpace(-bounds, bounds), None)
        seen = torch.randn(num_envs, OBSERVATIONS)
        self.observations: Observations = {"actor": seen, "critic": seen}
        self._never, self._steps = torch.zeros(num_envs, dtype=torch.bool), 0

    def step(self, action: Tensor) -> Transition:
        self._steps += 1
        return Transition(self.observations, self._never, self._never)

    def rewards(self) -> Tensor:
        steps, self._steps = self._steps, 0
        return torch.zeros(steps, self.num_envs)

    def ended(self) -> Ended:
        none = torch.zeros(0, dtype=torch.int64)
        return Ended(none, none, {name: value[:0] for name, value in self.observations.items()})


class NothingGym(gymnasium.Env):
    """The same for stable-baselines3."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVATIONS,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)

    def __init__(self) -> None:
        self._seen = np.random.default_rng(0).standard_normal(OBSERVATIONS).astype(np.float32)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict]:
        return self._seen, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self._seen, 0.0, False, False, {}


def own(cls: Any, settings: Any, name: str, num_envs: int, *overrides: str, env: Any = None) -> Any:
    """A learner of ours with its own settings, but for ``overrides``, on nothing."""
    data = compose("train", [f"algorithm={name}", f"algorithm.num_envs={num_envs}", *(f"algorithm.{one}" for one in overrides)])[
        "algorithm"
    ]
    data.pop("name")
    return cls(check(settings, data, "algorithm"), env or Nothing(num_envs), 1, 1)


def silent(model: Any) -> Any:
    """A model that logs nowhere; its own logger leaves an empty folder in the temporary one, each time."""
    model.set_logger(Logger(None, []))
    return model


def sac_pair(updates: int) -> tuple[Callable[[], object], Callable[[], object]]:
    ours = own(SAC, SACSettings, "sac", 1, "capacity=20000")
    n = ours.replay.slots
    seen, after = torch.randn(n, 1, OBSERVATIONS), torch.randn(n, 1, OBSERVATIONS)
    action, reward, never = torch.rand(n, 1, ACTIONS) * 2 - 1, torch.randn(n, 1), torch.zeros(n, 1, dtype=torch.bool)
    groups = [{"actor": value, "critic": value} for value in (seen, after)]
    ours.replay.extend(groups[0], action, reward, groups[1], never, never)
    theirs = silent(stable_baselines3.SAC("MlpPolicy", DummyVecEnv([NothingGym]), buffer_size=n, batch_size=256, device="cpu"))
    buffer = theirs.replay_buffer
    assert buffer is not None
    for t in range(n):
        buffer.add(seen[t].numpy(), after[t].numpy(), action[t].numpy(), reward[t].numpy(), np.zeros(1), [{}])

    def learn() -> None:
        for _ in range(updates):
            ours.update(ours.sample(256))

    return learn, lambda: theirs.train(updates, 256)


def ppo_pair() -> tuple[Callable[[], object], Callable[[], object]]:
    changes = ("steps=128", "epochs=10", "minibatches=4", "actor_hidden=[64,64]", "critic_hidden=[64,64]", "symmetric=false")
    ours = own(PPO, PPOSettings, "ppo", 8, *changes)
    policy = {"net_arch": [64, 64]}
    env = DummyVecEnv([NothingGym] * 8)
    theirs = stable_baselines3.PPO("MlpPolicy", env, n_steps=128, batch_size=256, n_epochs=10, policy_kwargs=policy, device="cpu")
    return ours.iterate, lambda: theirs.learn(8 * 128)


def race(name: str, unit: str, work: int, pair: tuple[Callable[[], object], Callable[[], object]]) -> None:
    """Both in turns; the median of each."""
    seconds: list[list[float]] = [[], []]
    for i in range(ROUNDS + 2):
        for function, spent in zip(pair, seconds, strict=True):
            began = time.perf_counter()
            function()
            if i >= 2:
                spent.append(time.perf_counter() - began)
    ours, theirs = (work / float(np.median(spent)) for spent in seconds)
    print(f"{name}: {ours:,.0f} {unit}/s, stable-baselines3 {theirs:,.0f}: ratio {ours / theirs:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    logging.disable(logging.WARNING)
    for threads in parser.parse_args().threads:
        torch.set_num_threads(threads)
        print(f"{machine()}, stable-baselines3 {stable_baselines3.__version__}")
        race("SAC", "updates", 50, sac_pair(50))
        race("PPO", "steps", 8 * 128, ppo_pair())


if __name__ == "__main__":
    main()
