"""Every reward, metric and termination term has an exact value, worked out by hand."""

import dataclasses
import math

import pytest
import torch

from locomotion.task import metrics, rewards, rewards_feet, rewards_joints, terminations
from locomotion.task.frame import RobotTensors
from locomotion.task.resets import quat_from_euler
from locomotion.task.terms import metric, reward, termination
from robots import InputError
from sim import Terrain
from tests.conftest import make_task
from tests.locomotion.task.frames import make_frame, shared_task

J = 12
ZERO = torch.zeros(J)


def unit(i, value, size=J):
    vector = torch.zeros(size)
    vector[i] = value
    return vector


GATE = 0.25 + 0.75 * 1.0  # standing on four feet with a command to stand follows the clock
STANDING = {"foot_contact_force": torch.tensor([0.0, 0.0, 40.0])}

LOADED = torch.tensor([0.0, 0.0, 40.0]).expand(4, 3)
HALF = LOADED * torch.tensor([1.0, 0.0, 1.0, 0.0])[:, None]  # feet 1 and 3 were in the air
FALLING = {
    "foot_vel": torch.tensor([[9.0, 9.0, 9.0], [0.3, 0.4, -0.5], [9.0, 9.0, 9.0], [0.4, -0.3, -0.1]]),
    "before_foot_vel": torch.tensor([[9.0, 9.0, 9.0], [7.0, 7.0, -0.2], [9.0, 9.0, 9.0], [7.0, 7.0, -0.8]]),
}

WEIGHT = 9.81 * 15.2064  # N
LANDING = {"foot_contact_force": LOADED, "before_foot_contact_force": HALF, "past_airborne": torch.tensor([7.0, 5.0, 7.0, 40.0])}
DIAGONAL = LOADED * torch.tensor([1.0, 0.0, 0.0, 1.0])[:, None]
POSE = torch.tensor([0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5])

