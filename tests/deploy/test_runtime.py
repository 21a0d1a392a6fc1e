"""The loop against a simulated robot in simulated time: it stands, walks, and damps on every way out."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy.hil.simulated_robot import Conditions, SimulatedRobot
from deploy.interface import MotorCommand, RealTime, SimulatedTime
from deploy.operator import Intent, ScriptedOperator, Stop
from deploy.policy import RobotPolicy, load
from deploy.runtime import Runtime, memory_kept
from deploy.summary import quantiles, summarize
from deploy.supervisor import Limits, State, Supervisor
from robots import InputError
from tests.deploy import bundles
from tests.deploy.plants import Deployment, rows

DAMPING_STEPS = 25  # at least


class Spy:
    """An interface that remembers what the robot heard, and fails on demand."""

    def __init__(self, robot):
        self.robot, self.commands, self.closed = robot, [], False
        self.fail_read = self.fail_write = lambda: None

    def read(self):
        self.fail_read()
        return self.robot.read()

    def write(self, command):
        self.fail_write()
        self.commands.append(command)
        self.robot.write(command)

    def close(self):
        self.closed = True
        self.robot.close()


def make(bundle, go2, script=((0.0, (0.0, 0.0, 0.0)),)):
    policy, clock = RobotPolicy(load(bundle), go2), SimulatedTime()
    spy = Spy(SimulatedRobot(policy.robot, clock))
    supervisor = Supervisor(policy.robot, 0.02, Limits())
    return Runtime(policy, spy, supervisor, clock), spy, ScriptedOperator(script, policy.contract)


def make_standing(bundle, go2, script=((0.0, (0.0, 0.0, 0.0)),)):
    """As :func:`make`, of a robot that stands and is ready: it walks at the first step."""
    deployment = Deployment(bundle, go2, script=script).standing()
    deployment.runtime.interface = spy = Spy(deployment.plant)
    return deployment.runtime, spy, deployment.operator


def gentle(runtime, go2):
    """Replace the untrained policy by one that stands."""
    runtime.policy.step = lambda signals: (go2.default_joint_pos[None].astype(np.float32), np.zeros((1, 12)))


def assert_damped(spy, go2):
    last = spy.commands[-DAMPING_STEPS:]
    assert len(last) == DAMPING_STEPS
    assert all((command.kp == 0).all() and (command.kd == 3.0).all() for command in last)
    assert spy.closed


def test_it_stands_up_walks_and_is_damped_at_the_end(bundle, go2):
    runtime, spy, operator = make(bundle, go2)
    gentle(runtime, go2)
    heights = []
    read = spy.robot.read
    spy.robot.read = lambda: heights.append(spy.robot.data.qpos[2]) or read()
    runtime.run(9.5, operator)
    summary = summarize(runtime)
    assert summary["passed"]
    assert summary["seconds"]["walk"] > 3
    assert heights[0] < 0.2  # lying
    assert max(heights) > 0.26  # standing
    assert heights[-1] < 0.2  # lying again
    assert_damped(spy, go2)
    assert summary["torque_share_of_limit"] <= 1.0


def test_the_same_run_twice_is_the_same_to_the_last_bit(bundle, go2):
    logs = []
    for _ in range(2):
        runtime, _, operator = make(bundle, go2)
        gentle(runtime, go2)
        runtime.run(3.0, operator)
        logs.append({name: column for name, column in runtime.log.columns().items() if not name.startswith("timing/")})
    for name in logs[0]:
        np.testing.assert_array_equal(logs[0][name], logs[1][name])


def crash_after(calls, error):
    count = iter(range(10**9))

    def fail():
        if next(count) == calls:
            raise error

    return fail


@pytest.mark.parametrize("where", ["policy", "read", "operator"])
@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), SystemExit(3), MemoryError()])
def test_any_exception_ends_in_damping_and_is_not_swallowed(bundle, go2, where, error):
    runtime, spy, operator = make_standing(bundle, go2)
    gentle(runtime, go2)
    fail = crash_after(50, error)
    if where == "policy":
        step = runtime.policy.step
        runtime.policy.step = lambda signals: crash_after(0, error)() or step(signals)
    elif where == "read":
        spy.fail_read = fail
    inner = operator
    if where == "operator":
        operator = lambda time, state: fail() or inner(time, state)  # noqa: E731
    with pytest.raises(type(error)):
        runtime.run(2.0, operator)
    assert runtime.supervisor.state is State.FAULT
    assert_damped(spy, go2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP])
def test_signals_end_in_damping(bundle, go2, number):
    runtime, spy, operator = make_standing(bundle, go2)
    gentle(runtime, go2)
    count = iter(range(10**9))

    def send_once(time, state):
        if next(count) == 120:
            os.kill(os.getpid(), number)
        return operator(time, state)

    before = signal.getsignal(number)
    runtime.run(20.0, send_once)
    assert np.isfinite(runtime.log.columns()["timing/lateness"]).sum() == 121
    assert runtime.supervisor.state is State.DAMPING
    assert_damped(spy, go2)
    assert signal.getsignal(number) is before


def test_a_second_signal_breaks_off_a_policy_that_hangs(bundle, go2):
    runtime, spy, operator = make_standing(bundle, go2)

    def hang(signals):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.55)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60.0)

    runtime.policy.step = hang
    with pytest.raises(KeyboardInterrupt, match="the loop hangs"):
        runtime.run(2.0, operator)
    assert_damped(spy, go2)


def test_a_fault_ends_the_run_in_damping(bundle, go2):
    runtime, spy, operator = make_standing(bundle, go2)
    runtime.policy.step = lambda signals: (np.full((1, 12), np.nan, dtype=np.float32), np.zeros((1, 12)))
    runtime.run(2.0, operator)
    assert runtime.supervisor.state is State.FAULT
    assert not summarize(runtime)["passed"]
    assert_damped(spy, go2)


def test_a_frozen_sensor_stops_the_robot_within_the_limit(bundle, go2):
    runtime, spy, operator = make_standing(bundle, go2)
    gentle(runtime, go2)
    frozen = []
    read = spy.robot.read

    def freeze():
        state = read()
        if runtime.clock.now() > 1.0 and runtime.supervisor.state is State.WALK:
            frozen.append(state)
            return frozen[0]
        return state

    spy.robot.read = freeze
    runtime.run(2.0, operator)
    assert [event.kind for event in runtime.supervisor.events][-2] == "stale_state"
    assert len(frozen) * 0.02 <= 0.1
    assert_damped(spy, go2)


def test_commands_outside_the_trained_range_are_clamped_with_a_warning(bundle, go2):
    runtime, _, operator = make_standing(bundle, go2, script=((0.0, (5.0, 0.0, 0.0)),))
    gentle(runtime, go2)
    runtime.run(1.0, operator)
    assert rows(runtime)[45]["command"][0] == pytest.approx(1.5)
    assert any("outside the trained range" in warning for warning in runtime.warnings)


def test_a_late_controller_meets_a_robot_that_moved_on(go2):
    clock = SimulatedTime()
    robot = SimulatedRobot(go2, clock)
    before = robot.read()
    clock.sleep_until(0.1)
    after = robot.read()
    assert after.time - before.time == pytest.approx(0.1)
    assert after.tick - before.tick == 50


def test_the_policy_gets_what_the_robot_measures_and_its_target_is_what_the_robot_hears(tmp_path, go2):
    """Over a bundle in another joint order, with two command channels: the log's signals explain every command."""
    commands = {"yaw": (-1.0, 1.0), "forward": (-1.0, 1.5)}
    order = [3, 7, 0, 11, 1, 2, 10, 4, 9, 5, 6, 8]
    path = bundles.write_tiny(tmp_path / "policy.onnx", go2, commands=commands, order=order, weight=0.01)
    runtime, _, operator = make_standing(path, go2, script=((0.0, (0.25, 0.5)),))
    runtime.run(1.0, operator, Stop.NONE)
    tiny, memory = bundles.tiny_policy(go2, commands=commands, weight=0.01), np.zeros((1, 3))
    walking = [row for row in rows(runtime) if row["state"] == State.WALK]
    assert len(walking) > 20
    for t, row in enumerate(walking):
        # while it enters WALK the operator still gives the command to rest; its whole range takes a second
        assert row["command"] == pytest.approx([min(0.04 * t, 0.25), min(0.05 * t, 0.5)])
        target, _, memory = tiny({name: row[name][None] for name in tiny.inputs}, memory)
        np.testing.assert_allclose(row["joint_pos_target"], target[0], atol=1e-5)
    assert "tracking_score" not in summarize(runtime)  # no channel is called left


