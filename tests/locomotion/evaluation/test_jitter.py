"""A policy that shakes scores worse than one that does not, and the figure is a share of energy above 10 Hz."""

import numpy as np
import pytest
import torch
from torch import nn

import sim
from locomotion.evaluation import jitter
from locomotion.evaluation.rollout import load_policy
from locomotion.export import write_bundle
from locomotion.models.policy import Policy
from tests.conftest import bundle_fields, make_task


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(jitter, "SECONDS", 1.5)
    monkeypatch.setattr(jitter, "UNSCORED_SECONDS", 0.5)


@pytest.mark.parametrize(("fast", "share"), [(0.0, 0.0), (1.0, 0.5), (2.0, 0.8)])
def test_shaking_is_the_share_of_energy_above_ten_hertz(fast, share):
    """A stride of 2 Hz with a tremor of 15 Hz on it, and a constant that does not count."""
    time = np.arange(200) * 0.02
    action = 7.0 + np.sin(2 * np.pi * 2 * time) + fast * np.sin(2 * np.pi * 15 * time)
    assert jitter.shaking(action[:, None, None], 0.02) == pytest.approx(share, abs=0.01)


def test_an_action_that_never_moves_does_not_shake():
    assert jitter.shaking(np.full((100, 2, 12), 0.3), 0.02) == 0.0


class Damper(nn.Module):
    """Action = -gain * joint velocity: the columns of joint_vel in the observation."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain), requires_grad=False)

    def forward(self, observation):
        return -self.gain * observation[:, 21:33]


def bundle(go2, path, gain):
    task = make_task("randomization=none")
    write_bundle(Policy(task.encoder, Damper(gain), task.decoder), go2, bundle_fields(), path)
    return load_policy(path)


def test_a_policy_with_a_high_gain_on_velocity_shakes(go2, tmp_path, short):
    calm, nervous = (jitter.measure(bundle(go2, tmp_path / f"{gain}.onnx", gain)) for gain in (0.002, 0.15))
    for figures in (calm, nervous):
        assert len(figures["standing"]["torque"]) == len(figures["standing"]["minutes"]) == 12
        assert figures["nominal"]["fell"] == 0
    assert nervous["harsh"]["joint_acceleration"] > 3 * calm["harsh"]["joint_acceleration"]
    assert nervous["harsh"]["shaking"] > 0.3
    # it stands on its knees' torque: a calf carries more than a hip's abduction
    assert calm["standing"]["torque"][2] > calm["standing"]["torque"][0] > 0


def test_the_harsh_world_is_harsh(go2):
    simulator = sim.make("mujoco", go2, 50, 0.002)
    world = jitter.HarshWorld(simulator, 0.02, seed=0)
    clean, seen = simulator.signals, world.measure(("joint_pos", "joint_vel", "base_ang_vel"))
    assert (seen["joint_vel"] - clean.joint_vel).std() == pytest.approx(1.0, rel=0.1)
    steps = seen["joint_pos"] / jitter.ENCODER
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    assert (seen["joint_pos"] - clean.joint_pos).abs().max() <= jitter.ENCODER
    assert torch.equal(seen["base_ang_vel"], clean.base_ang_vel)
    assert (simulator.values["kd_scale"] == 1.5).all()
    delays = []
    for _ in range(20):
        world.disturb()
        delays.append(simulator.values["action_delay"].clone())
    delays = torch.stack(delays)
    assert 0.005 <= delays.min() < 0.006 < 0.019 < delays.max() <= 0.02
    assert delays.std(dim=0).min() > 0.001  # anew every step
