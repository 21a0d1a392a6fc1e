"""Broken Go2 descriptions: each is found, under its field; sound ones are left in peace."""

import numpy as np
import pytest
import yaml

import robots
from robots.errors import InputError
from robots.findings import findings
from robots.model import build_spec
from robots.robot import from_yaml
from robots.standing import joint_inertia, stand
from tests.robots.broken import SOURCE, go2_copy

FEET = ["FL_foot", "FR_foot", "RL_foot", "RR_foot"]
SWAP = {"FL_": "FR_", "RL_": "RR_"}
LIMIT = yaml.safe_load((SOURCE / "robot.yaml").read_text())["joint_pos_limit"]
BASE_INERTIA = 'mass="6.921" fullinertia="0.02448 0.098077 0.107 0.00012166 0.0014849 -3.12e-05"'
FREE = '<freejoint name="floating_base"/>'
TRUNK = 'class="shape" type="box"'
SITE = '<site name="imu" pos="-0.02557 0 0.04232"/>'
POSE = {"?L_hip_joint": 0.1, "?R_hip_joint": -0.1, "F?_thigh_joint": 0.8, "R?_thigh_joint": 1.0, "*_calf_joint": -1.5}
LEANING = {"*_hip_joint": 0.3, "F?_thigh_joint": 0.8, "R?_thigh_joint": 1.0, "*_calf_joint": -1.5}
BEHIND = {"?L_hip_joint": 0.1, "?R_hip_joint": -0.1, "*_thigh_joint": 1.6, "*_calf_joint": -1.5}
HIPS_APART = {key: value for key, value in LIMIT.items() if key != "*_hip_joint"} | {"?L_hip_joint": [-1, 1], "?R_hip_joint": [-0.7, 1]}
THIGH = '<inertial pos="-0.00374 0.0223 -0.0327"'
CALF = 'name="FL_calf" pos="0 0 -0.213">\n            <inertial pos="0.00629595 -0.000622121 -0.141417" mass='

