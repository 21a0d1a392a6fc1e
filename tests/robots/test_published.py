"""The models against URDFs that they were not made with: ``published.yaml``, from example-robot-data (extract_published.py)."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

import robots
from robots.model import build_spec, total_mass

TABLE = yaml.safe_load((Path(__file__).parent / "published.yaml").read_text())


@pytest.fixture(params=TABLE)
def published(request):
    return TABLE[request.param], robots.load(request.param)


def model_of(robot):
    model = build_spec(robot).compile()
    data = mujoco.MjData(model)
    data.qpos[:] = 0
    data.qpos[3] = 1
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    return model, data


def differs(robot, link):
    """The Go2's calves: ours are of unitree_mujoco's go2.xml, 0.241 kg each with the foot, where the URDF has 0.194 kg."""
    return robot.name == "unitree_go2" and link.endswith("_calf")


def test_links_have_the_published_mass_place_and_inertia(published):
    table, robot = published
    model, data = model_of(robot)
    assert {model.body(i).name for i in range(1, model.nbody)} == set(table["links"])
    for name, link in table["links"].items():
        body = model.body(name).id
        axes = data.ximat[body].reshape(3, 3)
        inertia = (axes @ np.diag(model.body_inertia[body]) @ axes.T)[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        np.testing.assert_allclose(data.xpos[body], link["position"], atol=1e-6)
        if differs(robot, name):
            assert model.body_mass[body] == pytest.approx(0.241352)
            np.testing.assert_allclose(data.xipos[body] - data.xpos[body], link["centre"], atol=0.01)
            np.testing.assert_allclose(inertia[:2], link["inertia"][:2], rtol=0.1)
            continue
        assert model.body_mass[body] == pytest.approx(link["mass"], rel=1e-6), name
        np.testing.assert_allclose(data.xipos[body] - data.xpos[body], link["centre"], atol=1e-6, err_msg=name)
        np.testing.assert_allclose(inertia, link["inertia"], atol=1e-7 + 1e-5 * max(link["inertia"]), err_msg=name)


def test_total_mass_is_the_published_one_but_for_what_is_named(published):
    """Go1 and Go2: without twelve rotors of 0.089 kg, which their URDFs list apart; the Go2's calves are heavier by 0.047 kg each."""
    table, robot = published
    rotors = sum(table["apart"].values())
    calves = 4 * (0.241352 - 0.194) if robot.name == "unitree_go2" else 0.0
    assert len(table["apart"]) == (12 if robot.name.startswith("unitree_go") else 0)
    assert total_mass(model_of(robot)[0]) == pytest.approx(table["mass_of_all"] - rotors + calves, abs=1e-5)


def test_joints_have_the_published_axes_ranges_and_limits(published):
    table, robot = published
    model, data = model_of(robot)
    assert set(robot.joint_names) == set(table["joints"])
    for i, name in enumerate(robot.joint_names):
        joint = table["joints"][name]
        np.testing.assert_allclose(data.joint(name).xaxis, joint["axis"], atol=1e-9, err_msg=name)
        np.testing.assert_allclose(model.joint(name).range, [joint["lower"], joint["upper"]], atol=1e-5, err_msg=name)
        assert robot.effort_limit[i] == joint["effort"], name
        assert robot.joint_vel_limit[i] == joint["velocity"], name
        # the ANYmal's hips and knees turn three half turns either way; its description keeps them to one
        half_turn = 3.1416 if joint["upper"] > 9.0 else np.inf
        limit = max(joint["lower"], -half_turn), min(joint["upper"], half_turn)
        np.testing.assert_allclose(robot.joint_pos_limit[i], limit, err_msg=name)


