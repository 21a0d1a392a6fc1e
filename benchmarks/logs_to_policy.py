"""From logs of a deployed policy to a better one: simulated deployments, a dataset of their logs, BC and IQL on it, and their scorecards.

    python -m benchmarks.logs_to_policy policy=mediocre.onnx init=runs/mediocre output=runs/logs_to_policy noise=0.2 learners=5

Learner ``k`` and the logged policy are scored with the same commands, physics, noise and pushes, those of seed ``k``: the table has the
mean of their differences over ``learners`` seeds with Student's 95 % interval, which holds what learning and scoring leave to chance, but
not what logging does (``seed=`` makes other logs). The same words again go on with what is not there yet. ``init`` is the run or checkpoint
that ``policy`` was exported from: with it IQL also begins from the logged policy's own weights (the row ``iql_init``), at a rate and for
a time that leave it near them.

The robot is the simulated one with noisy sensors, behind supervisor and guard, in simulated time; each run has another script, floor,
payload, delay and noise. A run that falls ends there, as it would on a robot, and the next one begins. Nothing after the runs looks at
what only the simulator knows, but for the scorecards at the end. ``noise`` is the exploration that is added to actions, before the
policy's own decoder and the supervisor's filters.
"""

from __future__ import annotations

import contextlib
import io
import json
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
from locomotion.cli import main as locomotion
from locomotion.deployment import Hurried
from locomotion.task.actions import ActionDecoder
from robots import Robot

DEFAULTS = {
    "policy": "", "init": "", "output": "runs/logs_to_policy", "minutes": "10", "noise": "0.2", "seed": "0", "learners": "5",
    "iql_init": "8", "bc": "30", "iql": "24",
}  # fmt: skip
LEARNERS = ("iql_init", "bc", "iql")  # with as many iterations as given
NEAR = ("algorithm.learning_rate=3e-4", "algorithm.temperature=2")  # of iql_init, chosen on other logs: docs/logs_to_policy.md
RANGE = np.array([[-1.0, 1.5], [-0.6, 0.6], [-1.0, 1.0]])  # forward, left, yaw
HOLD, RAMP, STANDING = 4.0, 0.6, 0.12  # s, s, share of commands
FIGURES = ("tracking_score", "yaw_score", "fall_rate")
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # quantile 0.975, of 1 to 9 degrees of freedom


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


def run(*words: object) -> None:
    """A command, which prints nothing unless it fails."""
    with contextlib.redirect_stdout(io.StringIO()):
        status = locomotion([*map(str, words)])
    if status:
        sys.exit(status)


def learned(name: str, seed: int, given: dict[str, str], output: Path) -> Path:
    """The bundle of a learner's last checkpoint."""
    folder = output / f"{name}_{seed}"
    bundle = folder / "policy.onnx"
    if not bundle.exists():
        near = [f"init={given['init']}", *NEAR] if name == "iql_init" else []
        words = [f"algorithm={name.removesuffix('_init')}", *near, f"dataset={output / 'data'}", f"run={folder}"]
        words += [f"seed={seed}", "score_every=0"]
        begun = (folder / "last.pt").exists()
        run("offline", f"iterations={given[name]}", *([f"resume={folder}"] if begun else words))
        run("export", f"checkpoint={folder / 'last.pt'}", f"output={bundle}")
    return bundle


def scored(name: str, bundle: Path, seed: int, output: Path) -> np.ndarray:
    """[2, 3]: FIGURES, nominal and randomized."""
    card = output / f"{name}_{seed}.json"
    if not card.exists():
        run("evaluate", f"policy={bundle}", "gait=false", f"seed={seed}", f"output={card}")
    scores = json.loads(card.read_text())["scores"]["mujoco"]
    figures = np.array([[scores[part][key] for key in FIGURES] for part in ("nominal", "randomized")])
    print(f"{name} {seed}: {' / '.join(f'{x:.3f}' for x in figures[0])}   {' / '.join(f'{x:.3f}' for x in figures[1])}", flush=True)
    return figures


def table(scores: dict[str, np.ndarray]) -> None:
    """``scores`` [K, 2, 3] of each policy, the logged one's first: means, and mean differences from it with their 95 % intervals."""
    own = scores["logged"]
    print(f"\n{'tracking, yaw, falls':12}{'nominal':>34}{'randomized':>42}")
    for name, found in scores.items():
        print(f"{name:12}" + "".join(f"{'  '.join(f'{x:.3f}' for x in part):>34}        " for part in found.mean(axis=0)))
        if name == "logged" or len(own) < 2:
            continue
        off = found - own
        reach = STUDENT[min(len(off) - 1, len(STUDENT)) - 1] * off.std(axis=0, ddof=1) / len(off) ** 0.5
        for label, bound in (("- logged", off.mean(axis=0)), ("  from", off.mean(axis=0) - reach), ("  to", off.mean(axis=0) + reach)):
            print(f"{label:12}" + "".join(f"{'  '.join(f'{x:+.3f}' for x in part):>34}        " for part in bound))


def main() -> None:
    given = {**DEFAULTS, **dict(word.split("=", 1) for word in sys.argv[1:])}
    output, policy = Path(given["output"]), Path(given["policy"])
    if not (output / "data").exists():
        logs = deployed(policy, output / "logs", float(given["minutes"]), float(given["noise"]), int(given["seed"]))
        run("dataset", "from-logs", *logs, f"output={output / 'data'}")
    seeds, scores = range(1, int(given["learners"]) + 1), {}
    scores["logged"] = np.stack([scored("logged", policy, seed, output) for seed in seeds])
    for name in LEARNERS if given["init"] else LEARNERS[1:]:
        scores[name] = np.stack([scored(name, learned(name, seed, given, output), seed, output) for seed in seeds])
    table(scores)


if __name__ == "__main__":
    main()
