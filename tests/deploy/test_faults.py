"""What broke a first safety layer, each on a robot that walks: it is stopped in time, and the plant's motors damp."""

import math
from dataclasses import replace

import numpy as np
import pytest

from deploy.hil.simulated_robot import Conditions
from deploy.limits import Limits
from deploy.operator import Intent
from deploy.states import State
from tests.deploy.plants import Deployment, changed, rows

FAILS = 1.0  # s of walking after which something fails


@pytest.fixture
def walker(bundle, go2):
    return Deployment(bundle, go2).trot().standing()


def after(walker, change, start=FAILS, end=math.inf):
    """``change`` the samples from ``start`` on."""
    walker.robot.on_read = lambda sample: change(sample) if walker.at(start) and not walker.at(end) else sample
    return walker


def frozen(*names):
    """A change that repeats the first values of these signals for ever, under new ticks."""
    kept = {}

    def freeze(sample):
        kept.update({name: kept.get(name, getattr(sample, name)) for name in names})
        return replace(sample, **kept)

    return freeze


def assert_stopped(walker, kinds, within):
    """By one of these monitors, within so many seconds of the failure, and without falling over before."""
    assert walker.supervisor.state is State.FAULT
    assert walker.kinds[0] in kinds
    assert FAILS < walker.time_of(walker.kinds[0]) <= FAILS + within + 1e-6
    assert walker.damped
    assert walker.upright > 0.8


def test_nothing_is_found_where_nothing_fails(walker):
    assert walker.run(4.0).kinds == []
    assert walker.seconds(State.WALK) == pytest.approx(4.0, abs=0.05)
    assert walker.upright > 0.98
    assert walker.damped
    assert walker.supervisor.state is State.DAMPING
    assert not walker.supervisor.interventions


