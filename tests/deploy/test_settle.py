"""An orderly end: a walk comes to rest, the feet come down, the robot lies; on two feet it stands until somebody holds it."""

from dataclasses import replace

import numpy as np
import pytest

import robots
from deploy.hil.simulated_robot import Conditions
from deploy.interface import MotorCommand
from deploy.limits import Limits
from deploy.log import Recorder
from deploy.log_reader import read_log
from deploy.operator import Intent, Stop
from deploy.policy import RobotPolicy, load
from deploy.replay import ReplayInterface
from deploy.states import State
from deploy.summary import summarize
from deploy.supervisor import Reply
from tests.deploy import bundles
from tests.deploy.plants import Deployment, rows

LIMITS = Limits()


def changes(run):
    """Each transition and when, s since it stood."""
    return {e.detail.split(" (")[0]: e.time - run.start for e in run.supervisor.events if e.kind == "transition"}


def stopped(run, at, level=Stop.SETTLE):
    """The operator asks for it from then on."""
    ask = run.operator
    run.operator = lambda time, state: Intent(*ask(time, state))._replace(stop=level if run.at(at) else Stop.NONE)
    return run


def feet_down(run):
    """Least number of feet that bear weight, of the samples that began the way to lying."""
    down, look = [], run.robot.on_read

    def watch(sample):
        if run.supervisor._lying and not down:
            down.append(int((sample.truth["foot_contact_force"][:, 2] > 5.0).sum()))
        return look(sample)

    run.robot.on_read = watch
    return down


@pytest.mark.parametrize("at", [0.5, 0.56, 0.62, 0.7])
def test_whatever_the_moment_of_the_stride_it_lies_down_from_four_feet_at_rest(bundle, go2, at):
    run = stopped(Deployment(bundle, go2, Conditions(noise=1.0, seed=int(100 * at))).trot().standing(), at)
    down = feet_down(run)
    run.run(9.0)
    when = changes(run)
    assert run.kinds == ["stop", "settled"]
    assert when["walk -> settle"] == pytest.approx(at + LIMITS.stop_seconds, abs=0.05)  # this one trots for ever
    assert down == [4]
    assert run.upright > 0.97
    assert run.plant.data.qpos[2] < 0.12


def test_a_policy_that_comes_to_rest_is_waited_for_no_longer_than_its_rest(bundle, go2):
    run = Deployment(bundle, go2).trot().standing()
    trot, steps = run.policy.step, iter(range(10**9))

    def comes_to_rest(signals):
        target, action = trot(signals)
        return (go2.default_joint_pos[None] + 1e-6 * next(steps)).astype(np.float32) if run.at(0.8) else target, action

    run.policy.step = comes_to_rest
    when = changes(stopped(run, 0.4).run(8.0))
    assert 0.8 + LIMITS.dwell_seconds < when["walk -> settle"] < 0.8 + LIMITS.dwell_seconds + 0.5
    assert when["settle -> fault"] - when["walk -> settle"] == pytest.approx(LIMITS.ramp_seconds + LIMITS.lie_down_seconds, abs=0.1)


def test_it_does_not_lie_down_while_its_joints_move_unless_they_go_on_for_twice_the_time(bundle, go2):
    """Somebody shakes the robot that stands in the default pose."""
    run = stopped(Deployment(bundle, go2, limits=Limits(stop_seconds=0.0)).trot().standing(), 0.4)
    moving = np.tile([1.0, -1.0], 6)
    run.robot.on_read = lambda s: replace(s, joint_vel=s.joint_vel + moving * np.sin(80 * s.time)) if run.at(0.45) else s
    lying = []
    look = run.robot.on_read

    def watch(sample):
        lying.append(run.clock.now() - run.start) if run.supervisor._lying and not lying else None
        return look(sample)

    run.robot.on_read = watch
    run.run(4.0)
    assert lying[0] == pytest.approx(0.42 + 2.0 * LIMITS.ramp_seconds, abs=0.06)


def test_a_robot_that_stands_up_goes_back_down_from_where_it_is(bundle, go2):
    run = Deployment(bundle, go2)
    stand, rest = Intent(State.STAND_UP, np.zeros(3)), Intent(None, np.zeros(3), stop=Stop.SETTLE)
    run.operator = lambda time, state: rest if time > 0.8 else stand
    run.run(6.0)
    heights = np.array(run.plant.frames)[:, 2]
    assert run.kinds == ["stop", "settled"]
    assert heights[45:].max() < heights[40] + 0.02  # it does not rise first


