"""The Go2's description against its model and its published figures, and what wrong descriptions are told."""

import mujoco
import numpy as np
import pytest
import yaml

import robots
from robots import InputError
from robots.robot import FOLDER, from_yaml


@pytest.fixture(scope="module")
def model(go2):
    return mujoco.MjModel.from_xml_path(str(go2.model))


def test_published_figures(go2, model):
    assert model.body_mass.sum() == pytest.approx(15.206, abs=1e-3)  # kg, go2_description
    by_name = dict(zip(go2.joint_names, go2.effort_limit, strict=True))
    assert by_name["FL_hip_joint"] == 23.7
    assert by_name["RR_calf_joint"] == 45.43
    armature = [model.joint(name).armature[0] for name in ("FL_hip_joint", "FL_calf_joint")]
    assert armature == pytest.approx([1.11842e-4 * 6.33**2, 1.11842e-4 * (6.33 * 45.43 / 23.7) ** 2], rel=1e-3)


def test_limits_agree_with_the_model_by_name(go2, model):
    for i, name in enumerate(go2.joint_names):
        np.testing.assert_allclose(go2.joint_pos_limit[i], model.joint(name).range)


def test_mirror_is_an_involution_and_keeps_the_poses(go2):
    mirror = go2.mirror
    for pose in (go2.default_joint_pos, go2.lie_joint_pos):
        np.testing.assert_allclose(mirror.joint_sign * pose[mirror.joint_index], pose)
    np.testing.assert_array_equal(mirror.joint_index[mirror.joint_index], np.arange(12))
    np.testing.assert_array_equal(mirror.foot_index[mirror.foot_index], np.arange(4))


def test_mirror_agrees_with_geometry(go2, model):
    """Mirrored joint angles put each foot at the mirrored place of its partner."""
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    pose = go2.default_joint_pos + rng.normal(0, 0.3, 12)

    def feet(joint_pos):
        data.qpos[:7] = 0, 0, 0, 1, 0, 0, 0
        data.qpos[7:] = joint_pos
        mujoco.mj_kinematics(model, data)
        return np.array([data.geom(foot).xpos for foot in go2.feet])

    mirrored = feet(go2.mirror.joint_sign * pose[go2.mirror.joint_index])
    np.testing.assert_allclose(mirrored, feet(pose)[go2.mirror.foot_index] * [1, -1, 1], atol=1e-9)


def test_unknown_robot_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean unitree_go2"):
        robots.load("unitree_go")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kp": -1.0}, "positive"),
        ({"kp": {"*_hip_joint": 1.0}}, "exactly one matching pattern"),
        ({"weight": 3}, "weight"),
        ({"kd": None, "remove": "kd"}, "kd"),
        ({"default_joint_pos": 3.0}, "within joint_pos_limit"),
        ({"mirror": {"swap": {"FL_": "XX_"}, "negate": []}}, "mirror image"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path, change, message):
    data = yaml.safe_load((FOLDER / "unitree_go2" / "robot.yaml").read_text()) | change
    data.pop(data.pop("remove", ""), None)
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(InputError, match=message):
        from_yaml(path)


def test_arrays_of_a_robot_cannot_be_changed(go2):
    with pytest.raises(ValueError, match="read-only"):
        go2.kp[0] = 1.0
