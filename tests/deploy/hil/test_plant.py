"""The plant's motors, sensors, battery and gantry: laws that hold whatever the robot does."""

from dataclasses import replace

import numpy as np
import pytest

import robots
from deploy.hil.drives import NOMINAL_CELL, Battery, DriveCommand, Drives
from deploy.hil.plant import Plant, PlantSettings
from robots import InputError
from robots.actuator import motor_torque, stall_torque, torque_bounds
from robots.heat import AMBIENT, TIME_CONSTANT

QUIET = PlantSettings(0.0, 0.0, 0.0, 0.0, 0.0, motor_delay=0.0, state_delay=0.0)


def make(robot, settings=QUIET, hang=False, seed=1):
    return Plant(robot, Battery(8, 8.0, 0.9), settings, hang, seed)


def hold(robot, pose, kp=40.0, kd=2.0):
    j = robot.num_joints
    return DriveCommand(np.ones(j, bool), pose, np.zeros(j), np.zeros(j), np.full(j, kp), np.full(j, kd))


def test_a_quadruped_starts_on_its_belly_with_its_motors_off(go2):
    plant = make(go2)
    assert plant.height < 0.1
    assert plant.tilt < 0.1
    sample = plant.sense()
    assert not sample.enabled.any()
    assert not sample.joint_torque.any()


def test_the_motors_follow_the_law_with_a_target_for_velocity_and_a_feed_forward(go2):
    plant, rng = make(go2), np.random.default_rng(0)
    j = go2.num_joints
    command = DriveCommand(np.ones(j, bool), plant.sense().joint_pos + 0.2, *rng.uniform(0.5, 2.0, (4, j)))
    before = plant.sense()
    plant.step(command)
    full, none = go2.torque_speed
    shift = (1.0 - plant.drives.battery.voltage / (8 * NOMINAL_CELL)) * none
    asked = motor_torque(
        command.q, before.joint_pos, before.joint_vel, command.kp, command.kd, go2.effort_limit,
        command.tau + command.kd * command.dq, (full - shift, none - shift),
    )  # fmt: skip
    assert plant.data.actuator_force == pytest.approx(asked, abs=1e-9)


def test_a_motor_that_is_not_enabled_is_limp_whatever_its_figures(go2):
    plant = make(go2)
    command = hold(go2, go2.default_joint_pos)
    command.enabled[4] = False
    for _ in range(20):
        plant.step(command)
    assert plant.data.actuator_force[4] == 0.0
    assert (np.abs(np.delete(plant.data.actuator_force, 4)) > 0.0).all()


def test_the_motors_hear_a_command_after_their_delay(go2):
    plant = make(go2, replace(QUIET, motor_delay=0.005))
    command = hold(go2, go2.default_joint_pos)
    torques = []
    for _ in range(7):
        plant.step(command)
        torques.append(np.abs(plant.data.actuator_force).max())
    assert torques[:5] == [0.0] * 5
    assert torques[5] > 1.0


def test_sensor_noise_has_the_size_that_it_is_given_and_repeats_with_its_seed(go2):
    settings = replace(QUIET, joint_pos_noise=0.01, joint_vel_noise=0.1, ang_vel_noise=0.05, accelerometer_noise=0.2)
    plant, twin, other = make(go2, settings), make(go2, settings), make(go2, settings, seed=2)
    samples, quiet = [plant.sense() for _ in range(400)], make(go2).sense()
    sizes = {"joint_pos": 0.01, "joint_vel": 0.1, "base_ang_vel": 0.05, "accelerometer": 0.2}
    errors = {name: np.array([getattr(sample, name) for sample in samples]) - getattr(quiet, name) for name in sizes}
    for name, size in sizes.items():
        assert errors[name].std() == pytest.approx(size, rel=0.1)
    together = np.corrcoef(np.concatenate(list(errors.values()), axis=1).T)
    assert np.abs(together - np.eye(len(together))).max() < 0.3  # each its own
    assert np.array_equal(samples[0].joint_pos, twin.sense().joint_pos)
    assert not np.array_equal(samples[0].joint_pos, other.sense().joint_pos)