def test_a_run_whose_time_is_over_lies_down_and_has_passed(bundle, go2):
    run = Deployment(bundle, go2).trot().standing()
    run.runtime.run(1.0, run.operator)
    when = changes(run)
    assert list(when) == ["ready -> walk", "walk -> settle", "settle -> fault"]
    assert when["walk -> settle"] == pytest.approx(1.0 + LIMITS.stop_seconds, abs=0.05)
    assert run.plant.data.qpos[2] < 0.12
    assert run.damped
    assert summarize(run.runtime)["passed"]


def test_a_run_that_ends_in_order_but_had_to_before_its_time_has_not_passed(bundle, go2):
    for early in (0.5, None):
        run = Deployment(bundle, go2).trot().standing()
        if early:
            stopped(run, early)
        run.runtime.run(1.0, run.operator)
        assert run.kinds[-1] == "settled"
        assert summarize(run.runtime)["passed"] is (early is None)


def test_a_fault_while_it_lies_down_is_a_fault_and_nothing_passed(bundle, go2):
    run = Deployment(bundle, go2).trot().standing()
    run.robot.on_read = lambda s: replace(s, base_ang_vel=np.full(3, 20.0)) if run.at(1.5) else s
    run.runtime.run(1.0, run.operator)
    assert run.kinds == ["stop", "base_ang_vel"]
    assert not summarize(run.runtime)["passed"]


def replays_alike(log, bundle, go2, run):
    again = ReplayInterface(read_log(log))
    runtime = again.runtime(RobotPolicy(load(bundle), go2), LIMITS)
    runtime.supervisor.state = State.READY
    runtime.run(again.duration, again, Stop.NONE)
    assert again.differences == []
    assert [e.detail for e in runtime.supervisor.events] == [e.detail for e in run.supervisor.events]


def test_the_end_of_the_time_is_in_the_log_and_a_replay_comes_to_the_same(tmp_path, bundle, go2):
    run = Deployment(bundle, go2, Conditions(noise=1.0)).standing()
    run.runtime.log = Recorder(tmp_path / "log.mcap", go2, run.policy.contract, LIMITS)
    run.runtime.run(1.0, run.operator)
    replays_alike(tmp_path / "log.mcap", bundle, go2, run)


def on_request(run, at, wanted=State.READY):
    """The operator asks for it once, at that time, and goes on as before."""
    ask = run.operator
    run.operator = lambda time, state: Intent(*ask(time, state))._replace(state=wanted) if at <= time < at + 0.019 else ask(time, state)
    return run


def test_to_stand_is_asked_for_in_a_stride_and_comes_of_rest_or_when_rest_is_late(bundle, go2):
    script = ((0.0, (0.5, 0.0, 0.0)),)
    run = on_request(Deployment(bundle, go2, script=script).trot().standing(), 0.5).run(4.5)
    assert changes(run)["walk -> ready"] == pytest.approx(0.5 + LIMITS.stop_seconds, abs=0.05)  # this one trots for ever
    told = [row["command"][0] for row in rows(run.runtime) if 0.9 < row["time"] < 3.4]
    assert not np.any(told)
    run = Deployment(bundle, go2, script=script).standing()  # a policy that stands
    steps = iter(range(10**9))
    run.act(lambda: go2.default_joint_pos + 1e-6 * next(steps))
    assert changes(on_request(run, 1.0).run(1.5))["walk -> ready"] < 1.1


def test_a_stop_on_the_way_to_standing_is_an_end_and_the_sooner_of_both(bundle, go2):
    run = on_request(stopped(Deployment(bundle, go2).trot().standing(), 1.5), 0.5)
    when = changes(run.run(9.0))
    assert "walk -> ready" not in when
    assert when["walk -> settle"] == pytest.approx(1.5 + LIMITS.stop_seconds, abs=0.05)
    assert run.kinds[-1] == "settled"


