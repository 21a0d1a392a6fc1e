"""The buffer: windows are exact at every kind of end, priorities are proportional, and nothing is lost."""

import numpy as np
import pytest
import torch

from locomotion.algorithms import replay as module
from locomotion.algorithms.experience import collect
from locomotion.algorithms.replay import Replay, from_arrays, mixed
from locomotion.algorithms.sum_tree import SumTree
from robots.errors import InputError
from tests.locomotion.algorithms.point import Points


def recorded(ends, reward=None, num_envs=1, **options):
    """A buffer of one group "x" whose observation at step t is t, and t + 1 after it; ``ends`` says 0, 1 (terminated) or 2 (truncated)."""
    steps = len(ends)
    t = torch.arange(float(steps))[:, None].expand(steps, num_envs)
    rewards = t + 1 if reward is None else torch.tensor(reward)[:, None].expand(steps, num_envs)
    end = torch.tensor(ends)[:, None].expand(steps, num_envs)
    buffer = Replay({"x": 1}, 1, num_envs, options.pop("capacity", steps * num_envs), "cpu", **options)
    buffer.extend({"x": t[..., None]}, 10 * t[..., None], rewards, {"x": t[..., None] + 1}, end == 1, end == 2)
    return buffer


def windows(buffer, n_steps, gamma=0.9, rows=None):
    rows = torch.arange(len(buffer)) if rows is None else torch.tensor(rows)
    return buffer.windows(rows, n_steps, gamma, torch.ones(len(rows)))


def test_three_step_return_is_the_exact_value():
    """r = 1, 2, 3, then a value of 10 at gamma .99: 15.62329."""
    window = windows(recorded([0, 0, 0, 0]), 3, 0.99, [0])
    assert (window.reward + window.discount * 10.0).item() == pytest.approx(15.62329, abs=1e-5)
    assert window.following["x"].item() == 3.0


