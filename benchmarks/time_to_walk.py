"""Score against wall time over several seeds: train each, then score its snapshots. Nothing else should be running."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

import robots
from locomotion import build, checkpoint, scorecard
from locomotion.config import compose
from locomotion.export import INPUTS


class TorchPolicy:
    """A checkpoint's policy with the interface of a loaded bundle; the export tests hold the two equal."""

    def __init__(self, path: Path) -> None:
        state = checkpoint.load(path)
        self.seconds, self.steps = state["seconds"], state["steps"]
        self._policy, settings = build.policy(state["config"], state["learner"]["actor"])
        self.contract = settings  # of which the scorecard reads control_dt

    def reset(self, batch: int) -> None:
        self.memory = torch.zeros(batch, self._policy.encoder.memory_size)

    def step(self, signals: dict) -> tuple:
        with torch.inference_mode():
            target, action, self.memory = self._policy(*(torch.as_tensor(signals[name]) for name in INPUTS[:-1]), self.memory)
        return target.numpy(), action.numpy()


def train(seed: int, folder: Path, iterations: int) -> None:
    words = [f"seed={seed}", f"run={folder}", f"iterations={iterations}", "snapshot_every=15"]
    subprocess.run([sys.executable, "-m", "locomotion.cli", "train", *words], check=True, stdout=subprocess.DEVNULL)


def score(folder: Path) -> list[dict]:
    """A row a snapshot; the last one under randomization too."""
    robot, rows = robots.load("unitree_go2"), []
    randomized = build.randomization(compose("train", [])["randomization"])
    paths = sorted(folder.glob("checkpoints/*.pt"))
    paths = [path for i, path in enumerate(paths) if i % 2 == 1 or path == paths[-1]]
    for path in paths:
        policy = TorchPolicy(path)
        row = {"seconds": policy.seconds, "steps": policy.steps}
        row["nominal"] = scorecard.evaluate(policy, robot, "mujoco", scorecard.NOMINAL, 36, 0)
        if path == paths[-1]:
            row["nominal"] = scorecard.evaluate(policy, robot, "mujoco", scorecard.NOMINAL, 72, 0)
            row["randomized"] = scorecard.evaluate(policy, robot, "mujoco", randomized, 72, 0)
        rows.append(row)
        n = row["nominal"]
        print(f"{folder.name} {row['seconds']:6.1f} s {n['tracking_score']:.3f} {n['yaw_score']:.3f} {n['fall_rate']:.3f}", flush=True)
    return rows


def first_time(rows: list[dict], tracking: float, yaw: float, falls: float) -> float | None:
    """Seconds of training until a snapshot reaches all three."""
    for row in rows:
        n = row["nominal"]
        if n["tracking_score"] >= tracking and n["yaw_score"] >= yaw and n["fall_rate"] <= falls:
            return row["seconds"]
    return None


def plot(results: dict[str, list[dict]], path: Path) -> None:
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    for axis, key in zip(figure.subplots(1, 2, sharey=True), ("tracking_score", "yaw_score"), strict=True):
        for seed, rows in results.items():
            axis.plot([row["seconds"] for row in rows], [row["nominal"][key] for row in rows], label=f"seed {seed}", lw=1.2)
        axis.axhline(0.8, color="k", lw=0.5, ls=":")
        axis.set(title=f"{key}, nominal MuJoCo", xlabel="s of training", ylim=(0.3, 1))
        axis.grid(alpha=0.25)
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--iterations", type=int, default=450)
    parser.add_argument("--output", type=Path, default=Path("runs/time_to_walk"))
    options = parser.parse_args()
    for seed in options.seeds:  # all training before any scoring, each alone on the machine
        if not (options.output / f"seed_{seed}" / "last.pt").exists():
            train(seed, options.output / f"seed_{seed}", options.iterations)
    results = {str(seed): score(options.output / f"seed_{seed}") for seed in options.seeds}
    (options.output / "scores.json").write_text(json.dumps(results, indent=1))
    plot(results, options.output / "time_to_walk.png")
    for seed, rows in results.items():
        last = rows[-1]
        walks, good = first_time(rows, 0.8, 0.8, 0.01), first_time(rows, 0.9, 0.9, 0.0)
        scores = {
            name: " ".join(f"{last[name][key]:.3f}" for key in ("tracking_score", "yaw_score", "fall_rate"))
            for name in ("nominal", "randomized")
        }
        print(f"seed {seed}: 0.80/0.80/0.01 after {walks} s, 0.90/0.90/0 after {good} s; at {last['seconds']:.0f} s {scores}")


if __name__ == "__main__":
    main()
