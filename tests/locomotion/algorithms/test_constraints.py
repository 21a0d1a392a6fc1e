"""What constraints cost, how a learner is told, and what CaT and multipliers make of it."""

import pytest
import torch

from locomotion import build
from locomotion.algorithms.cat import ended_with
from locomotion.algorithms.lagrangian import priced
from locomotion.algorithms.returns import generalized_advantages, termination_probability
from locomotion.algorithms.rollout import Evaluated
from locomotion.environment import Ended
from robots import InputError
from tests.conftest import make_task, tiny
from tests.locomotion.algorithms.test_returns import NEXT, REWARD, VALUE
from tests.locomotion.runs.test_checkpoint import assert_same, go_on, run

NONE = Ended(torch.zeros(0), torch.zeros(0), {})
CONSTRAINTS = ("task.constraints.torque_over_limit={}", "task.constraints.joint_vel_limits={share: 0.4}")


def make(name, *words):
    settings = tiny(f"algorithm={name}", *CONSTRAINTS, *words)
    return build.algorithm(settings, build.task(settings))


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_chance_of_an_end():
    assert termination_probability(tensor(0.5), tensor(1.0), 0.25).item() == pytest.approx(0.125)
    several = termination_probability(tensor([0.5, 6.0], [0.0, 0.0], [3.0, 2.0]), tensor(1.0, 4.0), 0.25)
    assert several.tolist() == pytest.approx([0.25, 0.0, 0.25])  # of the constraint that is violated most


def test_an_end_that_is_a_chance():
    """A reward of 2 counts 1.75, and what follows .99 * .875 = .86625 of its value."""
    columns = [x[:, None] for x in (REWARD, VALUE, NEXT)]
    done = torch.zeros(4, 1, dtype=torch.bool)
    seen = Evaluated(columns[0], columns[0], columns[1], columns[2], done, done, columns[0], NONE, columns[0])
    chance = tensor(0.0, 0.125, 0.0, 0.0)[:, None]
    softened = ended_with(chance, seen)
    assert softened.reward[1].item() == pytest.approx(1.75)
    assert 0.99 * softened.next_value[1].item() == pytest.approx(0.86625 * 6.0)
    advantage = generalized_advantages(softened.reward, softened.value, softened.next_value, softened.done, 0.99, 0.95)
    assert advantage[:, 0].tolist() == pytest.approx([0.48682889290625, 0.5601583125, -2.901, -2.0])
    for certain, ends in ((0.0, [1.09951873475, 1.2116095]), (1.0, [1.0 + 0.99 * 4 - 5 - 0.99 * 0.95 * 4, -4.0])):
        out = ended_with(certain * torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)[:, None], seen)
        advantage = generalized_advantages(out.reward, out.value, out.next_value, out.done, 0.99, 0.95)
        assert advantage[:2, 0].tolist() == pytest.approx(ends)


def test_costs_are_what_the_terms_say_of_the_same_steps():
    task = make_task(
        *CONSTRAINTS, "task.rewards.joint_vel_limits={weight: -1.0, share: 0.4}", "task.rewards.torque_over_limit={weight: -1.0}"
    )
    assert task.spaces.costs == ("torque_over_limit", "joint_vel_limits")
    for _ in range(40):  # more than are kept before they are worked out
        task.step(torch.randn(6, 12))
    costs, reward = task.costs(), task.rewards()
    assert costs.shape == (*reward.shape, 2) == (40, 6, 2)
    assert (costs >= 0.0).all()
    assert task.costs().shape == (0, 6, 2)
    figures = task.statistics()
    for k, name in enumerate(task.spaces.costs):
        assert figures[f"cost/{name}"] == pytest.approx(costs[..., k].mean().item(), rel=1e-5)
        assert figures[f"cost/{name}"] == pytest.approx(-figures[f"reward/{name}"], rel=1e-5)
        assert figures[f"violated/{name}"] == pytest.approx((costs[..., k] > 0).float().mean().item())
        assert 0.0 < figures[f"violated/{name}"] < 1.0


