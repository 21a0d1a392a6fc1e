"""For any input at all: torque within the limit by the actuator law, targets within the joints' limits, and slew where these leave room."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy import filters
from deploy.filters import Situation
from deploy.limits import Limits
from robots.actuator import motor_torque, torque_bounds
from robots.robot import PER_JOINT, REACH, TIME_CONSTANT

DT = 0.02
ANY = st.floats(allow_nan=False, allow_infinity=False, width=64, min_value=-1e6, max_value=1e6)
ANGLE = st.floats(-7.0, 7.0)


def joints(values):
    return st.lists(values, min_size=12, max_size=12).map(np.array)


def situation(robot, **changes):
    pose = robot.default_joint_pos
    return replace(Situation(robot, Limits(), DT, joint_pos=pose, joint_vel=np.zeros(12), last_target=pose), **changes)


@st.composite
def gains(draw, robot):
    """The robot with the gains of any contract that is accepted."""
    reach, constant = (draw(joints(st.floats(bounds.low, bounds.high))) for bounds in (REACH, TIME_CONSTANT))
    kp = (robot.effort_limit / reach).clip(PER_JOINT["kp"].low, PER_JOINT["kp"].high)
    return replace(robot, kp=kp, kd=(kp * constant).clip(PER_JOINT["kd"].low, PER_JOINT["kd"].high))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_torque_and_position_are_within_their_limits_whatever_comes(go2, data):
    robot = data.draw(gains(go2))
    low, high = filters.position(situation(robot))
    now = situation(
        robot,
        joint_pos=data.draw(joints(st.one_of(ANGLE, ANY))),
        joint_vel=data.draw(joints(st.one_of(st.floats(-60.0, 60.0), ANY))),
        last_target=data.draw(joints(ANGLE)).clip(low, high),
        effort_share=data.draw(st.sampled_from([0.6, 1.0, np.linspace(0.5, 1.0, 12)])),
        gain=data.draw(st.floats(0.02, 1.0)),
    )
    found = filters.apply(data.draw(joints(ANY)), now)
    kp = now.gain * robot.kp
    scale = 1.0 + np.abs(now.joint_pos) + np.abs(now.joint_vel)
    demand = motor_torque(found.target, now.joint_pos, now.joint_vel, kp, robot.kd, np.inf)
    free = ~found.conflict
    slack = 1e-12 * (kp + robot.kd) * scale  # rounding
    assert (np.abs(demand) <= now.effort_share * robot.effort_limit + slack)[free].all()
    assert ((found.target >= low) & (found.target <= high))[free].all()
    least, most = filters.torque(now)
    back, forth = filters.slew(now)
    room = free & (np.maximum(np.maximum(low, least), back) <= np.minimum(np.minimum(high, most), forth))
    inside = (found.target > low) & (found.target < high)
    if "power" not in found.changed:
        assert ((found.target >= back) & (found.target <= forth))[room].all()
    if inside.all() and free.all() and scale.max() < 100.0:
        assert predicted(robot, demand, now.joint_vel) <= 0.8 * 3000.0 * (1.0 + 1e-6)


def predicted(robot, torque, joint_vel):
    """W, of motors at the torque-speed line through (10.64 rad/s, 23.7 N m) and (30, 0): (stall torque) / (no-load speed) = k^2 / R."""
    low, high = torque_bounds(joint_vel, robot.effort_limit, robot.torque_speed)
    torque = torque.clip(low, high)
    line = robot.effort_limit / (robot.no_load_speed - robot.speed_at_full_effort)
    return np.maximum(torque * joint_vel, 0.0).sum() + (torque**2 / line).sum()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_has_passed_once_passes_unchanged(go2, data):
    """But for the power of all motors: a joint that is kept from its stop takes more, and leaves the others less the second time."""
    robot = replace(go2, battery_power=None)
    low, high = filters.position(situation(robot))
    joint_pos, joint_vel, last = (data.draw(joints(values)) for values in (ANGLE, st.floats(-30.0, 30.0), ANGLE))
    now = situation(robot, joint_pos=joint_pos, joint_vel=joint_vel, last_target=last.clip(low, high))
    once = filters.apply(data.draw(joints(ANY)), now)
    again = filters.apply(once.target, now)
    if not once.conflict.any():
        np.testing.assert_allclose(again.target, once.target, atol=1e-12)


def test_each_filter_by_its_number(go2):
    """Margin 0.02 rad; twice the speed limit, 1.204 rad in 20 ms; 23.7 N m / 35 N m/rad off the measured position, kd dq / kp further."""
    low, high = filters.position(situation(go2))
    assert (low[0], high[0]) == pytest.approx((-1.0272, 1.0272))
    back, forth = filters.slew(situation(go2))
    assert (back[1], forth[1]) == pytest.approx((0.8 - 1.204, 0.8 + 1.204))
    least, most = filters.torque(situation(go2, joint_vel=np.full(12, 5.0)))
    assert (least[1], most[1]) == pytest.approx((0.8 + 0.1 - 23.7 / 35, 0.8 + 0.1 + 23.7 / 35))
    least, most = filters.torque(situation(go2, effort_share=0.6))
    assert most[2] - least[2] == pytest.approx(2 * 0.6 * 45.43 / 35)


def test_torque_beats_slew_and_position_beats_it_too(go2):
    """A leg that was moved by hand: the target follows at once, although that is further than it may slew."""
    tight = Limits(slew=0.1)
    moved = go2.default_joint_pos + np.where(np.arange(12) == 1, 1.5, 0.0)
    found = filters.apply(go2.default_joint_pos, situation(go2, limits=tight, joint_pos=moved))
    assert found.target[1] == pytest.approx(0.8 + 1.5 - 23.7 / 35)
    assert found.changed == ("torque",)
    outside = go2.default_joint_pos + np.where(np.arange(12) == 0, 1.5, 0.0)  # a last target beyond the stop
    found = filters.apply(outside, situation(go2, limits=tight, joint_pos=go2.joint_pos_limit[:, 1] - 0.1, last_target=outside))
    assert found.target[0] == pytest.approx(1.0472 - 0.02)


def test_the_nearest_target_is_chosen_and_named(go2):
    asked = go2.default_joint_pos + np.where(np.arange(12) == 0, 0.5, 0.0)
    found = filters.apply(asked, situation(go2))
    np.testing.assert_array_equal(found.target, asked)
    assert found.changed == ()
    assert filters.apply(np.full(12, 9.0), situation(replace(go2, battery_power=None))).changed == ("slew", "position", "torque")
    assert filters.apply(np.full(12, 9.0), situation(go2)).changed == ("slew", "power")
    assert filters.apply(asked, situation(go2, box=0.4)).changed == ("box",)
    assert filters.apply(asked, situation(go2, limits=Limits(slew=0.5))).changed == ("slew",)


def test_no_room_between_position_and_torque_is_said_of_the_joint(go2):
    speed = np.where(np.arange(12) == 3, 40.0, 0.0)
    now = situation(go2, joint_pos=np.where(np.arange(12) == 3, 1.0472, go2.default_joint_pos), joint_vel=speed)
    assert filters.apply(go2.default_joint_pos, now).conflict.tolist() == [i == 3 for i in range(12)]


def test_the_power_of_all_motors_is_one_share_of_each_torque(go2):
    """Standing still it is copper loss alone: s^2 = budget / loss. In motion, s is the root of loss s^2 + motion s = budget."""
    asked = go2.default_joint_pos + 0.6  # 21 N m each: 12 * 21^2 / 1.224, and the calves' line is 4.5
    for joint_vel in (np.zeros(12), np.full(12, -1.0), np.full(12, 2.0)):
        now = situation(go2, joint_vel=joint_vel)
        before = motor_torque(asked, now.joint_pos, joint_vel, go2.kp, go2.kd, go2.effort_limit, 0.0, go2.torque_speed)
        found = filters.apply(asked, now)
        after = motor_torque(found.target, now.joint_pos, joint_vel, go2.kp, go2.kd, np.inf)
        assert predicted(go2, before, joint_vel) > 2400.0
        assert predicted(go2, after, joint_vel) == pytest.approx(2400.0)
        assert np.ptp(after / before) == pytest.approx(0.0, abs=1e-12)
        assert found.changed == ("power",)
    weak = situation(go2, limits=Limits(power=0.5))
    assert filters.apply(asked, weak).target[1] - 0.8 == pytest.approx(
        0.6 * np.sqrt(1500.0 / predicted(go2, before * 0 + 21.0, np.zeros(12)))
    )


def test_gains_that_ramp_keep_the_torque_limit(go2):
    """At half kp the spring may be stretched twice as far, and the damper's part counts twice in the target."""
    least, most = filters.torque(situation(go2, joint_vel=np.full(12, 5.0), gain=0.5))
    assert (least[1], most[1]) == pytest.approx((0.8 + 0.2 - 2 * 23.7 / 35, 0.8 + 0.2 + 2 * 23.7 / 35))