def test_the_tracking_score_finds_its_channels_by_name(tmp_path, go2):
    commands = {"yaw": (-1.0, 1.0), "left": (-1.0, 1.0), "forward": (-1.0, 1.5)}
    path = bundles.write_tiny(tmp_path / "policy.onnx", go2, commands=commands, weight=0.0)
    runtime, _, operator = make_standing(path, go2, script=((0.0, (0.9, 0.0, 0.0)),))
    runtime.run(1.0, operator)
    assert summarize(runtime)["tracking_score"] > 0.95  # it stands, as commanded, but for the yaw that does not count


def test_a_supervisor_of_other_gains_or_joints_is_refused(bundle, go2):
    policy, clock = RobotPolicy(load(bundle), go2), SimulatedTime()
    others = {"kp": go2.kp * 2, "kd": go2.kd * 2, "joint_names": go2.joint_names[::-1]}
    for name, value in others.items():
        with pytest.raises(InputError, match=f"supervisor.robot.{name}"):
            Runtime(policy, Spy(None), Supervisor(replace(policy.robot, **{name: value}), 0.02, Limits()), clock)


def test_a_policy_that_needs_more_than_the_robot_measures_is_refused(tmp_path, go2):
    path = bundles.write_tiny(tmp_path / "policy.onnx", go2, inputs=(*bundles.INPUTS, "base_lin_vel"))
    policy = RobotPolicy(load(path), go2, measured=["base_lin_vel"])
    with pytest.raises(InputError, match="base_lin_vel"):
        Runtime(policy, Spy(None), Supervisor(policy.robot, 0.02, Limits()), SimulatedTime())