def test_where_there_are_no_constraints_there_is_no_cost():
    task = make_task()
    task.step(torch.zeros(6, 12))
    assert task.costs().shape == (1, 6, 0)


@pytest.mark.parametrize("name", ["cat", "lagrangian"])
def test_without_constraints_there_is_nothing_to_keep(name):
    settings = tiny(f"algorithm={name}")
    with pytest.raises(InputError, match=r"task\.constraints"):
        build.algorithm(settings, build.task(settings))


def test_a_constraint_that_is_none():
    with pytest.raises(InputError, match=r"task\.constraints\.torque"):
        make_task("task.constraints.torque_over_limits={}")


@pytest.mark.parametrize("name", ["cat", "lagrangian"])
def test_a_resumed_run_equals_one_that_never_stopped(tmp_path, name):
    settings = (f"algorithm={name}", *CONSTRAINTS, "task.episode_seconds=0.5")
    whole = run(tmp_path / "whole", 3, *settings)
    run(tmp_path / "parts", 3, *settings, stop=1)
    assert_same(whole, go_on(tmp_path / "parts"))


def test_the_largest_violation_is_smoothed_and_the_chance_grows():
    learner = make("cat", "algorithm.probability=[0.1,0.3]", "iterations=10", "algorithm.smoothing=0.9")
    seen = iter([torch.full((8, 6, 2), 2.0), torch.full((8, 6, 2), 4.0)])
    learner.env.costs = lambda: next(seen)
    learner.iterate()
    assert learner.largest.tolist() == [2.0, 2.0]
    learner.iterate()
    assert learner.largest.tolist() == pytest.approx([2.2, 2.2])
    learner.iteration = 5
    assert learner.probability == pytest.approx(0.2)


def test_multipliers_rise_while_there_are_too_many_violations_and_fall_to_nothing():
    learner = make("lagrangian", "algorithm.allowed=0.25", "algorithm.multiplier_rate=0.2", "algorithm.multiplier_limit=0.2")
    cost = torch.zeros(8, 6, 2)
    cost[..., 0] = 3.0  # however large
    learner.env.costs = lambda: cost
    learner.iterate()
    assert learner.multipliers.tolist() == pytest.approx([0.15, 0.0])
    learner.iterate()
    assert learner.multipliers.tolist() == pytest.approx([0.2, 0.0])
    cost[:] = 0.0
    figures = learner.iterate()
    assert figures["multiplier/torque_over_limit"] == pytest.approx(0.15)


def test_a_price_makes_violations_worse_than_their_reward_says():
    advantage = tensor(1.0, -1.0)[:, None]  # [T, N]: the better one violates
    cost = torch.stack([advantage, 0.0 * advantage], dim=-1)
    free, dear = (priced(advantage, cost, tensor(price, 0.0)) for price in (0.0, 3.0))
    assert free[0] > free[1]
    assert dear[0] < dear[1]
    assert dear.abs().max() <= free.abs().max()


@pytest.mark.parametrize("name", ["cat", "lagrangian"])
def test_a_policy_learns_to_keep_a_constraint_against_its_reward(name):
    """The reward asks for actions of 0.5; they may not exceed 0.2 there."""
    words = ("algorithm.num_envs=32", "algorithm.steps=16", "iterations=1000", "algorithm.initial_std=0.2", "randomization=none")
    learner = make(name, *words, *(["algorithm.probability=[1.0,1.0]"] if name == "cat" else []))
    inner = learner.env.rewards

    def rewards():
        inner()
        return 1.0 - (learner.rollout.action[..., 2] - 0.5).square()

    learner.env.rewards = rewards
    learner.env.costs = lambda: (learner.rollout.action[..., [2, 1]] - torch.tensor([0.2, 99.0])).clamp(min=0.0)
    means = []
    for _ in range(40):
        learner.iterate()
        means.append(learner.rollout.output[..., 2].mean().item())
    assert means[-1] < 0.2