def test_a_window_that_meets_a_truncation_bootstraps_from_its_last_state_with_the_steps_it_has():
    """FastTD3's defect until 2025-06: gamma^n whatever the window's length."""
    window = windows(recorded([0, 2, 0, 0, 0]), 3)
    np.testing.assert_allclose(window.reward, [1 + 0.9 * 2, 2, 3 + 0.9 * 4 + 0.81 * 5, 4 + 0.9 * 5, 5], rtol=1e-6)
    np.testing.assert_allclose(window.discount, [0.81, 0.9, 0.729, 0.81, 0.9], rtol=1e-6)  # the newest steps have short windows, too
    assert window.following["x"][:, 0].tolist() == [2, 2, 5, 5, 5]
    assert window.observations["x"][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert window.action[:, 0].tolist() == [0, 10, 20, 30, 40]


def test_no_window_goes_beyond_where_the_buffer_was_cut():
    """As where a process goes on with another one's buffer."""
    buffer = recorded([0, 0, 0], capacity=4)
    buffer.cut()
    one, never = torch.full((1, 1, 1), 40.0), torch.zeros(1, 1, dtype=torch.bool)
    buffer.extend({"x": one}, one, one[0], {"x": one}, never, never)
    batch = windows(buffer, 3)
    np.testing.assert_allclose(batch.reward, [1 + 0.9 * 2 + 0.81 * 3, 2 + 0.9 * 3, 3, 40], rtol=1e-6)
    np.testing.assert_allclose(batch.discount, [0.729, 0.81, 0.9, 0.9], rtol=1e-6)
    assert batch.following["x"][:, 0].tolist() == [3, 3, 3, 40]
    ended = recorded([0, 1])
    ended.cut()  # what ended stays as it is
    assert windows(ended, 1).discount.tolist() == [pytest.approx(0.9), 0.0]


def test_nothing_follows_a_termination():
    window = windows(recorded([0, 1, 0, 0]), 3)
    np.testing.assert_allclose(window.discount, [0, 0, 0.81, 0.9], rtol=1e-6)
    np.testing.assert_allclose(window.reward[:2], [1 + 0.9 * 2, 2], rtol=1e-6)


def reference(steps, start, row, n_steps, gamma):
    """A window by hand from what an environment did: (reward, discount, last observation)."""
    total, discount = 0.0, 1.0
    for step in steps[start : start + n_steps]:
        total, discount = total + discount * step["reward"][row].item(), discount * gamma
        if step["terminated"][row]:
            return total, 0.0, step["after"][row]
        if step["truncated"][row]:
            break
    return total, discount, step["after"][row]


@pytest.mark.parametrize("capacity", [21, 200])  # a ring that has gone round several times, and one that is not full
def test_windows_of_a_rollout_equal_those_made_by_hand(capacity):
    env, steps = Points(3, limit=4), []
    buffer = Replay(env.spaces.groups, 1, 3, capacity, "cpu")
    generator = torch.Generator().manual_seed(1)
    for _ in range(40):
        seen, action = env.observations, torch.rand(3, 1, generator=generator) * 6 - 3
        buffer.begin(seen, action)
        step = env.step(action)
        ended = env.ended()
        reward = env.rewards()[0]
        buffer.finish(step, ended, reward)
        after = step.observations["critic"].clone()
        after[ended.rows] = ended.observations["critic"]
        steps.append({"seen": seen, "reward": reward, "terminated": step.terminated, "truncated": step.truncated, "after": after})
    assert torch.stack([step["terminated"] for step in steps]).any()
    assert torch.stack([step["truncated"] for step in steps]).any()
    oldest = 40 - buffer.slots if buffer.slots < 40 else 0
    for n_steps in (1, 3, 6):
        window = windows(buffer, n_steps, 0.8)
        for t in range(oldest, 40):
            for row in range(3):
                i = t % buffer.slots * 3 + row
                total, discount, after = reference(steps, t, row, n_steps, 0.8)
                assert window.reward[i].item() == pytest.approx(total, abs=1e-5)
                assert window.discount[i].item() == pytest.approx(discount, abs=1e-6)
                torch.testing.assert_close(window.following["critic"][i], after)
                torch.testing.assert_close(window.following["actor"][i], after[:1])
                torch.testing.assert_close(window.observations["critic"][i], steps[t]["seen"]["critic"][row])


def test_collecting_keeps_the_true_last_observation_not_the_next_episode_s_first():
    env = Points(5, limit=3)
    buffer = Replay(env.spaces.groups, 1, 5, 100, "cpu")
    collect(env, buffer, lambda seen: torch.zeros(5, 1), 3)
    window = windows(buffer, 1)
    assert (window.following["critic"][-5:, 1] == 3).all()  # the step of the episode, which a new one begins at 0
    torch.testing.assert_close(window.following["actor"], window.observations["actor"])  # nothing moved
    assert (window.discount > 0).all()  # truncated is not terminated


def test_what_terminated_in_the_step_of_its_time_limit_has_terminated():
    env = Points(2)
    buffer = Replay(env.spaces.groups, 1, 2, 10, "cpu")
    buffer.begin(env.observations, torch.zeros(2, 1))
    step, both = env.step(torch.zeros(2, 1)), torch.tensor([True, False])
    buffer.finish(step._replace(terminated=both, truncated=both), env.ended(), torch.zeros(2))
    assert windows(buffer, 1).discount.tolist() == pytest.approx([0.0, 0.9])


def test_priorities_are_the_exact_values():
    """Errors 1, 2, 4 at alpha .6: P = (.2077658, .3149140, .4773203), weights at beta .4 (1, .8467454, .7169777)."""
    buffer = recorded([0, 0, 0], priority=0.6)
    buffer.prioritize(torch.arange(3), torch.tensor([1.0, -2.0, 4.0]))
    batch = buffer.sample(3000, 1, 0.9, torch.Generator().manual_seed(0), beta=0.4)
    share = torch.bincount(batch.rows, minlength=3) / 3000
    np.testing.assert_allclose(share, [0.2077658, 0.3149140, 0.4773203], atol=1 / 3000)  # strata: within one sample
    weight = torch.stack([batch.weight[batch.rows == i][0] for i in range(3)])
    np.testing.assert_allclose(weight, [1.0, 0.8467454, 0.7169777], rtol=1e-5)


def test_a_tree_is_the_sum_of_its_leaves_and_never_gives_one_of_priority_0():
    tree, generator = SumTree(1000, "cpu"), torch.Generator().manual_seed(2)
    leaves = torch.zeros(1000, dtype=torch.float64)
    for _ in range(20):
        rows = torch.randint(0, 1000, (64,), generator=generator)
        values = (rows % 7).double() / 3
        leaves[rows] = values
        tree.set(rows, values)
    torch.testing.assert_close(tree.leaves[:1000], leaves)
    torch.testing.assert_close(tree.total, leaves.sum())
    rows, probability = tree.sample(100_000, generator)
    torch.testing.assert_close(probability, leaves[rows] / leaves.sum())
    assert (leaves[rows] > 0).all()
    again = SumTree(1000, "cpu")
    again.load(leaves)
    assert torch.equal(again.nodes, tree.nodes)  # bit for bit: what a resumed run samples by


def test_new_steps_come_with_the_largest_priority_that_was_seen():
    buffer = recorded([0] * 4, priority=1.0, capacity=8)
    buffer.prioritize(torch.arange(4), torch.tensor([1.0, 5.0, 2.0, 1.0]))
    one = torch.ones(1, 1, 1)
    buffer.extend({"x": one}, one, one[0], {"x": one}, one[0] > 2, one[0] > 2)
    assert buffer._tree.leaves[4].item() == pytest.approx(5.0, abs=1e-5)


def test_uniform_samples_are_uniform_and_only_of_what_was_written():
    buffer = recorded([0] * 10, capacity=50)
    rows = buffer.sample(20_000, 1, 0.9, torch.Generator().manual_seed(0)).rows
    assert rows.max() == 9
    np.testing.assert_allclose(torch.bincount(rows) / 20_000, 0.1, atol=0.01)


def test_a_buffer_that_does_not_fit_is_refused_before_it_is_allocated(monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda device: 4 * 1024**3)
    with pytest.raises(InputError, match=r"it takes 75.\d GiB, and 4.0 GiB are free.*transitions fit") as error:
        Replay({"x": 100}, 1, 10, 100_000_000, "cpu")
    assert error.value.field == "algorithm.capacity"
    with pytest.raises(InputError, match=r"at least algorithm\.num_envs"):
        Replay({"x": 1}, 1, 10, 9, "cpu")
    assert module.free_memory(torch.device("cpu")) > 0


def test_half_precision_halves_it_and_keeps_what_16_bits_can():
    whole, half = recorded([0, 2, 0]), recorded([0, 2, 0], half=True)
    assert (whole.slot_bytes - 5) == 2 * (half.slot_bytes - 5)
    for a, b in zip(windows(whole, 2).following.values(), windows(half, 2).following.values(), strict=True):
        assert torch.equal(a, b)
        assert b.dtype == torch.float32
    large = from_arrays(
        {"x": torch.tensor([[1e6]])}, torch.zeros(1, 1), torch.zeros(1), {"x": torch.tensor([[-1e6]])},
        torch.tensor([False]), torch.tensor([True]), half=True,
    )  # fmt: skip
    assert windows(large, 1).observations["x"].item() == 65504.0  # the largest that there is, not infinity


def test_arrays_and_mixed_batches():
    arrays = {"x": torch.randn(7, 3), "y": torch.randn(7, 2)}
    flags = torch.tensor([0, 0, 1, 0, 0, 0, 0]).bool()
    data = from_arrays(arrays, torch.randn(7, 2), torch.randn(7), arrays, flags, torch.arange(7) == 6)
    online = Replay({"y": 2}, 2, 1, 4, "cpu")
    row = torch.ones(1, 1, 2)
    online.extend({"y": row}, row, torch.full((1, 1), 9.0), {"y": row}, torch.zeros(1, 1) > 0, torch.zeros(1, 1) > 0)
    generator = torch.Generator().manual_seed(0)
    batch = mixed([online.sample(4, 1, 0.9, generator), data.sample(4, 1, 0.9, generator)])
    assert list(batch.observations) == ["y"]
    assert batch.observations["y"].shape == (8, 2)
    assert batch.reward[:4].tolist() == [9.0] * 4
    assert (batch.discount[4:] == torch.where(batch.rows[4:] == 2, 0.0, 0.9)).all()
    with pytest.raises(InputError, match="free slots"):
        online.extend(
            {"y": torch.ones(5, 1, 2)}, torch.ones(5, 1, 2), torch.ones(5, 1), {"y": torch.ones(5, 1, 2)}, *[torch.ones(5, 1) > 2] * 2
        )


def test_a_restored_buffer_samples_the_same_priorities_included():
    a = recorded([0, 2, 0, 1, 0], priority=0.6, capacity=8)
    a.prioritize(torch.arange(5), torch.tensor([3.0, 1.0, 0.5, 7.0, 2.0]))
    b = Replay({"x": 1}, 1, 1, 8, "cpu", priority=0.6)
    b.load_state_dict(a.state_dict())
    batches = [buffer.sample(50, 3, 0.9, torch.Generator().manual_seed(3), beta=0.5) for buffer in (a, b)]
    assert torch.equal(batches[0].rows, batches[1].rows)
    assert torch.equal(batches[0].weight, batches[1].weight)
    assert torch.equal(batches[0].reward, batches[1].reward)
    with pytest.raises(InputError, match="of shape"):
        recorded([0], capacity=9).load_state_dict(a.state_dict())
