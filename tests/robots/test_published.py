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
    """The Go2: without twelve rotors of 0.089 kg, which the URDF lists apart, and with calves heavier by 0.047 kg each."""
    table, robot = published
    rotors = sum(table["apart"].values())
    calves = 4 * (0.241352 - 0.194) if robot.name == "unitree_go2" else 0.0
    assert len(table["apart"]) == (12 if robot.name == "unitree_go2" else 0)
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


def test_armature_of_the_go2_is_its_rotor_behind_its_gear():
    model, _ = model_of(robots.load("unitree_go2"))
    armature = [model.joint(name).armature[0] for name in ("FL_hip_joint", "FL_calf_joint")]
    assert armature == pytest.approx([1.11842e-4 * 6.33**2, 1.11842e-4 * (6.33 * 45.43 / 23.7) ** 2], rel=1e-3)
