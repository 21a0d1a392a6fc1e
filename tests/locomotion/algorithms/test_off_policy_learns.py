"""SAC, TD3, DDPG and DQN learn."""

import pytest
import torch

from tests.locomotion.algorithms.point import Points, make


@pytest.mark.parametrize("name", ["sac", "td3", "ddpg", "dqn"])
def test_it_learns(name):
    """Points come to rest at 0. The return of 5 steps is -1.67 where nothing moves; the best is -.02, of choices -.13."""
    changes = ("learning_rate=3.0e-3", "rounds=60", "updates=2", "capacity=4000", "batch_size=32")
    rates = {"sac": ("critic_learning_rate=3.0e-3", "temperature_learning_rate=3.0e-3"), "dqn": ("target_every=20",)}
    learner = make(name, *changes, *rates.get(name, ("critic_learning_rate=3.0e-3",)), iterations=8)
    for _ in range(8):
        figures = learner.iterate()
    env = Points(200, seed=9, discrete=name == "dqn")
    with torch.no_grad():
        for _ in range(5):
            out = learner.actor(env.observations["actor"])
            env.step(out.argmax(-1) if name == "dqn" else out)
    reward = env.rewards().sum(0).mean().item()
    assert reward > (-0.45 if name == "dqn" else -0.2), figures
