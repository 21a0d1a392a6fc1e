"""Gradient steps a second of IQL, ours and d3rlpy's, in turns, on the same data: batches of 256, Hopper's sizes, networks of 256-256,
sampling included.

    python -m benchmarks.offline_speed --threads 1 2
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from typing import Any

import d3rlpy
import numpy as np
import torch

from benchmarks.common import machine
from benchmarks.offline_parity import MAKERS, SMALLER, their_dataset
from benchmarks.updates import ACTIONS, OBSERVATIONS, Nothing
from locomotion.algorithms import ALGORITHMS
from locomotion.algorithms.replay import from_arrays
from locomotion.config import compose
from locomotion.schema import check

ROWS, EPISODE, UPDATES, ROUNDS = 20_000, 500, 50, 10


def arrays() -> dict[str, np.ndarray]:
    """Noise, in episodes that are cut off."""
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((ROWS, OBSERVATIONS), dtype=np.float32)
    cut = np.zeros(ROWS, dtype=bool)
    cut[EPISODE - 1 :: EPISODE] = True
    action, reward = rng.uniform(-1, 1, (ROWS, ACTIONS)).astype(np.float32), rng.standard_normal(ROWS, dtype=np.float32)
    return {"observations": seen, "actions": action, "rewards": reward, "terminals": np.zeros(ROWS, dtype=bool), "timeouts": cut}


def learner_of(name: str, data: dict[str, np.ndarray], *overrides: str) -> Any:
    """Ours with its own settings, but for ``overrides``, on ``data``."""
    seen, action, reward, ends, cut = (
        torch.from_numpy(data[key]) for key in ("observations", "actions", "rewards", "terminals", "timeouts")
    )
    settings: dict[str, Any] = compose("train", [f"algorithm={name}", *(f"algorithm.{one}" for one in overrides)])["algorithm"]
    cls = ALGORITHMS[settings.pop("name")]
    replay = from_arrays({"actor": seen}, action, reward, {"actor": seen.roll(-1, 0)}, ends, cut)
    own = check(cls.settings_type, settings | {"dataset": "-", "reward_scale": 1.0}, "algorithm")
    return cls(own, Nothing(1), 1, 1000, replay)


def ours(name: str, data: dict[str, np.ndarray]) -> Callable[[], object]:
    return learner_of(name, data, f"updates={UPDATES}", *(f"{word}={value}" for word, value in SMALLER.get(name, {}).items())).iterate


def theirs(name: str, data: dict[str, np.ndarray]) -> Callable[[], object]:
    dataset = their_dataset(data)
    learner = MAKERS[name](1_000_000)
    quiet = d3rlpy.logging.NoopAdapterFactory()
    learner.fit(dataset, n_steps=1, n_steps_per_epoch=1, logger_adapter=quiet, show_progress=False)  # which also fits its scaler

    def learn() -> None:
        for _ in range(UPDATES):
            learner.update(dataset.sample_transition_batch(learner.batch_size))

    return learn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--algorithms", nargs="+", default=["iql_gymnasium"])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    for threads in options.threads:
        torch.set_num_threads(threads)
        print(machine())
        for name in options.algorithms:
            pair, data = [], arrays()
            for make in (ours, theirs):
                pair.append(make(name, data))
            seconds: list[list[float]] = [[], []]
            for i in range(ROUNDS + 1):
                for function, spent in zip(pair, seconds, strict=True):
                    began = time.perf_counter()
                    function()
                    if i:
                        spent.append(time.perf_counter() - began)
            a, b = (UPDATES / float(np.median(spent)) for spent in seconds)
            print(f"{name}: {a:,.0f} updates/s, d3rlpy {b:,.0f}: ratio {a / b:.2f}", flush=True)


if __name__ == "__main__":
    main()
