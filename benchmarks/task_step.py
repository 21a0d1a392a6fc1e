"""Task steps against raw ``mujoco.batch`` stepping of the same states, targets, substeps and threads; cost by environments."""

from __future__ import annotations

import cProfile
import pstats
import sys

import torch

from benchmarks.common import machine, make_task, seconds

STEPS = 30


def ratio(num_envs: int, rounds: int) -> tuple[float, float, float]:
    """Raw steps/s, task steps/s, and raw seconds over task seconds."""
    _, task = make_task(num_envs)
    simulator = task.simulator
    batch, substeps = simulator._batch, task.config.substeps
    generator = torch.Generator().manual_seed(0)
    actions = 0.5 * torch.randn(STEPS, num_envs, 12, generator=generator)
    targets = []
    inner = simulator.step

    def step_and_record(target: torch.Tensor, count: int) -> None:
        targets.append(target)
        inner(target, count)

    def run_task() -> None:
        for action in actions:
            task.step(action)

    def run_raw() -> None:
        for target in targets:
            simulator._target.copy_(target)
            batch.step(nstep=substeps)

    with torch.inference_mode():
        run_task()
        results = []
        for _ in range(rounds):
            start = batch.state.copy()
            targets.clear()
            simulator.step = step_and_record
            task_seconds = seconds(run_task)
            simulator.step = inner
            after = batch.state.copy()
            batch.state[:] = start  # the same states, without the resets and pushes on the way
            raw_seconds = seconds(run_raw)
            batch.state[:] = after
            results.append((raw_seconds, task_seconds, raw_seconds / task_seconds))
    raw, task_time, share = (sorted(column)[len(results) // 2] for column in zip(*results, strict=True))
    steps = STEPS * num_envs
    return steps / raw, steps / task_time, share


def profile(num_envs: int) -> None:
    """Where a task step's time goes."""
    _, task = make_task(num_envs)
    action = 0.5 * torch.randn(num_envs, 12)
    profiler = cProfile.Profile()
    with torch.inference_mode():
        profiler.enable()
        for _ in range(100):
            task.step(action)
        profiler.disable()
    pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(12)


def main() -> None:
    torch.set_num_threads(1)
    print(f"task step, {machine()}")
    print(f"{'environments':>14} {'raw steps/s':>12} {'task steps/s':>13} {'task/raw':>9} {'us a task step':>15}")
    for num_envs in (64, 256, 1024, 4096):
        raw, task, share = ratio(num_envs, rounds=9 if num_envs < 1000 else 5)
        print(f"{num_envs:14d} {raw:12,.0f} {task:13,.0f} {share:9.3f} {1e6 / task:15.1f}")
    print(f"building and resetting 1024 environments: {seconds(lambda: make_task(1024)):.2f} s (target: under 3)")
    profile(256)


if __name__ == "__main__":
    main()
