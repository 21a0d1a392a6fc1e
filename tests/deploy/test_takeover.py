"""Taking over a robot: gains and action box that grow, first targets, power and warmth, each past its limit on the plant."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import takeover
from deploy.hil.simulated_robot import Conditions
from deploy.interface import MotorCommand
from deploy.limits import Limits
from deploy.operator import Stop
from deploy.policy import RobotPolicy, load
from deploy.states import State
from deploy.supervisor import Reply
from deploy.window import Window, motor_power
from robots.heat import loss
from tests.deploy.plants import Deployment, rows
from tests.deploy.test_supervisor import sample
from tests.deploy.test_supervisor import walking as walking_supervisor


def walking(bundle, go2, **limits):
    return Deployment(bundle, go2, limits=Limits(**limits)).trot().standing()


def test_from_random_poses_joints_are_slow_and_power_is_under_the_battery_s(bundle, go2):
    """A small version of ``python -m benchmarks.takeover``; the pose commanded at once shows that it measures something."""
    found = takeover.limp(go2, 0.02, 12, 3, Limits(), seconds=1.0)
    bare = takeover.limp(go2, 0.02, 6, 3, Limits(), bare=True)
    assert len(found.speed) >= 3
    assert max(found.speed) < 0.4
    assert max(found.power) < 1200.0
    assert max(bare.speed) > 0.8
    assert max(bare.power) > 3000.0
    wild = takeover.policy(RobotPolicy(load(bundle), go2), 5, 3, Limits(), seconds=0.3)
    assert max(wild.power) < 3000.0  # what is predicted stays under 2400; speeds change within a step


def test_a_robot_that_was_limp_is_held_with_gains_that_grow(bundle, go2):
    run = Deployment(bundle, go2)
    heard = []
    run.robot.on_write = lambda command: heard.append(command) or command
    run.run(1.2)
    shares = np.array([command.kp / go2.kp for command in heard if command.kp.any()])
    assert (np.ptp(shares, axis=1) < 1e-12).all()
    assert shares[:, 0][:25] == pytest.approx(np.linspace(0.04, 1.0, 25))  # 0.5 s
    assert shares[25:].min() == 1.0
    assert all((command.kd == go2.kd).all() for command in heard if command.kp.any())
    gains = [row["gain"] for row in rows(run.runtime) if row["state"] == State.STAND_UP]
    assert gains[0] == pytest.approx(0.04)
    assert gains[-1] == 1.0


def test_the_action_box_starts_small_and_grows_with_clean_time(bundle, go2):
    """The trot folds knees by 0.4 rad; a box of 0.1 that grows by 0.1 rad/s lets it after 3 s."""
    run = walking(bundle, go2, action_box=0.1, box_growth=0.1).run(4.0)
    steps = [row for row in rows(run.runtime) if row["state"] == State.WALK]
    off = np.array([np.abs(row["joint_pos_target"] - go2.default_joint_pos).max() for row in steps])
    box = np.array([row["action_box"] for row in steps])
    assert (off <= box + 1e-12).all()
    assert off[:50].max() > 0.99 * 0.1
    assert box[-1] == pytest.approx(0.1 + 0.1 * 0.02 * len(steps), abs=0.01)
    assert off.max() == pytest.approx(0.4, abs=0.01)
    assert run.supervisor.interventions["box"] > 50


def test_the_box_does_not_grow_while_something_is_found(bundle, go2):
    run = walking(bundle, go2, action_box=0.1, box_growth=0.1)
    run.robot.on_read = lambda sample: replace(sample, voltage=28.4)
    run.run(2.0)
    boxes = [row["action_box"] for row in rows(run.runtime) if row["state"] == State.WALK]
    assert run.time_of("low_battery") == pytest.approx(1.0, abs=0.041)  # what counts is the mean of a second
    assert boxes[52] == boxes[-1] < 0.21


@pytest.mark.parametrize(("jump", "walks"), [(0.75, True), (0.85, False)])
def test_a_first_target_that_jumps_too_far_is_refused_and_the_robot_stays_on_its_feet(bundle, go2, jump, walks):
    run = Deployment(bundle, go2).standing()
    away = np.where(np.arange(12) == 1, -jump, 0.0)
    steps = iter(range(10**9))
    run.act(lambda: go2.default_joint_pos + (away if (step := next(steps)) < 1 else 1e-6 * step)).run(0.8)
    assert ("refused" in run.kinds) is not walks
    first = next(event for event in run.supervisor.events if event.detail.startswith("ready -> walk"))
    assert first.time == pytest.approx(run.start, abs=0.021)
    again = [event.detail for event in run.supervisor.events if event.kind == "transition"][1]
    assert again.startswith("walk -> damping" if walks else "walk -> ready (refused)")
    assert run.damped
    if not walks:
        assert max(np.abs(row["joint_vel"]).max() for row in rows(run.runtime) if row["state"] == State.READY) < 0.2


def test_power_is_torque_times_speed_and_copper_loss_and_braking_gives_nothing(go2):
    one = np.arange(12) == 0
    assert motor_power(10.0 * one, 5.0 * one, loss(go2)) == pytest.approx(50.0 + 100.0 / (23.7 / (30.0 - 10.64)))
    assert motor_power(10.0 * one, -5.0 * one, loss(go2)) == pytest.approx(100.0 / (23.7 / (30.0 - 10.64)))


def test_much_power_for_long_derates(bundle, go2):
    quiet, loud = (walking(bundle, replace(go2, battery_power=power)).run(1.5) for power in (3000.0, 150.0))
    assert "mean_power" not in quiet.kinds
    assert "mean_power" in loud.kinds
    assert loud.supervisor.command_share in (0.5, 1.0)


@pytest.mark.parametrize(("voltage", "kinds"), [(28.7, []), (28.4, ["low_battery"]), (27.9, ["low_battery", "empty_battery", "settled"])])
def test_the_battery_s_voltage_derates_and_then_lays_the_robot_down(bundle, go2, voltage, kinds):
    """28 to 33.6 V: 90 % of the way is 28.56 V. What counts is the mean of a second, so that the derating comes first."""
    run = walking(bundle, go2)
    run.robot.on_read = lambda sample: replace(sample, voltage=voltage if run.at(0.1) else 33.0)
    run.run(5.0)
    assert run.kinds == kinds
    assert run.upright > 0.98


def test_a_robot_whose_battery_is_not_described_or_not_measured_is_not_judged_by_it(bundle, go2):
    run = walking(bundle, replace(go2, battery_voltage=None, battery_power=None))
    run.robot.on_read = lambda sample: replace(sample, voltage=1.0)
    assert run.run(1.0).kinds == []
    assert walking(bundle, go2).run(1.0).kinds == []


@pytest.mark.parametrize(("degrees", "kinds"), [(79.0, []), (85.0, ["warm_winding"]), (91.0, ["warm_winding", "hot_winding", "settled"])])
def test_a_warm_motor_derates_and_a_hot_one_lays_the_robot_down(bundle, go2, degrees, kinds):
    run = walking(bundle, go2)
    run.robot.on_read = lambda sample: replace(sample, motor_temperature=np.where(np.arange(12) == 4, degrees * run.at(0.1), 40.0))
    run.run(3.5)
    assert run.kinds == kinds


def test_a_warm_motor_has_less_of_its_torque(bundle, go2):
    """At 85 of 80 to 90 degrees three quarters of it, and the others all of theirs."""
    run = walking(bundle, go2)
    run.robot.on_read = lambda sample: replace(sample, motor_temperature=np.where(np.arange(12) == 4, 85.0, 40.0))
    run.act(lambda: go2.default_joint_pos + 0.7 * np.where(np.arange(12) % 3 == 1, 1.0, 0.0)).run(0.1)
    torque = [
        row["kp"] * (row["joint_pos_target"] - row["joint_pos"]) - row["kd"] * row["joint_vel"]
        for row in rows(run.runtime) if row["state"] == State.WALK
    ]  # fmt: skip
    assert np.max(torque, axis=0)[4] == pytest.approx(0.75 * 23.7)
    assert np.max(torque, axis=0)[1] == pytest.approx(23.7)
    assert min(row["torque_share"] for row in rows(run.runtime) if row["state"] == State.WALK) == pytest.approx(0.75)


def test_without_a_sensor_warmth_is_reckoned_from_torque(go2):
    """0.2 J/K for each W of 23.7 N m x 30 rad/s; 10 N m for 60 s at first hardly cool."""
    window, told = Window(go2, 0.02), MotorCommand(*np.zeros((4, 12)))
    torque = np.where(np.arange(12) == 0, 10.0, 0.0)
    for i in range(0, 3001, 5):
        window.push(sample(go2, i, joint_torque=torque), told)
    joules = 60.0 * 100.0 / (23.7 / (30.0 - 10.64))
    over = joules / (0.2 * 23.7 * 30.0)
    assert window.temperature[0] - 25.0 == pytest.approx(over * (1 - np.exp(-0.2)) / 0.2, rel=0.01)
    assert window.temperature[1] == 25.0
    for i in range(3001, 3011):
        window.push(sample(go2, i, motor_temperature=np.where(np.arange(12) == 1, 66.0, np.nan)), told)
    assert window.temperature[1] == pytest.approx(66.0)
    assert window.temperature[0] > 26.0  # where the sensor says nothing, the reckoning goes on


def all_at(*degrees):
    return tuple(np.full(12, value) for value in degrees)


READINGS = {
    "voltage": (30.0, 0.0, np.nan, np.float32(30.0), 31),
    "motor_temperature": (None, *all_at(0.0, np.nan, 40.0, -20.0)),
    "foreign_commands": (0, np.int64(0)),
}
ODD = {"voltage": (np.inf, -np.inf, -1.0, 30_000.0, 336.0), "motor_temperature": all_at(np.inf, -np.inf, 313.0, -128.0)}
NONE = {"voltage": (None, "30", np.array([30.0])), "motor_temperature": ("40", np.full(11, 40.0)), "foreign_commands": (None, np.nan, 0.5)}


@pytest.mark.parametrize(("values", "kinds"), [(READINGS, []), (ODD, ["odd_reading"]), (NONE, ["bad_sample"])])
def test_a_sensor_that_is_not_there_is_no_finding_one_that_says_nonsense_is_one_and_once_is_never(go2, values, kinds):
    """And whatever it says, then or when it has gone again, commands stay finite."""
    target, random = go2.default_joint_pos, np.random.default_rng(5)
    for name, value in ((name, value) for name, some in values.items() for value in some):
        for once in (True, False):
            robot = walking_supervisor(go2)
            for i in range(60):
                said = {name: value} if i == 30 or not once else {}
                command = robot.step(target, joint_torque=robot.torque() + 1e-6 * random.standard_normal(12), **said)
                assert all(np.isfinite(part).all() for part in vars(command).values())
            found = [event.kind for event in robot.supervisor.events if event.kind != "transition"]
            assert found == ([] if once else kinds), (name, value, once)


def test_one_sample_is_no_hot_motor_and_no_empty_battery_not_even_the_first(bundle, go2):
    run, seen = walking(bundle, go2), iter(range(10**9))
    odd = {0: {"voltage": 20.0}, 40: {"voltage": 1.0}, 70: {"motor_temperature": np.full(12, 120.0)}}
    run.robot.on_read = lambda sample: replace(
        sample, **{"voltage": 32.0, "motor_temperature": np.full(12, 40.0)} | odd.get(next(seen), {})
    )
    assert run.run(2.0).kinds == []


@pytest.mark.parametrize("finding", ["monitor", "operator"])
def test_a_walk_that_is_to_end_is_not_kept_by_asking_for_ready_or_by_a_policy_that_is_refused(go2, finding):
    for asks in (True, False):
        robot, random = walking_supervisor(go2), np.random.default_rng(5)

        def step(count, target=go2.default_joint_pos, robot=robot, random=random, **said):
            for _ in range(count):
                robot.step(target, joint_torque=robot.torque() + 1e-6 * random.standard_normal(12), **said)

        step(5 if asks else 0)
        if finding == "monitor":
            robot.supervisor._settle(robot.now, "blocked", "a stone")  # which nobody looks for in ready
        else:
            robot.supervisor.stop(Stop.SETTLE, robot.now)
        if asks:
            assert robot.supervisor.request(State.READY, robot.now) is Reply.REFUSED
            step(60)
        else:
            step(1, go2.default_joint_pos + 1.0)
        assert robot.supervisor.state is State.SETTLE


@pytest.mark.parametrize("phase", [State.WALK, State.READY])
def test_commands_of_another_program_are_a_fault(bundle, go2, phase):
    run = walking(bundle, go2)
    if phase is State.READY:
        run.operator = lambda time, state: (None, np.zeros(3))
    count = iter(range(1000))
    run.robot.on_read = lambda sample: replace(sample, foreign_commands=next(count) if run.at(0.3) else 0)
    run.run(1.0)
    assert run.kinds == ["second_commander"]
    assert run.time_of("second_commander") == pytest.approx(0.3 + 0.06, abs=0.041)
    assert run.damped


def test_a_policy_that_repeats_itself_while_the_robot_moves_is_a_fault_and_one_at_rest_is_not(bundle, go2):
    """Stuck in the middle of a step, with a push."""
    assert Deployment(bundle, go2).standing().act(lambda: go2.default_joint_pos).run(2.0).kinds == []
    run, kept = Deployment(bundle, go2, Conditions(noise=1.0)).trot().standing(), []
    trot = run.policy.step

    def stuck(signals):
        if not (run.at(0.4) and kept):
            kept[:] = [trot(signals)]
        return kept[0]

    def look(sample):
        if run.at(0.4):
            run.plant.data.qvel[3] += 0.5  # somebody tugs at it
        return sample

    run.policy.step, run.robot.on_read = stuck, look
    run.run(2.0)
    assert run.kinds[0] == "stuck_policy"
    assert run.time_of("stuck_policy") == pytest.approx(0.4 + 11 * 0.02, abs=0.1)


@pytest.mark.parametrize(("friction", "found"), [(2000.0, True), (0.0, False)])
def test_a_joint_that_does_not_move_while_its_target_swings_is_blocked(bundle, go2, friction, found):
    """A stone in the linkage, for which 2000 N m s/rad will do: the trot swings the knee's target by 0.4 rad."""
    run = walking(bundle, go2)
    run.plant.model.dof_damping[run.plant.model.joint("FL_calf_joint").dofadr[0]] += friction
    run.run(4.6)
    assert ("blocked" in run.kinds) is found
    if found:
        assert run.time_of("blocked") == pytest.approx(1.1, abs=0.2)
        assert run.supervisor.state is State.FAULT
