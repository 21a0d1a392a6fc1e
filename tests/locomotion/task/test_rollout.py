"""What a learner and a curriculum are told of a rollout, at its edges."""

import pytest
import torch

from tests.conftest import make_task


def test_before_the_first_step_nobody_has_ended_and_nothing_was_earned():
    task = make_task("randomization=none")
    steps, rows, observations = task.ended()
    assert steps.shape == rows.shape == (0,)
    assert {name: tuple(value.shape) for name, value in observations.items()} == {name: (0, n) for name, n in task.spaces.groups.items()}
    assert task.rewards().shape == (0, task.num_envs)


def test_a_curriculum_s_score_moves_a_tenth_of_the_way_to_each_rollout_s_least_metric():
    task = make_task("randomization=none")
    expected = 0.0
    for _ in range(3):
        for _ in range(16):
            task.step(torch.zeros(6, 12))
        task.rewards()
        figures = task.statistics()
        expected += 0.1 * (min(figures["metric/tracking"], figures["metric/yaw"]) - expected)
        assert task._outcome.smoothed_score.item() == pytest.approx(expected, rel=1e-5)
