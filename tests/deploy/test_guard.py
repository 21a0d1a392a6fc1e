"""The guard's rules: what must hold whatever the runtime posts, and each thing that ends in damping."""

from dataclasses import replace

import numpy as np
import pytest

from deploy.guard import (
    LEASE,
    MAX_ENDING,
    MAX_LEASE,
    MAX_STATE_AGE,
    REST_SECONDS,
    Guard,
    GuardTripped,
    LockstepGuard,
    Phase,
    Post,
    lease,
)  # fmt: skip
from deploy.hil.simulated_robot import SimulatedRobot
from deploy.interface import MotorCommand, RobotState, SimulatedTime, damping_command
from deploy.operator import ScriptedOperator
from deploy.policy import RobotPolicy, load
from deploy.runtime import Runtime
from deploy.supervisor import Limits, Supervisor
from robots.actuator import motor_torque
from tests.deploy import bundles

DAMPING_KD = 3.0
CYCLE = 0.002


def make_state(go2, tick, joint_pos=None, joint_vel=None):
    j = go2.num_joints
    pos = go2.default_joint_pos if joint_pos is None else joint_pos
    vel = np.zeros(j) if joint_vel is None else joint_vel
    return RobotState(0.0, tick, np.zeros(3), np.array([0.0, 0.0, -1.0]), pos, vel, np.zeros(j))


def hold(go2, **changed):
    return replace(MotorCommand(go2.default_joint_pos, go2.kp, go2.kd, np.zeros(go2.num_joints)), **changed)


def is_damping(command):
    return not command.kp.any() and (command.kd == DAMPING_KD).all() and not command.feed_forward.any()


class Bench:
    """A guard, cycled; each cycle has a new state."""

    def __init__(self, go2):
        self.go2, self.guard, self.now, self.sequence, self.tick, self.last = go2, Guard(go2, DAMPING_KD), 10.0, 0, 0, None

    def post(self, command, time=None, **changed):
        self.sequence += 1
        time = self.now if time is None else time
        self.last = replace(Post(self.sequence, time, time + LEASE, command), **changed)

    def cycle(self, seconds=CYCLE, **state):
        self.now += seconds
        self.tick += 1
        return self.guard.step(self.now, make_state(self.go2, self.tick, **state), self.last)

    def following(self):
        self.cycle()
        self.post(hold(self.go2))
        assert (self.cycle().kp == self.go2.kp).all()
        return self


def test_it_damps_until_the_first_post_and_follows_from_then_on(go2):
    bench = Bench(go2)
    for _ in range(500):
        assert is_damping(bench.cycle())
    assert bench.guard.phase is Phase.WAITING
    bench.following()
    for _ in range(25):  # held between posts
        command = bench.cycle()
        np.testing.assert_array_equal(command.joint_pos_target, go2.default_joint_pos)
        np.testing.assert_array_equal(command.kd, go2.kd)


def test_the_first_cycle_after_the_deadline_damps_and_so_does_every_later_one_whatever_is_posted(go2):
    bench = Bench(go2).following()
    deadline = bench.last.deadline
    while bench.now + CYCLE <= deadline:
        assert not is_damping(bench.cycle())
    assert is_damping(bench.cycle())
    assert bench.now - deadline <= CYCLE
    assert "deadline missed" in bench.guard.reason
    for _ in range(200):
        bench.post(hold(go2))
        assert is_damping(bench.cycle())


def test_a_post_that_was_made_too_late_is_late_even_where_the_guard_did_not_look_in_between(go2):
    bench = Bench(go2).following()
    deadline = bench.last.deadline
    bench.now = deadline + 0.001
    bench.post(hold(go2))
    assert is_damping(bench.cycle())
    assert bench.guard.reason == "deadline missed by 1.0 ms"


def test_a_post_that_was_made_in_time_counts_where_the_guard_is_late_to_see_it(go2):
    bench = Bench(go2).following()
    bench.post(hold(go2), time=bench.last.deadline - 0.001)
    bench.now = bench.last.time + 0.003
    assert not is_damping(bench.cycle())


def nan(array, value=np.nan):
    array = array.copy()
    array[5] = value
    return array


