"""The state machine: every transition that is not in the table is refused, and no input whatever leaves the table."""

import itertools
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.interface import RobotState
from deploy.limits import Limits
from deploy.monitors import BY_NAME, MONITORS, SAMPLE_CHECKS
from deploy.states import ACTIVE, TABLE, State, granted, possible
from deploy.supervisor import Reply, Supervisor

DT = 0.02
DEFAULT = Limits()


def sample(robot, number, **changes) -> RobotState:
    """Standing, the ticks 20 ms apart; noise, so that no signal repeats."""
    noise = 1e-6 * np.random.default_rng(number).standard_normal((2, 12))
    state = RobotState(
        time=DT * number, tick=number, base_ang_vel=noise[1, :3], projected_gravity=np.array([0.0, 0.0, -1.0]) + noise[1, 3:6],
        joint_pos=robot.default_joint_pos.copy(), joint_vel=noise[0], joint_torque=np.zeros(12),
    )  # fmt: skip
    return replace(state, **changes)


class Standing:
    """A supervisor and a motionless robot, a step at a time."""

    def __init__(self, robot, state=State.READY, limits=DEFAULT):
        self.robot, self.tick = robot, 500
        self.supervisor = Supervisor(robot, DT, limits)
        self.supervisor.state = state
        self.step()

    @property
    def now(self):
        return DT * self.tick

    def step(self, target=None, **changes):
        self.tick += 1
        state = sample(self.robot, self.tick, **{"joint_torque": self.torque(), **changes})
        self.supervisor.observe(state, self.now)
        self.supervisor.heard(self.now)
        return self.supervisor.command(self.now, target)

    def torque(self):
        """As the command in force has it."""
        sent = self.supervisor._sent
        return (sent.kp * (sent.joint_pos_target - self.robot.default_joint_pos)).clip(-self.robot.effort_limit, self.robot.effort_limit)

    def steps(self, count, target=None, **changes):
        for _ in range(count):
            command = self.step(target, **changes)
        return command


def walking(robot, limits=DEFAULT):
    standing = Standing(robot, limits=limits)
    assert standing.supervisor.request(State.WALK, standing.now) is Reply.ENTERED
    return standing


def assert_damping(command):
    assert (command.kp == 0).all()
    assert (command.kd == DEFAULT.damping_kd).all()
    assert (command.feed_forward == 0).all()


@pytest.mark.parametrize(("present", "wanted"), list(itertools.product(State, State)))
def test_only_the_table_s_transitions_are_granted(go2, present, wanted):
    standing = Standing(go2)
    standing.steps(30)  # at rest for long enough
    standing.supervisor.state = present
    reply = standing.supervisor.request(wanted, standing.now)
    expected = Reply.ALREADY if wanted is present else Reply.ENTERED if wanted in granted(present) else Reply.REFUSED
    assert reply is expected
    assert standing.supervisor.state is (wanted if reply is Reply.ENTERED else present)
    if reply is Reply.REFUSED:
        assert standing.supervisor.events[-1].kind == "refused"


def test_damping_and_fault_are_possible_everywhere_and_nothing_but_a_check_leads_to_ready():
    assert all({State.DAMPING, State.FAULT} <= possible(state) for state in State)
    assert [state for state in State if State.WALK in possible(state)] == [State.READY]
    assert [state for state in State if State.READY in possible(state)] == [State.CHECK, State.WALK]
    assert possible(State.FAULT) == {State.DAMPING, State.FAULT}


def test_every_monitor_guards_a_state_and_every_state_that_moves_is_guarded():
    assert {name for row in TABLE.values() for name in row.monitors} == set(BY_NAME)
    assert len(BY_NAME) == len(MONITORS)
    assert {State.STAND_UP, State.CHECK, State.READY, State.WALK, State.SETTLE} == ACTIVE


JUNK = st.floats(allow_nan=True, allow_infinity=True, width=64)
ARRAYS = st.one_of(st.none(), st.lists(JUNK, max_size=3).map(np.array), st.lists(JUNK, min_size=12, max_size=12).map(np.array))
FAULTS = st.fixed_dictionaries(
    {},
    optional={
        "base_ang_vel": ARRAYS, "projected_gravity": ARRAYS, "joint_pos": ARRAYS, "joint_vel": ARRAYS, "joint_torque": ARRAYS,
        "tick": st.one_of(st.none(), st.integers()), "time": st.one_of(st.none(), JUNK),
    },
)  # fmt: skip
STEPS = st.tuples(
    st.booleans(),  # whether the sample is bad
    FAULTS,
    st.sampled_from([None, *State]),
    st.one_of(st.none(), ARRAYS),  # the policy's target
    st.sampled_from([0, 0, 0, 1, 4]),  # steps missed
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(State)), st.lists(STEPS, max_size=20))
def test_no_sequence_of_faults_and_requests_leaves_the_table(go2, start, sequence):
    standing = Standing(go2)
    supervisor = standing.supervisor
    supervisor.state = state = start
    seen = len(supervisor.events)
    for bad, faults, wanted, target, missed in sequence:
        standing.tick += missed
        command = standing.step(target, **(faults if bad else {}))
        if wanted is not None:
            supervisor.request(wanted, standing.now)
        for event in supervisor.events[seen:]:
            if event.kind == "transition":
                before, after = (State(name) for name in event.detail.split(" (")[0].split(" -> "))
                assert before is state
                assert after in possible(before)
                state = after
        seen = len(supervisor.events)
        assert supervisor.state is state
        assert all(np.isfinite(value).all() for value in vars(command).values())
        low, high = go2.joint_pos_limit.T
        held = (command.kp == 0).all() or ((command.joint_pos_target >= low) & (command.joint_pos_target <= high)).all()
        assert held


