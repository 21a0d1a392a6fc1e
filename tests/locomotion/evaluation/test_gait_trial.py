"""The gait protocol: signals of one instant, hips from the model, figures that JSON carries and the reader takes."""

import json
import math

import numpy as np
import pytest
import torch

import sim
from locomotion.evaluation import gait_trial
from locomotion.evaluation.documents import read_scorecard
from locomotion.evaluation.rollout import load_policy
from locomotion.task.randomization import RandomizationSettings, SensorSpread
from sim import Signals
from tests.conftest import only, standing


def test_aligned_signals_are_of_one_instant(go2):
    """A robot that flies at 3 m/s: foot and base keep their distance, where raw signals are 6 mm apart a step."""
    simulator = sim.make("mujoco", go2, 1, 0.002, threads=1)
    state = standing(go2, 1, height=2.0)
    state.base_lin_vel_world[:, 0] = 3.0
    simulator.reset(only(1), state)
    packed = []
    for _ in range(6):
        simulator.step(state.joint_pos, 1)
        packed.append(simulator.signals.packed.clone())
    raw, aligned = Signals(torch.stack(packed), 12, 4), gait_trial.align(torch.stack(packed), 12, 4)
    start = _rest_offsets(go2)
    for signals, off in ((raw, 0.006), (aligned, 0.0)):
        ahead = signals.foot_pos[..., 0] - signals.base_pos[:, :, None, 0]
        assert (ahead[1:] - start).mean().item() == pytest.approx(-off, abs=5e-4)
    assert len(aligned.packed) == len(raw.packed) - 1
    assert torch.equal(aligned.joint_torque, raw.joint_torque[1:])
    assert torch.equal(aligned.base_pos, raw.base_pos[:-1])


def _rest_offsets(robot):
    simulator = sim.make("mujoco", robot, 1, 0.002, threads=1)
    simulator.reset(only(1), standing(robot, 1, height=2.0))
    return simulator.signals.foot_pos[0, :, 0] - simulator.signals.base_pos[0, 0]


def test_hips_are_the_joints_that_swing_the_legs(go2):
    hips = sim.make("mujoco", go2, 1, 0.002, threads=1).hip_pos[:, :2].numpy()
    assert hips[:, 0] == pytest.approx([0.1934, 0.1934, -0.1934, -0.1934], abs=1e-4)
    assert hips[:, 1] == pytest.approx([0.1419, -0.1419, 0.1419, -0.1419], abs=3e-3)  # abduction joint and the offset of the thigh


def test_figures_take_their_signals_along_the_right_axes():
    """One robot of two feet, turned to the left by a quarter, that walks forward at 0.5 m/s and sways by 1 cm."""
    dt, t = 0.002, np.arange(0, 3, 0.002)
    s = Signals(torch.zeros(len(t), 1, Signals.zeros(1, 2, 2).packed.shape[1]), 2, 2)
    quarter = math.sqrt(0.5)
    s.base_quat[..., 0], s.base_quat[..., 3] = quarter, quarter  # forward is +y, left is -x
    s.base_lin_vel_world[:, 0, 1] = 0.5
    s.base_lin_vel_world[:, 0, 0] = -torch.tensor(0.01 * 2 * math.pi * 2 * np.cos(2 * math.pi * 2 * t))
    s.base_ang_vel[:] = torch.tensor([5.0, 6.0, 0.2])
    s.base_pos[:] = torch.tensor([3.0, 4.0, 0.3])
    s.joint_torque[:], s.joint_vel[:] = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])
    air = torch.tensor((t % 0.5 < 0.2)[:, None] & np.array([True, False]))
    s.foot_contact_force[:, 0, :, 2] = torch.where(air, 0.0, 60.0)
    s.foot_contact_force[..., :2] = 500.0
    s.foot_pos[:] = torch.tensor([3.0, 4.25, 0.02])
    s.foot_pos[:, 0, :, 2] += 0.06 * air
    s.foot_vel[:] = torch.tensor([0.3, 0.4, -0.7])
    hips = np.array([[0.2, 0.1], [-0.2, 0.1]])
    figures = gait_trial.walking_figures(s, np.array([[0.4, 0.0, 0.1]]), np.array([0.02, 0.03]), hips, np.array([120.0]), dt)
    one = {name: value[0] for name, value in figures.items()}
    assert one["apex"][0] == pytest.approx(0.06, abs=1e-5)
    assert one["touchdown"][0] == pytest.approx(0.7)
    assert one["slide"][0] == pytest.approx(0.5)
    assert one["foothold"][0] == pytest.approx(0.25 - 0.2, abs=1e-5)
    assert one["peak_force"] == pytest.approx([0.5, 0.5])
    assert one["duty"] == pytest.approx([0.6, 1.0], abs=0.01)
    assert one["frequency"] == pytest.approx(2.0)
    assert one["height"] == pytest.approx(0.3)
    assert one["height_swing"] == pytest.approx(0.0, abs=1e-6)
    assert one["sway"] == pytest.approx(0.02, abs=1e-3)
    assert one["bias"] == pytest.approx([0.1, 0.0, 0.1], abs=1e-3)
    assert (one["cost"], one["cost_net"]) == pytest.approx((5 / 60, 1 / 60), rel=0.02)  # 0.5 m/s and a little more with the sway


