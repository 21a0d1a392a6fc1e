"""A log in the robot's place: the same software decides the same, another policy is told from it, and nothing is sent."""

import math

import numpy as np
import pytest

from deploy.log import Recorder
from deploy.log_reader import read_log
from deploy.policy import RobotPolicy, load
from deploy.replay import ReplayInterface
from deploy.runtime import Runtime
from deploy.supervisor import Limits, State, Supervisor
from robots import InputError
from tests.deploy import bundles, recorded


def replay(log, bundle, go2, limits=Limits(), tolerance=0.0):  # noqa: B008
    policy = RobotPolicy(load(bundle), go2)
    again = ReplayInterface(log, tolerance)
    runtime = Runtime(policy, again, Supervisor(policy.robot, policy.contract.control_dt, limits), again)
    runtime.run(again.duration, again)
    return again, runtime


def test_a_replay_decides_what_was_decided_and_finds_what_another_would_do(tmp_path, go2):
    bundle = bundles.write_tiny(tmp_path / "policy.onnx", go2, weight=0.01)
    _, before, _ = recorded.run(bundle, go2, tmp_path / "log.mcap", 8.0, script=((0.0, (0.3, 0.0, 0.0)), (0.5, (0.0, 0.2, 0.1))))
    log = read_log(tmp_path / "log.mcap")
    again, runtime = replay(log, bundle, go2)
    assert again.differences == []
    assert again.compared == len(log.steps)
    assert [(e.time, e.detail) for e in runtime.supervisor.events] == [(e.time, e.detail) for e in before.supervisor.events]

    other = bundles.write_tiny(tmp_path / "other.onnx", go2, weight=0.02, seed=1)
    found, _ = replay(log, other, go2)
    walking = log.columns["time"][log.columns["state"] == State.WALK]
    assert {d.signal for d in found.differences} == {"joint_pos_target"}
    assert min(d.time for d in found.differences) == walking[0]
    assert max(d.worst for d in found.differences) > 0.01
    assert replay(log, other, go2, tolerance=10.0)[0].differences == []

    slower, _ = replay(log, bundle, go2, Limits(stand_up_seconds=3.0))
    assert slower.differences[0].time < 0.1
    assert {d.signal for d in slower.differences} >= {"kp", "joint_pos_target"}  # and then it is still standing up where the log walks


def test_a_log_without_a_step_cannot_be_replayed(tmp_path, go2, bundle):
    recorder = Recorder(tmp_path / "log.mcap", go2, load(bundle).contract, Limits())
    recorder.close()
    with pytest.raises(InputError, match="at least one step"):
        ReplayInterface(read_log(tmp_path / "log.mcap"))


def test_what_is_read_is_the_logged_sample(tmp_path, go2):
    bundle = bundles.write_tiny(tmp_path / "policy.onnx", go2, weight=0.01)
    recorded.run(bundle, go2, tmp_path / "log.mcap", 3.2)
    log = read_log(tmp_path / "log.mcap")
    again = ReplayInterface(log)
    for i in range(5):
        state = again.read()
        assert (state.time, state.tick) == (log.columns["sample_time"][i], log.columns["tick"][i])
        np.testing.assert_array_equal(state.joint_vel, log.columns["joint_vel"][i])
        np.testing.assert_array_equal(state.truth["base_pos"], log.columns["base_pos"][i])
        again.sleep_until(math.inf)
