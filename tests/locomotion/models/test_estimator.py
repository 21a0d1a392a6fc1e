"""The estimator: exact figures, who learns from what, the mirror, and that it learns."""

import numpy as np
import pytest
import torch

from locomotion import build
from locomotion.environment import ActionSpace, Spaces, Symmetry
from locomotion.models.actor_critic import make_actor
from locomotion.models.estimator import EstimatorSettings, EstimatorTraining, errors
from locomotion.models.mlp import feed_forward
from robots import InputError
from tests.conftest import tiny
from tests.locomotion.models.test_models import mirrored

ACTOR = (np.array([1, 0, 2]), np.array([1.0, 1.0, -1.0]))
CRITIC = (np.array([1, 0, 2, 3, 5, 4]), np.array([1.0, 1.0, -1.0, 1.0, -1.0, -1.0]))  # actor, height, [left, right]
ACTION = (np.array([1, 0]), np.array([-1.0, -1.0]))
PARTS = {"actor": {"joints": 3}, "critic": {"joints": 3, "height": 1, "sides": 2}}
SPACES = Spaces(
    {"actor": 3, "critic": 6}, ActionSpace(-torch.ones(2), torch.ones(2)), Symmetry({"actor": ACTOR, "critic": CRITIC}, ACTION), PARTS
)


def make(*targets, symmetric=True):
    settings = EstimatorSettings(targets=targets, hidden=(16,), learning_rate=0.01)
    return make_actor(SPACES, (16, 16), symmetric, 0.5, torch.Generator().manual_seed(0), estimator=settings)


def shaken(actor):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return actor


def test_exact_errors():
    truth = torch.tensor([[1.0, 3.0, 4.0], [1.0, 3.0, -4.0]])
    estimate = torch.tensor([[3.0, 3.0, 4.0], [1.0, 3.0, -2.0]])
    assert errors(estimate, truth, {"a": 1, "b": 2}) == pytest.approx(
        {"estimate/a": 2**0.5, "estimate/a of": 1.0, "estimate/b": 1.0, "estimate/b of": 12.5**0.5}
    )


def test_the_network_sees_the_estimate_beside_the_observation_and_commutes_with_the_mirror():
    actor = shaken(make("sides", "height"))
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(2))
    actor.normalizer.update(x + 0.5)
    features, image = actor.features(x), actor.features(mirrored(x, ACTOR))
    assert features.shape == (64, 6)
    assert torch.equal(features[:, :3], actor.normalizer(x))
    torch.testing.assert_close(image[:, 3:], mirrored(features[:, 3:], (np.array([1, 0, 2]), np.array([-1.0, -1.0, 1.0]))))
    torch.testing.assert_close(actor(mirrored(x, ACTOR)), mirrored(actor(x), ACTION))
    torch.testing.assert_close(actor.frozen()(x), actor(x))
    other = actor.network(torch.cat([features[:, :3], features[:, 3:] + 1.0], dim=-1))
    assert (other - actor(x)).abs().max() > 1e-3  # it matters what the estimate says


def test_policy_and_estimator_learn_each_from_its_own_loss():
    actor = shaken(make("sides"))
    actor(torch.randn(8, 3)).square().sum().backward()
    assert all(parameter.grad is None for parameter in actor.estimator.parameters())
    own = {id(parameter) for parameter in actor.policy_parameters()}
    assert not own & {id(parameter) for parameter in actor.estimator.parameters()}
    assert len(own) + len(list(actor.estimator.parameters())) == len(list(actor.parameters()))


@pytest.mark.parametrize("symmetric", [True, False])
def test_it_learns_what_can_be_seen_in_its_own_unit(symmetric):
    actor = make("height", "sides", symmetric=symmetric)
    training, figures = EstimatorTraining(actor.estimator, 1.0), {}
    generator, policy = torch.Generator().manual_seed(0), [p.clone() for p in actor.policy_parameters()]
    for _ in range(60):
        x = torch.randn(256, 3, generator=generator)
        sides = torch.stack([x[:, 0] + x[:, 2], -(x[:, 1] - x[:, 2])], dim=-1)  # mirrored as the map says
        critic = torch.cat([x, 5.0 + 0.01 * x[:, 2:].square(), 30.0 * sides], dim=-1)
        figures = training.learn(actor.features(x), critic, torch.arange(256).split(64))
    assert figures["estimate/sides of"] == pytest.approx(30 * 2**0.5, rel=0.1)
    assert figures["estimate/sides"] < 0.1 * figures["estimate/sides of"]
    assert figures["estimate/height of"] == pytest.approx(5.01, rel=0.01)
    assert figures["estimate/height"] < 0.01  # of a signal that changes by 0.014
    assert all(torch.equal(a, b) for a, b in zip(policy, actor.policy_parameters(), strict=True))


def test_training_tells_the_error_of_the_estimates_that_the_policy_acted_on():
    settings = tiny("algorithm.estimator={targets: [base_lin_vel, base_height], hidden: [16]}")
    learner = build.algorithm(settings, build.task(settings))
    learner.iterate()
    with torch.no_grad():  # as it stands before the second iteration
        estimator = learner.actor.estimator
        frozen = [learner.actor.normalizer.shift.clone(), learner.actor.normalizer.scale.clone()]
        layers = [(weight.clone(), bias.clone()) for weight, bias in estimator.network.layers()]
        shift, scale = estimator.normalizer.shift.clone(), estimator.normalizer.scale.clone()
    figures = learner.iterate()
    seen = ((learner.rollout.actor.flatten(0, 1) - frozen[0]) * frozen[1]).clip(-10, 10)
    estimate = feed_forward(layers, seen) / scale + shift
    truth = learner.rollout.critic.flatten(0, 1)[:, -truth_offset(learner) :][:, :4]
    assert figures["estimate/base_lin_vel"] == pytest.approx((estimate - truth)[:, :3].square().mean().sqrt().item(), rel=1e-4)
    assert figures["estimate/base_height of"] == pytest.approx(truth[:, 3].square().mean().sqrt().item(), rel=1e-4)


def truth_offset(learner):
    """The critic's own terms come last, the velocity and the height first of them."""
    return learner.env.spaces.groups["critic"] - learner.env.spaces.groups["actor"]


def test_a_target_that_the_critic_does_not_see_is_refused():
    with pytest.raises(InputError, match="Did you mean height"):
        make("heigth")
    bare = Spaces(SPACES.groups, SPACES.action, SPACES.symmetry)
    with pytest.raises(InputError, match=r"algorithm\.estimator\.targets"):
        make_actor(bare, (16,), False, 0.5, torch.Generator(), estimator=EstimatorSettings(targets=("height",)))
