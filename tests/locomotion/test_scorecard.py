"""The scorecard is the protocol that its text says, and tells standing, walking and falling apart."""

import itertools

import numpy as np
import pytest
import torch

from deploy import contract
from locomotion import build, scorecard
from robots import InputError
from tests.conftest import tiny_config


class Standing:
    """A policy that holds the default pose, or collapses."""

    def __init__(self, robot, target=None):
        self.contract = type("Contract", (), {"control_dt": 0.02})
        self._target = (robot.default_joint_pos if target is None else target).astype(np.float32)

    def reset(self, batch):
        pass

    def step(self, signals):
        n = len(signals["command"])
        return np.tile(self._target, (n, 1)), np.zeros((n, 12), dtype=np.float32)


def test_grid():
    assert len(scorecard.GRID) == 36
    assert set(scorecard.GRID) == set(itertools.product((-0.5, 0, 0.5, 0.8), (-0.3, 0, 0.3), (-0.6, 0, 0.6)))
    assert torch.equal(scorecard.commands(72)[:36], scorecard.commands(72)[36:])
    with pytest.raises(InputError, match="episodes"):
        scorecard.commands(0)


def test_standing_still_scores_what_arithmetic_says(go2):
    """exp(-|command|^2 / 0.25) over the grid, no falls, no saturation, no slip."""
    scores = scorecard.evaluate(Standing(go2), go2, "mujoco", scorecard.NOMINAL, 36, 0)
    command = scorecard.commands(36)
    assert scores["tracking_score"] == pytest.approx(torch.exp(-command[:, :2].square().sum(1) / 0.25).mean().item(), abs=0.01)
    assert scores["yaw_score"] == pytest.approx(torch.exp(-command[:, 2].square() / 0.25).mean().item(), abs=0.01)
    assert scores["lin_vel_error"] == pytest.approx(command[:, :2].norm(dim=1).mean().item(), abs=0.01)
    assert scores["ang_vel_error"] == pytest.approx(0.4, abs=0.01)
    assert scores["fall_rate"] == 0
    assert scores["torque_saturation"] == 0
    assert scores["action_rate"] == 0
    assert scores["foot_slip"] < 0.01


def test_collapsing_is_a_fall_and_scores_nothing(go2):
    scores = scorecard.evaluate(Standing(go2, go2.lie_joint_pos), go2, "mujoco", scorecard.NOMINAL, 4, 0)
    assert scores["fall_rate"] == 1
    assert scores["tracking_score"] == 0
    assert scores["yaw_score"] == 0


def test_same_seed_same_scores_and_pushes_matter(go2, bundle):
    randomized = build.randomization(tiny_config()["randomization"])
    policy = contract.load(bundle)
    a, b = (scorecard.evaluate(policy, go2, "mujoco", randomized, 3, 5) for _ in range(2))
    assert a == b
    assert a != scorecard.evaluate(policy, go2, "mujoco", randomized, 3, 6)
