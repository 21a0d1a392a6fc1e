"""PyBullet in our worker processes against stable-baselines3's usual way: one robot a process, ``SubprocVecEnv``.

Both step the same engine (physics at 5 ms, four steps a control step, the same motors), and both are given the same random actions.
Ours does the whole training task, with observations, rewards, randomization, noise, delays and pushes; the other one's environment
only hands the signals over and pays for forward velocity. Rounds of both alternate, so that a machine's other work meets both.

    python -m benchmarks.pybullet_speed --robots 64 --seconds 5 --rounds 5
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.vec_env import SubprocVecEnv

import robots
import sim
from benchmarks.common import machine, make_task, seconds
from sim.mujoco_batch import cpu_count

ROBOT, SUBSTEPS, PHYSICS_DT = "unitree_go2", 4, 0.005


class Walk(gymnasium.Env[np.ndarray, np.ndarray]):
    """One robot in this process, as people write such environments: all signals, forward velocity as the reward."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        robot = robots.load(ROBOT)
        self._simulator = sim.make("pybullet", robot, 1, PHYSICS_DT, threads=1)
        self._pose = torch.tensor(robot.default_joint_pos, dtype=torch.float32)[None]
        self._height, self._one, self._steps = robot.standing_height, torch.ones(1, dtype=torch.bool), 0
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (self._simulator.signals.packed.shape[1],), np.float32)
        self.action_space = gymnasium.spaces.Box(-5.0, 5.0, (robot.num_joints,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        self._simulator.reset(self._one, sim.InitialState.standing(1, self._pose[0], self._height + 0.02))
        return self._simulator.signals.packed[0].numpy().copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._simulator.step(self._pose + 0.25 * torch.from_numpy(action)[None], SUBSTEPS)
        self._steps += 1
        s = self._simulator.signals
        fell = bool(s.base_pos[0, 2] < 0.5 * self._height) or bool(s.projected_gravity[0, 2] > -0.5) or bool(self._simulator.faults[0])
        return s.packed[0].numpy().copy(), float(s.base_lin_vel[0, 0]), fell, self._steps >= 1000, {}

    def close(self) -> None:
        self._simulator.close()


def rate(step: Callable[[], object], robots_a_step: int, duration: float) -> float:
    """Control steps of robots a second."""
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < duration:
        step()
        steps += 1
    return steps * robots_a_step / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robots", type=int, default=64)
    parser.add_argument("--processes", type=int, nargs="+", default=[cpu_count(), 8])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine()}, {os.getloadavg()[0]:.1f} other processes or so running")
    task = make_task(options.robots, "sim=pybullet", f"sim.physics_dt={PHYSICS_DT}")
    action = 0.3 * torch.randn(16, options.robots, task.spaces.action.size)

    def block() -> None:  # of 16 steps and their rewards, as a learner takes them
        for one in action:
            task.step(one)
        task.ended()
        task.rewards()

    cases: dict[str, Callable[[], float]] = {}
    workers = getattr(task.simulator, "workers", 1)
    with torch.inference_mode():
        cases[f"ours, {options.robots} robots in {workers} processes"] = lambda: rate(block, 16 * options.robots, options.seconds)
        others = [(count, SubprocVecEnv([Walk] * count, start_method="forkserver")) for count in options.processes]
        for count, other in others:
            other.reset()
            one = 0.3 * np.random.default_rng(0).standard_normal((count, task.spaces.action.size)).astype(np.float32)
            cases[f"SubprocVecEnv, {count} robots in {count} processes"] = lambda other=other, one=one, count=count: rate(
                lambda: other.step(one), count, options.seconds
            )
        rates: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(options.rounds):
            for name, measure in cases.items():
                rates[name].append(measure())
        nobody = torch.zeros(options.robots, dtype=torch.bool), torch.zeros(options.robots, 2)
        trips = sorted(seconds(lambda: task.simulator.push(*nobody)) for _ in range(300))
    ours = next(iter(rates.values()))
    for name, values in rates.items():
        ratio = median(a / b for a, b in zip(ours, values, strict=True))
        print(f"{name:45s} {median(values):8.0f} steps/s   ours is {ratio:.1f} times as fast")
    print(f"a command to all processes and their answers: {1e6 * trips[0]:.0f} us at best, {1e6 * trips[150]:.0f} us in the middle")
    task.close()
    for _, other in others:
        other.close()


if __name__ == "__main__":
    main()
