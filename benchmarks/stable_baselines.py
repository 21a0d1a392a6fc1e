"""stable-baselines3's PPO on the same task, through our adapter, scored by the same evaluator.

It gets our batched simulator (64 environments in one process, far faster than copies of a single one), its own PPO, a network
of our size, and settings that its documentation recommends for continuous control. Prints its scores against wall time.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecNormalize

import robots
from benchmarks.common import make_task
from locomotion.adapters.stable_baselines import Actor, StableBaselinesEnv
from locomotion.evaluation import scorecard


class Snapshots(BaseCallback):
    """Scores every ``interval`` seconds of training, outside the clock."""

    def __init__(self, task: Any, normalize: VecNormalize, interval: float) -> None:
        super().__init__()
        self._task, self._normalize, self._interval = task, normalize, interval
        self.rows: list[dict[str, float]] = []
        self._spent, self._began = 0.0, time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        now = self._spent + time.perf_counter() - self._began
        if now < self._interval * (len(self.rows) + 1):
            return
        self._spent = now
        scored = self._task.policy(Actor(self.model, self._normalize))
        n = scorecard.quick(scored, robots.load("unitree_go2"), self._task.step_seconds)
        self.rows.append({"seconds": now, "steps": self.num_timesteps, **n})
        print(
            f"{now:6.0f} s {self.num_timesteps:9,d} steps  {n['tracking']:.3f} {n['yaw']:.3f} falls {n['falls']:.3f}",
            flush=True,
        )
        self._began = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--ours", type=Path, default=Path("runs/time_to_walk/scores.json"))
    options = parser.parse_args()
    torch.set_num_threads(2)
    task = make_task(64)
    normalize = VecNormalize(StableBaselinesEnv(task), norm_reward=True, gamma=0.99)
    model = PPO(
        "MlpPolicy", normalize, n_steps=64, batch_size=512, n_epochs=10, learning_rate=3e-4, gamma=0.99, gae_lambda=0.95, seed=1,
        policy_kwargs={"net_arch": [128, 128], "activation_fn": torch.nn.ELU, "log_std_init": float(np.log(0.5))},
    )  # fmt: skip
    model.set_logger(Logger(None, []))  # its own leaves a folder behind
    snapshots = Snapshots(task, normalize, interval=30.0)

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return not snapshots.rows or snapshots.rows[-1]["seconds"] < options.seconds

    model.learn(10**9, callback=[snapshots, Stop()])
    best = max(snapshots.rows, key=lambda row: row["tracking"])
    print(f"best: {best['tracking']:.3f} tracking, {best['yaw']:.3f} yaw after {best['seconds']:.0f} s")
    if options.ours.exists():
        for seed, rows in json.loads(options.ours.read_text())["seeds"].items():
            reached = [row["seconds"] for row in rows[:-1] if row["tracking"] >= best["tracking"]]
            if reached:
                print(
                    f"  ours, seed {seed}: {reached[0]:.0f} s to its best tracking score, {best['seconds'] / reached[0]:.1f} times faster"
                )


if __name__ == "__main__":
    main()