CASES = [
    # |(0.3, -0.4)|^2 = 0.25 off a command of (0.5, 0.2); moving, phase 0: feet 0 and 3 stand, 1 and 2 begin to swing
    ("track_lin_vel", {}, {**STANDING, "base_lin_vel": [0.8, -0.2, 9.0], "command": [0.5, 0.2, 0.0]}, math.exp(-0.25 / 0.25)),
    ("track_lin_vel", {"width": 1.0}, {**STANDING, "base_lin_vel": [0.8, -0.2, 9.0], "command": [0.5, 0.2, 0.0]}, math.exp(-0.25)),
    ("track_lin_vel", {}, {"base_lin_vel": [0.5, 0.0, 0.0]}, math.exp(-1.0) * 0.25),  # no foot on the ground: the gate is shut
    ("track_yaw", {}, {**STANDING, "base_ang_vel": [5.0, 5.0, 0.3], "command": [0.0, 0.0, 0.8]}, math.exp(-1.0)),
    ("track_yaw", {"width": 1.0}, {**STANDING, "base_ang_vel": [5.0, 5.0, 0.3]}, math.exp(-0.09)),
    ("track_yaw", {}, {"base_ang_vel": [5.0, 5.0, 0.5]}, math.exp(-1.0) * 0.25),
    ("track_yaw", {"gated": False}, {"base_ang_vel": [5.0, 5.0, 0.5]}, math.exp(-1.0)),
    ("track_lin_vel", {"gated": False}, {"base_lin_vel": [0.5, 0.0, 0.0]}, math.exp(-1.0)),
    ("gait", {}, STANDING, 1.0),
    ("gait", {}, {}, 0.0),
    ("vertical_velocity", {}, {"base_lin_vel": [3.0, 4.0, -0.5]}, 0.25),
    ("roll_pitch_rate", {}, {"base_ang_vel": [0.3, -0.4, 7.0]}, 0.25),
    ("tilt", {}, {"projected_gravity": [0.3, -0.4, -0.866]}, 0.25),
    ("tilt_over_limit", {}, {"projected_gravity": [math.sin(0.7), 0.0, -math.cos(0.7)]}, 0.7 - math.radians(30)),
    ("tilt_over_limit", {}, {"projected_gravity": [math.sin(0.5), 0.0, -math.cos(0.5)]}, 0.0),
    ("tilt_over_limit", {}, {"projected_gravity": [0.0, 0.0, 1.000001]}, math.pi - math.radians(30)),  # upside down, and rounded
    ("tilt_over_limit", {}, {"projected_gravity": [0.0, 0.0, -1.000001]}, 0.0),
    ("tilt_over_limit", {"limit": 0.2}, {"projected_gravity": [0.0, math.sin(0.5), -math.cos(0.5)]}, 0.3),
    ("torque", {}, {"joint_torque": unit(0, 3.0) + unit(5, -4.0)}, 25.0),
    ("effort", {}, {"joint_torque": unit(0, 23.7) + unit(5, -45.43 / 2)}, 1.25),
    # kp 35, scale .5, action 2 on a thigh: 35 N m asked for, less kd .7 times 5 rad/s, over 23.7 N m
    ("torque_over_limit", {}, {"action": unit(1, 2.0), "before_joint_vel": unit(1, 5.0)}, (35.0 - 3.5) / 23.7 - 1.0),
    ("torque_over_limit", {}, {"action": unit(1, -2.0), "before_joint_vel": unit(1, -5.0)}, (35.0 - 3.5) / 23.7 - 1.0),
    ("torque_over_limit", {}, {"action": unit(1, 1.0)}, 0.0),
    ("action_rate", {}, {"action": unit(0, 0.3), "previous_action": unit(3, 0.4)}, 0.25),
    ("action_rate", {}, {"action": unit(0, 0.3), "previous_action": unit(0, 0.1)}, 0.04),
    ("foot_slip", {}, {**STANDING, "foot_vel": [0.3, -0.4, 2.0]}, 4 * 0.25),
    ("foot_slip", {}, {"foot_vel": [0.3, -0.4, 2.0]}, 0.0),
    ("body_contact", {}, {"ground_contacts": 5.0, "foot_contacts": torch.ones(4)}, 1.0),
    ("body_contact", {}, {"ground_contacts": 4.0, "foot_contacts": torch.ones(4)}, 0.0),
    ("standing_joint_vel", {}, {"joint_vel": unit(2, -3.0)}, 9.0),
    ("standing_speed", {}, {"base_lin_vel": [0.3, -0.4, 7.0]}, 0.5),
    ("standing_speed", {}, {"base_lin_vel": [0.3, -0.4, 7.0], "command": [0.0, 0.0, 0.3]}, 0.0),
    ("standing_action_rate", {}, {"action": unit(0, 0.3), "previous_action": unit(3, 0.4)}, 0.25),
    ("standing_action_rate", {}, {"action": unit(0, 0.3), "command": [0.0, 0.3, 0.0]}, 0.0),
    ("standing_joint_vel", {}, {"joint_vel": unit(2, -3.0), "command": [0.2, 0.0, 0.0]}, 0.0),
    # feet 1 and 3 have just come down; the faster of the two moments counts for the fall, the last one for the slide
    ("touchdown", {}, {"foot_contact_force": LOADED, "before_foot_contact_force": HALF, **FALLING}, 0.5**2 + 0.8**2),
    ("touchdown_slide", {}, {"foot_contact_force": LOADED, "before_foot_contact_force": HALF, **FALLING}, 2 * 0.25),
    ("touchdown", {}, {"foot_contact_force": LOADED, "before_foot_contact_force": LOADED, **FALLING}, 0.0),
    ("touchdown", {}, FALLING, 0.0),  # in the air before and after
    ("power", {}, {"joint_torque": unit(0, 3.0) + unit(5, -4.0), "joint_vel": unit(0, -2.0) + unit(5, -1.5)}, 12.0 / (9.81 * 15.2064)),
    ("base_height", {}, {"base_pos": [5.0, 5.0, 0.341]}, 0.01),
    ("base_height", {}, {"base_pos": [5.0, 5.0, 0.279]}, 0.01),
    ("upright", {}, {"projected_gravity": [0.0, 0.6, -0.8]}, math.exp(-(0.36 + 0.04) / 0.25)),
    ("upright", {"width": 2.0}, {"projected_gravity": [0.0, 0.0, 1.0]}, math.exp(-1.0)),
    ("standing_height", {}, {"base_pos": [0.0, 0.0, 0.31 * 0.75]}, math.exp(-1.0)),
    ("standing_height", {"width": 0.5}, {"base_pos": [0.0, 0.0, 0.31 * 0.75]}, math.exp(-0.25)),
    ("standing_height", {}, {"base_pos": [0.0, 0.0, 0.4]}, 1.0),
    # on its legs, but upside down: not standing
    ("standing_height", {}, {"base_pos": [0.0, 0.0, 0.31], "projected_gravity": [0.0, 0.6, 0.8]}, 0.0),
    ("standing_height", {}, {"base_pos": [0.0, 0.0, 0.31 * 0.75], "projected_gravity": [0.6, 0.0, -0.8]}, 0.8 * math.exp(-1.0)),
    ("forward_velocity", {}, {"base_lin_vel": [-0.7, 4.0, 5.0]}, -0.7),
    ("roll", {}, {"projected_gravity": [0.0, -math.sin(0.3), -math.cos(0.3)]}, 0.3),
    ("roll", {}, {"projected_gravity": [math.sin(0.2), math.cos(0.2) * math.sin(2.5), -math.cos(0.2) * math.cos(2.5)]}, 2.5),
    ("pitch", {}, {"projected_gravity": [-math.sin(0.2), math.cos(0.2) * math.sin(2.5), -math.cos(0.2) * math.cos(2.5)]}, 0.2),
    ("horizontal_speed", {}, {"base_lin_vel": [0.3, -0.4, 7.0], "command": [1.0, 0.0, 0.0]}, 0.5),
    ("joint_vel", {}, {"joint_vel": unit(2, -3.0) + unit(7, 4.0), "command": [1.0, 0.0, 0.0]}, 25.0),
    ("joint_acc", {}, {"joint_vel": unit(2, 0.5), "before_joint_vel": unit(2, 0.2) + unit(3, 0.4)}, 15.0**2 + 20.0**2),
    # a calf within [-2.7227, -0.83776]: nine tenths of the range end 0.0942 rad before its ends
    ("joint_limits", {}, {"joint_pos": POSE + unit(2, -2.7 - -1.5)}, 2.7 - (2.7227 - 0.05 * 1.88494)),
    ("joint_limits", {"share": 1.0}, {"joint_pos": POSE + unit(2, -0.8 - -1.5)}, 0.83776 - 0.8),
    ("joint_limits", {}, {"joint_pos": POSE}, 0.0),
    ("joint_vel_limits", {}, {"joint_vel": unit(0, -30.1) + unit(2, 15.7 * 1.1) + unit(4, 5.0)}, 0.1 + 0.2),
    (
        "action_acc",
        {},
        {"action": unit(0, 0.3), "previous_action": unit(0, 0.1) + unit(1, 0.2), "past_action": unit(0, 0.2)},
        0.3**2 + 0.4**2,
    ),
    ("posture", {}, {"joint_pos": POSE + unit(0, 0.5)}, (11 + math.exp(-1.0)) / 12),
    ("posture", {"width": 1.0}, {"joint_pos": POSE + unit(0, 0.5)}, (11 + math.exp(-0.25)) / 12),
    ("posture", {}, {"joint_pos": POSE, "projected_gravity": [0.0, 0.6, -0.8]}, 0.8),
    ("posture", {}, {"joint_pos": POSE, "projected_gravity": [0.0, 0.6, 0.8]}, 0.0),
    ("pose", {}, {"joint_pos": POSE + unit(0, 0.3) + unit(4, -0.4), "command": [1.0, 0.0, 0.0]}, 0.25),
    # a left thigh 0.3 off its right one, and both hips turned to the left: each counts from both sides
    ("symmetry", {}, {"joint_pos": POSE + unit(1, 0.3)}, 2 * 0.09),
    ("symmetry", {}, {"joint_pos": POSE + unit(0, 0.2) + unit(3, 0.2)}, 2 * 0.4**2),
    ("symmetry", {}, {"joint_pos": POSE + unit(0, 0.2) + unit(3, -0.2)}, 0.0),
    ("clearance", {}, {"foot_pos": [0.0, 0.0, 0.022 + 0.04], "foot_vel": [0.3, -0.4, 9.0]}, 4 * 0.03 * 0.5),
    ("clearance", {"height": 0.03}, {"foot_pos": [0.0, 0.0, 0.022 + 0.05], "foot_vel": [0.3, -0.4, 9.0]}, 4 * 0.02 * 0.5),
    # feet 1 and 3 land after 0.1 s and 0.8 s in the air
    ("air_time", {}, {**LANDING, "command": [0.5, 0.0, 0.0]}, (0.1 - 0.2) + (0.5 - 0.2)),
    ("air_time", {"shortest": 0.0, "longest": 1.0}, {**LANDING, "command": [0.5, 0.0, 0.0]}, 0.9),
    ("air_time", {}, LANDING, 0.0),
    ("contact_timing", {}, {"foot_contact_force": HALF, "command": [0.5, 0.0, 0.0], "phase": 0.25}, 0.5),
    ("contact_timing", {}, {"foot_contact_force": DIAGONAL, "command": [0.5, 0.0, 0.0], "phase": 0.25}, 1.0),
    ("contact_timing", {}, {"foot_contact_force": DIAGONAL, "command": [0.5, 0.0, 0.0], "phase": 0.75}, 0.0),
    ("contact_timing", {}, {"foot_contact_force": DIAGONAL}, 0.5),
    # feet 0 and 3 swing from half a cycle on, feet 1 and 2 stand
    ("swing_load", {}, {"foot_contact_force": DIAGONAL, "command": [0.5, 0.0, 0.0], "phase": 0.75}, 2 * 40.0 / WEIGHT),
    ("swing_load", {}, {"foot_contact_force": DIAGONAL, "command": [0.5, 0.0, 0.0], "phase": 0.25}, 0.0),
    ("swing_load", {}, {"foot_contact_force": DIAGONAL, "phase": 0.75}, 0.0),
    ("swing_load", {}, {"foot_contact_force": [0.0, 0.0, WEIGHT], "command": [0.5, 0.0, 0.0], "phase": 0.75}, 1.0),
    ("landing_force", {}, {"foot_contact_force": LOADED, "before_foot_contact_force": HALF}, 2 * 40.0 / WEIGHT),
    ("impact", {"limit": 0.1}, {"foot_contact_force": [30.0, 0.0, 40.0]}, 4 * (50.0 / WEIGHT - 0.1)),
    ("impact", {}, {"foot_contact_force": [30.0, 0.0, 40.0]}, 0.0),
    ("impact", {}, {"foot_contact_force": [1.2 * WEIGHT, 0.0, 1.6 * WEIGHT]}, 4 * (2.0 - 1.5)),
    ("fell", {}, {"terminated": True}, 1.0),
    ("fell", {}, {}, 0.0),
]


