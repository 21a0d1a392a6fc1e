"""Advantages and losses against exact values."""

import numpy as np
import pytest
import torch

from locomotion.algorithms.returns import (
    adapt_learning_rate,
    clipped_surrogate,
    clipped_value_loss,
    discounted_returns,
    estimated_kl,
    following_values,
    generalized_advantages,
    imitation_loss,
)

REWARD = torch.tensor([1.0, 2.0, 3.0, 0.0], dtype=torch.float64)
VALUE = torch.tensor([5.0, 4.0, 6.0, 2.0], dtype=torch.float64)
NEXT = torch.tensor([4.0, 6.0, 2.0, 0.0], dtype=torch.float64)


def advantages(next_value=NEXT, done=(0, 0, 0, 0), gamma=0.99, lam=0.95):
    columns = [x[:, None] for x in (REWARD, VALUE, torch.as_tensor(next_value, dtype=torch.float64), torch.tensor(done).bool())]
    return generalized_advantages(*columns, gamma, lam)[:, 0].numpy()


def test_exact_values():
    np.testing.assert_allclose(advantages(), [1.09951873475, 1.2116095, -2.901, -2.0], atol=1e-12)
    np.testing.assert_allclose(advantages(lam=0.0), [-0.04, 3.94, -1.02, -2.0], atol=1e-12)
    np.testing.assert_allclose(advantages(lam=1.0), [0.9203, 0.97, -3.0, -2.0], atol=1e-4)


def test_termination_takes_the_value_of_what_follows_away():
    assert advantages([4.0, 0.0, 2.0, 0.0], (0, 1, 0, 0)) == pytest.approx([-1.921, -2.0, -2.901, -2.0])


def test_truncation_bootstraps_with_the_value_of_the_final_state_and_cuts_the_trace():
    assert advantages([4.0, 7.0, 2.0, 0.0], (0, 1, 0, 0)) == pytest.approx([4.596665, 4.93, -2.901, -2.0])


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "slope"),
    [(1.1, 2, 2.2, 2), (1.3, 2, 2.4, 0), (0.7, 2, 1.4, 2), (1.3, -2, -2.6, -2), (0.7, -2, -1.6, 0)],
)
def test_clipped_surrogate(ratio, advantage, value, slope):
    x = torch.tensor(ratio, requires_grad=True)
    result = clipped_surrogate(x, torch.tensor(float(advantage)), 0.2)
    result.backward()
    assert result.item() == pytest.approx(value)
    assert x.grad.item() == pytest.approx(slope)


@pytest.mark.parametrize(("value", "loss"), [(1.5, 0.64), (0.5, 2.25)])
def test_clipped_value_loss(value, loss):
    assert clipped_value_loss(torch.tensor(value), torch.tensor(1.0), torch.tensor(2.0), 0.2).item() == pytest.approx(loss)


@pytest.mark.parametrize(("kl", "rate"), [(0.021, 6.6667e-4), (0.004, 1.5e-3), (0.01, 1e-3)])
def test_adaptive_learning_rate(kl, rate):
    assert adapt_learning_rate(1e-3, kl, 0.01, 1e-5, 1e-2) == pytest.approx(rate, rel=1e-4)


def test_the_estimate_of_a_divergence_has_its_exact_value_and_no_bias():
    assert estimated_kl(torch.tensor(1.1, dtype=torch.float64).log()).item() == pytest.approx(0.004689820195675, abs=1e-14)
    old, new = (torch.tensor(p, dtype=torch.float64) for p in ([0.2, 0.5, 0.3], [0.4, 0.4, 0.2]))
    assert (old * estimated_kl((new / old).log())).sum().item() == pytest.approx((old * (old / new).log()).sum().item())


def test_learning_rate_stays_in_its_range():
    assert adapt_learning_rate(1e-5, 1.0, 0.01, 1e-5, 1e-2) == 1e-5
    assert adapt_learning_rate(1e-2, 0.0, 0.01, 1e-5, 1e-2) == 1e-2


def test_a_rollout_may_be_one_step_long():
    one = [torch.tensor([[x]]) for x in (1.0, 5.0, 4.0)]
    assert generalized_advantages(*one, torch.tensor([[False]]), 0.99, 0.95).item() == pytest.approx(-0.04)


def test_a_policy_that_did_not_move_at_all_learns_faster():
    assert adapt_learning_rate(1e-3, 0.0, 0.01, 1e-5, 1e-2) == pytest.approx(1.5e-3)


def test_imitation_loss_and_its_slope():
    action = torch.tensor([[1.0, 2.0], [0.0, 0.0]], requires_grad=True)
    loss = imitation_loss(action, torch.tensor([[3.0, 5.0], [0.0, 1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx((4.0 + 9.0 + 0.0 + 1.0) / 4.0)
    np.testing.assert_allclose(action.grad, [[-1.0, -1.5], [0.0, -0.5]])


def test_returns_go_to_the_end_of_an_episode_and_on_with_a_value_where_it_was_cut_off():
    reward, never = torch.tensor([1.0, 2.0, 3.0])[:, None], torch.zeros(3, 1, dtype=torch.bool)
    assert discounted_returns(reward, torch.zeros(3, 1), never, 0.9).flatten().tolist() == pytest.approx([5.23, 4.7, 3.0])
    cut, value = torch.tensor([[False], [True], [False]]), torch.tensor([[99.0], [10.0], [20.0]])
    # 1 + .9 * 11, 2 + .9 * 10, 3 + .9 * 20: the value of the state in the middle of an episode plays no part
    assert discounted_returns(reward, value, cut, 0.9).flatten().tolist() == pytest.approx([10.9, 11.0, 21.0])


def test_the_value_that_follows_a_step():
    """The next state's; the last state's own where an episode was cut off; none where it terminated."""
    value = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    terminated = torch.tensor([[False, True, False], [False, False, False]])
    steps, rows, final = torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([70.0, 80.0])
    result = following_values(value, torch.tensor([7.0, 8.0, 9.0]), terminated, steps, rows, final)
    assert result.tolist() == [[4.0, 0.0, 80.0], [7.0, 8.0, 9.0]]
