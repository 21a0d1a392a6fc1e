"""Policy inference as the runtime loop does it: one robot, one thread, memory carried."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import robots
from benchmarks.common import machine, settings
from deploy.contract import PROVENANCE
from deploy.policy import RobotPolicy, load
from locomotion import build
from locomotion.export import example_inputs, task_fields, write_bundle

STEPS = 20000


def main() -> None:
    robot, training = robots.load("unitree_go2"), settings("algorithm.num_envs=10")
    task = build.task(training)
    policy = task.policy(build.algorithm(training, task).actor)
    fields = task_fields(training.task) | {"training": {"randomization": None, "action_delay": None}}
    fields |= {"provenance": dict.fromkeys(PROVENANCE), "scorecard": None}
    with TemporaryDirectory() as folder:
        write_bundle(policy, robot, fields, Path(folder) / "policy.onnx")
        loaded = RobotPolicy(load(Path(folder) / "policy.onnx"), robot)
    signals = example_inputs(policy, robot, task.commands.limits, 1, 100, seed=0)
    rows = [{name: value[t] for name, value in signals.items()} for t in range(100)]
    times = np.zeros(STEPS)
    for i in range(STEPS):
        began = time.perf_counter()
        loaded.step(rows[i % 100])
        times[i] = time.perf_counter() - began
    p50, p999 = 1e6 * np.quantile(times, [0.5, 0.999])
    print(f"policy inference, batch 1, {machine()}: p50 {p50:.0f} us, p99.9 {p999:.0f} us, {p999 / 200:.2f} % of a 20 ms period")


if __name__ == "__main__":
    main()
