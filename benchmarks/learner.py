"""PPO end to end against raw physics, with where the rest of an iteration goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.common import machine, settings
from benchmarks.task_step import ratio
from locomotion import build

WARM_UP, ITERATIONS = 32, 16


def main() -> None:
    torch.set_num_threads(1)
    training = settings()
    task = build.task(training)
    learner: Any = build.algorithm(training, task)
    raw_rate = ratio(task.num_envs, rounds=21)[0]
    physics, spent = [0.0], dict.fromkeys(("collect", "advantages", "update", "normaliser"), 0.0)
    inner = task.simulator.step

    def timed_step(target: torch.Tensor, substeps: int) -> None:
        began = time.perf_counter()
        inner(target, substeps)
        physics[0] += time.perf_counter() - began

    task.simulator.step = timed_step  # type: ignore[method-assign]

    def timed(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments)
        spent[name] += time.perf_counter() - began
        return result

    for iteration in range(WARM_UP + ITERATIONS):
        if iteration == WARM_UP:
            physics[0], spent = 0.0, dict.fromkeys(spent, 0.0)
        with torch.inference_mode():
            timed("collect", learner.rollout.collect, learner.generator)
            batch = timed("advantages", learner.prepare)
        timed("update", learner.update, batch)
        with torch.inference_mode():
            timed("normaliser", learner.rollout.learn_normalizers, learner.critic)
    total = sum(spent.values())
    print(f"PPO end to end, {task.num_envs} environments, {machine()}")
    rate = ITERATIONS * learner.iteration_steps / total
    print(f"raw physics {raw_rate:,.0f} steps/s, end to end {rate:,.0f} steps/s, ratio {rate / raw_rate:.3f}")
    shares = {
        "physics and reading it": physics[0],
        "task and policy": spent["collect"] - physics[0],
        "rewards and advantages": spent["advantages"],
        "update": spent["update"],
        "normaliser": spent["normaliser"],
    }
    for name, seconds in shares.items():
        print(f"  {name:24} {100 * seconds / total:5.1f} %")


if __name__ == "__main__":
    main()
