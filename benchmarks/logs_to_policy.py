"""From logs of a deployed policy to a better one: simulated deployments, a dataset of their logs, BC and IQL on it, and their scorecards.

    python -m benchmarks.logs_to_policy policy=mediocre.onnx output=runs/logs_to_policy noise=0.2

The robot is the simulated one with noisy sensors, behind supervisor and guard, in simulated time; each run has another script, floor,
payload, delay and noise. A run that falls ends there, as it would on a robot, and the next one begins. Nothing after the runs looks at
what only the simulator knows, but for the scorecards at the end. ``noise`` is the exploration that is added to actions, before the
policy's own decoder and the supervisor's filters.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import robots
from deploy.guard import Guard, LockstepGuard
from deploy.hil.simulated_robot import Conditions, SimulatedRobot
from deploy.limits import Limits
from deploy.log import Recorder
from deploy.operator import ScriptedOperator
from deploy.policy import LoadedPolicy, RobotPolicy, load
from deploy.runtime import Runtime
from deploy.supervisor import Supervisor
from locomotion.deployment import Hurried
from locomotion.task.actions import ActionDecoder
from robots import Robot

DEFAULTS = {
    "policy": "", "output": "runs/logs_to_policy", "minutes": "10", "noise": "0.2", "seed": "0", "iql": "48", "bc": "60", "learners": "1",
}  # fmt: skip
RANGE = np.array([[-1.0, 1.5], [-0.6, 0.6], [-1.0, 1.0]])  # forward, left, yaw
HOLD, RAMP, STANDING = 4.0, 0.6, 0.12  # s, s, share of commands
FIGURES = ("tracking_score", "yaw_score", "fall_rate")


class Exploring(RobotPolicy):
    """A policy of ours with Gaussian noise of ``std`` on its action, which it remembers as its own."""

    def __init__(self, policy: LoadedPolicy, robot: Robot, std: float, seed: int) -> None:
        super().__init__(policy, robot)
        self._loaded, self._std, self._random = policy, std, np.random.default_rng(seed)
        self._decoder = ActionDecoder(robot, policy.contract.control_dt)
        ends = np.cumsum([term.width for term in policy.contract.memory or ()])
        self._places = {term.name: slice(end - term.width, end) for term, end in zip(policy.contract.memory or (), ends, strict=True)}

    def step(self, signals):
        before = torch.from_numpy(self._loaded.memory.copy())
        _, action = super().step(signals)
        action = action + self._std * self._random.standard_normal(action.shape).astype(np.float32)
        joints = [torch.from_numpy(np.asarray(signals[name], dtype=np.float32)) for name in ("joint_pos", "joint_vel")]
        target, offset = self._decoder(torch.from_numpy(action), *joints, before)
        self._loaded.memory = self._loaded.memory.copy()
        for name, value in (("previous_action", action), ("joint_pos_target", offset.numpy())):
            self._loaded.memory[:, self._places[name]] = value
        return target.numpy(), action


def script(rng: np.random.Generator, seconds: float) -> list[tuple[float, list[float]]]:
    """Commands over their whole range, held for HOLD s, each come to in a ramp as from a person's stick."""
    rows, last = [], np.zeros(3)
    for start in np.arange(0.0, seconds, HOLD):
        new = np.zeros(3) if rng.random() < STANDING else rng.uniform(*RANGE.T)
        rows += [(float(start + (k - 1) * RAMP / 6), (last + (new - last) * k / 6).tolist()) for k in range(1, 7)]
        last = new
    return rows


def deployed(bundle: Path, folder: Path, minutes: float, noise: float, seed: int) -> list[Path]:
    """Logs of ``minutes`` of walking in all."""
    logs, walked, limits = [], 0.0, Limits()
    while walked < 60.0 * minutes:
        number = len(logs)
        rng = np.random.default_rng([seed, number])
        conditions = Conditions(
            noise=1.0, friction=float(rng.uniform(0.6, 1.0)), payload=float(rng.uniform(0.0, 1.0)),
            delay=float(rng.choice([0.0, 0.004])), seed=number,
        )  # fmt: skip
        policy = load(bundle)
        exploring = Exploring(policy, robots.load(policy.contract.robot), noise, number)
        logs.append(folder / f"{number:02d}.mcap")
        log = Recorder(logs[-1], exploring.robot, policy.contract, limits)
        clock = Hurried(log)
        plant = SimulatedRobot(exploring.robot, clock, conditions)
        guarded = LockstepGuard(plant, Guard(exploring.robot, limits.damping_kd), clock)
        supervisor = Supervisor(exploring.robot, policy.contract.control_dt, limits)
        Runtime(exploring, guarded, supervisor, clock, log).run(62.0, ScriptedOperator(script(rng, 56.0), policy.contract))
        walked += float((log.columns()["state"] == "walk").sum()) * policy.contract.control_dt
        print(f"{logs[-1]}: {supervisor.events[-1].detail}; {walked:.0f} s of walking so far", flush=True)
    return logs


def locomotion(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "locomotion.cli", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    given = {**DEFAULTS, **dict(word.split("=", 1) for word in sys.argv[1:])}
    output, policy = Path(given["output"]), Path(given["policy"])
    logs = deployed(policy, output / "logs", float(given["minutes"]), float(given["noise"]), int(given["seed"]))
    locomotion("dataset", "from-logs", *logs, f"output={output / 'data'}")
    bundles = {"logged": policy}
    for name in ("iql", "bc"):
        for seed in range(1, int(given["learners"]) + 1):
            run = output / f"{name}_{seed}"
            words = [f"dataset={output / 'data'}", f"run={run}", f"seed={seed}", f"iterations={given[name]}", "score_every=0"]
            locomotion("offline", f"algorithm={name}", *words)
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
