"""Task steps against raw ``mujoco.batch`` stepping of the same states, targets, substeps and threads; cost by environments.

A block is 16 steps and their rewards, as a learner takes them; all randomization, noise, pushes and resets are on.
"""

from __future__ import annotations

import cProfile
import pstats
import sys

import torch

from benchmarks.common import machine, make_task, seconds

STEPS = 16
WARM_UP = 512  # steps: past the first pushes and time-outs


def ratio(num_envs: int, rounds: int, warm_up: int = WARM_UP) -> tuple[float, float, float]:
    """Raw steps/s, task steps/s, and raw seconds over task seconds (medians over ``rounds`` pairs)."""
    task = make_task(num_envs)
    simulator = task.simulator
    state = simulator._batch.state
    generator = torch.Generator().manual_seed(0)
    actions = 0.3 * torch.randn(STEPS, num_envs, task.spaces.action.size, generator=generator)
    targets: list[torch.Tensor] = []
    inner = simulator.step

    def step_and_record(target: torch.Tensor, count: int) -> None:
        targets.append(target.clone())  # the next step may write to it
        inner(target, count)

    def run_task() -> None:
        for action in actions:
            task.step(action)
        task.ended()
        task.rewards()

    def run_raw() -> None:
        for target in targets:
            simulator.raw_step(target, task.substeps)

    with torch.inference_mode():
        for _ in range(max(1, warm_up // STEPS)):
            run_task()
        results = []
        for _ in range(rounds):
            start = state.copy()
            targets.clear()
            simulator.step = step_and_record
            task_seconds = seconds(run_task)
            simulator.step = inner
            after = state.copy()
            state[:] = start  # the same states, without the resets and pushes on the way
            raw_seconds = seconds(run_raw)
            state[:] = after
            results.append((raw_seconds, task_seconds, raw_seconds / task_seconds))
    raw, task_time, share = (sorted(column)[len(results) // 2] for column in zip(*results, strict=True))
    steps = STEPS * num_envs
    return steps / raw, steps / task_time, share


def profile(num_envs: int) -> None:
    """Where a task step's time goes."""
    task = make_task(num_envs)
    action = 0.3 * torch.randn(num_envs, task.spaces.action.size)
    profiler = cProfile.Profile()
    with torch.inference_mode():
        for _ in range(WARM_UP // 2):
            task.step(action)
        profiler.enable()
        for t in range(160):
            task.step(action)
            if t % STEPS == STEPS - 1:
                task.ended()
                task.rewards()
        profiler.disable()
    pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(14)


def main() -> None:
    torch.set_num_threads(1)
    print(f"task step, {machine()}")
    print(f"{'environments':>14} {'raw steps/s':>12} {'task steps/s':>13} {'task/raw':>9} {'us a task step':>15}")
    for num_envs in (64, 256, 1024, 4096):
        raw, task, share = ratio(num_envs, rounds=41 if num_envs < 1000 else 9, warm_up=WARM_UP if num_envs < 4000 else 64)
        print(f"{num_envs:14d} {raw:12,.0f} {task:13,.0f} {share:9.3f} {1e6 / task:15.1f}")
    print(f"building and resetting 1024 environments: {seconds(lambda: make_task(1024)):.2f} s (target: under 3)")
    profile(256)


if __name__ == "__main__":
    main()
