"""Each broken set-up is named by its own check and by no other, with a remedy; a good one is left alone."""

from dataclasses import replace

import numpy as np
import pytest

import robots
from deploy.checks import COMPUTER_CHECKS, SAMPLE_CHECKS
from deploy.doctor import Facts, Network, diagnose
from deploy.examine import CHECKS, examine
from deploy.unitree.checks import WIRE_CHECKS
from tests.deploy.facts import COUNT, PERIOD, computer, facts, samples, wire


@pytest.fixture(scope="module")
def g1():
    return robots.load("unitree_g1")


def named(of: Facts) -> list[str]:
    return diagnose(of, CHECKS).named


def one_network(**changes):
    return {"networks": {"eth0": replace(Network(True, True, "192.168.123.99"), **changes)}}


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("network", {"networks": {}}),
        ("network_up", one_network(up=False)),
        ("network_address", one_network(address="")),
        ("multicast", one_network(multicast=False)),
        ("dds_version", {"libraries": {"cyclonedds": "0.10.5"}}),
        ("dds_version", {"libraries": {}}),
        ("dds_types", {"libraries": {"cyclonedds": "11.0.1", "unitree_sdk2py": "1.0.1"}}),
        ("dds_library", {"library_path": "/usr/lib:/opt/ros/humble/lib"}),
        ("priority", {"priority": False}),
        ("memory", {"memory_locked": False}),
        ("governor", {"governor": "powersave"}),
        ("jitter", {"lateness": np.where(np.arange(100) % 50 == 0, 0.011, 0.0)}),
    ],
)
def test_of_the_computer(go2, check, changes):
    assert named(facts(go2, computer=computer(**changes))) == [check]


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("domain", {"arrivals": np.zeros(0), "offered": (), "publishers": 0, "elsewhere": (1,)}),
        ("family", {"arrivals": np.zeros(0), "offered": ("hg",), "publishers": 0}),
        ("types", {"arrivals": np.zeros(0), "publishers": 0}),
        ("states", {"arrivals": np.zeros(0), "offered": (), "publishers": 0}),
        ("silent_robot", {"arrivals": np.zeros(0)}),
        ("checksums", {"rejected": {"crc": 6}}),
        ("checksums", {"rejected": {"size": 6}}),
        ("ticks", {"rejected": {"tick": 6}}),
        ("second_robot", {"publishers": 2}),
        ("state_rate", {"arrivals": 0.0101 * np.arange(99)}),
        ("state_gaps", {"arrivals": np.concatenate([PERIOD * np.arange(150), 0.3 + 0.05 * np.arange(10)])}),
        ("second_commander", {"commands": 3, "commanders": 1}),
        ("possible_commander", {"commanders": 1}),
        ("motion_service", {"service": "normal"}),
        ("motion_service", {"service": None}),
        ("mode_pr", {"mode_pr": 1}),
        ("strangers", {"strangers": (12,)}),
        ("firmware", {"version": (1, 33)}),
    ],
)
def test_of_the_wire(go2, check, changes):
    assert named(facts(go2, wire=wire(**changes))) == [check]


def test_a_service_that_the_run_will_stop_is_a_warning(go2):
    found = diagnose(replace(facts(go2, wire=wire(service="normal")), release=True), CHECKS)
    assert found.named == ["release"]
    assert not found.findings[0].error


@pytest.mark.parametrize(
    ("name", "machine", "fits"),
    [
        ("unitree_g1", 5, True), ("unitree_g1", 4, False), ("unitree_g1", 6, False), ("unitree_g1", 99, False),
        ("unitree_g1.23dof", 4, True), ("unitree_g1.23dof", 5, False),
        ("unitree_g1.27dof", 6, True), ("unitree_g1.27dof", 5, True), ("unitree_g1.27dof", 4, False),
        ("unitree_g1.legs", 5, True), ("unitree_g1.legs", 4, False),
    ],
)  # fmt: skip
def test_a_machine_with_other_joints_than_the_policy_s_is_named(name, machine, fits):
    robot = robots.load(name)
    pose = np.clip(0.0, *robot.joint_pos_limit.T)
    assert named(facts(robot, wire=wire(mode_machine=machine), samples=samples(robot, pose))) == ([] if fits else ["mode_machine"])


DEAD = ("joint_pos", "joint_vel", "temperature")
TURN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # an IMU mounted on its side


