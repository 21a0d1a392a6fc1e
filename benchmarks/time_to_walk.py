"""Score against wall time over several seeds: train each, then score its snapshots. Nothing else should be running."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import robots
from benchmarks.common import settings
from benchmarks.task_step import ratio
from locomotion import build
from locomotion.evaluation import scorecard
from locomotion.evaluation.rollout import load_policy
from locomotion.export import export_checkpoint
from locomotion.runs import checkpoint
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.task.randomization import NOMINAL

EPISODES = 72


def train(seed: int, folder: Path, words: list[str]) -> None:
    words = [f"seed={seed}", f"run={folder}", "snapshot_every=15", *words]
    subprocess.run([sys.executable, "-m", "locomotion.cli", "train", *words], check=True, stdout=subprocess.DEVNULL)


def score(folder: Path) -> list[dict[str, Any]]:
    """A row a snapshot by the quick scorecard; the last row is of best.pt's bundle, by the whole scorecard, randomized too."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("checkpoints/*.pt")):
        state = checkpoint.load(path)
        trained = check(TrainSettings, state["config"])
        policy = build.policy(trained, state["learner"]["actor"])
        row = scorecard.quick(policy, robots.load(trained.robot), trained.task.control_dt)
        rows.append({"seconds": state["seconds"], "steps": state["steps"], **row})
        print(f"{folder.name} {state['seconds']:6.1f} s {row['tracking']:.3f} {row['yaw']:.3f} {row['falls']:.3f}", flush=True)
    bundle = folder / "policy.onnx"
    export_checkpoint(folder / "best.pt", bundle)
    policy = load_policy(bundle)
    last: dict[str, Any] = {"seconds": checkpoint.load(folder / "last.pt")["seconds"]}
    for name, condition in (("nominal", NOMINAL), ("randomized", settings().randomization)):
        last[name] = scorecard.evaluate(policy, policy.robot, "mujoco", condition, EPISODES, 0)
    return [*rows, last]


def first_time(rows: list[dict[str, Any]], tracking: float, yaw: float, falls: float) -> float | None:
    """Seconds of training until a snapshot reaches all three."""
    for row in rows[:-1]:
        if row["tracking"] >= tracking and row["yaw"] >= yaw and row["falls"] <= falls:
            return row["seconds"]
    return None


def plot(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    for axis, key in zip(figure.subplots(1, 2, sharey=True), ("tracking", "yaw"), strict=True):
        for seed, rows in results.items():
            axis.plot([row["seconds"] for row in rows[:-1]], [row[key] for row in rows[:-1]], label=f"seed {seed}", lw=1.2)
        axis.axhline(0.8, color="k", lw=0.5, ls=":")
        axis.set(title=f"{key} score, nominal MuJoCo", xlabel="s of training", ylim=(0.3, 1))
        axis.grid(alpha=0.25)
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--output", type=Path, default=Path("runs/time_to_walk"))
    parser.add_argument("settings", nargs="*", help="key=value for every training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    raw = ratio(256, rounds=21)[0]
    for seed in options.seeds:  # all training before any scoring, each alone on the machine
        if not (options.output / f"seed_{seed}" / "last.pt").exists():
            train(seed, options.output / f"seed_{seed}", options.settings)
    results = {str(seed): score(options.output / f"seed_{seed}") for seed in options.seeds}
    (options.output / "scores.json").write_text(json.dumps({"raw": raw, "seeds": results}, indent=1))
    plot(results, options.output / "time_to_walk.png")
    print(f"raw physics {raw:,.0f} control steps/s; million raw steps = seconds x raw")
    for seed, rows in results.items():
        last = rows[-1]
        walks, good = first_time(rows, 0.8, 0.8, 0.01), first_time(rows, 0.9, 0.9, 0.0)
        scores = {
            name: " ".join(f"{last[name][key]:.3f}" for key in ("tracking_score", "yaw_score", "fall_rate"))
            for name in ("nominal", "randomized")
        }
        million, end = None if walks is None else round(walks * raw / 1e6, 2), last["seconds"]
        print(f"seed {seed}: 0.80/0.80/0.01 after {walks} s ({million} M raw), 0.90/0.90/0 after {good} s, end {end:.0f} s {scores}")


if __name__ == "__main__":
    main()
