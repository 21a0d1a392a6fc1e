"""A log in the robot's place: the same software decides the same, another policy is told from it, and nothing is sent."""

import math
from dataclasses import replace

import numpy as np
import pytest

from deploy.heading import HeadingHold
from deploy.hil.simulated_robot import Conditions
from deploy.log import Recorder
from deploy.log_reader import read_log
from deploy.operator import Intent, Stop
from deploy.policy import RobotPolicy, load
from deploy.replay import ReplayInterface
from deploy.supervisor import Limits, State
from robots import InputError
from tests.deploy import bundles, recorded
from tests.deploy.plants import Deployment


def replay(log, bundle, go2, limits=Limits(), tolerance=0.0):  # noqa: B008
    again = ReplayInterface(log, tolerance)
    runtime = again.runtime(RobotPolicy(load(bundle), go2), limits)
    runtime.run(again.duration, again, Stop.NONE)
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


class Watcher:
    """An e-stop that is heard until ``silent`` s, and then asks for ``stop``."""

    def __init__(self, run, silent, stop):
        self.run, self.silent, self.stop, self.heard = run, silent, stop, -math.inf

    def poll(self, now, stopped=Stop.NONE):
        if not self.run.at(self.silent):
            self.heard = now
        return self.stop if self.run.at(self.silent) else Stop.NONE

    def close(self):
        pass


def derated(run):
    run.robot.on_read = lambda sample: replace(sample, voltage=28.4 if run.at(0.3) else 33.0)


def operator_gone(run):
    def operator(time, state):
        wanted = State.WALK if state is State.READY else None
        return Intent(wanted, np.array([0.4, 0.0, 0.0]), age=max(0.0, run.clock.now() - run.start - 0.3))

    run.operator = operator


def operator_nan(run):
    command = lambda: np.array([0.4, np.nan if run.at(0.3) else 0.0, 0.0])  # noqa: E731
    run.operator = lambda time, state: Intent(State.WALK if state is State.READY else None, command())


def silent(run):
    run.runtime.estop = Watcher(run, 0.3, Stop.NONE)


def settles(run):
    run.runtime.estop = Watcher(run, 0.3, Stop.SETTLE)


def heads(run):
    run.runtime.heading = HeadingHold(run.policy.contract)
    run.runtime.heading._still = 1.0  # known, though it stood for no time


def heads_and_derated(run):
    heads(run)
    derated(run)


@pytest.mark.parametrize("befalls", [derated, operator_gone, operator_nan, silent, settles, heads, heads_and_derated])
def test_whatever_reached_the_run_from_outside_reaches_its_replay(tmp_path, go2, befalls):
    """A policy that answers to its command, so that half of it, or another heading, is another run."""
    bundle = bundles.write_tiny(tmp_path / "policy.onnx", go2, weight=0.02)
    run = Deployment(bundle, go2, Conditions(noise=1.0, seed=2), script=((0.0, (0.4, 0.0, 0.0)),)).standing()
    run.runtime.log = Recorder(tmp_path / "log.mcap", go2, run.policy.contract, Limits())
    befalls(run)
    run.run(8.5)
    log = read_log(tmp_path / "log.mcap")
    again = ReplayInterface(log)
    runtime = again.runtime(RobotPolicy(load(bundle), go2), Limits())
    runtime.supervisor.state = State.READY
    if again.heads:
        runtime.heading._still = 1.0
    runtime.run(again.duration, again, Stop.NONE)
    assert again.differences == []
    told, was = (made.log.columns()["command"] for made in (runtime, run.runtime))
    steps = min(len(told), len(was))  # of damping after the fault there may be one more
    np.testing.assert_array_equal(told[:steps], was[:steps])
    found, was = ([(e.kind, e.detail) for e in made.supervisor.events] for made in (runtime, run.runtime))
    assert found == was
    assert len({kind for kind, _ in was}) > (befalls in (derated, operator_gone, silent, settles))


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