@pytest.mark.parametrize(("name", "settings", "values", "expected"), CASES)
def test_exact_value(name, settings, values, expected):
    term = reward.bind("task.rewards", name, settings)
    assert term(make_frame(**values)).item() == pytest.approx(expected, abs=5e-6)


def test_pose_terms_measure_from_the_default_pose():
    default = shared_task().robot_tensors.default_joint_pos
    hips = default + unit(0, 0.3) + unit(3, -0.4) + unit(1, 0.9)
    assert rewards_joints.abduction(make_frame(joint_pos=hips)).item() == pytest.approx(0.25, abs=1e-6)
    assert rewards_joints.standing_pose(make_frame(joint_pos=hips)).item() == pytest.approx(0.25 + 0.81, abs=1e-6)
    assert rewards_joints.standing_pose(make_frame(joint_pos=hips, command=[0.0, 0.0, 0.5])).item() == 0.0
    assert rewards_joints.standing_pose(make_frame()).item() == 0.0


def test_pitch_error_measures_from_the_commanded_pitch():
    nose_down = make_frame(projected_gravity=[math.sin(0.3), 0.0, -math.cos(0.3)], command=[0.0, 0.0, 0.1])
    asked = dataclasses.replace(nose_down, command_names=("gait", "frequency", "pitch"))
    assert rewards.pitch_error(asked).item() == pytest.approx(0.04)
    assert rewards.track_pitch(asked).item() == pytest.approx(math.exp(-4.0))
    assert rewards.track_pitch(asked, width=0.2).item() == pytest.approx(math.exp(-1.0))


