"""Finite problems against exact values."""

import numpy as np
import pytest

from locomotion.algorithms.tabular import (
    FiniteProblem,
    evaluate,
    greedy,
    policy_iteration,
    q_learning,
    q_update,
    soft_value,
    soft_value_iteration,
    value_iteration,
)
from tests.locomotion.algorithms.finite import TWO_STATES, V

LEFT, RIGHT = 0, 1


def deterministic(*actions):
    return np.eye(2)[list(actions)]


@pytest.mark.parametrize(
    ("iterations", "value"),
    [(1, (3, 10)), (2, (12, 10)), (3, (12, 10.8)), (4, (12.72, 10.8)), (5, (12.72, 11.448)), (10, (14.15822952, 12.3980328))],
)
def test_value_iteration_from_zero(iterations, value):
    np.testing.assert_allclose(value_iteration(TWO_STATES, iterations), value, atol=1e-8)


def test_value_iteration_converges_as_its_contraction_says():
    for k in (1, 5, 20, 60):
        assert np.abs(value_iteration(TWO_STATES, k) - V).max() <= 0.9**k * V.max() + 1e-12
    np.testing.assert_allclose(value_iteration(TWO_STATES, 400), V, rtol=1e-12)


def test_optimal_action_values():
    np.testing.assert_allclose(TWO_STATES.backup(V), [[289 / 19, 300 / 19], [270 / 19, 10.0]], rtol=1e-12)
    np.testing.assert_array_equal(greedy(TWO_STATES.backup(V)), deterministic(RIGHT, LEFT))


@pytest.mark.parametrize(
    ("policy", "value"),
    [
        (deterministic(RIGHT, RIGHT), (12, 10)),
        (deterministic(RIGHT, LEFT), V),
        (deterministic(LEFT, RIGHT), (10, 10)),
        (deterministic(LEFT, LEFT), (10, 9)),
        (np.full((2, 2), 0.5), (12.230215827, 10.503597122)),
    ],
)
def test_values_of_policies(policy, value):
    np.testing.assert_allclose(evaluate(TWO_STATES, policy), value, rtol=1e-9)


def test_policy_iteration():
    policy, improvements = policy_iteration(TWO_STATES, deterministic(LEFT, LEFT))
    np.testing.assert_array_equal(policy, deterministic(RIGHT, LEFT))
    assert improvements <= 2
    policy, improvements = policy_iteration(TWO_STATES, deterministic(RIGHT, RIGHT))  # ends in B, and is not optimal: 10.8 > 10
    np.testing.assert_array_equal(policy, deterministic(RIGHT, LEFT))
    assert improvements == 1


def test_soft_values():
    np.testing.assert_allclose(soft_value_iteration(TWO_STATES, 0.5, 1000)[0], (16.606270948, 14.945669159), rtol=1e-9)
    bandit = FiniteProblem(np.ones((1, 2, 1)), np.array([[1.0, 0.0]]), 0.9)
    value, policy = soft_value_iteration(bandit, 0.5, 1000)
    assert value[0] == pytest.approx(10.634640055214863, rel=1e-12)
    np.testing.assert_allclose(policy, [[0.880797078, 0.119202922]], atol=1e-9)
    for alpha, expected in ((1.0, 3.4076059644), (0.2, 3.0013520887), (10.0, 13.0194284823), (1e-3, 3.0)):
        assert soft_value(np.array([1.0, 2.0, 3.0]), alpha) == pytest.approx(expected, rel=1e-9)


def test_q_learning():
    assert q_update(2.0, 1.0, 4.0, 0.5, 0.9) == pytest.approx(3.3)
    learned = q_learning(TWO_STATES, 60_000, 0.3, np.random.default_rng(1))
    np.testing.assert_allclose(learned, TWO_STATES.backup(V), rtol=0.02)


def test_q_learning_where_chance_decides_what_follows():
    chances = np.array([[[0.5, 0.3], [0.1, 0.9]], [[0.6, 0.2], [0.0, 0.7]]])  # the rest: the end
    problem = FiniteProblem(chances, np.array([[1.0, 0.0], [0.0, 2.0]]), 0.8)
    learned = q_learning(problem, 60_000, 0.5, np.random.default_rng(1))
    np.testing.assert_allclose(learned, problem.backup(value_iteration(problem, 300)), rtol=0.05)
