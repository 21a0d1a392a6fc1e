"""Leg odometry against what only the simulator knows, and leg kinematics against MuJoCo's."""

import mujoco
import numpy as np
import pytest

import robots
from deploy.hil.simulated_robot import Conditions
from locomotion.data.kinematics import Kinematics
from locomotion.data.odometry import base_velocity, estimate, gyro_bias
from tests.locomotion.data.trotting import DT, MEASURED, trot


def rms(value):
    return np.sqrt(np.mean(np.square(value), axis=0))


@pytest.mark.parametrize("name", ["unitree_go2", "anymal_c", "unitree_g1"])
def test_feet_and_their_jacobians_are_those_of_mujoco(name):
    robot = robots.load(name)
    kinematics, rng = Kinematics(robot), np.random.default_rng(0)
    pos = robot.default_joint_pos + 0.3 * rng.standard_normal((5, robot.num_joints))
    down = np.array([0.1, -0.2, -0.97]) / np.linalg.norm([0.1, -0.2, -0.97])
    feet = kinematics.feet(pos, np.tile(down, (5, 1)))
    model = kinematics.model
    data, dofs = mujoco.MjData(model), [model.joint(joint).dofadr[0] for joint in robot.joint_names]
    for t in range(5):
        data.qpos[:] = model.qpos0
        data.qpos[:3] = 0.0
        for joint, value in zip(robot.joint_names, pos[t], strict=True):
            data.joint(joint).qpos = value
        model.opt.gravity[:] = 9.81 * down
        mujoco.mj_forward(model, data)
        np.testing.assert_allclose(feet.link_torque[t], data.qfrc_bias[dofs], atol=1e-9)  # at rest: what holds links up
        for f, shapes in enumerate(robot.foot_geoms):
            centre = np.mean([data.geom(shape).xpos for shape in shapes], axis=0)
            np.testing.assert_allclose(feet.pos[t, f], centre, atol=1e-9)
            jacobian = np.zeros((3, model.nv))
            mujoco.mj_jac(model, data, jacobian, None, feet.contact[t, f], int(model.geom(shapes[0]).bodyid[0]))
            np.testing.assert_allclose(feet.jacobian[t, f], jacobian[:, dofs], atol=1e-9)
            mujoco.mj_jac(model, data, jacobian, None, centre, int(model.geom(shapes[0]).bodyid[0]))
            np.testing.assert_allclose(feet.centre_jacobian[t, f], jacobian[:, dofs], atol=1e-9)


@pytest.mark.parametrize(
    ("conditions", "velocity", "height", "force"),
    [
        (Conditions(), 0.025, 0.003, 19.0),
        (Conditions(noise=1.0, friction=0.6, payload=2.0, seed=3), 0.03, 0.003, 23.0),
    ],
)
def test_a_trotting_robot_knows_its_velocity_height_and_forces_from_its_own_sensors(go2, conditions, velocity, height, force):
    measured, truth = trot(go2, 8.0, conditions)
    moved = truth["base_lin_vel"][100:]
    assert np.abs(moved[:, 0].mean()) > 0.15  # it goes somewhere
    found = estimate(Kinematics(go2), *(measured[name] for name in MEASURED), DT)
    off = rms(found.base_lin_vel - truth["base_lin_vel"])[:2]
    assert off.max() < velocity
    assert rms(moved)[0] > 10.0 * velocity  # to say 0 would not do
    assert abs((found.base_lin_vel - truth["base_lin_vel"])[100:, :2].mean(axis=0)).max() < 0.01
    assert rms(found.base_lin_vel - truth["base_lin_vel"])[2] < 0.07  # as feet land: the robot bounces at 0.23 m/s
    assert rms(found.base_height - truth["base_pos"][:, 2]) < height
    down = measured["projected_gravity"]
    vertical = -(found.foot_force @ down[:, :, None])[..., 0]
    assert rms(vertical - truth["foot_contact_force"][..., 2]).max() < force
    stands = truth["foot_contact_force"][..., 2] > 1.0
    assert (found.contact == stands).mean() > 0.92
    assert 0.3 < stands.mean() < 0.9


def test_the_estimate_does_not_lag(go2):
    measured, truth = trot(go2, 6.0)
    found = base_velocity(go2, *(measured[name] for name in MEASURED), DT)[100:, 0]
    moved = truth["base_lin_vel"][100:, 0]
    errors = [np.square(np.roll(found, shift) - moved)[5:-5].mean() for shift in (-1, 0, 1)]
    assert np.argmin(errors) == 1


def test_gravity_tells_the_bias_of_the_gyroscope(go2):
    measured, _ = trot(go2, 8.0)
    args = [measured[name] for name in MEASURED]
    bias = np.array([0.05, -0.03, 0.0])
    args[2] = args[2] + bias
    assert np.abs(gyro_bias(args[2], args[3], DT) - bias)[:2].max() < 0.01
    plain = base_velocity(go2, *(measured[name] for name in MEASURED), DT)
    assert np.abs(base_velocity(go2, *args, DT) - plain).max() < 0.01
    assert (gyro_bias(args[2][:50], args[3][:50], DT) == 0.0).all()  # a second does not tell