def test_the_tracking_score_is_of_the_difference_from_the_command(bundle, go2):
    """1 where the velocity is the commanded one, sideways and backwards too; 1/e where it is half a metre a second off."""
    runtime, _, operator = make_standing(bundle, go2, script=((0.0, (-0.4, 0.3, 0.0)),))
    gentle(runtime, go2)
    runtime.run(1.0, operator)
    for off, score in ((0.0, 1.0), (0.5, np.exp(-1.0))):
        columns = runtime.log.columns()
        columns["base_lin_vel"] = columns["command"] * [1.0, 1.0, 0.0] + [off, 0.0, 9.0]
        runtime.log.columns = lambda columns=columns: columns
        assert summarize(runtime)["tracking_score"] == pytest.approx(score, abs=1e-6)


def test_a_run_that_its_computer_held_up_says_so_and_one_that_it_did_not_says_nothing(bundle, go2):
    for stall in (0.0, 0.05):
        run = Deployment(bundle, go2).trot().standing()
        run.robot.on_read = lambda sample, run=run, stall=stall: held(run, stall) or sample
        run.run(1.0)
        warnings = [words for words in summarize(run.runtime)["warnings"] if "held up" in words]
        assert len(warnings) == (stall > 0)
        assert all("2 periods were missed, one step began 50 ms late" in words for words in warnings)


def held(run, stall):
    """The loop sleeps for ``stall`` s more than it wanted, once."""
    if stall and run.at(0.5) and not run.runtime.missed and not getattr(run, "held", False):
        run.held, sleep = True, run.clock.sleep_until
        run.clock.sleep_until = lambda due: sleep(due + stall) or setattr(run.clock, "sleep_until", sleep)


def test_the_simulated_robot_keeps_pace_with_the_clock_however_often_it_is_asked(go2):
    """Ten physics steps each 20 ms, none while the clock stands still; after a long pause at most half a second."""
    clock = SimulatedTime()
    robot = SimulatedRobot(go2, clock)
    for step in range(1, 6):
        clock.sleep_until(0.02 * step)
        for _ in range(2):
            state = robot.read()
            assert state.tick == 10 * step
            assert state.time == pytest.approx(0.02 * step)
    clock.sleep_until(3.1)
    assert robot.read().tick == 50 + 250
    assert robot.read().time == pytest.approx(3.1)
    assert robot.read().tick == 50 + 250


