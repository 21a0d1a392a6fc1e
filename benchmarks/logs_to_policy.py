"""From logs of a deployed policy to a better one: simulated deployments, a dataset of their logs, BC and IQL on it, and their scorecards.

    python -m benchmarks.logs_to_policy policy=mediocre.onnx output=runs/logs_to_policy

The robot is the simulated one with noisy sensors, behind supervisor and guard, in simulated time; each run has another script, floor,
payload, delay and noise. A run that falls ends there, as it would on a robot, and the next one begins. Nothing after the runs looks at
what only the simulator knows, but for the scorecards at the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from deploy.hil.simulated_robot import Conditions
from locomotion.deployment import run_deployment

DEFAULTS = {"policy": "", "output": "runs/logs_to_policy", "minutes": "10", "seed": "0", "iql": "48", "bc": "60", "learners": "1"}
RANGE = np.array([[-1.0, 1.5], [-0.6, 0.6], [-1.0, 1.0]])  # forward, left, yaw
FIGURES = ("tracking_score", "yaw_score", "fall_rate")
HOLD, RAMP, STANDING = 4.0, 0.6, 0.12  # s, s, share of commands


def script(rng: np.random.Generator, seconds: float) -> list[tuple[float, list[float]]]:
    """Commands over their whole range, held for HOLD s, each come to in a ramp as from a person's stick."""
    rows, last = [], np.zeros(3)
    for start in np.arange(0.0, seconds, HOLD):
        new = np.zeros(3) if rng.random() < STANDING else rng.uniform(*RANGE.T)
        rows += [(float(start + (k - 1) * RAMP / 6), (last + (new - last) * k / 6).tolist()) for k in range(1, 7)]
        last = new
    return rows


def deployed(policy: Path, folder: Path, minutes: float, seed: int) -> list[Path]:
    """Logs of ``minutes`` of walking in all."""
    logs, walked = [], 0.0
    while walked < 60.0 * minutes:
        number = len(logs)
        rng = np.random.default_rng([seed, number])
        conditions = Conditions(
            noise=1.0, friction=float(rng.uniform(0.6, 1.0)), payload=float(rng.uniform(0.0, 1.0)),
            delay=float(rng.choice([0.0, 0.004])), seed=number,
        )  # fmt: skip
        way = {"name": "sim", "hurry": True, "conditions": conditions}
        summary = run_deployment(policy, 62.0, script(rng, 56.0), {}, folder / f"{number:02d}", way)
        walked += summary["seconds"].get("walk", 0.0)
        logs.append(folder / f"{number:02d}" / "deploy_log.mcap")
        print(f"{logs[-1]}: {summary['final_state']}, {walked:.0f} s of walking so far", flush=True)
    return logs


def locomotion(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "locomotion.cli", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    given = {**DEFAULTS, **dict(word.split("=", 1) for word in sys.argv[1:])}
    output, policy = Path(given["output"]), Path(given["policy"])
    logs = deployed(policy, output / "logs", float(given["minutes"]), int(given["seed"]))
    locomotion("dataset", "from-logs", *logs, f"output={output / 'data'}")
    bundles = {"logged": policy}
    for name in ("bc", "iql"):
        for seed in range(1, int(given["learners"]) + 1):
            run = output / f"{name}_{seed}"
            locomotion(
                "offline", f"algorithm={name}", f"dataset={output / 'data'}", f"run={run}", f"seed={seed}", f"iterations={given[name]}",
                "score_every=0",
            )  # fmt: skip
            locomotion("export", f"checkpoint={run / 'last.pt'}", f"output={run / 'policy.onnx'}")
            bundles[f"{name} seed {seed}"] = run / "policy.onnx"
    print(f"{'tracking, yaw, falls':24}{'nominal':26}randomized with pushes")
    for name, bundle in bundles.items():
        card = output / f"{name.replace(' ', '_')}.json"
        locomotion("evaluate", f"policy={bundle}", "gait=false", f"output={card}")
        scores = json.loads(card.read_text())["scores"]["mujoco"]
        figures = ["   ".join(f"{scores[part][key]:.3f}" for key in FIGURES) for part in ("nominal", "randomized")]
        print(f"{name:24}{figures[0]:26}{figures[1]}", flush=True)


if __name__ == "__main__":
    main()
