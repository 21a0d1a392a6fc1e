"""PPO end to end against raw physics, with where the rest of an iteration goes."""

from __future__ import annotations

import time

import torch

from benchmarks.common import machine, make_task
from benchmarks.task_step import ratio
from locomotion import build

ITERATIONS = 12


def main() -> None:
    torch.set_num_threads(1)
    config, task = make_task(256)
    learner, raw_rate = build.algorithm(config, task), ratio(256, rounds=5)[0]
    samples = learner.config.num_envs * learner.config.steps
    observations = task.observations
    physics, spent = [0.0], dict.fromkeys(("collect", "advantages", "update", "normaliser"), 0.0)
    inner = task.simulator.step

    def timed_step(target: torch.Tensor, substeps: int) -> None:
        began = time.perf_counter()
        inner(target, substeps)
        physics[0] += time.perf_counter() - began

    task.simulator.step = timed_step

    def timed(name: str, function, *arguments):
        began = time.perf_counter()
        result = function(*arguments)
        spent[name] += time.perf_counter() - began
        return result

    for _ in range(ITERATIONS):
        with torch.inference_mode():
            observations = timed("collect", learner.collect, observations)
            batch = timed("advantages", learner.prepare, observations)
        timed("update", learner.update, batch)
        with torch.inference_mode():
            timed("normaliser", learner.learn_normalizers)
    total = sum(spent.values())
    print(f"PPO end to end, 256 environments, {machine()}")
    rate = ITERATIONS * samples / total
    print(f"raw physics {raw_rate:,.0f} steps/s, end to end {rate:,.0f} steps/s, ratio {rate / raw_rate:.3f}")
    shares = {"physics": physics[0], "task and policy": spent["collect"] - physics[0], **{k: v for k, v in spent.items() if k != "collect"}}
    for name, seconds in shares.items():
        print(f"  {name:16} {100 * seconds / total:5.1f} %")


if __name__ == "__main__":
    main()