def test_a_fault_stays_until_a_person_resets_it(go2):
    standing = walking(go2)
    supervisor = standing.supervisor
    supervisor.fault(standing.now, "crash", "test")
    for _ in range(5):
        assert_damping(standing.step(go2.default_joint_pos))
    for wanted in State:
        if wanted not in (State.DAMPING, State.FAULT):
            assert supervisor.request(wanted, standing.now) is Reply.REFUSED
    assert supervisor.request(State.DAMPING, standing.now) is Reply.ENTERED


@pytest.mark.parametrize(
    "target",
    [None, np.full(12, np.nan), np.array([1.0, np.inf] + [0.0] * 10), np.zeros(3), np.zeros((12, 1)), np.zeros(12, int), [0.0] * 12,
     np.array(["0"] * 12), np.full(12, 1e7)],
)  # fmt: skip
def test_a_policy_without_a_finite_target_is_a_fault(go2, target):
    standing = walking(go2)
    assert_damping(standing.step(target))
    assert standing.supervisor.events[-2].kind == "finite"


def test_just_inside_the_tilt_limit_goes_on_and_just_outside_does_not(go2):
    for angle, kind in ((0.79, State.WALK), (0.81, State.FAULT)):
        standing = walking(go2)
        standing.supervisor.window.clear()
        standing.step(go2.default_joint_pos, projected_gravity=np.array([math.sin(angle), 0.0, -math.cos(angle)]))
        assert standing.supervisor.state is kind or standing.supervisor.events[-2].kind == "gravity_drift"


def test_a_command_is_checked_by_its_own_time_too(go2):
    """A sample that was fresh when it was read is not when the policy has taken too long, however new it looked."""
    standing = walking(go2)
    supervisor = standing.supervisor
    standing.tick += 1
    supervisor.observe(sample(go2, standing.tick, joint_torque=standing.torque()), standing.now)
    assert_damping(supervisor.command(standing.now + 0.061, go2.default_joint_pos))
    assert supervisor.events[-2].kind == "stale_state"


def test_walking_begins_with_a_fresh_upright_sample_only(go2):
    standing = Standing(go2)
    assert standing.supervisor.request(State.WALK, standing.now + 0.07) is Reply.REFUSED
    assert "no fresh state" in standing.supervisor.events[-1].detail
    standing.step(joint_vel=np.zeros(3))
    assert standing.supervisor.request(State.WALK, standing.now) is Reply.REFUSED
    assert "joint_vel is not float64 [12]" in standing.supervisor.events[-1].detail
    standing.step()
    assert standing.supervisor.request(State.WALK, standing.now) is Reply.ENTERED


@pytest.mark.parametrize(("angle", "reply"), [(0.34, Reply.ENTERED), (0.36, Reply.REFUSED), (math.pi, Reply.REFUSED)])
def test_standing_up_is_refused_beyond_its_tilt(go2, angle, reply):
    standing = Standing(go2, State.IDLE)
    standing.step(projected_gravity=np.array([0.0, math.sin(angle), -math.cos(angle)]))
    assert standing.supervisor.request(State.STAND_UP, standing.now) is reply


def test_a_stand_up_advances_a_step_a_step_however_late_they_are(go2):
    """A second between commands: the target goes as far in a step as in one of 20 ms."""
    lying = {"joint_pos": go2.lie_joint_pos}
    paths = []
    for gap in (1, 50):
        standing = Standing(go2, State.IDLE)
        standing.step(**lying)
        standing.supervisor.request(State.STAND_UP, standing.now)
        targets = []
        for _ in range(20):
            standing.tick += gap - 1
            targets.append(standing.step(**lying, joint_torque=np.full(12, 1e-6 * standing.tick)).joint_pos_target)
        paths.append(targets)
    np.testing.assert_array_equal(*paths)