def at(robot, joint, value):
    """[J], zero but for ``joint``."""
    return value * (np.array(robot.joint_names) == joint)


@pytest.mark.parametrize(
    ("check", "spoil"),
    [
        ("finite", lambda s, r: {"joint_vel": np.where(np.arange(r.num_joints) == 3, np.nan, s.joint_vel)}),
        ("gravity", lambda s, r: {"projected_gravity": 9.81 * s.projected_gravity}),
        ("accelerometer", lambda s, r: {"accelerometer": s.accelerometer / 9.81}),
        ("imu_frame", lambda s, r: {"accelerometer": s.accelerometer @ TURN.T}),
        ("quaternion", lambda s, r: {"rpy_of_quaternion": s.rpy_of_quaternion + np.array([0.0, 0.0, np.pi])}),
        ("upright", lambda s, r: {"projected_gravity": -s.projected_gravity, "accelerometer": -s.accelerometer}),
        ("gyroscope", lambda s, r: {"base_ang_vel": np.degrees(s.base_ang_vel)}),
        ("gyroscope", lambda s, r: {"base_ang_vel": s.base_ang_vel + np.array([0.0, 0.08, 0.0])}),
        ("frozen", lambda s, r: {"joint_vel": np.repeat(s.joint_vel[:1], COUNT, axis=0)}),
        ("dead_motors", lambda s, r: {name: getattr(s, name) * ~at(r, "FL_hip_joint", True) for name in DEAD}),
        ("motor_errors", lambda s, r: {"motor_error": s.motor_error + at(r, "FL_calf_joint", 4)}),
        ("hot_motors", lambda s, r: {"temperature": s.temperature + at(r, "FL_calf_joint", 50)}),
        ("joint_limits", lambda s, r: {"joint_pos": s.joint_pos - at(r, "FL_calf_joint", 0.25)}),
        ("joint_zeros", lambda s, r: {"joint_pos": s.joint_pos + at(r, "FL_thigh_joint", 0.35)}),
        ("joint_velocities", lambda s, r: {"joint_pos": s.joint_pos + s.time[:, None] * at(r, "RL_thigh_joint", 0.2)}),
    ],
)  # fmt: skip
def test_of_the_samples(go2, check, spoil):
    good = samples(go2)
    assert named(facts(go2, samples=replace(good, **spoil(good, go2)))) == [check]


def test_each_finding_names_the_joint(go2):
    good = samples(go2)
    of = facts(go2, samples=replace(good, joint_pos=good.joint_pos - at(go2, "RR_calf_joint", 0.25)))
    assert "RR_calf_joint" in str(diagnose(of, CHECKS).findings[0])


def test_good_set_ups_are_left_alone(go2, g1):
    assert diagnose(facts(go2), CHECKS).lines() == [f"{len(CHECKS)} checks: 0 errors, 0 warnings"]
    assert named(facts(go2, samples=samples(go2, go2.default_joint_pos))) == []
    assert named(facts(g1, samples=samples(g1, np.clip(0.0, *g1.joint_pos_limit.T)), wire=wire(mode_machine=5, mode_pr=0))) == []
    sloped = (np.sin(0.3), 0.0, -np.cos(0.3))  # belly on a slope of 17 degrees
    assert named(facts(go2, samples=samples(go2, gravity=sloped))) == []
    biased = samples(go2)
    assert named(facts(go2, samples=replace(biased, base_ang_vel=biased.base_ang_vel + 0.02))) == []


def test_what_nobody_looked_at_is_said_and_errors_come_first(go2):
    bad = facts(go2, wire=None, computer=computer(governor="powersave", networks={}))
    found = diagnose(bad, CHECKS)
    assert found.blind == ("wire",)
    assert found.looked == len(COMPUTER_CHECKS) + len(SAMPLE_CHECKS)
    assert found.named == ["network", "governor"]
    assert found.lines()[-1].endswith("1 errors, 1 warnings; not looked at: wire")


def test_every_check_has_a_name_of_its_own_and_a_remedy():
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.remedy.endswith(".") or check.remedy.endswith("?") for check in CHECKS)
    assert {check.looks_at for check in WIRE_CHECKS} == {"wire"}


def test_a_simulated_robot_is_examined_as_it_lies(go2):
    found = examine(go2, 0.02, {"name": "sim"}, seconds=0.5)
    assert found.blind == ("wire",)
    assert {"priority", "memory", "governor", "jitter"} >= set(found.named)  # this computer's own
