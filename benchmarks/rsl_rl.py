"""rsl_rl's PPO teaches a Go2 of ours to walk; its actor becomes a bundle of ours, scored as ours are.

``python -m benchmarks.rsl_rl --iterations 600``: rsl_rl's own networks and update, with the sizes that ours have on CPUs (see
``configs/algorithm/ppo.yaml``). Prints scores against steps and seconds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from rsl_rl.runners import OnPolicyRunner

from benchmarks.common import make_task
from locomotion.adapters.rsl_rl import RslRlEnv
from locomotion.evaluation import scorecard
from locomotion.export import export_actor
from locomotion.task.task import Task

STEPS = 16  # of each robot, an iteration
RATE = 1e-3  # of learning


def settings(seed: int, mirror: bool = True) -> dict[str, Any]:
    """What rsl_rl's runner is told. ``mirror``: samples are mirrored, as ours learn in symmetric networks."""
    network = {"class_name": "MLPModel", "hidden_dims": [128, 128], "activation": "elu", "obs_normalization": True}
    symmetry = {"use_data_augmentation": True, "data_augmentation_func": "locomotion.adapters.rsl_rl:mirrored"}
    return {
        "seed": seed,
        "num_steps_per_env": STEPS,
        "save_interval": 10**9,
        "obs_groups": {"actor": ["actor"], "critic": ["critic"]},
        "actor": {**network, "distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 0.5}},
        "critic": network,
        "algorithm": {
            "class_name": "PPO", "num_learning_epochs": 5, "num_mini_batches": 5, "clip_param": 0.2, "gamma": 0.98, "lam": 0.9,
            "value_loss_coef": 1.0, "entropy_coef": 0.003, "learning_rate": RATE, "max_grad_norm": 1.0,
            "use_clipped_value_loss": False, "schedule": "fixed", "symmetry_cfg": symmetry if mirror else None,
        },
    }  # fmt: skip


def actor_of(runner: OnPolicyRunner) -> torch.nn.Module:
    """Observation [N, W] to mean action [N, A], its normalisation inside."""
    return runner.alg.get_policy().as_onnx(verbose=False)


def train(task: Task, iterations: int, seed: int, every: int, output: Path) -> OnPolicyRunner:
    """Tell the score of training every 10 iterations; the scorecard (outside of the clock) and the bundle every ``every``.

    The rate falls to a tenth over the second half, so that learning settles.
    """
    torch.manual_seed(seed)
    env, began = RslRlEnv(task), time.perf_counter()
    runner = OnPolicyRunner(env, settings(seed), device=str(task.device))
    for done in range(10, iterations + 1, 10):
        for group in runner.alg.optimizer.param_groups:
            group["lr"] = RATE * min(1.0, 1.9 - 1.8 * done / iterations)
        runner.learn(10)
        seconds, steps = time.perf_counter() - began, done * STEPS * task.num_envs
        line = f"{seconds:6.0f} s {steps:9,d} steps  in training {env.figures['score']:.3f}"
        if done % every == 0 or done == iterations:
            n = scorecard.quick(task.policy(actor_of(runner)), task.robot, task.step_seconds)
            line += f"  tracking {n['tracking']:.3f} yaw {n['yaw']:.3f} falls {n['falls']:.3f}"
            export_actor(actor_of(runner), task, output, {"seed": seed, "steps": steps, "iteration": done, "learner": "rsl_rl"})
        print(line, flush=True)
        began += time.perf_counter() - began - seconds
    return runner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--num-envs", type=int, default=256)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs/rsl_rl/policy.onnx"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task = make_task(options.num_envs, f"seed={options.seed}", f"sim.threads={options.threads}")
    train(task, options.iterations, options.seed, options.every, options.output)
    print(options.output)


if __name__ == "__main__":
    main()