@pytest.fixture
def short(monkeypatch):
    for name, value in {
        "WALK_SECONDS": 2.5, "UNSCORED_SECONDS": 1.5, "TRACE_SECONDS": 0.4, "STANDING_SECONDS": 1.0, "STANDING_ROBOTS": 2,
        "STOP_AFTER": 0.2, "STOP_SECONDS": 0.4,
    }.items():  # fmt: skip
        monkeypatch.setattr(gait_trial, name, value)


def test_a_robot_that_stands_takes_no_step(standing_bundle, short, tmp_path):
    sensors = RandomizationSettings(noise=SensorSpread(joint_vel=1.0), parameters={"friction": (0.1, 0.1)})
    policy, said = load_policy(standing_bundle), []
    path = tmp_path / "scorecard.json"
    path.write_text(json.dumps({"scores": {}, "gait": gait_trial.measure(policy, sensors, said.append)}, allow_nan=False))
    gait = read_scorecard(path).gait
    assert gait.feet == policy.robot.feet
    assert list(gait.walking) == list(gait_trial.WALKS)
    walk = gait.walking["forward 0.5"]
    assert not walk.fell
    assert walk.duty == (1.0,) * 4
    assert walk.apex == (None,) * 4
    assert walk.frequency == 0
    assert walk.cost is None
    assert walk.bias == pytest.approx((-0.5, 0.0, 0.0), abs=0.02)
    assert sum(walk.peak_force) == pytest.approx(1.0, abs=0.05)
    assert walk.height == pytest.approx(policy.robot.standing_height, abs=0.02)
    assert walk.height_swing < 0.005
    s = gait.standing
    assert (s.robots, s.seconds, s.fell, s.steps) == (2, 1.0, 0.0, (0.0,) * 4)
    assert s.drift < 0.005
    assert s.settling is not None
    assert s.settling < 0.4
    trace = gait.traces["forward 0.8"]
    assert trace.dt == pytest.approx(0.004)
    assert len(trace.base_height) == len(trace.sole_height[3]) == len(trace.contact[0]) == 100
    assert np.abs(trace.sole_height).max() < 0.01
    assert said[-1] == 1.0
    assert said == sorted(said)


def test_a_robot_that_falls_has_no_figures(go2, standing_bundle, short, tmp_path, monkeypatch):
    policy = load_policy(standing_bundle)
    policy.step = lambda signals: (np.tile(go2.lie_joint_pos, (len(signals["command"]), 1)).astype(np.float32),) * 2
    walking, traces = gait_trial.walk(policy, lambda share: None)
    assert all(walk["fell"] and walk["duty"] is None for walk in walking.values())
    assert traces == {}
    assert gait_trial.stop(policy) == {"settling": None, "settling_worst": None}


def test_each_robot_is_timed_from_its_own_stop(standing_bundle, monkeypatch):
    """Robots that all go on for 0.1 s after they were told to stop."""
    policy, since = load_policy(standing_bundle), torch.zeros(gait_trial.STANDING_ROBOTS)

    def record(actor, world, command, seconds, every, progress):
        rows = []
        for _ in range(round(seconds / world.control_dt)):
            s = Signals.zeros(len(command), 12, 4)
            s.base_pos[:, 2], s.foot_contact_force[..., 2] = 0.3, 40.0
            s.base_lin_vel[:, 1] = 0.4 * ((command[:, 0] > 0) | (since < 5)).float()
            since.add_((command[:, 0] == 0).float())
            rows.append(s.packed)
        return torch.stack(rows)

    monkeypatch.setattr(gait_trial, "record", record)
    assert gait_trial.stop(policy) == {"settling": pytest.approx(0.1), "settling_worst": pytest.approx(0.1)}