def test_standing_up_that_does_not_arrive_is_a_fault(go2):
    standing = Standing(go2, State.IDLE, Limits(tracking_error=1.0, torque_error=1.0))
    standing.step(joint_pos=go2.default_joint_pos + 0.3)
    standing.supervisor.request(State.STAND_UP, standing.now)
    for _ in range(210):
        standing.step(joint_pos=go2.default_joint_pos + 0.3, joint_torque=-0.3 * go2.kp + 1e-6 * standing.tick)
    kinds = [event.kind for event in standing.supervisor.events if event.kind not in ("transition", "override")]
    assert kinds == ["stand_up"]
    assert standing.supervisor.events[-1].time - standing.supervisor.events[-3].time == pytest.approx(4.0, abs=0.05)


def test_standing_up_from_the_stops_starts_within_the_limits(go2):
    """Folded calves rest on their mechanical stops, a little outside the limits."""
    folded = go2.lie_joint_pos.copy()
    folded[2::3] = go2.joint_pos_limit[2::3, 0] - 0.001
    standing = Standing(go2, State.IDLE)
    standing.step(joint_pos=folded)
    standing.supervisor.request(State.STAND_UP, standing.now)
    command = standing.step(joint_pos=folded)
    assert command.joint_pos_target[2::3] == pytest.approx(go2.joint_pos_limit[2::3, 0] + 0.02, abs=1e-3)
    assert (command.joint_pos_target[2::3] >= go2.joint_pos_limit[2::3, 0] + 0.02).all()
    assert not standing.supervisor.interventions


def test_motors_go_limp_only_after_half_a_second_of_rest(go2):
    standing = Standing(go2, State.DAMPING)
    moving = np.zeros(12)
    for speed in (0.51, -0.51):
        moving[7] = speed
        standing.step(joint_vel=moving)
        standing.steps(25)  # 24 periods of rest
        assert standing.supervisor.request(State.IDLE, standing.now) is Reply.REFUSED
    standing.step()
    assert standing.supervisor.request(State.IDLE, standing.now) is Reply.ENTERED
    assert (standing.step().kd == 0).all()


@pytest.mark.parametrize("broken", [{"joint_vel": np.full(12, np.nan)}, {"time": 0.0}, {"joint_pos": np.zeros(3)}])
def test_a_sample_that_cannot_be_believed_is_no_rest(go2, broken):
    standing = Standing(go2, State.DAMPING)
    standing.steps(20)
    standing.step(**broken)
    standing.steps(20)
    assert standing.supervisor.request(State.IDLE, standing.now) is Reply.REFUSED


def test_what_is_handed_out_is_a_copy(go2):
    standing = walking(go2)
    command = standing.step(go2.default_joint_pos)
    for value in vars(command).values():
        value[:] = 99.0
    again = standing.step(go2.default_joint_pos)
    np.testing.assert_array_equal(again.joint_pos_target, go2.default_joint_pos)
    np.testing.assert_array_equal(again.kp, go2.kp)
    assert standing.supervisor.state is State.WALK


def test_an_interface_that_writes_over_its_arrays_changes_no_past(go2):
    standing = walking(go2)
    state = sample(go2, standing.tick + 1)
    kept = standing.supervisor.observe(state, standing.now + DT)
    state.joint_pos[:] = np.nan
    np.testing.assert_array_equal(kept.joint_pos, go2.default_joint_pos)


def test_a_target_without_room_is_a_fault(go2):
    """Driven into its stop so fast that only a target beyond the stop would not ask for too much torque."""
    standing = walking(go2, Limits(joint_vel=4.0))
    state = {"joint_pos": np.where(np.arange(12) == 0, go2.joint_pos_limit[:, 1], go2.default_joint_pos)}
    assert_damping(standing.step(go2.default_joint_pos, **state, joint_vel=np.where(np.arange(12) == 0, 40.0, 0.0)))
    assert standing.supervisor.state is State.FAULT


def test_limits_that_are_overridden_are_in_the_log(go2):
    standing = Standing(go2, limits=Limits(max_tilt=1.0))
    assert [(event.kind, event.detail) for event in standing.supervisor.events] == [("override", "max_tilt is 1, not 0.8")]
    assert not Standing(go2).supervisor.events


def test_what_has_happened_cannot_be_written_over(go2):
    standing = walking(go2)
    with pytest.raises(FrozenInstanceError):
        standing.supervisor.events[0].detail = "nothing"


def test_every_check_of_a_sample_finds_something(go2):
    """Each in its turn: an ordinary sample passes all of them, and one that is wrong in one way fails one of them."""
    wrong = {
        "shape": {"joint_pos": np.zeros(3)}, "finite": {"joint_vel": np.full(12, np.nan)}, "gravity": {"projected_gravity": np.zeros(3)},
        "position": {"joint_pos": np.full(12, 9.0)}, "joint_vel": {"joint_vel": np.full(12, 61.0)}, "time": {"time": 1.0},
    }  # fmt: skip
    assert list(wrong) == [check.name for check in SAMPLE_CHECKS]
    for name, changes in {"": {}, **wrong}.items():
        state = sample(go2, 100, **changes)
        found = next((check.name for check in SAMPLE_CHECKS if check.finds(state, go2, DEFAULT, 2.0)), "")
        assert found == name
