"""Every limit is driven past its limit, and every transition that is not in the table is refused."""

import itertools
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from deploy.interface import RobotState
from deploy.supervisor import GRANTED, Limits, State, Supervisor
from robots import InputError
from robots.actuator import motor_torque

DT = 0.02
DEFAULT = Limits()


def sample(robot, tick=1, **changes) -> RobotState:
    state = RobotState(
        time=0.0, tick=tick, base_ang_vel=np.zeros(3), projected_gravity=np.array([0.0, 0.0, -1.0]),
        joint_pos=robot.default_joint_pos.copy(), joint_vel=np.zeros(12), joint_torque=np.zeros(12),
    )  # fmt: skip
    return replace(state, **changes)


def walking(robot, limits=DEFAULT) -> Supervisor:
    """A supervisor that has come to walk, at time 10 and tick 1."""
    supervisor = Supervisor(robot, DT, limits)
    supervisor.observe(sample(robot, 0), 0.0)
    assert supervisor.request(State.STAND_UP, sample(robot), 0.0)
    supervisor.observe(sample(robot), 10.0)
    assert supervisor.state is State.READY
    assert supervisor.request(State.WALK, sample(robot), 10.0)
    return supervisor


def test_the_way_to_walking(go2):
    supervisor = walking(go2)
    details = [event.detail for event in supervisor.events]
    assert details == ["idle -> stand_up (requested)", "stand_up -> ready (standing)", "ready -> walk (requested)"]


@pytest.mark.parametrize(("present", "wanted"), list(itertools.product(State, State)))
def test_only_the_table_s_transitions_are_granted(go2, present, wanted):
    supervisor = Supervisor(go2, DT, Limits())
    supervisor.observe(sample(go2), 0.0)
    supervisor.state = present
    granted = supervisor.request(wanted, sample(go2), 0.0)
    assert granted == (wanted is present or wanted in GRANTED[present])
    assert supervisor.state is (wanted if granted else present)
    if not granted:
        assert supervisor.events[-1].kind == "refused"


def test_damping_can_be_asked_for_everywhere():
    assert all(State.DAMPING in granted for granted in GRANTED.values())


def assert_damping(command):
    assert (command.kp == 0).all()
    assert (command.kd == DEFAULT.damping_kd).all()
    assert (command.feed_forward == 0).all()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("tilt", {"projected_gravity": np.array([math.sin(0.81), 0.0, -math.cos(0.81)])}),
        ("tilt", {"projected_gravity": np.array([0.0, 0.0, 1.0])}),
        ("finite", {"joint_pos": np.full(12, np.nan)}),
        ("finite", {"joint_vel": np.full(12, np.inf)}),
        ("finite", {"base_ang_vel": np.full(3, np.nan)}),
        ("finite", {"projected_gravity": np.full(3, np.nan)}),
    ],
)
def test_a_state_past_its_limit_is_a_fault_and_damps(go2, kind, changes):
    supervisor = walking(go2)
    bad = sample(go2, 2, **changes)
    supervisor.observe(bad, 10.02)
    assert supervisor.state is State.FAULT
    assert supervisor.events[-2].kind == kind
    assert_damping(supervisor.command(bad, 10.02, go2.default_joint_pos))


def test_just_inside_the_tilt_limit_goes_on(go2):
    supervisor = walking(go2)
    supervisor.observe(sample(go2, 2, projected_gravity=np.array([math.sin(0.79), 0.0, -math.cos(0.79)])), 10.02)
    assert supervisor.state is State.WALK


def test_a_frozen_state_is_a_fault_after_its_time(go2):
    supervisor = walking(go2)
    for i in range(1, 10):
        supervisor.observe(sample(go2, tick=2), 10.0 + i * DT)
        if supervisor.state is State.FAULT:
            break
    age = (i - 1) * DT  # the last new sample came at the first step
    assert DEFAULT.max_state_age - 1e-9 < age <= DEFAULT.max_state_age + DT + 1e-9
    assert supervisor.events[-2].kind == "stale_state"


@pytest.mark.parametrize("target", [np.full(12, np.nan), np.array([1.0, np.inf] + [0.0] * 10), np.zeros(3), None])
def test_a_policy_without_a_finite_target_is_a_fault(go2, target):
    supervisor = walking(go2)
    assert_damping(supervisor.command(sample(go2), 10.0, target))
    assert supervisor.state is State.FAULT


def test_targets_stay_off_the_mechanical_stops(go2):
    supervisor = walking(go2, Limits(slew=1e6))
    for wild in (np.full(12, 9.0), np.full(12, -9.0)):
        near = sample(go2, joint_pos=np.clip(wild, *go2.joint_pos_limit.T))  # so that torque does not bound it first
        target = supervisor.command(near, 10.0, wild).joint_pos_target
        assert (target >= go2.joint_pos_limit[:, 0] + 0.02 - 1e-12).all()
        assert (target <= go2.joint_pos_limit[:, 1] - 0.02 + 1e-12).all()
    assert supervisor.interventions["position"] == 2


