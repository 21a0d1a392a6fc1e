"""Every reward, metric and termination term has an exact value, worked out by hand."""

import math

import pytest
import torch

from locomotion.task import metrics, rewards, terminations
from locomotion.task.terms import metric, reward, termination
from robots import InputError
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

CASES = [
    # |(0.3, -0.4)|^2 = 0.25 off a command of (0.5, 0.2); moving, phase 0: feet 0 and 3 stand, 1 and 2 begin to swing
    ("track_lin_vel", {}, {**STANDING, "base_lin_vel": [0.8, -0.2, 9.0], "command": [0.5, 0.2, 0.0]}, math.exp(-0.25 / 0.25)),
    ("track_lin_vel", {"width": 1.0}, {**STANDING, "base_lin_vel": [0.8, -0.2, 9.0], "command": [0.5, 0.2, 0.0]}, math.exp(-0.25)),
    ("track_lin_vel", {}, {"base_lin_vel": [0.5, 0.0, 0.0]}, math.exp(-1.0) * 0.25),  # no foot on the ground: the gate is shut
    ("track_yaw", {}, {**STANDING, "base_ang_vel": [5.0, 5.0, 0.3], "command": [0.0, 0.0, 0.8]}, math.exp(-1.0)),
    ("track_yaw", {"width": 1.0}, {**STANDING, "base_ang_vel": [5.0, 5.0, 0.3]}, math.exp(-0.09)),
    ("gait", {}, STANDING, 1.0),
    ("gait", {}, {}, 0.0),
    ("vertical_velocity", {}, {"base_lin_vel": [3.0, 4.0, -0.5]}, 0.25),
    ("roll_pitch_rate", {}, {"base_ang_vel": [0.3, -0.4, 7.0]}, 0.25),
    ("tilt", {}, {"projected_gravity": [0.3, -0.4, -0.866]}, 0.25),
    ("tilt_over_limit", {}, {"projected_gravity": [math.sin(0.7), 0.0, -math.cos(0.7)]}, 0.7 - math.radians(30)),
    ("tilt_over_limit", {}, {"projected_gravity": [math.sin(0.5), 0.0, -math.cos(0.5)]}, 0.0),
    ("tilt_over_limit", {"limit": 0.2}, {"projected_gravity": [0.0, math.sin(0.5), -math.cos(0.5)]}, 0.3),
    ("torque", {}, {"joint_torque": unit(0, 3.0) + unit(5, -4.0)}, 25.0),
    ("effort", {}, {"joint_torque": unit(0, 23.7) + unit(5, -45.43 / 2)}, 1.25),
    # kp 35, scale .5, action 2 on a thigh: 35 N m asked for, less kd .7 times 5 rad/s, over 23.7 N m
    ("torque_over_limit", {}, {"action": unit(1, 2.0), "before_joint_vel": unit(1, 5.0)}, (35.0 - 3.5) / 23.7 - 1.0),
    ("torque_over_limit", {}, {"action": unit(1, 1.0)}, 0.0),
    ("action_rate", {}, {"action": unit(0, 0.3), "previous_action": unit(3, 0.4)}, 0.25),
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
    ("power", {}, {"joint_torque": unit(0, 3.0) + unit(5, -4.0), "joint_vel": unit(0, -2.0) + unit(5, -1.5)}, 12.0 / (9.81 * 15.2064)),
    ("base_height", {}, {"base_pos": [5.0, 5.0, 0.341]}, 0.01),
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
    assert rewards.abduction(make_frame(joint_pos=hips)).item() == pytest.approx(0.25, abs=1e-6)
    assert rewards.standing_pose(make_frame(joint_pos=hips)).item() == pytest.approx(0.25 + 0.81, abs=1e-6)
    assert rewards.standing_pose(make_frame(joint_pos=hips, command=[0.0, 0.0, 0.5])).item() == 0.0
    assert rewards.standing_pose(make_frame()).item() == 0.0


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
    assert rewards.foothold(make_frame(command=[0.8, 0.2, 0.5], foot_pos=place, **common)).item() == pytest.approx(0.0, abs=1e-9)
    moved = place.clone()
    moved[:, 0] += 0.031
    assert rewards.foothold(make_frame(command=[0.8, 0.2, 0.5], foot_pos=moved, **common)).item() == pytest.approx(2 * 0.01, rel=1e-3)
    assert rewards.foothold(make_frame(foot_pos=moved, **common)).item() == 0.0


def test_every_term_has_an_exact_value_here():
    """A new built-in term without one fails this."""
    tested = {name for name, *_ in CASES} | {"abduction", "standing_pose", "foothold"}
    built_in = {name for name, term in reward.terms.items() if term.__module__ == "locomotion.task.rewards"}
    assert built_in == tested


def test_metrics():
    frame = make_frame(base_lin_vel=[0.8, -0.2, 9.0], base_ang_vel=[5.0, 5.0, 0.3], command=[0.5, 0.2, 0.8])
    assert metrics.tracking(frame).item() == pytest.approx(math.exp(-1.0))
    assert metrics.yaw(frame).item() == pytest.approx(math.exp(-1.0))
    assert metrics.gait(make_frame(**STANDING)).item() == 1.0
    assert set(metric.terms) >= {"tracking", "yaw", "gait"}


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
