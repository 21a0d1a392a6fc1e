"""Engines side by side: control steps/s of the physics alone, of the task, and of PPO end to end, by number of robots.

``python -m benchmarks.engines sim=mujoco_warp sim.device=cpu num_envs=64`` beside ``sim=mujoco``; on a GPU
``python -m benchmarks.engines algorithm=ppo_large num_envs=1024,4096,16384``. Other words are settings of ``locomotion train``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

from benchmarks.common import machine, settings
from locomotion import build

STEPS = 16
SECONDS = 5.0  # of every measurement, at least


def rate(work: Callable[[], int], device: torch.device) -> float:
    """What ``work`` returns, a second, once it is warm."""

    def waited() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    work()
    began, done = waited(), 0
    while (now := waited()) < began + SECONDS:
        done += work()
    return done / (now - began)


def measure(num_envs: int, words: list[str]) -> tuple[float, float, float]:
    """Control steps/s of physics, task and PPO."""
    chosen = settings(*words, f"algorithm.num_envs={num_envs}")
    torch.set_num_threads(chosen.threads)
    task = build.task(chosen)
    learner, device = build.algorithm(chosen, task), task.device
    generator = torch.Generator(device=device).manual_seed(0)
    actions = 0.3 * torch.randn(STEPS, num_envs, task.spaces.action.size, generator=generator, device=device)
    still = torch.tensor(task.robot.default_joint_pos, dtype=torch.float32, device=device).repeat(num_envs, 1)

    @torch.inference_mode()
    def physics() -> int:
        for action in actions:
            task.simulator.step(still + 0.1 * action, task.substeps)
        return STEPS * num_envs

    @torch.inference_mode()
    def steps() -> int:
        for action in actions:
            task.step(action)
        task.ended()
        task.rewards()
        return STEPS * num_envs

    def learn() -> int:
        learner.iterate()
        return learner.iteration_steps

    result = rate(steps, device), rate(learn, device)
    task.reset()
    physical = rate(physics, device)
    task.close()
    return physical, *result


def main() -> None:
    words = sys.argv[1:] or ["sim=mujoco_warp"]
    counts = [word.removeprefix("num_envs=") for word in words if word.startswith("num_envs=")] or ["1024,4096,16384"]
    words = [word for word in words if not word.startswith("num_envs=")]
    print(f"{' '.join(words)}, {machine()}{f', {torch.cuda.get_device_name()}' if torch.cuda.is_available() else ''}")
    print(f"{'robots':>8} {'physics steps/s':>16} {'task steps/s':>14} {'PPO steps/s':>13}")
    for num_envs in map(int, counts[0].split(",")):
        print(
            f"{num_envs:8d} "
            + " ".join(f"{value:{width},.0f}" for value, width in zip(measure(num_envs, words), (16, 14, 13), strict=True))
        )


if __name__ == "__main__":
    main()
