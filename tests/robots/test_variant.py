"""Variants: the same robot with some joints held."""

import mujoco
import numpy as np
import pytest

import robots
from deploy.contract import ContractError
from deploy.policy import RobotPolicy, load
from locomotion.cli import main
from locomotion.export import write_bundle
from robots import InputError
from robots.model import build_spec, total_mass
from robots.robot import from_yaml
from tests.conftest import bundle_fields, tiny_policy
from tests.robots.broken import go2_copy

JOINTS = {"legs": 12, "23dof": 23, "27dof": 27, "fixed_waist": 26}
HIPS = {"*_hip_joint": 0.0}


def with_variant(folder, variant, model=None):
    return from_yaml(go2_copy(folder / "mine", {"variants": {"odd": variant}}, model), "odd")


def test_variants_of_the_g1_by_name():
    assert robots.variants("unitree_g1") == [f"unitree_g1.{name}" for name in JOINTS]
    assert robots.variants("unitree_go2") == robots.variants("nothing") == []
    for name, count in JOINTS.items():
        robot = robots.load(f"unitree_g1.{name}")
        assert (robot.name, robot.num_joints) == (f"unitree_g1.{name}", count)
        assert len(robot.locked) == 29 - count


def test_a_variant_keeps_the_figures_of_its_joints():
    whole = robots.load("unitree_g1")
    for name in JOINTS:
        part = robots.load(f"unitree_g1.{name}")
        at = [whole.joint_names.index(joint) for joint in part.joint_names]
        assert sorted(at) == at
        for key in ("default_joint_pos", "kp", "kd", "joint_pos_limit", "effort_limit", "no_load_speed", "motor_index"):
            np.testing.assert_array_equal(getattr(part, key), getattr(whole, key)[at])
            assert not getattr(part, key).flags.writeable
        image = [part.joint_names[i] for i in part.mirror.joint_index]
        assert image == [whole.joint_names[whole.mirror.joint_index[i]] for i in at]
        np.testing.assert_array_equal(part.mirror.joint_sign, whole.mirror.joint_sign[at])
        for group, joints in part.joint_groups.items():
            assert {part.joint_names[i] for i in joints} == {whole.joint_names[i] for i in whole.joint_groups[group]} & set(
                part.joint_names
            )
        assert part.fingerprint() != whole.fingerprint()


@pytest.mark.parametrize("name", JOINTS)
def test_the_model_of_a_variant_is_the_robot_with_its_joints_held(name):
    """Whatever the other joints do, every body is where it is in the whole robot with the locked joints at their angles."""
    whole, part = robots.load("unitree_g1"), robots.load(f"unitree_g1.{name}")
    models = [build_spec(robot).compile() for robot in (whole, part)]
    assert models[1].nu == models[1].nv - 6 == JOINTS[name]
    assert total_mass(models[1]) == total_mass(models[0]) or part.links
    pose = whole.default_joint_pos + np.random.default_rng(0).normal(0, 0.3, 29)
    angles = dict(zip(whole.joint_names, pose, strict=True)) | part.locked
    places = []
    for robot, model in zip((whole, part), models, strict=True):
        data = mujoco.MjData(model)
        for joint in robot.joint_names:
            data.joint(joint).qpos[0] = angles[joint]
        mujoco.mj_kinematics(model, data)
        places.append(np.concatenate([data.xpos, data.xquat, *([] if part.links else [data.xipos])], axis=1))
    np.testing.assert_allclose(*places, atol=1e-9)


def test_the_g1_with_23_joints_weighs_what_its_own_urdf_says():
    """unitree_ros, g1_23dof_rev_1_0.urdf: its links' masses, summed, and those of hand and waist where the 29's differ."""
    model = build_spec(robots.load("unitree_g1.23dof")).compile()
    arm, leg = 0.718 + 0.643 + 0.734 + 0.6 + 0.35692864, 1.35 + 1.52 + 1.702 + 1.932 + 0.074 + 0.608
    assert total_mass(model) == pytest.approx(3.813 + 0.001 + 2 * leg + 6.78 + 1.036 + 0.001 + 2 * arm)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        hand = model.body(f"{side}_wrist_roll_link")
        assert hand.ipos == pytest.approx([0.1079465665, sign * 0.00163511945, 0.00202244863])
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, hand.iquat)
        inertia = turn.reshape(3, 3) @ np.diag(hand.inertia) @ turn.reshape(3, 3).T
        expected = [0.00019613494735, 0.00200280358206, 0.00194181412808, sign * -4.19816908e-6, -3.95086058e-5, sign * 2.49774203e-6]
        assert inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]] == pytest.approx(expected, abs=1e-9)
    assert not any(model.body(name).mass for name in ("waist_yaw_link", "waist_roll_link", "left_wrist_yaw_link"))