def test_height_is_measured_from_what_the_command_adds():
    """A tenth too low for its own height, and a fifth lower is asked for."""
    frame = make_frame(base_pos=[0.0, 0.0, 0.279], command=[0.0, -0.062, 0.0])
    asked = dataclasses.replace(frame, command_names=("gait", "body_height", "pitch"))
    assert rewards.base_height(asked).item() == pytest.approx(0.01)
    assert rewards.track_height(asked).item() == pytest.approx(math.exp(-1.0))
    assert rewards.track_height(asked, width=0.2).item() == pytest.approx(math.exp(-0.25))


def test_roll_is_positive_right_side_down_and_pitch_nose_down():
    """A base turned by +0.3 rad about its forward axis, and by +0.2 rad about its left one, has gravity where rotation matrices say."""
    rolled = make_frame(projected_gravity=[0.0, -math.sin(0.3), -math.cos(0.3)])
    nosed = make_frame(projected_gravity=[math.sin(0.2), 0.0, -math.cos(0.2)])
    assert [frame.roll.item() for frame in (rolled, nosed)] == pytest.approx([0.3, 0.0])
    assert [frame.pitch.item() for frame in (rolled, nosed)] == pytest.approx([0.0, 0.2])


def test_velocity_is_found_by_the_name_of_its_channels():
    frame = make_frame(command=[0.5, 0.2, -0.3], base_lin_vel=[0.2, -0.3, 0.0], base_ang_vel=[0.0, 0.0, 0.5])
    other = dataclasses.replace(frame, command_names=("yaw", "left", "forward"))
    assert other.velocity_command.flatten().tolist() == pytest.approx([-0.3, 0.2, 0.5])
    without = dataclasses.replace(frame, command_names=("frequency", "left", "pitch"))
    assert without.velocity_command.flatten().tolist() == pytest.approx([0.0, 0.2, 0.0])
    assert other.lin_vel_error.item() == pytest.approx(0.5**2 + 0.5**2)


