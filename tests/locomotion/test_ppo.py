"""PPO on the task: consistency between acting and learning, and that it learns."""

import pytest
import torch

from locomotion import build
from locomotion.models.actor_critic import gaussian_log_prob
from robots import InputError
from tests.conftest import tiny_config


def make(*overrides):
    config = tiny_config(*overrides)
    task = build.task(config)
    return build.algorithm(config, task), task.reset()


def test_the_policy_that_is_optimised_is_the_policy_that_acted():
    """Before any gradient the probability ratio is 1 everywhere, in later iterations too."""
    learner, observations = make()
    for _ in range(3):
        with torch.inference_mode():
            observations = learner.collect(observations)
            batch = learner.prepare(observations)
            log_prob = gaussian_log_prob(batch["action"], learner.actor.network(batch["policy"]), learner.actor.log_std)
        ratio = torch.exp(log_prob - batch["log_prob"].squeeze(-1))
        assert (ratio - 1).abs().max() < 1e-5
        learner.update(batch)
        learner.learn_normalizers()


def test_normalisers_do_not_move_between_acting_and_updating():
    learner, observations = make()
    before = learner.actor.normalizer.mean.clone()
    with torch.inference_mode():
        observations = learner.collect(observations)
        learner.prepare(observations)
    assert torch.equal(learner.actor.normalizer.mean, before)
    learner.iterate(observations)
    assert not torch.equal(learner.actor.normalizer.mean, before)


def test_advantages_are_normalised_and_truncation_bootstraps():
    learner, observations = make("task.episode_seconds=0.1", "randomization=none")
    with torch.inference_mode():
        observations = learner.collect(observations)
        batch = learner.prepare(observations)
    advantage = batch["advantage"]
    assert advantage.mean().abs() < 1e-5
    assert advantage.std().item() == pytest.approx(1.0, abs=1e-4)
    rollout = learner._rollout
    truncated = (rollout["done"] > 0) & (rollout["terminated"] == 0)
    assert truncated.any()
    assert (rollout["final_value"][truncated] != 0).all()
    assert (rollout["final_value"][~truncated] == 0).all()


def test_every_sample_is_used_once_an_epoch():
    learner, observations = make("algorithm.minibatches=5", "algorithm.epochs=1")
    with torch.inference_mode():
        observations = learner.collect(observations)
        batch = learner.prepare(observations)
    sizes, learn = [], learner._learn_policy
    learner._learn_policy = lambda batch, minibatches: sizes.extend(map(len, minibatches)) or learn(batch, minibatches)
    learner.update(batch)
    assert sum(sizes) == 6 * 8
    assert max(sizes) - min(sizes) <= 1


def test_the_policy_moves_towards_rewarded_actions():
    """With a reward that depends on the action alone, the mean action moves to its optimum, left and right alike."""
    learner, observations = make("algorithm.num_envs=32", "algorithm.steps=16")
    goal = 0.4 * torch.as_tensor(learner.task.robot.mirror.joint_sign)  # a mirrored pose: reachable by a symmetric policy
    distances = []
    for _ in range(30):
        with torch.inference_mode():
            observations = learner.collect(observations)
            rollout = learner._rollout
            rollout["reward"][:] = -(rollout["action"] - goal).square().sum(dim=-1)
            distances.append((rollout["mean"] - goal).square().mean().item())
            batch = learner.prepare(observations)
        learner.update(batch)
    assert distances[-1] < 0.75 * distances[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algorithm.num_envs=0", "num_envs"),
        ("algorithm.num_envs=-5", "num_envs"),
        ("algorithm.steps=0", "steps"),
        ("algorithm.minibatches=1000", "minibatches"),
        ("algorithm.actor_hidden=[15,16]", "even"),
    ],
)
def test_bad_settings_are_refused(override, message):
    with pytest.raises(InputError, match=message):
        make(override)
