"""A robot that differs from its description measures and moves, through its calibration, as the description's would."""

import functools
from dataclasses import replace

import numpy as np
import pytest

import robots
from deploy.calibration import CalibratedInterface, Calibration, calibrated, read, rotation
from deploy.hil.simulated_robot import SimulatedRobot
from deploy.interface import MotorCommand, SimulatedTime
from robots import InputError

GOOD = "robot: unitree_go2\njoint_zero: {FL_calf_joint: 0.02, RR_hip_joint: -0.1}\nimu_mount: [0.1, -0.2, 1.5]\nyaw_bias: 0.003\n"


class Crooked:
    """A robot whose zeros and IMU are off: what it measures and hears is in its own frames."""

    def __init__(self, robot, calibration):
        self.plant, self.off = SimulatedRobot(robot, SimulatedTime()), calibration
        self.heard: MotorCommand | None = None

    def read(self):
        true, back = self.plant.read(), self.off.imu_mount.T
        rate = true.base_ang_vel + np.array([0.0, 0.0, self.off.yaw_bias])
        return replace(
            true, base_ang_vel=back @ rate, projected_gravity=back @ true.projected_gravity, joint_pos=true.joint_pos + self.off.joint_zero
        )

    def write(self, command):
        self.heard = command

    def close(self):
        self.plant.close()


@pytest.fixture
def calibration(tmp_path, go2):
    (tmp_path / "go2.yaml").write_text(GOOD)
    return read(tmp_path / "go2.yaml", go2)


def test_a_file_says_what_is_off_by_the_joint_s_name(go2, calibration):
    assert calibration.joint_zero[go2.joint_names.index("FL_calf_joint")] == 0.02
    assert calibration.joint_zero[go2.joint_names.index("RR_hip_joint")] == -0.1
    assert np.count_nonzero(calibration.joint_zero) == 2
    assert calibration.yaw_bias == 0.003


def test_what_a_crooked_robot_measures_becomes_the_truth_and_commands_reach_true_angles(go2, calibration):
    crooked = Crooked(go2, calibration)
    straight = CalibratedInterface(crooked, calibration)
    true, seen = crooked.plant.read(), straight.read()
    for name in ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "joint_torque"):
        np.testing.assert_allclose(getattr(seen, name), getattr(true, name), atol=1e-12)
    assert (seen.tick, seen.time) == (true.tick, true.time)
    command = MotorCommand(go2.default_joint_pos, go2.kp, go2.kd, np.ones(12))
    straight.write(command)
    heard = crooked.heard
    assert heard is not None
    np.testing.assert_array_equal(heard.joint_pos_target, command.joint_pos_target + calibration.joint_zero)
    # a motor that reaches its target is where the policy wants it
    there = calibration.state(replace(true, joint_pos=heard.joint_pos_target)).joint_pos
    np.testing.assert_allclose(there, command.joint_pos_target, atol=1e-15)
    for name in ("kp", "kd", "feed_forward"):
        np.testing.assert_array_equal(getattr(heard, name), getattr(command, name))
    straight.close()
    assert crooked.plant.closed


def test_nothing_to_calibrate_changes_nothing(go2):
    nothing = Calibration(np.zeros(12), rotation(0.0, 0.0, 0.0), 0.0)
    plant = SimulatedRobot(go2, SimulatedTime())
    before, after = plant.read(), nothing.state(plant.read())
    for name in ("base_ang_vel", "projected_gravity", "joint_pos"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_a_mount_turns_what_the_imu_says_into_the_base_s_frame():
    quarter = np.pi / 2
    np.testing.assert_allclose(rotation(quarter, 0, 0) @ [0, 1, 0], [0, 0, 1], atol=1e-15)
    np.testing.assert_allclose(rotation(0, quarter, 0) @ [0, 0, 1], [1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(rotation(0, 0, quarter) @ [1, 0, 0], [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(rotation(quarter, 0, quarter) @ [0, 1, 0], [0, 0, 1], atol=1e-15)  # about x first
    turn = rotation(0.3, -0.4, 2.0)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-15)
    assert np.linalg.det(turn) == pytest.approx(1.0)


def test_the_remote_goes_through(go2, calibration):
    crooked = Crooked(go2, calibration)
    assert calibrated(lambda: crooked, calibration).remote is None
    crooked.remote = "pressed"  # pyright: ignore[reportAttributeAccessIssue]
    assert calibrated(functools.partial(lambda: crooked), calibration).remote == "pressed"


def test_a_variant_shares_the_robot_s_file(tmp_path):
    (tmp_path / "g1.yaml").write_text("robot: unitree_g1\njoint_zero: {left_knee_joint: 0.01}\n")
    assert read(tmp_path / "g1.yaml", robots.load("unitree_g1.legs")).joint_zero.sum() == 0.01


def test_a_joint_that_stands_twice_is_no_calibration(tmp_path, go2):
    (tmp_path / "go2.yaml").write_text(GOOD + "yaw_bias: 0.001\n")
    with pytest.raises(InputError, match="'yaw_bias' stands twice"):
        read(tmp_path / "go2.yaml", go2)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("unitree_go2", "unitree_g1", "robot"),
        ("robot: unitree_go2", "", "robot"),
        ("FL_calf", "FL_kalf", "joint_zero.FL_kalf_joint"),
        ("0.02", "0.4", "joint_zero.FL_calf_joint"),
        ("0.02", ".nan", "joint_zero.FL_calf_joint"),
        ("0.02", "yes", "joint_zero.FL_calf_joint"),
        ("1.5]", "4]", "imu_mount"),
        ("1.5]", "1.5, 0]", "imu_mount"),
        ("0.003", "-0.2", "yaw_bias"),
        ("yaw_bias", "yaw_byas", "yaw_byas"),
    ],
)
def test_figures_of_no_robot_in_order_are_refused_by_name(tmp_path, go2, old, new, field):
    (tmp_path / "go2.yaml").write_text(GOOD.replace(old, new))
    with pytest.raises(InputError) as error:
        read(tmp_path / "go2.yaml", go2)
    assert error.value.field == f"calibration.{field}"
