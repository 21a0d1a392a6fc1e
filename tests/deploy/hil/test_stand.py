"""A stand holds the base of a simulated robot in the air, in one process and behind the wire; legs swing, and it gives way by little."""

import numpy as np
import pytest

import robots
from deploy.hil.drives import Battery, DriveCommand
from deploy.hil.plant import Plant, PlantSettings
from deploy.hil.server import Server, ServerSettings
from deploy.hil.simulated_robot import Conditions, SimulatedRobot
from deploy.interface import MotorCommand, SimulatedTime
from robots import InputError


@pytest.mark.parametrize("name", ["unitree_go2", "unitree_g1.legs"])
def test_a_base_on_a_stand_stays_level_where_it_is_and_its_feet_hang_free(name):
    robot, clock = robots.load(name), SimulatedTime()
    plant = SimulatedRobot(robot, clock, Conditions(stand=True))
    begin, states, zeros = plant.read(), [], np.zeros(robot.num_joints)
    low, high = robot.joint_pos_limit.T
    for step in range(150):
        clock.sleep_until(0.02 * step)
        wave = 0.3 * np.sin(2 * np.pi * 2.0 * clock.now() + np.arange(robot.num_joints))
        plant.write(MotorCommand(np.clip(robot.default_joint_pos + wave, low, high), robot.kp, robot.kd, zeros))
        states.append(plant.read())
    place = np.array([state.truth["base_pos"] for state in states])
    gravity = np.array([state.projected_gravity for state in states])
    assert place[:, 2].min() > 1.5 * robot.standing_height
    assert np.abs(place - begin.truth["base_pos"]).max() < 0.01
    assert np.linalg.norm(gravity - [0.0, 0.0, -1.0], axis=1).max() < 0.03
    assert np.abs([state.base_ang_vel for state in states]).max() > 1e-4  # it is no rock
    assert np.ptp([state.joint_pos for state in states], axis=0).min() > 0.1
    assert not np.any([state.truth["foot_contact_force"] for state in states])


def test_the_plant_behind_the_wire_stands_on_one_too_and_is_never_let_down(go2):
    plant = Plant(go2, Battery(8, 8.0, 0.9), PlantSettings(), False, 1, stand=True)
    assert plant.gantry is None
    j = go2.num_joints
    hold = DriveCommand(np.ones(j, bool), go2.default_joint_pos, np.zeros(j), np.zeros(j), go2.kp, go2.kd)
    for _ in range(1500):
        plant.step(hold)
    assert plant.height == pytest.approx(2.0 * go2.standing_height, abs=0.005)
    assert plant.tilt < 0.01
    assert not plant.sense().foot_force.any()
    assert np.abs(plant.sense().joint_pos - go2.default_joint_pos).max() < 0.1


def test_a_stand_is_true_or_false_and_no_gantry(go2):
    with pytest.raises(InputError, match=r"plant\.stand"):
        Conditions(stand=1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="stand"):
        Server(go2, ServerSettings(gantry=True, stand=True), PlantSettings())
