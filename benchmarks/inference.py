"""Policy inference as the runtime loop does it: one robot, one thread, memory carried."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import robots
from benchmarks.common import machine, make_task
from deploy import contract
from locomotion import build
from locomotion.export import example_inputs, export
from locomotion.models.policy import Policy

STEPS = 20000


def main() -> None:
    robot = robots.load("unitree_go2")
    config, task = make_task(2)
    policy = Policy(task.encoder, build.algorithm(config, task).actor, task.decoder)
    fields = {"control_dt": 0.02, "command_range": [list(limits) for limits in task.config.command.limits]}
    with TemporaryDirectory() as folder:
        export(policy, robot, fields, Path(folder) / "policy.onnx")
        loaded = contract.load(Path(folder) / "policy.onnx", robot)
    signals = example_inputs(policy, robot, 1, 100, seed=0)
    rows = [{name: value[t] for name, value in signals.items()} for t in range(100)]
    times = np.zeros(STEPS)
    for i in range(STEPS):
        began = time.perf_counter()
        loaded.step(rows[i % 100])
        times[i] = time.perf_counter() - began
    p50, p999 = 1e6 * np.quantile(times, [0.5, 0.999])
    print(
        f"policy inference, batch 1, {machine()}: p50 {p50:.0f} us, p99.9 {p999:.0f} us, {100 * p999 * 1e-6 / 0.02:.2f} % of a 20 ms period"
    )


if __name__ == "__main__":
    main()