BROKEN = {  # changes of robot.yaml, a change of model.xml: the field
    "no sign in the mirror": ({"mirror": {"swap": SWAP, "negate": []}}, None, "mirror"),
    "thighs negated": ({"mirror": {"swap": SWAP, "negate": ["*_hip_joint", "*_thigh_joint"]}}, None, "mirror"),
    "feet in another order": ({"feet": ["FL_foot", "RL_foot", "FR_foot", "RR_foot"]}, None, "gaits: pace"),
    "front and rear feet exchanged on one side": ({"feet": ["FL_foot", "RR_foot", "RL_foot", "FR_foot"]}, None, "gaits: bound"),
    "calves for feet": ({"feet": ["FL_calf", "FR_calf", "RL_calf", "RR_calf"]}, None, "feet"),
    "one calf for a foot": ({"feet": ["FL_foot", "FR_foot", "RL_foot", "RR_calf"]}, None, "mirror: swap"),
    "thighs for feet": ({"feet": ["FL_thigh", "FR_thigh", "RL_thigh", "RR_thigh"]}, None, "feet"),
    "kp of a toy": ({"kp": 1.0}, None, "kp"),
    "kp that sags": ({"kp": 6.0}, None, "kp"),
    "kp of a lathe": ({"kp": 5000.0}, None, "kp"),
    "kd too small to damp": ({"kp": 900.0, "kd": 0.5}, ('damping="0.1"', 'damping="0"'), "kd"),
    "kd too large for a motor's loop": ({"kd": 60.0}, None, "kd"),
    "standing too high": ({"standing_height": 0.40}, None, "standing_height"),
    "standing too low": ({"standing_height": 0.25}, None, "standing_height"),
    "no IMU": ({}, (SITE, ""), "imu_site"),
    "an IMU on a leg": ({}, (SITE + "\n      <body name=\"FL_hip\" pos=\"0.1934 0.0465 0\">",
                             '<body name="FL_hip" pos="0.1934 0.0465 0">' + SITE), "imu_site"),
    "limits wider than the model's": ({"joint_pos_limit": LIMIT | {"*_hip_joint": [-1.5, 1.5]}}, None, "joint_pos_limit"),
    "limits in degrees": ({"joint_pos_limit": LIMIT | {"*_hip_joint": [-60.0, 60.0]}}, None, "joint_pos_limit"),
    "a model in degrees": ({}, ('angle="radian"', 'angle="degree"'), "joint_pos_limit"),
    "motors of a toy": ({"effort_limit": 0.1}, None, "kp"),
    "motors that cannot carry it": ({"effort_limit": 2.5}, None, "effort_limit"),
    "no free joint": ({}, (FREE, ""), "base_body"),
    "feet that do not collide": ({}, ('type="sphere" size="0.022"', 'conaffinity="0" type="sphere" size="0.022"'), "feet"),
    "no shape collides": ({}, ('contype="0" conaffinity="1" condim', 'contype="0" conaffinity="0" condim'), "feet"),
    "a trunk that does not collide": ({}, ('class="shape" type', 'type'), "model"),
    "a base heavier by 100": ({}, ('mass="6.921"', 'mass="692.1"'), "model: mass"),
    "a base lighter by 100": ({}, ('mass="6.921"', 'mass="0.1"'), "model: inertia"),
    "masses in grams": ({}, (BASE_INERTIA, 'mass="6921" fullinertia="24.48 98.077 107 0.12166 1.4849 -.0312"'), "model: mass"),
    "a centre of mass in millimetres": ({}, ('<inertial pos="0.021112 0 -0.005366"', '<inertial pos="21.112 0 -5.366"'), "model: inertia"),
    "an inertia in the wrong unit": ({}, (BASE_INERTIA, 'mass="6.921" diaginertia="24.48 98.077 107"'), "model: inertia"),
    "a leg of another mass": ({}, (f'{CALF}"0.241352"', f'{CALF}"0.41"'), "model: mass"),
    "a stance that leans to one side": ({"default_joint_pos": LEANING}, None, "default_joint_pos"),
    "limits of one side": ({"joint_pos_limit": HIPS_APART}, None, "joint_pos_limit"),
    "a stronger left side": ({"effort_limit": {"?L_*": 30.0, "?R_*": 23.7}}, None, "effort_limit"),
    "rear legs stretched": ({"default_joint_pos": POSE | {"R?_thigh_joint": 0.5}}, None, "default_joint_pos"),
    "feet all behind": ({"default_joint_pos": BEHIND, "standing_height": 0.215}, None, "feet"),
    "more effort than the model allows": ({}, ('axis="0 1 0" damping', 'actuatorfrcrange="-10 10" axis="0 1 0" damping'), "effort_limit"),
    "two free joints": ({}, ("<worldbody>", '<worldbody><body name="ball"><freejoint/><geom mass="1" size="0.1"/></body>'), "base_body"),
    "gravity of the moon": ({}, ("<default>", '<option gravity="0 0 -1.62"/><default>'), "model: gravity"),
    "a range of the model reversed": ({}, ('range="-1.5708 3.4907"', 'range="3.4907 -1.5708"'), "model: range"),
    "an IMU upside down": ({}, ('<site name="imu" ', '<site name="imu" euler="3.14159 0 0" '), "imu_site"),
    "an IMU turned about the vertical": ({}, ('<site name="imu" ', '<site name="imu" euler="0 0 1.5708" '), "imu_site"),
    "damping of another unit": ({}, ('damping="0.1"', 'damping="10"'), "model: friction"),
    "calves in tonnes": ({}, ('mass="0.241352"', 'mass="0.000241352"'), "model: mass"),
    "a thigh's centre of mass on the wrong side": ({}, (THIGH, THIGH.replace("0.0223", "-0.0223")), "model: inertia"),
    "knees called abduction": ({"joint_groups": {"abduction": ["*_calf_joint"]}}, None, "joint_groups: abduction"),
    "a mesh of lengths in centimetres": ({}, ('pos="0 0 -0.213"', 'pos="0 0 -21.3"'), "standing_height"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "model", "field"), BROKEN.values(), ids=BROKEN)
