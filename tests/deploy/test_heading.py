"""Heading hold: the yaw that the gyroscope tells, less its bias, is brought back to where the robot headed; and the guard's way between."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.contract import Contract
from deploy.guard import Guard, Phase, Post
from deploy.heading import HeadingHold, vertical_rate
from deploy.hil.simulated_robot import Conditions
from deploy.interface import MotorCommand
from deploy.policy import load
from deploy.states import State
from robots import InputError
from tests.deploy.plants import Deployment
from tests.deploy.test_supervisor import sample

DT = 0.02


@pytest.fixture
def contract(bundle) -> Contract:
    return load(bundle).contract


class Turning:
    """A robot that turns as it is told and by ``disturbance`` rad/s besides, behind a gyroscope with a bias."""

    def __init__(self, go2, contract, bias, disturbance=0.0):
        self.hold, self.go2, self.bias, self.disturbance, self.yaw, self.tick, self.command = (
            HeadingHold(contract), go2, bias, disturbance, 0.0, 0, np.zeros(3, np.float32)
        )  # fmt: skip

    def run(self, seconds, state, asked=(0.3, 0.0, 0.0)):
        for _ in range(round(seconds / DT)):
            moves = state is State.WALK
            rate = float(self.command[2]) + self.disturbance if moves else 0.0
            self.yaw, self.tick = self.yaw + rate * DT, self.tick + 1
            seen = sample(self.go2, self.tick, base_ang_vel=np.array([0.0, 0.0, rate + self.bias]))
            self.command = self.hold.steer(np.array(asked, np.float32), seen, state)
        return self


def test_a_bias_is_learnt_at_rest_and_a_disturbance_held_against(go2, contract):
    """A robot that drifts by 0.05 rad/s ends 0.05 rad off, where gain 1/s holds against it, and not 1.5 rad after 30 s."""
    run = Turning(go2, contract, bias=0.02, disturbance=0.05).run(2.0, State.READY).run(30.0, State.WALK)
    assert run.hold.bias == pytest.approx(0.02)
    assert run.yaw == pytest.approx(0.05, abs=0.005)
    assert run.command[:2] == pytest.approx([0.3, 0.0])


def test_without_a_calibration_nothing_is_held(go2, contract):
    run = Turning(go2, contract, bias=0.02).run(0.4, State.READY).run(10.0, State.WALK)
    assert run.yaw == 0.0
    assert run.command[2] == 0.0


def test_who_turns_the_robot_sets_the_heading(go2, contract):
    run = Turning(go2, contract, bias=0.0).run(1.0, State.READY).run(2.0, State.WALK, (0.0, 0.0, 0.5))
    assert run.yaw == pytest.approx(1.0, abs=0.02)
    yaw = run.yaw
    run.run(5.0, State.WALK)
    assert run.yaw == pytest.approx(yaw, abs=0.02)


def test_a_robot_that_is_to_rest_is_not_turned_and_heads_from_there_where_it_is_when_it_walks_again(go2, contract):
    run = Turning(go2, contract, bias=0.0, disturbance=0.3).run(1.0, State.READY).run(2.0, State.WALK, (0.0, 0.0, 0.0))
    assert run.yaw == pytest.approx(0.6, abs=0.01)
    run.disturbance = 0.0
    assert run.run(5.0, State.WALK).yaw == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("turn", [3.0, -3.0])
def test_more_than_half_a_turn_off_it_comes_back_the_shorter_way_and_never_faster(go2, contract, turn):
    run = Turning(go2, contract, bias=0.0, disturbance=turn).run(1.0, State.READY).run(1.3, State.WALK)
    run.disturbance, low, high = 0.0, *(0.3 * contract.command_range[2])
    assert np.pi < abs(run.yaw) < 2 * np.pi
    for _ in range(1500):
        run.run(DT, State.WALK)
        assert low - 1e-6 <= run.command[2] <= high + 1e-6
    assert run.yaw == pytest.approx(np.sign(turn) * 2 * np.pi, abs=0.02)


def test_the_hold_asks_for_a_share_of_the_trained_range_at_most(go2, contract):
    run = Turning(go2, contract, bias=0.0, disturbance=2.0).run(1.0, State.READY).run(1.0, State.WALK)
    low, high = contract.command_range[2]
    assert run.command[2] == pytest.approx(0.3 * low)
    run.disturbance = -2.0
    run.run(1.7, State.WALK)
    assert run.command[2] == pytest.approx(0.3 * high)


def test_whoever_is_turned_while_ready_is_not_calibrated_by_it(go2, contract):
    run = Turning(go2, contract, bias=0.2).run(2.0, State.READY)
    assert not run.hold.calibrated
    assert run.hold.bias == 0.0


def test_on_the_plant_the_bias_is_known_when_a_script_walks_at_once(bundle, go2):
    run = Deployment(bundle, go2, Conditions(noise=1.0, seed=4))
    run.runtime.heading = HeadingHold(run.policy.contract)
    run.run(8.0)
    assert run.runtime.heading.calibrated
    assert run.runtime.heading.bias == pytest.approx(run.plant._bias[2], abs=0.01)


def test_the_rate_is_about_the_vertical_of_a_tilted_base(go2):
    """Pitched by 60 degrees, a turn about the vertical is seen on two axes of the base."""
    pitch = math.radians(60.0)
    down = np.array([math.sin(pitch), 0.0, -math.cos(pitch)])
    assert vertical_rate(replace(sample(go2, 1), projected_gravity=down, base_ang_vel=-0.7 * down)) == pytest.approx(0.7)
    assert vertical_rate(replace(sample(go2, 1), projected_gravity=down, base_ang_vel=np.array([0.0, 3.0, 0.0]))) == pytest.approx(0.0)


def test_a_policy_without_a_yaw_command_is_refused(contract):
    with pytest.raises(InputError, match="heading_hold"):
        HeadingHold(replace(contract, command_names=("forward", "left", "turn")))


# between the steps -----------------------------------------------------------------------------------------------------


def follow(go2, interpolate):
    """[cycles, 12] what a guard of 500 Hz says while the runtime posts three targets, 20 ms apart, and how many there are a step."""
    guard, said, targets = Guard(go2, 3.0, interpolate), [], [0.0, 0.1, -0.1]
    for i in range(30):
        now = 1.0 + 0.002 * i
        post = None
        if i % 10 == 0:
            target = go2.default_joint_pos + targets[i // 10]
            post = Post(i // 10 + 1, now, now + 0.06, MotorCommand(target, go2.kp, go2.kd, np.zeros(12)))
        said.append(guard.step(now, sample(go2, i + 1), post).joint_pos_target - go2.default_joint_pos)
    return np.array(said)


def test_targets_are_held_or_led_in_a_line_from_one_to_the_next(go2):
    held, led = follow(go2, 0.0), follow(go2, 0.02)
    assert held[:, 0] == pytest.approx(np.repeat([0.0, 0.1, -0.1], 10))
    assert led[:10] == pytest.approx(0.0)
    assert led[10:20, 3] == pytest.approx(0.1 * np.arange(10) / 10)
    assert led[20:, 3] == pytest.approx(0.1 - 0.2 * np.arange(10) / 10, abs=1e-9)
    assert np.abs(np.diff(led, axis=0)).max() < 0.021


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_between_steps_targets_stay_between_those_posted_however_late_or_early_they_come(go2, data):
    """In place, no faster than the line between them, and at any state of the robot within the motors' torque or at a joint's stop."""
    guard, random = Guard(go2, 3.0, DT), np.random.default_rng(data.draw(st.integers(0, 10**6)))
    wild = data.draw(st.booleans())
    low, high = go2.joint_pos_limit.T
    gaps = data.draw(st.lists(st.integers(1, 17), min_size=3, max_size=8))  # cycles from post to post: 2 to 34 ms
    posts = set(np.cumsum([0, *gaps]).tolist())
    targets, said, number = [go2.default_joint_pos], [], 0
    for i in range(max(posts) + 15):
        now, post = 1.0 + 0.002 * i, None
        if i in posts:
            number += 1
            reach = 0.08 if number > 1 else 0.0
            targets.append((targets[-1] + random.uniform(-reach, reach, 12)).clip(low, high))
            post = Post(number, now, now + 0.0355, MotorCommand(targets[-1], go2.kp, go2.kd, np.zeros(12)))
        state = sample(go2, i + 1, joint_pos=go2.default_joint_pos)
        if wild and i:
            state = replace(state, joint_pos=random.uniform(low, high), joint_vel=random.uniform(-1, 1, 12) * go2.joint_vel_limit)
        command = guard.step(now, state, post)
        assert guard.phase is Phase.FOLLOWING
        said.append(command.joint_pos_target)
        torque = go2.kp * (said[-1] - state.joint_pos) - go2.kd * state.joint_vel
        at_a_stop = (said[-1] == low) | (said[-1] == high)
        assert ((np.abs(torque) <= go2.effort_limit * (1 + 1e-9)) | at_a_stop).all()
        assert ((said[-1] >= low) & (said[-1] <= high)).all()
        if not wild:
            assert (said[-1] >= np.min(targets, axis=0) - 1e-12).all()
            assert (said[-1] <= np.max(targets, axis=0) + 1e-12).all()
    if not wild:
        far = max(np.abs(b - a).max() for a in targets for b in targets)  # where posts bunch, a way leads over more than one of theirs
        assert np.abs(np.diff(said, axis=0)).max() <= far * 0.002 / DT + 1e-9
        assert said[-1] == pytest.approx(targets[-1])


def test_damping_is_not_led_to_and_a_late_post_begins_where_the_last_had_come(go2):
    guard, pose = Guard(go2, 3.0, 0.02), go2.default_joint_pos
    steps = iter(range(1, 100))

    def turn(now, post=None):
        return guard.step(now, sample(go2, next(steps)), post)

    def command(offset):
        return MotorCommand(pose + offset, go2.kp, go2.kd, np.zeros(12))

    turn(1.0, Post(1, 1.0, 1.06, command(0.0)))
    turn(1.02, Post(2, 1.02, 1.08, command(0.1)))
    early = turn(1.03, Post(3, 1.03, 1.09, command(0.0)))  # half way there
    assert early.joint_pos_target - pose == pytest.approx(0.05)
    assert turn(1.04).joint_pos_target - pose == pytest.approx(0.025)
    assert turn(1.09).joint_pos_target - pose == pytest.approx(0.0)
    zeros = np.zeros(12)
    damp = turn(1.09, Post(4, 1.09, 1.15, MotorCommand(zeros, zeros, np.full(12, 3.0), zeros)))
    assert not damp.kp.any()
    assert turn(1.1, Post(5, 1.1, 1.16, command(0.1))).joint_pos_target - pose == pytest.approx(0.1)