ROTOR = {  # kg m^2 of rotor, planet carrier and output, the two stages' ratios: unitree_rl_lab and mjlab
    "7520_14": ((0.489e-4, 0.098e-4, 0.533e-4), (4.5, 1 + 48 / 22)),
    "7520_22": ((0.489e-4, 0.109e-4, 0.738e-4), (4.5, 5.0)),
    "5020": ((0.139e-4, 0.017e-4, 0.169e-4), (1 + 46 / 18, 1 + 56 / 16)),
    "4010": ((0.068e-4, 0.0, 0.0), (5.0, 5.0)),
}
CURVE = {"7520_14": (71.0, 22.63, 35.52), "7520_22": (111.0, 14.5, 22.7), "5020": (24.8, 30.86, 40.13), "4010": (4.8, 15.3, 24.76)}
G1_MOTORS = {  # motor and how many drive the joint
    ("hip_pitch", "hip_yaw", "waist_yaw"): ("7520_14", 1),
    ("hip_roll", "knee"): ("7520_22", 1),
    ("ankle", "waist_roll", "waist_pitch"): ("5020", 2),
    ("shoulder", "elbow", "wrist_roll"): ("5020", 1),
    ("wrist_pitch", "wrist_yaw"): ("4010", 1),
}


def test_armature_and_torque_speed_curve_of_the_g1_are_those_of_its_motors():
    """Above its published torque the curve is the falling line continued: where the line reaches the effort limit, speed begins to cost."""
    robot = robots.load("unitree_g1")
    model, _ = model_of(robot)
    for i, joint in enumerate(robot.joint_names):
        motor, count = next(value for parts, value in G1_MOTORS.items() if any(part in joint for part in parts))
        (rotor, carrier, output), (first, second) = ROTOR[motor]
        armature = count * (rotor * (first * second) ** 2 + carrier * second**2 + output)
        assert model.joint(joint).armature[0] == pytest.approx(armature, rel=1e-3), joint
        torque, knee, free = CURVE[motor]
        assert robot.no_load_speed[i] == free
        at_limit = free - (free - knee) * robot.effort_limit[i] / (count * torque)
        assert robot.speed_at_full_effort[i] == pytest.approx(at_limit, abs=0.01), joint


def test_torque_speed_curve_of_the_go2_reaches_its_calves_through_the_linkage():
    robot = robots.load("unitree_go2")
    ratio = 45.43 / 23.7
    full = 30.0 - (30.0 - 13.5) * 23.7 / 20.2  # unitree_rl_lab: 20.2 N m up to 13.5 rad/s, none at 30 rad/s
    np.testing.assert_allclose(robot.speed_at_full_effort.reshape(4, 3), [[full, full, full / ratio]] * 4, atol=0.01)
    np.testing.assert_allclose(robot.no_load_speed.reshape(4, 3), [[30.0, 30.0, 30.0 / ratio]] * 4, atol=0.01)


def test_places_in_the_vendors_interface():
    """unitree_sdk2: quadrupeds front right, front left, rear right, rear left; the G1 as its URDF lists them."""
    for name in ("unitree_go1", "unitree_go2"):
        np.testing.assert_array_equal(robots.load(name).motor_index, [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8])
    np.testing.assert_array_equal(robots.load("unitree_g1").motor_index, np.arange(29))
    assert robots.load("anymal_c").motor_index is None
    assert robots.load("anymal_c").no_load_speed is None


def test_armature_of_the_go2_is_its_rotor_behind_its_gear():
    model, _ = model_of(robots.load("unitree_go2"))
    armature = [model.joint(name).armature[0] for name in ("FL_hip_joint", "FL_calf_joint")]
    assert armature == pytest.approx([1.11842e-4 * 6.33**2, 1.11842e-4 * (6.33 * 45.43 / 23.7) ** 2], rel=1e-3)


def test_armature_of_the_go1_is_its_rotor_behind_its_gear():
    model, _ = model_of(robots.load("unitree_go1"))
    armature = [model.joint(name).armature[0] for name in ("FL_hip_joint", "FL_calf_joint")]
    assert armature == pytest.approx([1.11842e-4 * 6.33**2, 1.11842e-4 * (6.33 * 35.55 / 23.7) ** 2], rel=1e-3)
