"""The policy's targets are those that the filters of a deployment let through, and its own bounds are the joints'."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deploy.filters import Situation, apply
from deploy.limits import Limits
from locomotion.task.actions import ActionDecoder
from robots.actuator import POSITION_MARGIN

DT = 0.02


def filtered(go2, wanted, q, dq, previous):
    """What the filters with default limits make of a target, and which of them acted."""
    found = apply(wanted, Situation(go2, Limits(), DT, q, dq, previous))
    assert not found.conflict.any()
    return found.target, found.changed


def test_targets_are_what_the_supervisor_makes_of_the_action_and_it_changes_them_no_more(go2):
    # a battery's limit is of the sum over joints, and at three times the power of a fast walk: training does not know it
    go2 = replace(go2, battery_power=None)
    rng, low, high = np.random.default_rng(0), *go2.joint_pos_limit.T
    decoder, acted = ActionDecoder(go2, DT), {"position": 0, "slew": 0, "torque": 0}
    for _ in range(300):
        q, previous = rng.uniform(low, high), rng.uniform(low + POSITION_MARGIN, high - POSITION_MARGIN)
        dq, action = rng.normal(0, 8, 12), rng.normal(0, 2, 12)
        memory = np.concatenate([rng.normal(size=5), previous - go2.default_joint_pos])  # the target is its tail
        target, offset = (x[0].double().numpy() for x in decoder(*(torch.tensor(x[None]).float() for x in (action, q, dq, memory))))
        expected, before = filtered(go2, go2.default_joint_pos + go2.action_scale * action, q, dq, previous)
        np.testing.assert_allclose(target, expected, atol=3e-6)
        np.testing.assert_allclose(offset, target - go2.default_joint_pos, atol=1e-6)
        assert not filtered(go2, target, q, dq, previous)[1]
        for name in before:
            acted[name] += 1
    assert min(acted.values()) > 20  # the test has driven every filter


def test_bounds_of_the_action_are_the_joints_limits_less_the_margin(go2):
    decoder = ActionDecoder(go2, DT)
    low, high = go2.joint_pos_limit.T
    for bound, limit in zip(decoder.bounds, (low + POSITION_MARGIN, high - POSITION_MARGIN), strict=True):
        target = go2.default_joint_pos + go2.action_scale * bound.double().numpy()
        assert target == pytest.approx(limit, abs=1e-5)