def turned(degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return changed("projected_gravity", lambda g: np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ g)


def swap(i, k):
    order = np.arange(12)
    order[[i, k]] = k, i
    return lambda sample: replace(sample, **{name: getattr(sample, name)[order] for name in ("joint_pos", "joint_vel", "joint_torque")})


def stuck(sample, joint):
    here = np.arange(12) == joint
    return replace(sample, joint_pos=np.where(here, 0.9, sample.joint_pos), joint_vel=np.where(here, 0.0, sample.joint_vel))


BLIND = {
    "imu": (frozen("base_ang_vel", "projected_gravity"), {"frozen", "gravity_drift"}, 0.2),
    "gyroscope": (frozen("base_ang_vel"), {"frozen", "gravity_drift"}, 0.2),
    "gravity": (frozen("projected_gravity"), {"frozen", "gravity_drift"}, 0.2),
    "joints": (frozen("joint_pos", "joint_vel"), {"frozen", "position_drift", "torque_error"}, 0.2),
    "positions": (frozen("joint_pos"), {"position_drift"}, 0.3),
    "velocities": (frozen("joint_vel"), {"frozen", "position_drift"}, 0.2),
    "one velocity": (lambda sample: replace(sample, joint_vel=np.where(np.arange(12) == 4, 0.7, sample.joint_vel)), {"frozen"}, 0.2),
    "torques": (frozen("joint_torque"), {"frozen"}, 0.2),
    "one encoder": (lambda sample: stuck(sample, 4), {"stuck"}, 0.4),
    "bias of the gyroscope": (changed("base_ang_vel", lambda w: w + np.eye(3)[1]), {"gravity_drift"}, 0.2),
    "gyroscope in degrees": (changed("base_ang_vel", np.degrees), {"gravity_drift", "base_ang_vel"}, 0.2),
    "gyroscope's sign": (changed("base_ang_vel", np.negative), {"gravity_drift"}, 0.6),
    "step of the imu": (turned(15), {"gravity_drift"}, 0.1),
    "step of an encoder": (changed("joint_pos", lambda q: q + 0.3 * (np.arange(12) == 4)), {"position_drift", "torque_error"}, 0.1),
    "swapped joints": (swap(1, 2), {"position", "joint_vel", "position_drift", "torque_error", "bad_sample"}, 0.1),
}


@pytest.mark.parametrize("name", BLIND)
def test_a_blind_robot_is_not_driven_on(walker, name):
    change, kinds, within = BLIND[name]
    assert_stopped(after(walker, change).run(3.0), kinds, within)


def test_a_dead_motor_is_found_by_its_torque(walker):
    after(walker, lambda sample: walker.plant.strength.__setitem__(2, 0.0) or sample)
    assert_stopped(walker.run(3.0), {"torque_error"}, 0.5)


def test_a_wild_policy_is_stopped_before_it_turns_the_robot_over(walker, go2):
    signs = iter([1.0, -1.0] * 1000)
    calm, walker = walker.policy.step, walker
    wild = lambda: go2.default_joint_pos + next(signs) * np.resize([1.0, -1.0, 1.0], 12)  # noqa: E731
    walker.policy.step = lambda signals: (wild()[None], np.zeros((1, 12))) if walker.at(FAILS) else calm(signals)
    walker.run(4.0)
    assert walker.supervisor.state is State.FAULT
    assert walker.time_of(walker.kinds[0]) < FAILS + 0.6
    assert walker.damped
    assert walker.upright > 0.5


TWO_BAD = {
    "gravity in m/s^2": changed("projected_gravity", lambda g: 9.81 * g),
    "no gravity": changed("projected_gravity", np.zeros_like),
    "columns": changed("joint_pos", lambda q: q[:, None]),
    "single precision": changed("joint_vel", lambda v: v.astype(np.float32)),
    "list": changed("joint_pos", list),
    "NaN": changed("joint_torque", lambda t: np.where(np.arange(12) == 3, np.nan, t)),
    "beyond single precision": changed("joint_vel", lambda v: v + 1e39),
    "degrees": changed("joint_pos", np.degrees),
    "a speed that no joint has": changed("joint_vel", lambda v: v + 61.0 * (np.arange(12) == 3)),
    "old": lambda sample: replace(sample, time=sample.time - 0.1),
    "from the future": lambda sample: replace(sample, time=sample.time + 0.1),
    "counting down": lambda sample: replace(sample, tick=10**6 - sample.tick) if sample.tick % 2 else replace(sample, tick=-sample.tick),
    "None": lambda sample: None,
}


@pytest.mark.parametrize("name", TWO_BAD)
def test_one_bad_sample_is_bridged_and_two_are_a_fault(bundle, go2, name):
    for samples, faults in ((1, False), (2, True)):
        walker = after(Deployment(bundle, go2).trot().standing(), TWO_BAD[name], end=FAILS + 0.02 * samples).run(1.5)
        assert walker.kinds[:1] == (["bad_sample"] if faults else [])
        assert walker.damped
        assert walker.upright > 0.9


def test_ticks_that_go_to_and_fro_are_not_new(walker):
    kept = []

    def alternate(sample):
        kept.append(sample)
        return kept[min(len(kept) - 1, len(kept) % 2)]

    assert_stopped(after(walker, alternate).run(3.0), {"bad_sample"}, 0.1)


def test_every_other_sample_bad_is_too_many(walker):
    bad = iter([True, False] * 1000)
    after(walker, lambda sample: replace(sample, tick=0) if next(bad) else sample)
    assert_stopped(walker.run(3.0), {"bad_sample"}, 0.1)


def test_a_replay_is_seen_by_its_times(walker):
    record, replayed = [], iter(range(10**6))
    walker.robot.on_read = lambda sample: (
        record.append(sample) or replace(record[next(replayed)], tick=sample.tick) if walker.at(FAILS) else record.append(sample) or sample
    )
    assert_stopped(walker.run(3.0), {"bad_sample"}, 0.1)


def test_no_new_sample_for_60_ms_is_a_fault(walker):
    kept = []
    after(walker, lambda sample: kept.append(sample) or kept[0])
    assert_stopped(walker.run(3.0), {"stale_state"}, 0.1)


# the loop -------------------------------------------------------------------------------------------------------------


def pause(walker, seconds, start=FAILS):
    """Once, at ``start``, nothing happens for so long."""
    done = []

    def wait(sample):
        if walker.at(start) and not done:
            done.append(True)
            walker.clock.sleep_until(walker.clock.now() + seconds)
            return walker.plant.read()
        return sample

    walker.robot.on_read = wait


def test_a_stall_while_walking_is_a_fault_and_nothing_is_caught_up(walker):
    pause(walker, 1.5)
    walker.run(4.0)
    assert walker.kinds == ["stall"]
    assert walker.damped
    times = np.array([row["time"] for row in rows(walker.runtime)])
    assert (np.diff(times) > 0.019).all()


def test_a_stall_in_ready_leaves_the_robot_standing_and_missed_periods_are_counted(walker):
    pause(walker, 0.3)
    walker.operator = lambda time, state: Intent(None, np.zeros(3))
    walker.run(2.0)
    assert walker.kinds == []
    assert walker.runtime.missed == 14
    assert walker.upright > 0.97
    assert rows(walker.runtime)[-1]["time"] < 2.0 + 5.0  # the duration is time
    assert sum(row["state"] == State.READY for row in rows(walker.runtime)) == 100 - 14


def test_a_stall_in_stand_up_is_not_caught_up(bundle, go2):
    """The target goes on from where it was, at its own pace: the robot stands a second and a half later."""
    robot = Deployment(bundle, go2).trot()
    pause(robot, 1.5)
    robot.run(9.0)
    targets = np.array([row["joint_pos_target"] for row in rows(robot.runtime) if row["state"] == State.STAND_UP])
    assert np.abs(np.diff(targets, axis=0)).max() < 1.5 * 1.22 / 100 * 1.01  # the steepest of a smooth step of 1.22 rad over 100 steps
    assert robot.kinds == []
    assert robot.seconds(State.WALK) > 0.5
    assert robot.upright > 0.9
    assert robot.damped


@pytest.mark.parametrize(("seconds", "kinds"), [(0.045, ["slow"]), (0.022, ["slow"]), (0.018, [])])
def test_a_policy_slower_than_its_period_is_a_fault(walker, seconds, kinds):
    calm = walker.policy.step
    walker.policy.step = lambda signals: walker.clock.sleep_until(walker.clock.now() + seconds) or calm(signals)
    walker.run(2.0)
    assert walker.kinds == kinds
    assert walker.damped
    assert walker.upright > 0.8


def test_a_policy_that_hangs_for_a_while_is_not_heard_afterwards(walker):
    calm, heard = walker.policy.step, []
    walker.robot.on_write = lambda command: heard.append(command.kp.max()) or command
    walker.policy.step = lambda signals: (walker.at(FAILS) and walker.clock.sleep_until(walker.clock.now() + 1.0)) or calm(signals)
    walker.run(3.0)
    assert walker.kinds == ["stale_state"]
    assert heard.index(0.0) == round(FAILS / 0.02)
    assert walker.damped


# the operator ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[math.nan, 0.0, 0.0], [math.inf, 0.0, 0.0], [0.5], 0.5])
def test_a_command_without_sense_is_rest_and_then_lying_down(walker, command):
    script = walker.operator
    walker.operator = lambda time, state: (
        script(time, state)._replace(command=np.array(command)) if walker.at(FAILS) else script(time, state)
    )
    walker.run(6.0)
    assert walker.kinds == ["operator_silent", "operator_lost", "settled"]
    assert walker.time_of("operator_lost") == pytest.approx(FAILS + 3.0, abs=0.05)
    assert not np.any([row["command"] for row in rows(walker.runtime) if row["state"] not in (State.DAMPING, State.FAULT)])
    assert walker.damped
    assert walker.upright > 0.9


def test_a_dead_operator_s_last_command_does_not_last(bundle, go2):
    walker = Deployment(bundle, go2, script=((0.0, (0.5, 0.0, 0.2)),)).trot().standing()
    script = walker.operator
    walker.operator = lambda time, state: script(time, state)._replace(age=max(0.0, time - FAILS))
    walker.run(6.0)
    commands = {round(row["time"], 2): row["command"] for row in rows(walker.runtime)}
    assert commands[1.4] == pytest.approx([0.5, 0.0, 0.2])
    assert commands[1.76].tolist() == [0.0, 0.0, 0.0]
    assert walker.kinds == ["operator_silent", "operator_lost", "settled"]
    assert walker.damped


def test_a_held_button_leaves_the_policy_its_memory(walker):
    resets, script = [], walker.operator
    walker.policy.reset = lambda: resets.append(walker.clock.now())
    walker.operator = lambda time, state: script(time, state)._replace(state=State.WALK)
    walker.run(2.0)
    assert len(resets) == 1


def test_from_walking_to_ready_is_a_ramp(walker):
    script, asked = walker.operator, []
    walker.operator = lambda time, state: Intent(State.READY if walker.at(FAILS) and not asked else State.WALK, script(time, state).command)
    request = walker.supervisor.request
    walker.supervisor.request = lambda wanted, now: (wanted is State.READY and asked.append(now), request(wanted, now))[1]
    walker.run(7.0)
    steps = rows(walker.runtime)
    ramp = np.array([row["joint_pos_target"] for row in steps if row["state"] == State.READY])
    assert len(ramp) >= 50  # a second, in which walking again is refused
    assert np.abs(np.diff(ramp, axis=0)).max() < 0.02
    np.testing.assert_allclose(ramp[-1], walker.policy.robot.default_joint_pos, atol=1e-12)
    assert "walk: not yet in the default pose" in [event.detail for event in walker.supervisor.events]
    assert steps[-200]["state"] in (State.WALK, State.READY)
    assert set(walker.kinds) == {"refused"}
    assert walker.upright > 0.95


def test_load_derates_and_then_stops(bundle, go2):
    """Half the command while motors are warm, and damping once they are hot; whose limits they are is in the log."""
    limits = Limits(warm_torque=0.12, hot_torque=0.18)
    walker = Deployment(bundle, go2, Conditions(payload=5.0), limits, script=((0.0, (1.0, 0.0, 0.0)),)).trot().standing().run(8.0)
    assert walker.kinds == ["override", "override", "warm_motor", "hot_motor"]
    warm = walker.time_of("warm_motor") + 0.3
    assert next(row for row in rows(walker.runtime) if row["time"] > warm)["command"] == pytest.approx([0.5, 0.0, 0.0])
    assert walker.damped
