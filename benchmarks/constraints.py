"""Constraints three ways on Go2 velocity_flat: as penalties, as terminations (CaT) and by Lagrange multipliers.

Each trains from the same seeds and steps, and is scored by the whole scorecard; violations are of the last tenth of training, with
exploration, pushes and randomization, so that they compare at the tracking that the table shows beside them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import machine
from locomotion.evaluation import scorecard
from locomotion.evaluation.rollout import load_policy
from locomotion.export import export_checkpoint
from locomotion.runs.folder import read_metrics
from locomotion.task.randomization import NOMINAL

# torque asked for beyond the motors' limits, joints beyond 95 % of their range, and faster than 80 % of the motors' limits
CONSTRAINTS = {"torque_over_limit": "{}", "joint_limits": "{share: 0.95}", "joint_vel_limits": "{share: 0.8}"}
TOLD = [f"task.constraints.{name}={settings}" for name, settings in CONSTRAINTS.items()]
NO_PENALTY = ["task.rewards.torque_over_limit=null"]
PENALTIES = ["task.rewards.joint_limits={weight: -1.0, share: 0.95}", "task.rewards.joint_vel_limits={weight: -0.1, share: 0.8}"]
VARIANTS = {
    "none": [*TOLD, *NO_PENALTY],
    "penalty": [*TOLD, *PENALTIES],
    "cat": [*TOLD, *NO_PENALTY, "algorithm=cat"],
    "lagrangian": [*TOLD, *NO_PENALTY, "algorithm=lagrangian"],
}
EPISODES = 72


def train(folder: Path, words: list[str]) -> None:
    command = [sys.executable, "-m", "locomotion.cli", "train", f"run={folder}", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def score(folder: Path) -> dict[str, float]:
    """Of a run's best policy, and of its training's last tenth."""
    rows = read_metrics(folder)
    late = rows[-max(1, len(rows) // 10) :]
    export_checkpoint(folder / "best.pt", folder / "policy.onnx")
    policy = load_policy(folder / "policy.onnx")
    card = scorecard.evaluate(policy, policy.robot, "mujoco", NOMINAL, EPISODES, 0)
    figures = {name: float(card[f"{name}_score"]) for name in ("tracking", "yaw")} | {"falls": float(card["fall_rate"])}
    for name in CONSTRAINTS:
        figures |= {f"{kind}/{name}": float(np.mean([row[f"{kind}/{name}"] for row in late])) for kind in ("violated", "cost")}
    return figures | {"seconds": rows[-1]["seconds"]}


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Means over seeds, violations in percent of steps."""
    names = list(CONSTRAINTS)
    head = " | ".join(f"{name}, % of steps (mean)" for name in names)
    lines = [f"| | tracking / yaw / falls | {head} | s |", "|---" * (len(names) + 3) + "|"]
    for variant, rows in results.items():
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        violated = [f"{100 * mean[f'violated/{name}']:.2f} ({mean[f'cost/{name}']:.4f})" for name in names]
        scores = f"{mean['tracking']:.3f} / {mean['yaw']:.3f} / {mean['falls']:.3f}"
        lines.append(f"| {variant} | {scores} | {' | '.join(violated)} | {mean['seconds']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--variants", nargs="+", choices=[*VARIANTS], default=[*VARIANTS])
    parser.add_argument("--output", type=Path, default=Path("runs/constraints"))
    parser.add_argument("settings", nargs="*", help="key=value for every training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for variant in options.variants:
        folders = [options.output / f"{variant}_{seed}" for seed in options.seeds]
        for seed, folder in zip(options.seeds, folders, strict=True):
            if not (folder / "policy.onnx").exists():
                train(folder, [f"seed={seed}", *VARIANTS[variant], *options.settings])
        results[variant] = [score(folder) for folder in folders]
        print(table(results), flush=True)
    (options.output / "scores.json").write_text(json.dumps(results, indent=1))
    print(f"seeds {options.seeds}, {machine()}")


if __name__ == "__main__":
    main()
