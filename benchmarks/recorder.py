"""What keeping a log costs the control loop: one row into the ring, at 50 Hz, while the writer's thread encodes and writes."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import robots
from benchmarks.common import machine, settings
from deploy.contract import PROVENANCE
from deploy.hil.simulated_robot import SimulatedRobot
from deploy.interface import MotorCommand, SimulatedTime
from deploy.log import Recorder
from deploy.policy import load
from deploy.supervisor import Limits, State
from locomotion import build
from locomotion.export import task_fields, write_bundle

STEPS = 1500
PERIOD = 0.02  # s


def quantiles(seconds: np.ndarray) -> str:
    return " / ".join(f"{1e6 * value:.0f}" for value in np.quantile(seconds, [0.5, 0.99, 0.999])) + " us (p50 / p99 / p99.9)"


def main() -> None:
    robot, training = robots.load("unitree_go2"), settings("algorithm.num_envs=10")
    task = build.task(training)
    fields = task_fields(training.task) | {"training": {"randomization": None, "action_delay": None}}
    fields |= {"provenance": dict.fromkeys(PROVENANCE), "scorecard": None}
    rng, limits = np.random.default_rng(0), Limits()
    with TemporaryDirectory() as folder:
        bundle, path = Path(folder) / "policy.onnx", Path(folder) / "log.mcap"
        write_bundle(task.policy(build.algorithm(training, task).actor), robot, fields, bundle)
        contract = load(bundle).contract
        state = SimulatedRobot(robot, SimulatedTime()).read()
        motor = MotorCommand(*rng.standard_normal((4, robot.num_joints)))
        shapes = contract.golden_vectors[0].inputs
        inputs = {name: rng.standard_normal(shapes[name].shape[1]) for name in contract.inputs}
        action, command, timings = rng.standard_normal(robot.num_joints), np.zeros(len(contract.command_names)), [0.0, 0.0, 0.0]
        for name, target in (("no log", None), ("in memory", None), ("in a file", path)):
            recorder = None if name == "no log" else Recorder(target, robot, contract, limits)
            cost, late = np.zeros(STEPS), np.zeros(STEPS)
            start = time.monotonic()
            for i in range(STEPS):
                due = start + PERIOD * i
                time.sleep(max(0.0, due - time.monotonic()))
                late[i] = time.monotonic() - due
                began = time.perf_counter()
                if recorder:
                    recorder.record(due, state, command, motor, State.WALK, timings, inputs, action, action)
                cost[i] = time.perf_counter() - began
            print(f"{name}: a row {quantiles(cost)}; waking up late by {quantiles(late)}")
            if recorder:
                recorder.close()
                print(f"  lost {recorder.lost} of {STEPS}")
        print(f"file: {path.stat().st_size / (STEPS * PERIOD) / 1024:.0f} KiB a second; {machine()}")


if __name__ == "__main__":
    main()