def test_targets_move_no_faster_than_the_slew_limit(go2):
    supervisor = walking(go2, Limits(slew=0.5))  # tight, so that nothing else bounds the target first
    previous = supervisor.command(sample(go2), 10.0, go2.default_joint_pos).joint_pos_target
    direction = np.where(np.arange(12) % 2, 1.0, -1.0)
    moved = supervisor.command(sample(go2), 10.02, go2.default_joint_pos + 0.5 * direction).joint_pos_target - previous
    np.testing.assert_allclose(moved, direction * 0.5 * go2.joint_vel_limit * DT)
    assert supervisor.interventions == {"slew": 1}


def test_no_command_asks_for_more_torque_than_the_limit(go2):
    supervisor, rng = walking(go2, Limits(slew=1e6)), np.random.default_rng(0)
    for _ in range(200):
        state = sample(go2, joint_pos=go2.default_joint_pos + rng.normal(0, 0.5, 12), joint_vel=rng.normal(0, 10, 12))
        command = supervisor.command(state, 10.0, go2.default_joint_pos + rng.normal(0, 2, 12))
        demand = motor_torque(command.joint_pos_target, state.joint_pos, state.joint_vel, command.kp, command.kd, np.full(12, 1e9))
        assert (np.abs(demand) <= go2.effort_limit + 1e-9).all()
    assert supervisor.interventions["torque"] > 0


def test_a_gentle_policy_is_left_alone(go2):
    supervisor = walking(go2)
    target = go2.default_joint_pos + 0.05
    command = supervisor.command(sample(go2), 10.0, target)
    np.testing.assert_array_equal(command.joint_pos_target, target)
    assert not supervisor.interventions


def test_a_fault_stays_until_the_operator_resets(go2):
    supervisor = walking(go2)
    supervisor.fault(10.0, "crash", "test")
    for _ in range(5):
        supervisor.observe(sample(go2, 5), 11.0)
        assert_damping(supervisor.command(sample(go2, 5), 11.0, go2.default_joint_pos))
    assert not supervisor.request(State.WALK, sample(go2, 6), 12.0)
    assert not supervisor.request(State.STAND_UP, sample(go2, 6), 12.0)
    assert supervisor.request(State.DAMPING, sample(go2, 6), 12.0)


def test_standing_up_that_does_not_arrive_is_a_fault(go2):
    supervisor = Supervisor(go2, DT, Limits())
    stuck = {"joint_pos": go2.lie_joint_pos}
    supervisor.observe(sample(go2, 0, **stuck), 0.0)
    supervisor.request(State.STAND_UP, sample(go2, 0, **stuck), 0.0)
    supervisor.observe(sample(go2, 1, **stuck), 2.5)
    assert supervisor.state is State.STAND_UP
    supervisor.observe(sample(go2, 2, **stuck), 4.1)
    assert supervisor.state is State.FAULT


def test_standing_up_from_the_stops_is_no_work_for_the_filters(go2):
    """Folded calves rest on their mechanical stops, a little outside the limits."""
    supervisor, folded = Supervisor(go2, DT, Limits()), go2.lie_joint_pos.copy()
    folded[2::3] = go2.joint_pos_limit[2::3, 0] - 0.001
    state = sample(go2, joint_pos=folded)
    supervisor.observe(state, 0.0)
    assert supervisor.request(State.STAND_UP, state, 0.0)
    command = supervisor.command(state, 0.0, None)
    assert command.joint_pos_target[2::3] == pytest.approx(go2.joint_pos_limit[2::3, 0] + 0.02)
    assert not supervisor.interventions


def test_standing_up_is_refused_on_the_back(go2):
    supervisor = Supervisor(go2, DT, Limits())
    over = sample(go2, projected_gravity=np.array([0.0, 0.0, 1.0]))
    supervisor.observe(over, 0.0)
    assert not supervisor.request(State.STAND_UP, over, 0.0)


def test_motors_go_limp_only_at_rest(go2):
    supervisor = walking(go2)
    supervisor.request(State.DAMPING, sample(go2), 10.0)
    assert not supervisor.request(State.IDLE, sample(go2, joint_vel=np.full(12, 2.0)), 10.5)
    assert supervisor.request(State.IDLE, sample(go2), 11.0)
    command = supervisor.command(sample(go2), 11.0, None)
    assert (command.kd == 0).all()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), "fast"])
def test_limits_are_checked(value):
    with pytest.raises(InputError, match=r"deploy\.limits\.max_tilt"):
        Limits(max_tilt=value)


def test_one_joint_that_still_moves_keeps_the_motors_from_going_limp(go2):
    supervisor = walking(go2)
    supervisor.request(State.DAMPING, sample(go2), 10.0)
    moving = np.zeros(12)
    for speed in (0.51, -0.51):
        moving[7] = speed
        assert not supervisor.request(State.IDLE, sample(go2, joint_vel=moving), 10.5)
    moving[7] = 0.49
    assert supervisor.request(State.IDLE, sample(go2, joint_vel=moving), 10.5)


def test_what_has_happened_cannot_be_written_over(go2):
    with pytest.raises(FrozenInstanceError):
        walking(go2).events[0].detail = "nothing"