def test_foothold_measures_from_the_place_that_the_gait_gives():
    """At mid stance a foot is under its hip, whatever the heading and the speed; only standing feet of a moving robot count."""
    task = shared_task()
    hips = task.robot_tensors.hips
    yaw = 2.0
    c, s = math.cos(yaw), math.sin(yaw)
    turned = torch.stack([c * hips[:, 0] - s * hips[:, 1], s * hips[:, 0] + c * hips[:, 1]], dim=-1) + torch.tensor([3.0, -1.0])
    place = torch.cat([turned, torch.full((4, 1), 0.022)], dim=-1)
    stance = [0.0, 0.0, 40.0]
    common = {
        "phase": 0.25, "base_pos": [3.0, -1.0, 0.31], "base_quat": [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)],
        "foot_contact_force": torch.tensor([stance, [0.0] * 3, [0.0] * 3, stance]),
    }  # fmt: skip
    assert rewards_feet.foothold(make_frame(command=[0.8, 0.2, 0.5], foot_pos=place, **common)).item() == pytest.approx(0.0, abs=1e-9)
    moved = place.clone()
    moved[:, 0] += 0.031
    assert rewards_feet.foothold(make_frame(command=[0.8, 0.2, 0.5], foot_pos=moved, **common)).item() == pytest.approx(2 * 0.01, rel=1e-3)
    assert rewards_feet.foothold(make_frame(foot_pos=moved, **common)).item() == 0.0


