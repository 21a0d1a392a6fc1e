"""Descriptions of robots: what they say, what must hold of any of them, and where they are found."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import robots
from robots import InputError
from robots.robot import FOLDER, search_path
from tests.robots.broken import go2_copy

ALL = ["anymal_c", "unitree_g1", "unitree_go1", "unitree_go2"]
QUADRUPEDS = ["anymal_c", "unitree_go1", "unitree_go2"]


@pytest.fixture(params=ALL)
def robot(request):
    return robots.load(request.param)


@pytest.fixture(params=QUADRUPEDS)
def quadruped(request):
    return robots.load(request.param)


def test_mirror_is_an_involution_and_keeps_the_poses(robot):
    mirror = robot.mirror
    for pose in (robot.default_joint_pos, robot.lie_joint_pos):
        np.testing.assert_allclose(mirror.joint_sign * pose[mirror.joint_index], pose)
    np.testing.assert_array_equal(mirror.joint_index[mirror.joint_index], np.arange(robot.num_joints))
    np.testing.assert_array_equal(mirror.foot_index[mirror.foot_index], np.arange(len(robot.feet)))


def test_mirrored_limits_are_the_limits(robot):
    mirrored = robot.mirror.joint_sign[:, None] * robot.joint_pos_limit[robot.mirror.joint_index]
    np.testing.assert_allclose(np.sort(mirrored, axis=1), robot.joint_pos_limit)


def test_order_of_joints_and_feet_is_front_left_front_right_rear_left_rear_right(quadruped):
    joint_legs = [name[:2] for name in quadruped.joint_names]
    legs = [name[:2] for name in quadruped.feet]
    assert joint_legs == [leg for leg in legs for _ in range(3)]
    assert legs == (["LF", "RF", "LH", "RH"] if quadruped.name == "anymal_c" else ["FL", "FR", "RL", "RR"])


def test_groups_name_the_joints_of_each_leg(quadruped):
    groups = {name: list(indices) for name, indices in quadruped.joint_groups.items()}
    assert groups == {"abduction": [0, 3, 6, 9], "hip": [1, 4, 7, 10], "knee": [2, 5, 8, 11]}


@pytest.mark.parametrize(
    ("gait", "partners"),  # feet that swing together, in the order front left, front right, rear left, rear right
    [
        ("trot", [{0, 3}, {1, 2}]),
        ("pace", [{0, 2}, {1, 3}]),
        ("bound", [{0, 1}, {2, 3}]),
        ("pronk", [{0, 1, 2, 3}]),
        ("walk", [{0}, {1}, {2}, {3}]),
    ],
)
def test_gaits_bring_the_feet_down_together_that_they_should(quadruped, gait, partners):
    phases = quadruped.gaits[gait]
    assert {frozenset(np.flatnonzero(phases == phase)) for phase in phases} == {frozenset(group) for group in partners}
    gaps = np.diff(np.sort(np.unique(phases)), append=np.unique(phases).min() + 1)
    np.testing.assert_allclose(gaps, 1 / len(partners))


def test_walk_is_the_lateral_sequence(quadruped):
    """A foot comes down when clock + phase passes a whole number: rear left, front left, rear right, front right."""
    touchdown = np.mod(-quadruped.gaits["walk"], 1.0)
    assert list(np.argsort(touchdown)) == [2, 0, 3, 1]


def test_arrays_of_a_robot_cannot_be_changed(robot):
    arrays = [robot.kp, robot.joint_pos_limit, robot.gaits["walk"], robot.joint_groups["hip"], robot.mirror.joint_sign]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_robot_can_be_copied_and_sent_to_another_process(robot):
    for other in (copy.deepcopy(robot), pickle.loads(pickle.dumps(robot))):
        np.testing.assert_array_equal(other.kp, robot.kp)
        np.testing.assert_array_equal(other.gaits["walk"], robot.gaits["walk"])


def test_descriptions_load_without_mujoco():
    code = "import sys, robots; [robots.load(name) for name in robots.available()]; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, check=False).returncode == 0


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory that holds nothing, and no search variable."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("LOCOMOTION_ROBOTS", raising=False)
    return folder


def height_copy(folder, height):
    go2_copy(folder, {"name": folder.name, "standing_height": height})


def test_own_robots_are_found_from_anywhere(elsewhere):
    assert robots.available() == ALL
    assert robots.load("unitree_go2").standing_height == 0.31


def test_the_first_folder_on_the_path_wins(elsewhere, tmp_path, monkeypatch):
    height_copy(elsewhere / "robots" / "unitree_go2", 0.32)
    assert robots.load("unitree_go2").standing_height == 0.32
    for i, name in enumerate(("first", "second")):
        height_copy(tmp_path / name / "unitree_go2", 0.33 + 0.01 * i)
    monkeypatch.setenv("LOCOMOTION_ROBOTS", os.pathsep.join(["", str(tmp_path / "first"), str(tmp_path / "second")]))
    assert robots.load("unitree_go2").standing_height == 0.33
    height_copy(tmp_path / "second" / "stilts", 0.5)
    assert robots.load("stilts").standing_height == 0.5
    assert robots.available() == ["anymal_c", "stilts", *ALL[1:]]


def test_a_folder_is_searched_once(elsewhere, monkeypatch):
    monkeypatch.chdir(FOLDER.parent)  # whose ./robots is the toolkit's own
    monkeypatch.setenv("LOCOMOTION_ROBOTS", f"{FOLDER}{os.pathsep}{FOLDER / 'anymal_c' / '..'}")
    assert search_path() == [FOLDER]


def test_a_path_to_a_folder_or_a_description_is_a_robot_too(elsewhere):
    path = go2_copy(elsewhere / "any name", {"standing_height": 0.4})
    for form in (path, path.parent, str(path), str(path.parent), "./any name", "any name/robot.yaml"):
        robot = robots.load(form)
        assert robot.standing_height == 0.4
        assert robot.model.is_absolute()


def test_unknown_robot_is_told_the_nearest_and_where_it_was_looked_for(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCOMOTION_ROBOTS", str(tmp_path / "mine"))
    with pytest.raises(InputError, match="Did you mean unitree_go2") as error:
        robots.load("unitree_go")
    for place in (tmp_path / "mine", elsewhere / "robots", FOLDER):
        assert str(place) in str(error.value)


@pytest.mark.parametrize("name", [None, 3, "", ["unitree_go2"], "./nothing", "nothing.yaml"])
def test_what_names_no_robot_is_refused(elsewhere, name):
    with pytest.raises(InputError, match="robot"):
        robots.load(name)


def test_a_folder_and_its_robot_have_one_name(elsewhere):
    go2_copy(elsewhere / "robots" / "mine", {"name": "yours"})
    with pytest.raises(InputError, match=r"mine/robot.yaml: name: got 'yours'"):
        robots.load("mine")