@pytest.mark.parametrize("seconds", [1.0, 2.5])
def test_whatever_an_operator_says_the_command_of_a_walk_takes_its_time(bundle, go2, seconds):
    """Sticks that are let go, keys, and a stop: a policy that is told to rest in one step may topple a robot that is fast."""
    run = Deployment(bundle, go2, limits=Limits(command_seconds=seconds)).trot().standing()
    low, high = run.policy.contract.command_range.T
    random = np.random.default_rng(0)
    says = np.repeat(np.array([low, high, 0.0 * low])[random.integers(0, 3, 8)], 10, axis=0)
    run.operator = lambda time, state: Intent(State.WALK, says[min(round(time / 0.02), 79)], 0.0, Stop.SETTLE if run.at(1.2) else Stop.NONE)
    run.run(2.4)
    told = np.array([row["command"] for row in rows(run.runtime) if row["state"] == State.WALK])
    steps = np.abs(np.diff(told, axis=0)) / (high - low)
    assert steps.max() == pytest.approx(0.02 / seconds, rel=1e-4)
    assert np.abs(told[0] / (high - low)).max() <= 0.02 / seconds + 1e-6
    assert np.abs(told).max() > 0.3
    assert not told[-1].any()


def test_a_walk_that_was_told_to_stand_is_in_the_log_and_a_replay_comes_to_the_same(tmp_path, go2):
    bundle = bundles.write_tiny(tmp_path / "policy.onnx", go2, weight=0.01)
    run = Deployment(bundle, go2, Conditions(noise=1.0), script=((0.0, (0.5, 0.0, 0.2)),)).standing()
    run.runtime.log = Recorder(tmp_path / "log.mcap", go2, run.policy.contract, LIMITS)
    shaken = np.tile([1.0, -1.0], 6)
    run.robot.on_read = lambda s: s if run.at(1.0) else replace(s, joint_vel=s.joint_vel + shaken * np.sin(80 * s.time))  # not at rest
    on_request(run, 0.5).run(2.5)
    assert 1.0 < changes(run)["walk -> ready"] < 1.7
    replays_alike(tmp_path / "log.mcap", bundle, go2, run)


@pytest.fixture(scope="module")
def biped(tmp_path_factory):
    robot = robots.load("unitree_g1.legs")
    return bundles.write_tiny(tmp_path_factory.mktemp("g1") / "policy.onnx", robot, weight=0.0), robot


@pytest.mark.parametrize("walks", [True, False])
def test_on_two_feet_it_stands_for_a_person_to_hold_it_and_says_so(biped, walks):
    bundle, robot = biped
    run = Deployment(bundle, robot, limits=Limits(hold_seconds=2.0))
    run.standing()
    run.operator = lambda time, state: Intent(State.WALK if walks and not run.at(1.0) else None, np.zeros(3))
    stopped(run, 1.0).run(6.0)
    words = next(event.detail for event in run.supervisor.events if event.kind == "stop")
    assert "stands for 2 s" in words
    assert "hold it" in words
    assert run.time_of("settled") == pytest.approx(1.0 + 2.0, abs=0.07)
    frames = np.array(run.plant.frames)
    held = frames[: round(2.9 / 0.02)]
    assert held[:, 2].min() > 0.9 * robot.standing_height
    assert run.damped


def test_what_stands_to_be_held_walks_no_more_and_is_damped_at_once_when_asked(biped):
    bundle, robot = biped
    run = Deployment(bundle, robot)
    run.standing()
    replies = []

    def operator(time, state):
        if run.at(1.5):
            return Intent(State.DAMPING, np.zeros(3))
        if run.at(1.0):
            replies.append(run.supervisor.request(State.READY, run.clock.now()))
        return Intent(State.WALK, np.zeros(3), stop=Stop.SETTLE if run.at(0.6) else Stop.NONE)

    run.operator = operator
    heard, write = [], run.plant.write
    run.plant.write = lambda command: (heard.append((run.clock.now() - run.start, command)), write(command))
    run.run(2.0)
    assert replies
    assert set(replies) == {Reply.REFUSED}
    first = next(time for time, command in heard if time > 0.1 and not command.kp.any())
    assert first == pytest.approx(1.5, abs=0.021)
    assert all(isinstance(command, MotorCommand) for _, command in heard)
    assert rows(run.runtime)[-1]["state"] == State.DAMPING
