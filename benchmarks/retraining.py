"""Does identification pay? A policy retrained on what was identified, beside the one it came from and ones retrained on other ranges.

    python -m benchmarks.retraining output=runs/retraining                  # all of it; what is there already is not done again
    python -m benchmarks.retraining output=runs/retraining seeds=2          # one seed, for several machines or processes at once

The "robot" is the simulated one with physics that nothing but the simulated robot and the scores at the end are told. Excited once for
less than a minute, behind the supervisor; its log is identified. An origin is trained on the default ranges from a seed; then three go
on from its weights for as many iterations each, of the same seed: on the default ranges (what more training alone gives), on the
identified, and on wide ones. All are scored on the plant in paired episodes: the same commands, beginnings and noise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from locomotion.evaluation import scorecard
from locomotion.evaluation.rollout import load_policy
from locomotion.files import write_json
from locomotion.runs import checkpoint
from locomotion.task.randomization import RandomizationSettings
from robots.errors import InputError

DEFAULTS = {"output": "runs/retraining", "seeds": "1,2,3", "iterations": "300", "more": "100", "motion": "50", "episodes": "36"}
STRENGTH, FRICTION, DAMPING, DELAY, PAYLOAD = 0.85, 1.5, 1.5, 0.012, 2.5  # 1, 1, 1, s, kg: what the plant hides
PLANT = {"noise": 1.0, "strength": STRENGTH, "joint_friction": FRICTION, "joint_damping": DAMPING, "delay": DELAY, "payload": PAYLOAD}
LIMITS = ("deploy.limits.pose_tolerance=0.4", "deploy.limits.wiggle=0.1")  # of a robot that sags, and whose legs stick
HIDDEN = {
    "motor_strength": STRENGTH, "joint_friction_scale": FRICTION, "joint_damping_scale": DAMPING, "action_delay": DELAY,
    "payload_mass": PAYLOAD,
}  # fmt: skip
SENSORS = {"base_ang_vel": 0.035, "projected_gravity": 0.005, "joint_pos": 0.0017, "joint_vel": 0.17}  # +-U of the plant's deviations
WIDE = {
    "motor_strength": [0.6, 1.2], "joint_friction_scale": [0.3, 3.0], "joint_damping_scale": [0.3, 3.0], "armature_scale": [0.7, 1.3],
    "action_delay": [0.0, 0.03], "base_mass_offset": [-1.0, 6.0], "base_com_offset": [-0.06, 0.06],
}  # fmt: skip
RETRAINED = ("default", "identified", "wide")
FIGURES = ("tracking_score", "yaw_score", "fall_rate", "cost_of_transport", "lin_vel_error", "ang_vel_error")
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # of 1 to 9 degrees of freedom, two-sided 95 %
PHYSICS_DT = 0.004  # s, of what is retrained: a delay of 12 ms is to be 12 ms


def locomotion(*words: object, configs: Path | None = None) -> None:
    """A command of the toolkit, as a person would give it."""
    env = os.environ | ({"LOCOMOTION_CONFIGS": str(configs)} if configs else {})
    subprocess.run([sys.executable, "-m", "locomotion.cli", *map(str, words)], check=True, stdout=subprocess.DEVNULL, env=env)


def identify(output: Path, seconds: float) -> Path:
    """The folder of configurations with ``identified`` and ``wide``."""
    excite, log, configs = output / "excite.onnx", output / "excited" / "deploy_log.mcap", output / "identified" / "configs"
    if not excite.exists():
        locomotion("identify", "excite", f"output={excite}", f"seconds={seconds}")
    if not (output / "excited" / "deploy.json").exists():
        plant = ",".join(f"{name}:{value}" for name, value in PLANT.items())
        words = ["interface=sim", "hurry=true", f"plant={{{plant}}}", "commands=[[0,[]]]", f"duration={seconds + 8.0}", *LIMITS]
        locomotion("deploy", f"policy={excite}", *words, f"output={log.parent}")
    if not (output / "identified" / "identification.json").exists():
        locomotion("identify", log, f"output={output / 'identified'}", "joints=all")
    base = yaml.safe_load((configs / "randomization" / "identified.yaml").read_text())
    default = yaml.safe_load((Path(__file__).parents[1] / "configs" / "randomization" / "default.yaml").read_text())
    wide = base | {"parameters": default["parameters"] | WIDE}
    (configs / "randomization" / "wide.yaml").write_text(yaml.safe_dump(wide))
    return configs


def train(run: Path, iterations: int, configs: Path, *words: object) -> None:
    """Into ``run``, or on from where it is."""
    try:
        if checkpoint.load(run / "last.pt")["iteration"] >= iterations:
            return
        locomotion("train", f"resume={run}", configs=configs)
    except InputError:
        locomotion("train", f"run={run}", f"iterations={iterations}", "score_every=0", *words, configs=configs)


def score(run: Path, episodes: int) -> dict[str, dict[str, float]]:
    """Of the run's last policy: on the nominal robot, and on the plant."""
    card, bundle = run / "plant.json", run / "policy.onnx"
    if not card.exists():
        locomotion("export", f"checkpoint={run / 'last.pt'}", f"output={bundle}")
        policy, scores = load_policy(bundle), {}
        for name, hidden in (("nominal", {}), ("plant", HIDDEN)):
            condition = RandomizationSettings.model_validate({"parameters": {k: (v, v) for k, v in hidden.items()}, "noise": SENSORS})
            scores[name] = scorecard.evaluate(policy, policy.robot, "mujoco", condition, episodes, 0)
        write_json(card, scores, "output")
    return json.loads(card.read_text())


def paired(scores: dict[int, dict[str, Any]], first: str, second: str, figure: str) -> str:
    """Mean difference over seeds and its 95 % interval by Student's t, on the plant."""
    difference = np.array([one[first]["plant"][figure] - one[second]["plant"][figure] for one in scores.values()])
    n = len(difference)
    if not 2 <= n <= len(STUDENT) + 1:
        return f"{difference.mean():+.4f}"
    reach = STUDENT[n - 2] * difference.std(ddof=1) / np.sqrt(n)
    return f"{difference.mean():+.4f} [{difference.mean() - reach:+.4f}, {difference.mean() + reach:+.4f}]"


def main() -> None:
    given = {**DEFAULTS, **dict(word.split("=", 1) for word in sys.argv[1:])}
    output, seeds = Path(given["output"]), [int(seed) for seed in given["seeds"].split(",")]
    output.mkdir(parents=True, exist_ok=True)
    configs, scores = identify(output, float(given["motion"])), {}
    for seed in seeds:
        folder = output / str(seed)
        train(folder / "origin", int(given["iterations"]), configs, f"seed={seed}")
        for name in RETRAINED:
            words = (f"seed={seed}", f"init={folder / 'origin'}", f"randomization={name}", f"sim.physics_dt={PHYSICS_DT}")
            train(folder / name, int(given["more"]), configs, *words)
        scores[seed] = {name: score(folder / name, int(given["episodes"])) for name in ("origin", *RETRAINED)}
        for name, one in scores[seed].items():
            print(f"seed {seed} {name:12}" + "".join(f"{one['plant'][figure]:9.4f}" for figure in FIGURES), flush=True)
    print(f"on the plant: {', '.join(FIGURES)}")
    for name in ("origin", "default", "wide"):
        for figure in FIGURES:
            print(f"identified less {name:8} {figure:18} {paired(scores, 'identified', name, figure)}")


if __name__ == "__main__":
    main()