def test_at_rest_the_accelerometer_measures_gravity_upwards(go2):
    plant = make(go2)
    for _ in range(500):
        plant.step(DriveCommand.off(go2.num_joints))
    assert plant.sense().accelerometer == pytest.approx([0.0, 0.0, 9.81], abs=0.5)
    assert plant.sense().foot_force.sum() <= 20.0 * 9.81


def test_a_battery_gives_its_charge_and_sags_under_load():
    battery = Battery(8, 8.0, 1.0)
    assert battery.voltage == pytest.approx(8 * 4.2)
    battery.draw(336.0, 0.0)
    assert battery.current == pytest.approx(10.0)
    assert battery.voltage == pytest.approx(8 * 4.2 - 10.0 * 0.1)
    battery = Battery(8, 8.0, 1.0)
    for _ in range(1800):
        battery.draw(8.0 * battery.voltage, 1.0)  # 8 A for half an hour
    assert battery.charge == pytest.approx(0.5)
    battery.draw(1e6, 3600.0)
    assert battery.charge == 0.0


def test_a_low_battery_takes_speed_and_leaves_the_torque_at_rest(go2):
    full, flat = (Drives(go2, Battery(8, 8.0, charge)) for charge in (1.0, 0.0))
    still, fast = np.zeros(12), 0.7 * go2.no_load_speed
    assert full.torque_bounds(still)[1] == pytest.approx(go2.effort_limit)
    assert flat.torque_bounds(still)[1] == pytest.approx(go2.effort_limit)
    assert (flat.torque_bounds(fast)[1] < full.torque_bounds(fast)[1]).all()
    stall = stall_torque(go2.effort_limit, go2.torque_speed)
    voltage = full.battery.voltage / (8 * NOMINAL_CELL)
    line = stall * (voltage - fast / go2.no_load_speed)  # stall torque and no-load speed both follow the voltage
    assert full.torque_bounds(fast)[1] == pytest.approx(np.minimum(line, go2.effort_limit))
    nominal = Drives(go2, Battery(8, 8.0, (NOMINAL_CELL - 3.3) / 0.9))
    assert nominal.torque_bounds(fast)[1] == pytest.approx(torque_bounds(fast, go2.effort_limit, go2.torque_speed)[1])


def test_motors_warm_towards_what_their_heat_and_their_cooling_balance_at(go2):
    drives, torque = Drives(go2, Battery(8, 8000.0, 1.0)), 0.2 * go2.effort_limit
    after = {}
    for second in range(1, 3001):
        drives.work(torque, np.zeros(12), 1.0)
        after[second] = drives.temperature - AMBIENT
    assert after[300] == pytest.approx((1.0 - np.exp(-300 / TIME_CONSTANT)) * after[3000], rel=0.01)
    hotter = Drives(go2, Battery(8, 8000.0, 1.0))
    hotter.work(2.0 * torque, np.zeros(12), 1.0)
    assert hotter.temperature - AMBIENT == pytest.approx(4.0 * after[1])


def test_a_humanoid_hangs_limp_and_stands_when_let_down():
    g1 = robots.load("unitree_g1")
    plant = make(g1, hang=True)
    for _ in range(500):
        plant.step(DriveCommand.off(g1.num_joints))
    assert plant.height > g1.standing_height + 0.05
    assert plant.tilt < 0.2
    assert not plant.sense().foot_force.any()
    start = plant.sense().joint_pos
    plant.gantry.lower = True
    for i in range(5000):
        if i % 20 == 0:
            pose = start + min(i / 2000, 1.0) * (g1.default_joint_pos - start)
            command = DriveCommand(np.ones(29, bool), pose, np.zeros(29), np.zeros(29), g1.kp, g1.kd)
        plant.step(command)
    assert plant.height == pytest.approx(g1.standing_height, abs=0.03)
    assert plant.tilt < 0.1
    assert plant.sense().foot_force.sum() == pytest.approx(33.3 * 9.81, rel=0.1)  # and the rope is slack
    for _ in range(2500):
        plant.step(DriveCommand.off(g1.num_joints))
    assert plant.height > 0.3  # it catches who falls


@pytest.mark.parametrize(("name", "value"), [("motor_delay", -0.001), ("charge", 1.1), ("tilt_noise", float("nan"))])
def test_settings_that_no_plant_has_are_refused(name, value):
    with pytest.raises(InputError, match=f"plant.{name}"):
        replace(QUIET, **{name: value})
