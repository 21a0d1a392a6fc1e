"""What rewards remember across steps: in a block, over its borders, over the ends of episodes, and in a run that goes on."""

import pytest
import torch

from locomotion.task.past import Past, a_step_ago, steps_airborne
from tests.conftest import make_task


def airborne_by_loop(contact, first, ended):
    steps, rows = first.clone(), []
    for t in range(len(contact)):
        steps = torch.where(contact[t] > 0, 0.0, steps + 1)
        rows.append(steps)
        steps = torch.where(ended[t][:, None], 0.0, steps)
    return torch.stack(rows), steps


@pytest.mark.parametrize("lengths", [(40,), (1, 16, 3, 20), (8,) * 5])
def test_time_in_the_air_is_counted_over_blocks_and_ends_with_the_episode(lengths):
    generator = torch.Generator().manual_seed(0)
    contact = (torch.rand(40, 5, 4, generator=generator) < 0.2).float()
    ended = torch.rand(40, 5, generator=generator) < 0.1
    previous = torch.randn(40, 5, 12, generator=generator)
    expected, _ = airborne_by_loop(contact, torch.zeros(5, 4), ended)
    past, at = Past(5, 12, 4, torch.device("cpu")), 0
    for length in lengths:
        part = slice(at, at + length)
        steps = steps_airborne(contact[part], past.airborne, ended[part])
        assert torch.equal(steps, expected[part])
        older = a_step_ago(previous[part], past.action, ended[part])
        for t in range(length):
            before = torch.zeros(5, 12) if at + t == 0 else torch.where(ended[at + t - 1][:, None], 0.0, previous[at + t - 1])
            assert torch.equal(older[t], before)
        past.advance(previous[part], steps, ended[part])
        at += length


TERMS = ("task.rewards.air_time={weight: 1.0}", "task.rewards.action_acc={weight: -0.01}", "task.reward_floor=null")


def test_a_task_that_goes_on_from_a_checkpoint_rewards_the_same():
    generator = torch.Generator().manual_seed(3)
    actions = 2.0 * torch.randn(24, 6, 12, generator=generator)
    task, other = make_task(*TERMS), make_task(*TERMS)
    for action in actions[:12]:
        task.step(action)
    task.rewards()
    assert task._past.packed.abs().sum() > 0
    other.load_state_dict(task.state_dict())
    for action in actions[12:]:
        task.step(action)
        other.step(action)
    assert torch.equal(task.rewards(), other.rewards())


def test_where_a_block_ends_changes_no_reward():
    task, other = (make_task(*TERMS, "task.curricula.ramp_weights=null") for _ in range(2))
    actions = 2.0 * torch.randn(20, 6, 12, generator=torch.Generator().manual_seed(4))
    parts = []
    for action in actions:
        task.step(action)
        other.step(action)
        parts.append(other.rewards())
    torch.testing.assert_close(task.rewards(), torch.cat(parts))