def test_a_locked_hinge_turns_about_its_anchor(tmp_path):
    """Its body is where it was with the hinge at that angle, also where the hinge is not at the body's origin."""
    moved = ('<joint name="FL_calf_joint"', '<joint pos="0.01 0.02 0.03" name="FL_calf_joint"')
    both = ('<joint name="FR_calf_joint"', '<joint pos="0.01 -0.02 0.03" name="FR_calf_joint"')
    path = go2_copy(tmp_path / "mine", {"variants": {"odd": {"lock": {"F?_calf_joint": -1.2}, "standing_height": 0.374}}}, moved)
    path.with_name("model.xml").write_text(path.with_name("model.xml").read_text().replace(*both))
    whole, part = mujoco.MjModel.from_xml_path(str(path.with_name("model.xml"))), build_spec(from_yaml(path, "odd")).compile()
    data = mujoco.MjData(whole)
    data.joint("FL_calf_joint").qpos[0] = -1.2
    other = mujoco.MjData(part)
    for model, state in ((whole, data), (part, other)):
        mujoco.mj_kinematics(model, state)
    np.testing.assert_allclose(other.geom("FL_foot").xpos, data.geom("FL_foot").xpos, atol=1e-9)


def test_a_variant_may_change_figures_and_a_path_may_name_it(tmp_path):
    robot = with_variant(tmp_path, {"lock": HIPS, "kp": 40.0, "swing_height": 0.05})
    assert (robot.kp == 40.0).all()
    assert robot.swing_height == 0.05
    assert robots.load(str(tmp_path / "mine.odd")).name == "unitree_go2.odd"
    assert "abduction" not in robot.joint_groups


@pytest.mark.parametrize(
    ("variant", "field", "says"),
    [
        ({"lock": {"*_toe_joint": 0.0}}, "lock", "matches a joint"),
        ({"lock": {"FL_hip_joint": 0.0}}, "lock", "Lock FR_hip_joint as well"),
        ({"lock": {"FL_hip_joint": 0.2, "FR_hip_joint": 0.2}}, "lock", "mirrored angle"),
        ({"lock": {"*_hip_joint": 2.0}}, "lock", "-1.0472 to 1.0472 rad"),
        ({"lock": {"*_hip_joint": 0.0, "FL_*": 0.1}}, "lock", "one angle"),
        ({"lock": {"*": None}}, "lock", "a joint that is left"),
        ({"lock": HIPS, "name": "other"}, "name", "Remove name"),
        ({"lock": HIPS, "kpp": 1.0}, "kpp", "known field"),
        ({"lock": HIPS, "links": {"tail": None}}, "links", "tail"),
        ({"lock": HIPS, "links": {"FL_hip": {"mass": 1.0}}}, "links: FL_hip: centre", "missing"),
        ({"lock": HIPS, "links": {"FL_hip": {"mass": 0.0, "centre": [0, 0, 0], "inertia": [1, 1, 1, 0, 0, 0]}}}, "FL_hip: mass", "null"),
        ({"lock": HIPS, "links": {"FL_hip": {"mass": 1.0, "centre": [0, 0], "inertia": [1, 1, 1, 0, 0, 0]}}}, "centre", "list of 3"),
        ({"lock": HIPS, "links": {"FL_hip": {"mass": 1.0, "centre": [0, 0, 0], "inertia": [1, 1, 9, 0, 0, 0]}}}, "model", "MuJoCo says"),
        ({"lock": HIPS, "links": {"FL_calf": None}}, "model", "MuJoCo says"),
        ({}, "variants: odd", "mapping"),
    ],
)
def test_impossible_variants(tmp_path, variant, field, says):
    with pytest.raises(InputError, match=field) as error:
        build_spec(with_variant(tmp_path, variant))
    assert says in str(error.value)


def test_unknown_variants_are_told_the_nearest():
    with pytest.raises(InputError, match="Did you mean legs"):
        robots.load("unitree_g1.leg")
    with pytest.raises(InputError, match="variants"):
        robots.load("unitree_go2.legs")


@pytest.mark.parametrize(
    "names", [("unitree_g1.legs", "unitree_g1"), ("unitree_g1.27dof", "unitree_g1.legs"), ("unitree_g1", "unitree_g1.legs")]
)
def test_a_bundle_refuses_another_variant(tmp_path, names):
    mine, other = names
    overrides = [f"robot={mine}", "task.gait.name=walk"]
    write_bundle(tiny_policy(*overrides), robots.load(mine), bundle_fields(*overrides), tmp_path / "policy.onnx")
    loaded = load(tmp_path / "policy.onnx")
    assert RobotPolicy(loaded, robots.load(mine)).robot.name == mine
    with pytest.raises(ContractError, match=f"robot: got '{other}'"):
        RobotPolicy(loaded, robots.load(other))


@pytest.mark.parametrize("broken", ["null", "7", "x", "{'a.b': {lock: {}}}", "{'': {}}"])
def test_variants_that_are_none_are_one_error_and_others_are_listed(tmp_path, monkeypatch, capsys, broken):
    folder = tmp_path / "robots" / "odd"
    folder.mkdir(parents=True)
    text = (robots.FOLDER / "anymal_c" / "robot.yaml").read_text().replace("name: anymal_c", "name: odd", 1)
    (folder / "robot.yaml").write_text(f"{text}\nvariants: {broken}\n")
    (folder / "model.xml").write_bytes((robots.FOLDER / "anymal_c" / "model.xml").read_bytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="variants"):
        robots.load("odd")
    assert main(["robots", "list"]) == 1
    out = capsys.readouterr().out
    assert "odd" in out
    assert "unitree_g1.legs" in out
