"""Nothing walks that does not stand as it should, or whose joints do not answer to their own names and signs."""

import math
from dataclasses import replace

import numpy as np
import pytest

from deploy.gate import BACK, OUT, Gate
from deploy.limits import Limits
from deploy.states import State
from tests.deploy.plants import Deployment, changed, rows


def details(robot):
    return [event.detail for event in robot.supervisor.events if event.kind == "check"]


def test_every_joint_is_moved_in_its_turn_by_the_wiggle(bundle, go2):
    robot = Deployment(bundle, go2).trot().run(7.0)
    steps = [row for row in rows(robot.runtime) if row["state"] == State.CHECK]
    offsets = np.array([row["joint_pos_target"] - go2.default_joint_pos for row in steps])
    assert len(steps) * 0.02 == pytest.approx(0.5 + 12 * (OUT + BACK), abs=0.05)
    assert Gate.seconds(go2, Limits()) == pytest.approx(4.1)
    assert (np.count_nonzero(offsets, axis=1) <= 1).all()
    np.testing.assert_allclose(np.abs(offsets).max(axis=0), 0.05)
    assert np.count_nonzero(offsets[:25]) == 0  # the dwell
    order = [int(np.flatnonzero(offset)[0]) for offset in offsets if offset.any()]
    assert order == sorted(order)
    assert robot.kinds == []


def swapped_motors(go2, first, second):
    """The plugs of two motors are in each other's place; their encoders are not."""
    order = np.arange(12)
    order[[first, second]] = second, first
    return lambda command: replace(command, joint_pos_target=command.joint_pos_target[order])


@pytest.mark.parametrize(("first", "second"), [(1, 4), (2, 5), (8, 11)])
def test_swapped_motors_are_found(bundle, go2, first, second):
    robot = Deployment(bundle, go2).trot()
    robot.robot.on_write = swapped_motors(go2, first, second)
    robot.run(8.0)
    assert robot.seconds(State.WALK) == 0
    assert robot.supervisor.state is State.FAULT
    assert robot.damped
    assert go2.joint_names[first] in details(robot)[0]


def test_a_motor_that_turns_the_other_way_is_found(bundle, go2):
    """About its default pose; with the encoder it agrees there."""
    robot = Deployment(bundle, go2).trot()
    sign = np.where(np.arange(12) == 3, -1.0, 1.0)
    pose = go2.default_joint_pos
    checking = lambda command: replace(command, joint_pos_target=pose + sign * (command.joint_pos_target - pose))  # noqa: E731
    robot.robot.on_write = lambda command: checking(command) if robot.supervisor.state is State.CHECK else command
    robot.run(8.0)
    assert details(robot)[0].startswith("FR_hip_joint moved by")
    assert robot.damped


def test_an_imu_that_is_mounted_askew_is_found(bundle, go2):
    robot = Deployment(bundle, go2).trot()
    c, s = math.cos(math.radians(10)), math.sin(math.radians(10))
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    askew = changed("projected_gravity", lambda g: turn @ g)
    robot.robot.on_read = lambda sample: askew(changed("base_ang_vel", lambda w: turn @ w)(sample))
    robot.run(12.0)
    assert "degrees from upright" in details(robot)[0]
    assert robot.seconds(State.WALK) == 0
    assert robot.damped


def test_a_stance_that_is_not_its_own_mirror_image_is_found(bundle, go2):
    robot = Deployment(bundle, go2).trot()
    robot.robot.on_read = changed("joint_pos", lambda q: q + 0.12 * (np.arange(12) == 4))
    robot.run(12.0)
    assert "FL_thigh_joint is" in details(robot)[0] or "FR_thigh_joint is" in details(robot)[0]
    assert "rad from its mirror image" in details(robot)[0]
    assert robot.damped


def test_a_push_during_the_check_is_no_fault(bundle, go2):
    robot = Deployment(bundle, go2).trot()
    push = iter([True])

    def shove(sample):
        if robot.clock.now() > 3.0 and next(push, False):
            robot.plant.data.qvel[:2] += 0.5
        return sample

    robot.robot.on_read = shove
    robot.run(9.0)
    assert robot.kinds == []
    assert robot.seconds(State.WALK) > 1.0


def test_standing_up_takes_no_more_than_its_share_of_the_torque_and_a_blocked_calf_ends_it(bundle, go2):
    free, blocked = (Deployment(bundle, go2).trot() for _ in range(2))
    blocked.plant.model.dof_damping[6 + 2] = 1e4  # N m s/rad
    for robot in (free.run(6.0), blocked.run(6.0)):
        torques = np.array([row["joint_torque"] for row in rows(robot.runtime) if row["state"] == State.STAND_UP])
        assert (np.abs(torques) / go2.effort_limit).max() < 0.62  # it is bounded at each control step, not between them
        assert robot.damped
    assert free.kinds == []
    assert blocked.kinds == ["tracking_error"]


@pytest.mark.parametrize("degrees", [30, 44])
def test_a_robot_that_lies_at_an_angle_does_not_stand_up(bundle, go2, degrees):
    robot = Deployment(bundle, go2).trot()
    half = math.radians(degrees) / 2
    robot.plant.data.qpos[2:7] = 0.3, math.cos(half), math.sin(half), 0.0, 0.0
    robot.operator = lambda time, state, script=robot.operator: script(time, state) if time < 0.02 else script(time, State.FAULT)
    robot.run(1.0)
    assert robot.seconds(State.STAND_UP) == 0
    assert robot.kinds == ["refused"]
