"""Learners of other libraries learn on our environment, through the adapters."""

import pytest
import torch

from locomotion.adapters.gymnasium import make_task
from tests.locomotion.adapters.test_neighbours import library

pytestmark = pytest.mark.slow
FORWARD = ["randomization=none", "sim.threads=0"]


def speed(actor: torch.nn.Module) -> float:
    """m/s forward over 6 s of 32 robots of the task ``forward``, without exploration."""
    task = make_task("unitree_go2", "forward", 32, FORWARD)
    total = 0.0
    with torch.no_grad():
        for _ in range(300):
            task.step(actor(task.observations["actor"]))
            total += float(task.simulator.signals.base_lin_vel[:, 0].mean())
    task.close()
    return total / 300


def test_stable_baselines3_learns_to_run():
    adapter = library("stable_baselines")
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecNormalize

    torch.manual_seed(1)
    normalize = VecNormalize(adapter.StableBaselinesEnv(make_task("unitree_go2", "forward", 64, FORWARD)), gamma=0.98)
    network = {"net_arch": [128, 128], "activation_fn": torch.nn.ELU, "log_std_init": -0.7}
    model = PPO("MlpPolicy", normalize, n_steps=32, batch_size=512, n_epochs=5, gamma=0.98, gae_lambda=0.9, seed=1, policy_kwargs=network)
    before = speed(adapter.Actor(model, normalize))
    model.learn(250_000)
    after = speed(adapter.Actor(model, normalize))
    print(f"stable-baselines3: {before:.2f} m/s, after 250,000 steps {after:.2f} m/s")
    assert abs(before) < 0.1
    assert after > 0.5