def test_the_heading_of_a_tilted_base_is_that_of_its_forward_axis():
    """Feet at their places, turned with the heading: what rolls and noses does not misplace them."""
    task, yaw = shared_task(), 2.0
    hips, quat = task.robot_tensors.hips, quat_from_euler(*torch.tensor([[0.3], [0.4], [yaw]]))
    turn = torch.tensor([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
    place = torch.cat([hips @ turn.T, torch.full((4, 1), 0.022)], dim=-1)
    frame = make_frame(phase=0.25, base_quat=quat, foot_pos=place, command=[0.8, 0.0, 0.0])
    assert frame.misplaced[0, [0, 3]].abs().max() < 1e-9


def test_heights_are_above_the_ground_where_that_is_high():
    frame = make_frame(base_pos=[0.0, 0.0, 0.61], foot_pos=[0.0, 0.0, 0.022 + 0.35])
    raised = dataclasses.replace(frame, terrain=Terrain(torch.full((3, 3), 0.3), spacing=1.0))
    assert raised.base_height.item() == pytest.approx(0.31)
    assert raised.sole_height.flatten().tolist() == pytest.approx([0.05] * 4)


def test_without_a_group_of_that_name_what_the_mirror_turns_over_abducts(go2):
    groups = {name: joints for name, joints in go2.joint_groups.items() if name != "abduction"}
    tensors = RobotTensors(dataclasses.replace(go2, joint_groups=groups), shared_task().simulator)
    assert tensors.sideways.tolist() == [1.0, 0.0, 0.0] * 4


def test_every_term_has_an_exact_value_here():
    """A new built-in term without one fails this."""
    tested = {name for name, *_ in CASES} | {"abduction", "standing_pose", "foothold", "pitch_error", "track_pitch", "track_height"}
    built_in = {name for name, term in reward.terms.items() if term.__module__.startswith("locomotion.task.rewards")}
    assert built_in == tested


def test_metrics():
    frame = make_frame(base_lin_vel=[0.8, -0.2, 9.0], base_ang_vel=[5.0, 5.0, 0.3], command=[0.5, 0.2, 0.8])
    assert metrics.tracking(frame).item() == pytest.approx(math.exp(-1.0))
    assert metrics.yaw(frame).item() == pytest.approx(math.exp(-1.0))
    assert metrics.gait(make_frame(**STANDING)).item() == 1.0
    tilted = make_frame(projected_gravity=[0.6, 0.0, -0.8], base_pos=[0.0, 0.0, 0.31 * 1.2], base_lin_vel=[0.3, -0.4, 9.0])
    assert metrics.upright(tilted).item() == pytest.approx(0.9)
    assert metrics.height(tilted).item() == pytest.approx(math.exp(-1.0), abs=1e-6)
    assert metrics.still(tilted).item() == pytest.approx(math.exp(-1.0))
    assert [metrics.stood(make_frame(projected_gravity=[math.sin(a), 0.0, -math.cos(a)])).item() for a in (0.5, 0.55)] == [1.0, 0.0]
    assert [metrics.stood(make_frame(base_pos=[0.0, 0.0, 0.31 * share])).item() for share in (0.79, 0.81)] == [0.0, 1.0]
    assert [metrics.speed(make_frame(base_lin_vel=[v, 9.0, 9.0]), top=2.0).item() for v in (-1.0, 0.5, 3.0)] == [0.0, 0.25, 1.0]
    assert metrics.speed(make_frame(base_lin_vel=[0.6, 0.0, 0.0])).item() == pytest.approx(0.6)
    assert metrics.timing(make_frame(foot_contact_force=HALF)).item() == 0.5
    built_in = {name for name, term in metric.terms.items() if term.__module__ == "locomotion.task.metrics"}
    assert built_in == {"tracking", "yaw", "gait", "upright", "height", "still", "stood", "speed", "timing"}


@pytest.mark.parametrize(("angle", "ended"), [(1.0, False), (1.1, True)])
def test_tilt_ends_an_episode(angle, ended):
    for gravity in ([math.sin(angle), 0.0, -math.cos(angle)], [0.0, -math.sin(angle), -math.cos(angle)]):
        assert terminations.tilt(make_frame(projected_gravity=gravity)).item() is ended


@pytest.mark.parametrize(("height", "ended"), [(0.16, False), (0.15, True)])
def test_a_low_base_ends_an_episode(height, ended):
    assert terminations.low_base(make_frame(base_pos=[1.0, 2.0, height])).item() is ended


def test_body_contact_ends_an_episode_where_asked():
    assert terminations.body_contact(make_frame(ground_contacts=1.0)).item() is True
    assert terminations.body_contact(make_frame(ground_contacts=1.0, foot_contacts=torch.tensor([1.0, 0, 0, 0]))).item() is False


def test_limits_end_an_episode_with_a_probability():
    """A calf's range ends at -0.83776 rad, its motor at 15.7 rad/s, a thigh's at 23.7 N m."""
    n = 50  # without a probability all of them end
    angles = (0.67, 0.66, -1.23, -1.22)  # from -1.5; the range begins at -2.7227
    past, within, below, above = (make_frame(n=n, joint_pos=POSE + unit(2, angle)) for angle in angles)
    assert terminations.joint_limits(past).all()
    assert terminations.joint_limits(below).all()
    assert not terminations.joint_limits(within).any()
    assert not terminations.joint_limits(above).any()
    assert terminations.joint_limits(within, share=0.9).all()
    for speed, ended in ((15.8, True), (-15.8, True), (15.6, False), (-15.6, False)):
        assert (terminations.joint_vel_limits(make_frame(n=n, joint_vel=unit(2, speed))) == ended).all()
    for action, ended in ((1.36, True), (-1.36, True), (1.35, False), (-1.35, False)):  # 17.5 N m each
        assert (terminations.torque_limits(make_frame(n=n, action=unit(1, action))) == ended).all()
    assert terminations.joint_vel_limits(make_frame(n=n, joint_vel=unit(2, 15.6)), share=0.9).all()
    assert terminations.torque_limits(make_frame(n=n, action=unit(1, 1.35)), share=0.9).all()
    many = make_frame(n=4000, joint_vel=unit(2, 20.0))
    for probability in (0.25, 0.5):
        ended = terminations.joint_vel_limits(many, probability=probability)
        assert ended.float().mean().item() == pytest.approx(probability, abs=0.03)
    assert not terminations.joint_vel_limits(many, probability=0.0).any()
    assert not terminations.joint_vel_limits(make_frame(n=9), probability=0.5).any()


def test_the_sum_is_floored_scaled_by_time_and_events_are_added_as_they_are():
    settings = {"vertical_velocity": {"weight": -2.0}, "gait": {"weight": 0.5}, "fell": {"weight": -3.0, "per": "event"}}
    function = rewards.Rewards(settings, 0.0, 0.02, torch.device("cpu"))
    good, bad = make_frame(**STANDING), make_frame(base_lin_vel=[0.0, 0.0, 1.0], terminated=True)
    yes, no = torch.tensor([True]), torch.tensor([False])
    assert function(good, yes)[0].item() == pytest.approx(0.5 * 0.02)
    assert function(good, no)[0].item() == 0.0
    assert function(bad, yes)[0].item() == pytest.approx(-3.0)  # -2 a second is floored at 0
    assert function(bad, yes)[1].flatten().tolist() == pytest.approx([1.0, 0.0, 1.0])
    unfloored = rewards.Rewards(settings, None, 0.02, torch.device("cpu"))
    assert unfloored(bad, yes)[0].item() == pytest.approx(-2.0 * 0.02 - 3.0)


def test_terms_run_over_a_rollout_as_over_a_step():
    """[T, N] gives what [N] gives, step by step."""
    task = make_task("randomization=none")
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        task.step(0.5 * torch.randn(6, 12, generator=generator))
    whole, _ = task.rewards_function(task.recorded_frame(), torch.ones(5, 6, dtype=torch.bool))
    assert whole.shape == (5, 6)
    torch.testing.assert_close(task.rewards(), whole)
    assert whole.std() > 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.rewards.foot_slp.weight=1", "Did you mean foot_slip"),
        ("task.rewards.foot_slip.wight=1", "Did you mean weight"),
        ("task.rewards.track_lin_vel.width=0", "greater than 0"),
        ("task.rewards.track_lin_vel.width=wide", "valid number"),
        ("task.rewards.track_lin_vel.weight=nan", "finite"),
        ("task.rewards.more={term: foot_slip}", "more.weight"),
        ("task.rewards.fell.per=minute", "second"),
        ("task.terminations.tilt.limit=4.0", "less than"),
        ("task.terminations.tlt={}", "Did you mean tilt"),
        ("task.metrics.trackin={}", "Did you mean tracking"),
        ("task.score=[speed]", "one of task.metrics"),
        ("task.resets.standing.tilt=-1", "greater than or equal to 0"),
        ("task.observations.actor.joint_ps={}", "Did you mean joint_pos"),
        ("task.observations.critic.base_hight={}", "Did you mean base_height"),
        ("task.curricula.ramp_weights={terms: {touchdwn: 0.0}}", "Did you mean touchdown"),
        ("randomization.events.pusch={velocity: [0, 1], interval: [1, 2]}", "Did you mean push"),
    ],
)
def test_a_wrong_term_is_named(override, message):
    with pytest.raises(InputError, match=message):
        make_task(override)


def test_null_removes_a_term():
    assert "foot_slip" not in make_task("task.rewards.foot_slip=null").rewards_function.names


def test_registries_know_what_is_built_in():
    assert {"tilt", "low_base", "body_contact"} <= set(termination.terms)


def test_abduction_is_of_hips_that_abduct_alone():
    """Arms, waist and yaw joints of a humanoid turn the other way in a mirror, too, and move no leg sideways."""
    task = make_task("robot=unitree_g1", "algorithm.num_envs=1")
    names = task.robot.joint_names
    assert [names[i] for i in task.robot_tensors.sideways.nonzero()[:, 0]] == ["left_hip_roll_joint", "right_hip_roll_joint"]
    assert make_task("algorithm.num_envs=1").robot_tensors.sideways.tolist() == [1.0, 0.0, 0.0] * 4