def test_broken_descriptions_are_found(tmp_path, changes, model, field):
    found = findings(go2_copy(tmp_path / "mine", changes, model))
    errors = [finding.problem.field.removeprefix("mine/robot.yaml: ") for finding in found if finding.error]
    assert any(error == field or error.startswith(f"{field}: ") for error in errors), [str(finding) for finding in found]
    assert all(finding.problem.remedy for finding in found)


@pytest.mark.parametrize("name", robots.available())
def test_own_robots_are_sound(name):
    assert [str(finding) for finding in findings(name)] == []


def test_one_report_holds_all(tmp_path):
    changes = {"mirror": {"swap": SWAP, "negate": []}, "standing_height": 0.4, "gaits": {"trot": [0.0, 0.5, 0.0, 0.5]}}
    fields = {finding.problem.field for finding in findings(go2_copy(tmp_path, changes, ('mass="6.921"', 'mass="692.1"')))}
    assert {"mirror", "standing_height", "gaits: trot", "model: mass"} <= fields


WARNED = {
    "shapes that touch each other": ({}, ('contype="0" conaffinity="1" condim', 'contype="1" conaffinity="1" condim'), "model"),
    "shapes that PyBullet lacks": ({}, (TRUNK, 'class="shape" type="ellipsoid"'), "model"),
    "a body without inertia": ({}, (f'<inertial pos="0.021112 0 -0.005366" {BASE_INERTIA}/>', ""), "model"),
    "an action too small to move": ({"action_scale": 0.01}, None, "action_scale"),
    "friction that eats the motor": ({}, ('frictionloss="0.2"', 'frictionloss="20"'), "model: friction"),
    "no rotors": ({}, ('armature="0.004481"', 'armature="0"'), "model: armature"),
    "rotors without their gear": ({}, ('armature="0.004481"', 'armature="0.000112"'), "model: armature"),
    "speeds of another unit": ({"speed_at_full_effort": 0.5, "no_load_speed": 1.5}, None, "no_load_speed"),
    "a speed limit of another unit": ({"joint_vel_limit": 3.0}, None, "no_load_speed"),
    "a battery at one side": ({}, ('<inertial pos="0.021112 0 ', '<inertial pos="0.021112 0.05 '), "model: inertia"),
    "a straight knee": ({"joint_pos_limit": LIMIT | {"*_calf_joint": [-2.7227, -1.48]}}, None, "default_joint_pos"),
    "lying as it stands": ({"lie_joint_pos": {"*_hip_joint": 0.0, "*_thigh_joint": 0.8, "*_calf_joint": -1.5}}, None, "lie_joint_pos"),
}


@pytest.mark.parametrize(("changes", "model", "field"), WARNED.values(), ids=WARNED)
def test_doubtful_descriptions_are_warned_of(tmp_path, changes, model, field):
    found = findings(go2_copy(tmp_path, changes, model))
    assert field in [finding.problem.field for finding in found if not finding.error], [str(finding) for finding in found]


def test_standing(go2):
    stood = stand(go2, 2.0)
    assert stood.load.sum() + stood.other_load == pytest.approx(1.0, abs=0.02)
    assert stood.height == pytest.approx(0.296, abs=0.003)
    assert stood.tilt < 0.01
    assert stood.speed.max() < 0.02
    assert not stood.fallen


def test_a_motor_sees_its_armature(tmp_path, go2):
    """The inertia of the load, with the base free, and that of the rotor add up where legs are light."""
    light = from_yaml(go2_copy(tmp_path, model=('armature="0.004481"', 'armature="0.104481"')))
    here, there = (joint_inertia(build_spec(robot).compile(), robot) for robot in (go2, light))
    thighs = np.array([name.endswith(("hip_joint", "thigh_joint")) for name in go2.joint_names])
    assert (there - here)[thighs] == pytest.approx(0.1, rel=0.15)


def test_a_folder_that_is_not_there(tmp_path):
    (found,) = findings(tmp_path / "nothing")
    assert isinstance(found.problem, InputError)
    assert found.error