def test_in_real_time_the_loop_has_priority_where_it_may_and_gives_it_back(bundle, go2):
    deployment, before = Deployment(bundle, go2), os.sched_getscheduler(0)
    seen = []
    operator = lambda time, state: seen.append(os.sched_getscheduler(0)) or Intent(None, np.zeros(3))  # noqa: E731
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
        os.sched_setscheduler(0, before, os.sched_param(0))
        allowed = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    except PermissionError:
        allowed = before
    deployment.runtime.clock = RealTime()
    deployment.runtime.run(0.1, operator)
    assert seen
    assert set(seen) == {allowed}
    assert os.sched_getscheduler(0) == before


def test_in_real_time_what_was_touched_stays_in_memory_where_it_may(bundle, go2):
    def locked() -> int:
        return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmLck"))

    deployment, before, seen = Deployment(bundle, go2), locked(), []
    operator = lambda time, state: seen.append(locked()) or Intent(None, np.zeros(3))  # noqa: E731
    with memory_kept(True):
        allowed = locked() > before
    deployment.runtime.clock = RealTime()
    deployment.runtime.run(0.1, operator)
    assert seen
    assert all((kilobytes > before) == allowed for kilobytes in seen)
    assert locked() == before
    with memory_kept(False):
        assert locked() == before


def test_quantiles_are_microseconds_and_the_longest_is_the_longest():
    assert quantiles([1e-3, 2e-3, 4e-3]) == pytest.approx({"p50": 2000.0, "p99": 3960.0, "p99.9": 3996.0, "max": 4000.0})
    assert quantiles([]) == {}


def test_a_weak_motor_delivers_its_share_and_its_drive_believes_the_whole(go2):
    def held(**conditions):
        clock = SimulatedTime()
        plant = SimulatedRobot(go2, clock, Conditions(**conditions))
        plant.data.qpos[2] = 5.0  # in free fall: motors alone move the joints
        target = go2.default_joint_pos + 0.05
        plant.write(MotorCommand(target, go2.kp, np.zeros(12), np.zeros(12)))
        clock.sleep_until(0.002)
        believed = plant.read().joint_torque
        return believed, plant.data.actuator_force.copy()

    whole, delivered = held()
    weak, weakly = held(strength=tuple([0.5] * 3 + [1.0] * 9))
    np.testing.assert_allclose(whole, delivered)
    np.testing.assert_allclose(weakly[:3], 0.5 * delivered[:3])
    np.testing.assert_allclose(weak, whole)
    np.testing.assert_allclose(weakly[3:], delivered[3:])


def test_dry_and_viscous_friction_of_the_plant_are_factors_on_the_robots_own(go2):
    plain, rough = (
        SimulatedRobot(go2, SimulatedTime()),
        SimulatedRobot(go2, SimulatedTime(), Conditions(joint_friction=1.5, joint_damping=2.0)),
    )
    joints = plain._qvel
    assert (plain.model.dof_frictionloss[joints] > 0).all()
    np.testing.assert_allclose(rough.model.dof_frictionloss[joints], 1.5 * plain.model.dof_frictionloss[joints])
    np.testing.assert_allclose(rough.model.dof_damping[joints], 2.0 * plain.model.dof_damping[joints])
    np.testing.assert_array_equal(rough.model.dof_damping[:6], plain.model.dof_damping[:6])


@pytest.mark.parametrize(
    "plant",
    [{"payload": -1.0}, {"payload": 1e7}, {"strength": (0.5, 0.5)}, {"strength": float("nan")}, {"seed": 0.5}, {"seed": True},
     {"noise": None}, {"push": (1.0, 2.0)}, {"friction": (0.4,)}, {"delay": "0.1"}],
)  # fmt: skip
def test_a_plant_that_cannot_be_is_refused(go2, plant):
    with pytest.raises(InputError, match=f"plant.{next(iter(plant))}"):
        SimulatedRobot(go2, SimulatedTime(), Conditions(**plant))
