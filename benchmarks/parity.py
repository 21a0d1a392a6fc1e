"""Our learners beside stable-baselines3's: the same environments, steps, evaluator and machine, several seeds.

``python -m benchmarks.parity [CASE ...] --seeds 5``. Each training leaves a file in ``--output``; what is there is not run again, so that
this can be stopped and goes on. Two trainings run at any time, ours and theirs in turn, each on a CPU of its own. The end is a table:
interquartile means of the return without exploration (20 episodes after the last step), bootstrap intervals, and the ratio of speeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

EPISODES, EVALUATION_SEED = 20, 7_000_003


@dataclass(frozen=True)
class Case:
    """An algorithm on an environment: our settings, and their class with its arguments.

    Steps are the same, and for PPO, SAC and TD3 sizes of networks, rates, batches and exploration; their DQN has the settings of
    its zoo, A2C and TRPO their own.
    """

    env: str
    steps: int
    ours: tuple[str, ...]
    theirs: str  # module:class
    arguments: dict[str, Any] = field(default_factory=dict)
    copies: int = 1  # of the environment, theirs
    normalize: bool = False  # observations and rewards, theirs (ours does with observations)
    noise: float | None = None  # of exploration, theirs


PPO = {"n_steps": 256, "batch_size": 64}
SAC: dict[str, Any] = {"learning_starts": 1000}
TD3 = {"learning_starts": 1000, "learning_rate": 3e-4, "policy_kwargs": {"net_arch": [256, 256]}}
CASES = {
    **{
        f"ppo_{name}": Case(f"{env}-v5", 300_000, ("algorithm=ppo_gymnasium",), "stable_baselines3:PPO", PPO, 8, normalize=True)
        for name, env in (("hopper", "Hopper"), ("walker", "Walker2d"), ("cheetah", "HalfCheetah"))
    },
    "sac_pendulum": Case("Pendulum-v1", 10_000, ("algorithm=sac",), "stable_baselines3:SAC", SAC),
    "sac_hopper": Case("Hopper-v5", 50_000, ("algorithm=sac",), "stable_baselines3:SAC", SAC),
    "td3_pendulum": Case("Pendulum-v1", 10_000, ("algorithm=td3",), "stable_baselines3:TD3", TD3, noise=0.1),
    "td3_hopper": Case("Hopper-v5", 50_000, ("algorithm=td3",), "stable_baselines3:TD3", TD3, noise=0.1),
    "dqn_cartpole": Case(
        "CartPole-v1", 50_000, ("algorithm=dqn",), "stable_baselines3:DQN",
        {"learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "learning_starts": 1000, "target_update_interval": 10,
         "train_freq": 256, "gradient_steps": 128, "exploration_fraction": 0.16, "exploration_final_eps": 0.04,
         "policy_kwargs": {"net_arch": [256, 256]}},
    ),
    "a2c_cartpole": Case(
        "CartPole-v1", 100_000, ("algorithm=a2c_gymnasium",), "stable_baselines3:A2C",
        {}, 8,
    ),
    "a2c_inverted": Case(
        "InvertedPendulum-v5", 100_000, ("algorithm=a2c_gymnasium",), "stable_baselines3:A2C",
        {}, 8,
    ),
    "trpo_cartpole": Case(
        "CartPole-v1", 100_000, ("algorithm=trpo_gymnasium",),
        "sb3_contrib:TRPO", {"n_steps": 1024, "batch_size": 128}, 1,
    ),
    "reinforce_cartpole": Case(
        "CartPole-v1", 100_000, ("algorithm=reinforce_gymnasium",),
        "stable_baselines3:A2C", {}, 8,  # which has no REINFORCE
    ),
}  # fmt: skip


def ours(case: Case, seed: int) -> tuple[torch.nn.Module, int, float]:
    """Trained actor, steps and seconds."""
    from locomotion.config import compose
    from locomotion.runs.start import start
    from locomotion.schema import check
    from locomotion.settings import TrainSettings

    class Silent:
        def iteration(self, *_: object) -> None: ...

    words = [f"env=gymnasium:{case.env}", *case.ours, f"seed={seed}", "score_every=0", "snapshot_every=1000000"]
    settings = check(TrainSettings, compose("train", words))
    from locomotion import build

    _, a = build.algorithm_settings(settings)
    steps = a.iteration_steps if hasattr(a, "iteration_steps") else a.num_envs * a.steps
    with tempfile.TemporaryDirectory() as folder:
        settings = check(TrainSettings, compose("train", [*words, f"iterations={-(-case.steps // steps)}", f"run={folder}/run"]))
        began = time.perf_counter()
        run, _ = start(settings, lambda _: Silent(), print)
        return run.learner.actor, run.steps, time.perf_counter() - began


def theirs(case: Case, seed: int) -> tuple[torch.nn.Module, int, float]:
    import importlib

    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.noise import NormalActionNoise
    from stable_baselines3.common.vec_env import VecNormalize

    module, name = case.theirs.split(":")
    env: Any = make_vec_env(case.env, n_envs=case.copies, seed=seed)
    env = VecNormalize(env) if case.normalize else env
    arguments = dict(case.arguments)
    if case.noise is not None:
        n = env.action_space.shape[0]
        arguments["action_noise"] = NormalActionNoise(np.zeros(n), np.full(n, case.noise))
    model = getattr(importlib.import_module(module), name)("MlpPolicy", env, seed=seed, device="cpu", **arguments)
    model.set_logger(Logger(None, []))  # its own leaves a folder behind
    began = time.perf_counter()
    model.learn(case.steps)
    seconds = time.perf_counter() - began

    class Actor(torch.nn.Module):
        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            seen = env.normalize_obs(observation.numpy()) if case.normalize else observation.numpy()
            action = torch.as_tensor(model.predict(seen, deterministic=True)[0])
            discrete = action.dim() == 1
            return torch.nn.functional.one_hot(action.long(), int(env.action_space.n)).float() if discrete else action

    return Actor(), model.num_timesteps, seconds


def one(name: str, library: str, seed: int, path: Path) -> None:
    """Train, evaluate and write the result."""
    from locomotion.adapters.gymnasium_environment import GymnasiumEnvironment
    from locomotion.adapters.outside import returns

    torch.set_num_threads(1)
    learn: Callable[[Case, int], tuple[torch.nn.Module, int, float]] = {"ours": ours, "theirs": theirs}[library]
    actor, steps, seconds = learn(CASES[name], seed)
    scores = returns(GymnasiumEnvironment(CASES[name].env, EPISODES, EVALUATION_SEED), actor)
    result = {"return": float(scores.mean()), "steps": steps, "seconds": seconds}
    path.with_suffix(".part").write_text(json.dumps(result))
    path.with_suffix(".part").rename(path)


def result_of(output: Path, name: str, library: str, seed: int | str) -> Path:
    """Of one training: that of a case with other steps is another."""
    return output / f"{name}-{CASES[name].steps}-{library}-{seed}.json"


def table(output: Path) -> None:
    from locomotion.evaluation.seeds import interquartile_mean, interval

    print(f"{'':20} {'seeds':>5} {'ours':>28} {'theirs':>28} {'ratio of steps/s':>17}")
    for name in CASES:
        both = {
            lib: [json.loads(p.read_text()) for p in sorted(output.glob(result_of(output, name, lib, "*").name))]
            for lib in ("ours", "theirs")
        }
        if not all(both.values()):
            continue
        words, speed = [], {}
        for lib, rows in both.items():
            values = np.array([row["return"] for row in rows])
            low, high = interval(values)
            words.append(f"{float(interquartile_mean(values)):8.1f} [{low:8.1f},{high:8.1f}]")
            speed[lib] = np.median([row["steps"] / row["seconds"] for row in rows])
        print(f"{name:20} {min(map(len, both.values())):5} {words[0]:>28} {words[1]:>28} {speed['ours'] / speed['theirs']:17.2f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("runs/parity"))
    parser.add_argument("--one", nargs=3, metavar=("CASE", "LIBRARY", "SEED"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    words.output.mkdir(parents=True, exist_ok=True)
    if words.one:
        name, library, seed = words.one
        return one(name, library, int(seed), result_of(words.output, name, library, int(seed)))
    unknown = set(words.cases) - set(CASES)
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    cpus: queue.SimpleQueue[int] = queue.SimpleQueue()
    for cpu in sorted(os.sched_getaffinity(0))[:2]:
        cpus.put(cpu)

    def train(case: tuple[int, str, str]) -> None:
        seed, name, library = case
        if result_of(words.output, name, library, seed).exists():
            return
        cpu = cpus.get()
        command = [sys.executable, "-m", "benchmarks.parity", "--output", str(words.output), "--one", name, library, str(seed)]
        try:
            if subprocess.run(["taskset", "-c", str(cpu), *command], **quiet).returncode:
                print(f"{name}, {library}, seed {seed}: failed", file=sys.stderr)
        finally:
            cpus.put(cpu)

    with ThreadPoolExecutor(cpus.qsize()) as pool:
        list(pool.map(train, itertools.product(range(1, words.seeds + 1), words.cases or CASES, ("ours", "theirs"))))
    return table(words.output)


if __name__ == "__main__":
    main()