FLAWS = {
    "nan target": lambda g: {"joint_pos_target": nan(g.default_joint_pos)},
    "infinite target": lambda g: {"joint_pos_target": nan(g.default_joint_pos, np.inf)},
    "nan kd": lambda g: {"kd": nan(g.kd)},
    "kp beyond the robot's": lambda g: {"kp": nan(g.kp, 1.01 * g.kp[5])},
    "negative kp": lambda g: {"kp": nan(g.kp, -1.0)},
    "negative kd": lambda g: {"kd": nan(g.kd, -0.1)},
    "kd beyond the damping's": lambda g: {"kd": nan(g.kd, 1.01 * DAMPING_KD)},
    "nan feed forward": lambda g: {"feed_forward": nan(g.kp)},
    "too few": lambda g: {"joint_pos_target": g.default_joint_pos[:-1]},
    "too many dimensions": lambda g: {"kp": g.kp[:, None]},
    "one for all": lambda g: {"kp": np.array(35.0)},
    "no array": lambda g: {"kp": 35.0},
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_command_with_a_flaw_is_never_heard_and_ends_in_damping(go2, flaw):
    bench = Bench(go2).following()
    bench.post(hold(go2, **FLAWS[flaw](go2)))
    assert is_damping(bench.cycle())
    bench.post(hold(go2))
    assert is_damping(bench.cycle())
    assert next(iter(FLAWS[flaw](go2))) in bench.guard.reason


TIMES = {
    "a lease too long": lambda now: {"time": now, "deadline": now + MAX_LEASE + 0.001},
    "an endless lease": lambda now: {"time": now, "deadline": np.inf},
    "no number": lambda now: {"time": now, "deadline": np.nan},
    "a time that is none": lambda now: {"time": np.nan, "deadline": now + LEASE},
    "from the future": lambda now: {"time": now + 0.05, "deadline": now + 0.1},
    "expired": lambda now: {"time": now - 0.03, "deadline": now},
    "a sequence that goes back": lambda now: {"sequence": 0},
}


@pytest.mark.parametrize("times", TIMES)
def test_times_and_sequences_that_cannot_be_end_in_damping(go2, times):
    bench = Bench(go2).following()
    bench.post(hold(go2), **TIMES[times](bench.now))
    assert is_damping(bench.cycle())
    assert bench.guard.phase is Phase.DAMPING


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_first_command_holds_the_robot_about_where_it_is(go2, sign):
    """A quarter of the torque is the bound: 0.169 rad of the hip at 35 N m/rad and 23.7 N m."""
    for offset, heard in ((0.16, True), (0.18, False)):
        bench, target = Bench(go2), go2.default_joint_pos.copy()
        target[0] += sign * offset
        bench.cycle()
        bench.post(hold(go2, joint_pos_target=target))
        assert is_damping(bench.cycle()) is not heard
        assert bench.guard.phase is (Phase.FOLLOWING if heard else Phase.DAMPING)
        bench.post(hold(go2, joint_pos_target=target))
        assert is_damping(bench.cycle()) is not heard
    bench = Bench(go2).following()
    bench.post(hold(go2, joint_pos_target=target))
    assert not is_damping(bench.cycle())  # later it may


@pytest.mark.parametrize("state", ["none", "same tick", "older tick", "nan", "shape"])
def test_a_state_that_is_not_fresh_ends_in_damping(go2, state):
    bench = Bench(go2).following()
    samples = {
        "none": lambda: None,
        "same tick": lambda: make_state(go2, bench.tick),
        "older tick": lambda: make_state(go2, bench.tick - 1),
        "nan": lambda: make_state(go2, bench.tick + 1, joint_pos=nan(go2.default_joint_pos)),
        "shape": lambda: make_state(go2, bench.tick + 1, joint_vel=np.zeros(11)),
    }
    seen, age = bench.now, 0.0
    while age < 0.0199:
        bench.now += CYCLE
        bench.post(hold(go2))
        command, age = bench.guard.step(bench.now, samples[state](), bench.last), bench.now - seen
        assert np.isfinite(command.joint_pos_target).all()
        assert is_damping(command) == (age > MAX_STATE_AGE + CYCLE)  # at the second turn that finds it so
    assert MAX_STATE_AGE + 2 * CYCLE < 0.02  # from the last one that was fresh
    assert bench.guard.reason == "no fresh state of the robot"


@pytest.mark.parametrize(
    "impossible",
    [
        lambda g: {"joint_pos": np.degrees(g.default_joint_pos)},
        lambda g: {"joint_pos": np.where(np.arange(12) == 3, g.joint_pos_limit[:, 1] + 0.21, g.default_joint_pos)},
        lambda g: {"joint_pos": np.where(np.arange(12) == 3, g.joint_pos_limit[:, 0] - 0.21, g.default_joint_pos)},
        lambda g: {"joint_vel": -2.01 * g.joint_vel_limit * (np.arange(12) == 7)},
        lambda g: {"joint_vel": np.where(np.arange(12) == 7, np.nan, 0.0)},
    ],
)
def test_targets_are_not_clamped_by_what_no_joint_can_be_and_for_13_ms_it_is_bridged(go2, impossible):
    bench = Bench(go2).following()
    began = bench.now
    while bench.now - began <= MAX_STATE_AGE - 2 * CYCLE:
        bench.post(hold(go2))
        np.testing.assert_array_equal(bench.cycle(**impossible(go2)).joint_pos_target, go2.default_joint_pos)
    for _ in range(3):
        bench.post(hold(go2))
        command = bench.cycle(**impossible(go2))
    assert is_damping(command)
    assert bench.guard.reason == "no fresh state of the robot"


def test_a_guard_that_was_held_up_itself_does_not_take_its_sample_for_stale(go2):
    """Its listener may need a moment more than it to wake."""
    bench = Bench(go2).following()
    bench.now += 0.05
    bench.post(hold(go2), time=bench.now - 0.002)
    assert not is_damping(bench.guard.step(bench.now, make_state(go2, bench.tick), bench.last))
    bench.post(hold(go2))
    assert not is_damping(bench.cycle())


def test_nothing_is_followed_before_there_is_a_state(go2):
    guard = Guard(go2, DAMPING_KD)
    assert is_damping(guard.step(1.0, None, Post(1, 1.0, 1.05, damping_command(12, 0.0))))
    assert guard.phase is Phase.DAMPING


def test_a_reset_needs_the_token_of_this_trip_and_a_post_of_after_it(go2):
    bench = Bench(go2).following()
    bench.guard.trip("first")
    first = bench.guard.token
    assert not bench.guard.reset(bench.now, first + 1)
    assert not bench.guard.reset(bench.now, 0)
    bench.post(damping_command(12, 0.0))
    bench.cycle(0.1)  # well past the old deadline
    bench.post(damping_command(12, 0.0))
    assert bench.guard.reset(bench.now, first)
    bench.cycle()
    assert bench.guard.phase is Phase.WAITING  # what was posted before the reset is not followed
    bench.following()
    assert not bench.guard.reset(bench.now, first)  # nothing to reset
    bench.guard.trip("second")
    assert bench.guard.token != first
    assert not bench.guard.reset(bench.now, first)
    assert bench.guard.phase is Phase.DAMPING


def test_within_bounds_the_command_is_heard_to_the_last_bit(go2):
    rng, bench = np.random.default_rng(1), Bench(go2).following()
    for _ in range(200):
        target = go2.default_joint_pos + rng.uniform(-0.1, 0.1, 12)
        bench.post(hold(go2, joint_pos_target=target, kp=go2.kp * rng.uniform(0.1, 1.0)))
        np.testing.assert_array_equal(bench.cycle().joint_pos_target, target)


def test_whatever_is_posted_the_target_is_within_the_limits_and_the_torque_within_the_motors_unless_it_points_inward(go2):
    """100 000 joints with gains, states and targets far beyond what can be."""
    rng, bench = np.random.default_rng(2), Bench(go2).following()
    low, high = go2.joint_pos_limit.T
    excess = 0
    for _ in range(8000):
        kp = go2.kp * rng.uniform(0, 1, 12) * (rng.uniform(size=12) > 0.1)
        bench.post(
            hold(
                go2,
                joint_pos_target=rng.normal(0, 10 ** rng.uniform(-1, 6), 12),
                kp=kp,
                kd=rng.uniform(0, DAMPING_KD, 12),
                feed_forward=rng.normal(0, 30, 12),
            )
        )
        pos, vel = rng.uniform(low - 0.2, high + 0.2), rng.uniform(-2.0, 2.0, 12) * go2.joint_vel_limit  # that it believes
        heard = bench.cycle(joint_pos=pos, joint_vel=vel)
        held, target = kp > 0, heard.joint_pos_target
        assert (target >= low)[held].all()
        assert (target <= high)[held].all()
        assert (np.abs(heard.feed_forward) <= go2.effort_limit).all()
        torque = motor_torque(target, pos, vel, heard.kp, heard.kd, np.inf, heard.feed_forward)
        beyond = held & (np.abs(torque) > go2.effort_limit * (1 + 1e-9))
        excess += beyond.sum()
        assert (np.where(torque > 0, target == low, target == high)[beyond]).all()
    assert excess > 0


def test_a_target_beyond_the_torque_asks_for_the_whole_torque_and_no_more(go2):
    bench = Bench(go2).following()
    for sign in (1.0, -1.0):
        bench.post(hold(go2, joint_pos_target=go2.default_joint_pos + sign * 1.0, feed_forward=np.full(12, 2.0)))
        heard = bench.cycle()
        torque = motor_torque(heard.joint_pos_target, go2.default_joint_pos, np.zeros(12), go2.kp, go2.kd, np.inf, 2.0)
        inside = (heard.joint_pos_target > go2.joint_pos_limit[:, 0]) & (heard.joint_pos_target < go2.joint_pos_limit[:, 1])
        np.testing.assert_allclose(torque[inside & (go2.effort_limit < 30)], sign * 23.7, atol=1e-9)
        assert (inside & (go2.effort_limit < 30)).sum() >= 6


def test_random_runtimes_never_get_a_word_in_after_a_trip(go2):
    """Random posts, delays and states: damping is latched, its reason never changes, and a trip has always a reason."""
    for seed in range(200):
        rng, bench, tripped = np.random.default_rng(seed), Bench(go2), None
        bench.post(damping_command(12, 0.0))
        for _ in range(100):
            if rng.uniform() < 0.5:
                flaw = FLAWS[rng.choice(list(FLAWS))](go2) if rng.uniform() < 0.02 else {}
                bench.post(hold(go2, **flaw) if bench.guard.phase is Phase.FOLLOWING else damping_command(12, 0.0))
            command = bench.cycle(0.08 if rng.uniform() < 0.02 else CYCLE)
            if bench.guard.phase is Phase.DAMPING:
                tripped = tripped or bench.guard.reason
                assert bench.guard.reason == tripped
                assert is_damping(command)
            else:
                assert tripped is None
    assert tripped


def test_it_ends_after_half_a_second_of_rest_without_a_break_under_damping_that_was_heard(go2):
    bench = Bench(go2).following()
    bench.guard.end(bench.now, "done")
    began = bench.now
    while bench.now - began < 2.0:
        moving = 0.8 < bench.now - began < 1.0 or bench.now - began < 0.4
        bench.cycle(joint_vel=np.full(12, 0.6 if moving else 0.4))
        failed = abs(bench.now - began - 1.3) < 0.0011
        bench.guard.written(bench.now, "bus" if failed else None)
        if bench.guard.ended(bench.now):
            break
    assert bench.now - began == pytest.approx(1.3 + REST_SECONDS, abs=0.005)


def test_rest_of_before_the_end_does_not_count_and_motion_does_not_hold_it_up_for_ever(go2):
    bench = Bench(go2)
    for _ in range(500):
        bench.cycle()
    assert not bench.guard.ended(bench.now)
    bench.guard.end(bench.now, "done")
    bench.cycle()
    assert not bench.guard.ended(bench.now)
    began = bench.now
    while not bench.guard.ended(bench.now):
        bench.cycle(joint_vel=np.ones(12))
        bench.guard.end(bench.now, "asked again")
    assert bench.now - began == pytest.approx(MAX_ENDING, abs=0.01)
    assert bench.guard.reason == "done"
    assert bench.guard.token == 0
    assert not bench.guard.reset(bench.now, 0)


def test_a_wire_that_fails_for_long_ends_in_damping_and_now_and_then_does_not(go2):
    bench = Bench(go2).following()
    bench.guard.written(bench.now, None)
    for _ in range(10):
        bench.post(hold(go2))
        bench.cycle(0.004)
        bench.guard.written(bench.now, "bus")
        assert bench.guard.phase is Phase.FOLLOWING
        bench.cycle(0.004)
        bench.guard.written(bench.now, None)
    for _ in range(4):
        bench.post(hold(go2))
        bench.cycle(0.004)
        bench.guard.written(bench.now, "bus")
    assert "no command reached the wire for 16 ms: bus" in bench.guard.reason


def test_a_runtime_that_stops_is_found_within_20_ms_of_the_post_that_is_missing():
    for control_dt in (0.002, 0.02, 0.05):
        assert control_dt + 0.012 < lease(control_dt) < control_dt + 0.02 - 2 * CYCLE
        assert lease(control_dt) <= MAX_LEASE


class Wire:
    def __init__(self, go2):
        self.go2, self.tick, self.heard, self.closed = go2, 0, [], False

    def read(self):
        self.tick += 1
        return make_state(self.go2, self.tick)

    def write(self, command):
        self.heard.append(command)

    def close(self):
        self.closed = True


def test_in_lockstep_a_run_with_the_guard_is_the_same_run_to_the_last_bit(go2, tmp_path):
    """Over a policy that asks for more than the motors' torque now and then."""
    bundle = bundles.write_tiny(tmp_path / "policy.onnx", go2, weight=0.3)
    logs = []
    for guarded in (False, True):
        policy, clock = RobotPolicy(load(bundle), go2), SimulatedTime()
        interface = SimulatedRobot(policy.robot, clock)
        if guarded:
            interface = LockstepGuard(interface, Guard(policy.robot, DAMPING_KD), clock)
        runtime = Runtime(policy, interface, Supervisor(policy.robot, 0.02, Limits()), clock)
        runtime.run(4.0, ScriptedOperator([[0.0, [0.5, 0.0, 0.0]]], policy.contract))
        logs.append({name: column for name, column in runtime.log.columns().items() if not name.startswith("timing/")})
    assert len(logs[0]["time"]) > 50
    for name, values in logs[0].items():
        np.testing.assert_array_equal(values, logs[1][name])


def test_in_lockstep_turns_between_the_runtimes_writes_find_a_runtime_that_is_silent_and_a_wire_that_fails(go2):
    for fails in (False, True):
        clock, wire = SimulatedTime(), Wire(go2)
        guarded = LockstepGuard(wire, Guard(go2, DAMPING_KD), clock)
        guarded.cycle()
        guarded.write(hold(go2))
        heard, write = len(wire.heard), wire.write

        def fail(command):
            raise OSError("no carrier")

        wire.write = fail if fails else write
        turns = 6 if fails else 29
        for _ in range(turns):
            clock.sleep_until(clock.now() + CYCLE)
            guarded.cycle()
        assert guarded.guard.phase is Phase.FOLLOWING
        assert len(wire.heard) == heard + turns * (not fails)
        for _ in range(3):
            clock.sleep_until(clock.now() + CYCLE)
            guarded.cycle()
        assert guarded.guard.phase is Phase.DAMPING
        wire.write = write
        guarded.cycle()
        assert is_damping(wire.heard[-1])


def test_in_lockstep_a_late_step_is_damped_and_raised_and_damping_goes_through(go2):
    clock, wire = SimulatedTime(), Wire(go2)
    guarded = LockstepGuard(wire, Guard(go2, DAMPING_KD), clock)
    guarded.read()
    guarded.write(damping_command(12, 0.0))
    for step in range(1, 10):
        clock.sleep_until(0.02 * step)
        guarded.read()
        guarded.write(hold(go2))
        np.testing.assert_array_equal(wire.heard[-1].joint_pos_target, go2.default_joint_pos)
        assert (wire.heard[-1].kp == go2.kp).all()
    clock.sleep_until(0.18 + LEASE + 0.001)
    guarded.read()
    with pytest.raises(GuardTripped, match=r"deadline missed by 1\.0 ms"):
        guarded.write(hold(go2))
    assert is_damping(wire.heard[-1])
    guarded.write(damping_command(12, DAMPING_KD))
    guarded.close()
    assert is_damping(wire.heard[-1])
    assert wire.closed
