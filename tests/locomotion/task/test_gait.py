"""The gait: its score, its clock, and how it looks in the mirror."""

import math

import numpy as np
import pytest
import torch

from locomotion.task.gait import clock_mirror, foot_phases, foot_places
from robots import InputError
from tests.conftest import make_task, tiny_policy
from tests.locomotion.task.frames import make_frame, shared_task

MIRROR = np.array([1, 0, 3, 2])  # left and right feet change places
LOAD = torch.tensor([0.0, 0.0, 40.0])


def score(phase, heights, loaded, command=(0.5, 0.0, 0.0), task=None):
    task = task or shared_task()
    force = torch.zeros(4, 3)
    force[torch.tensor(loaded, dtype=torch.bool)] = LOAD
    pos = torch.zeros(4, 3)
    pos[:, 2] = torch.tensor(heights) + task.robot_tensors.foot_radius
    return make_frame(task, phase=phase, foot_contact_force=force, foot_pos=pos, command=list(command)).gait_score.item()


def test_feet_that_follow_the_clock_score_one():
    """A quarter into the cycle feet 0 and 3 are in mid stance, 1 and 2 in mid swing at the swing height."""
    h = shared_task().gait.swing_height
    good = score(0.25, [0.0, h, h, 0.0], [1, 0, 0, 1])
    dragged = score(0.25, [0.0, 0.0, 0.0, 0.0], [1, 1, 1, 1])
    wrong = score(0.25, [h, 0.0, 0.0, h], [0, 1, 1, 0])
    assert good == pytest.approx(1.0)
    assert wrong < dragged < good
    tolerance = shared_task().settings.gait.tolerance
    assert dragged == pytest.approx(0.5 + 0.5 * math.exp(-((1 / tolerance) ** 2)), abs=1e-6)


def test_half_a_cycle_later_the_other_feet_swing():
    h = shared_task().gait.swing_height
    assert score(0.75, [h, 0.0, 0.0, h], [0, 1, 1, 0]) == pytest.approx(1.0)


def test_all_feet_stay_down_when_the_command_is_to_stand():
    assert score(0.25, [0.0] * 4, [1] * 4, command=(0.0, 0.05, 0.05)) == pytest.approx(1.0)
    assert score(0.25, [0.0] * 4, [1, 1, 1, 0], command=(0.0, 0.0, 0.0)) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("gait", "sign"), [((0, 0.5, 0.5, 0), -1), ((0, 0.5, 0, 0.5), -1), ((0, 0, 0.5, 0.5), 1), ((0, 0, 0, 0), 1), ((0, 0.5, 0.75, 0.25), -1)]
)
def test_the_clock_in_the_mirror_is_the_clock_of_the_mirrored_gait(gait, sign):
    """Trot, pace, bound, pronk, walk: at the mirrored phase the mirrored feet are where the feet were."""
    offsets = np.array(gait, dtype=float)
    index, signs = clock_mirror(offsets, MIRROR)
    assert index.tolist() == [0, 1]
    assert signs.tolist() == [sign, sign]
    phase = 0.3
    angle = math.atan2(sign * math.sin(2 * math.pi * phase), sign * math.cos(2 * math.pi * phase))
    mirrored = angle / (2 * math.pi)
    feet, image = np.mod(phase + offsets, 1), np.mod(mirrored + offsets, 1)
    np.testing.assert_allclose(image[MIRROR], feet, atol=1e-9)


def test_a_gait_that_is_not_its_own_mirror_image_is_refused_by_a_symmetric_network():
    assert clock_mirror(np.array([0.0, 0.3, 0.5, 0.9]), MIRROR) is None
    assert clock_mirror(np.array([0.0, 0.25, 0.5, 0.25]), MIRROR) is None


@pytest.mark.parametrize("gait", ["bound", "pace", "pronk", "walk"])
def test_other_gaits_of_the_robot_can_be_trained(gait):
    task = make_task(f"task.gait.name={gait}", "randomization=none")
    task.step(torch.zeros(6, 12))
    assert torch.isfinite(task.rewards()).all()
    assert task.spaces.symmetry is not None


def test_unknown_gait_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean trot"):
        make_task("task.gait.name=trott")


@pytest.mark.parametrize("override", ["task.gait.tolerance=0.0", "task.gait.stance=1.0", "task.gait.excess=-1.0", "task.gait.gate=1.5"])
def test_settings_that_would_divide_by_zero_are_refused(override):
    with pytest.raises(InputError, match=override.partition("=")[0]):
        make_task(override)


def test_without_a_gait_the_clock_must_go_too():
    with pytest.raises(InputError, match="remove the gait_clock"):
        make_task("task.gait=null", "task.rewards.gait=null", "task.metrics.gait=null")
    without = ("task.gait=null", "task.observations.actor.gait_clock=null")
    with pytest.raises(InputError, match=r"task\.rewards\.gait=null task\.metrics\.gait=null"):
        make_task(*without)
    task = make_task(*without, "task.rewards.gait=null", "task.metrics.gait=null")
    task.step(torch.zeros(6, 12))
    assert torch.isfinite(task.rewards()).all()
    assert task.spaces.groups["actor"] == shared_task().spaces.groups["actor"] - 2


def test_the_clock_advances_with_the_command_and_rests_when_standing():
    task = make_task("randomization=none", "task.gait.frequency=[2.0,3.0]")
    clock = task.encoder.terms["gait_clock"]
    inputs = {"command": torch.tensor([[0.3, 0.4, 0.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])}
    memory = torch.full((3, 1), 0.3)
    phase = clock.remember(inputs, torch.zeros(3, 12), memory)
    assert phase.flatten().tolist() == pytest.approx([0.3 + 0.02 * 2.5, 0.3 + 0.02 * 2.0, 0.0])
    seen = clock.forward(inputs, memory)
    assert seen[0].tolist() == pytest.approx([math.sin(0.6 * math.pi), math.cos(0.6 * math.pi)], abs=1e-6)
    assert seen[2].tolist() == [0.0, 0.0]
    assert clock.remember(inputs, torch.zeros(3, 12), torch.full((3, 1), 0.99))[0].item() == pytest.approx(0.04, abs=1e-6)


def test_a_clock_whose_rate_follows_the_command_is_exported():
    policy = tiny_policy("task.gait.frequency=[2.0,3.0]")
    assert policy.memory_size == 12 + 1 + 12  # last action, clock, last target


def test_a_standing_foot_goes_back_as_fast_as_the_robot_is_asked_to_go():
    """Half a stance before mid stance it is v T / 2 ahead of its hip; in swing it joins the ends without a jump or a slide."""
    task = shared_task()
    gait, hips = task.gait, task.robot_tensors.hips
    frequency = gait.frequencies[0]
    command = torch.tensor([[0.6, -0.2, 0.4]])
    velocity = torch.tensor([0.6, -0.2]) + 0.4 * torch.stack([-hips[:, 1], hips[:, 0]], dim=-1)

    def place(phase):
        return foot_places(torch.tensor([[phase]], dtype=torch.float64).float(), hips, gait, gait.asked(command))[0]

    early, middle, late = place(0.0), place(0.25), place(0.4999)
    torch.testing.assert_close(middle[0], hips[0])
    torch.testing.assert_close(early[0] - late[0], velocity[0] * 0.5 / frequency, atol=1e-4, rtol=1e-3)
    for at in (0.0, 0.5):  # of foot 0: stance meets swing; its velocity over ground is zero on both sides
        for side in (-1e-3, 1e-3):
            speed = (place((at + side) % 1.0)[0] - place((at + 2 * side) % 1.0)[0]) / (-side / frequency)
            torch.testing.assert_close(speed, -velocity[0], atol=0.03, rtol=0.05)
    assert (place(0.75)[0] - hips[0]).norm() < 0.01  # passing under the hip at mid swing


def test_reach_counts_where_the_feet_are_over_ground():
    task = shared_task("task.gait.reach=0.2")  # standing heights
    hips = task.robot_tensors.hips
    force = torch.zeros(4, 3)
    force[[0, 3], 2] = 40.0
    pos = torch.cat([hips, torch.full((4, 1), 0.022)], dim=-1)
    pos[[1, 2], 2] += task.gait.swing_height
    good = make_frame(task, phase=0.25, command=[0.5, 0.0, 0.0], foot_contact_force=force, foot_pos=pos).gait_score.item()
    pos[:, 1] += 0.2 * task.robot.standing_height
    off = make_frame(task, phase=0.25, command=[0.5, 0.0, 0.0], foot_contact_force=force, foot_pos=pos).gait_score.item()
    assert good == pytest.approx(1.0, abs=1e-3)
    assert off == pytest.approx(math.exp(-1.0), abs=1e-3)


def test_a_squared_sine_meets_the_ground_without_speed_and_too_high_costs():
    task = shared_task("task.gait.swing_power=2.0", "task.gait.excess=0.2", "task.gait.excess_tolerance=0.5")
    h = task.gait.swing_height
    low = h * math.sin(math.pi * 0.2) ** 2  # a tenth of a cycle into the swing
    assert score(0.1, [0.0, low, low, 0.0], [1, 0, 0, 1], task=task) == pytest.approx(1.0)
    high = h * (1 + 0.2 + 0.5)
    assert score(0.25, [0.0, high, high, 0.0], [1, 0, 0, 1], task=task) == pytest.approx(0.5 + 0.5 * math.exp(-1.0), abs=1e-6)


def test_a_soft_stance_does_not_ask_for_a_slam():
    """A foot that hovers a fifth of the tolerance above the ground while it should stand counts as one that nearly follows."""
    soft, hard = shared_task("task.gait.soft=true"), shared_task()
    h = hard.gait.swing_height
    above = h * (0.8 + 0.8 * 0.2)  # free excess, then a fifth of the tolerance
    heights, loaded = [above, h, h, above], [0, 0, 0, 0]
    assert score(0.25, heights, loaded, task=hard) == pytest.approx(0.5)
    assert score(0.25, heights, loaded, task=soft) == pytest.approx(0.5 + 0.5 * math.exp(-0.04), abs=1e-6)
    assert score(0.25, [0.0] * 4, [1, 1, 1, 0], command=(0.0, 0.0, 0.0), task=soft) == pytest.approx(0.75)  # not while it stands still


def test_a_foot_is_ahead_of_the_clock_by_its_phase_and_its_reference_follows_from_it():
    """A walk's feet, a fifth of a cycle after the clock's beginning; then a stance of six tenths, whose swing is half through at 0.8."""
    walk = shared_task("task.gait.name=walk")
    phases = foot_phases(torch.tensor([[0.2]]), walk.gait.asked(torch.tensor([[0.5, 0.0, 0.0]])))
    assert phases[0].tolist() == pytest.approx([0.95, 0.45, 0.2, 0.7], abs=1e-6)
    task = shared_task("task.gait.stance=0.6")
    h = task.gait.swing_height
    assert score(0.8, [h, 0.0, 0.0, h], [0, 1, 1, 0], task=task) == pytest.approx(1.0)
    early = h * math.sin(math.pi * 0.25)
    assert score(0.7, [early, 0.0, 0.0, early], [0, 1, 1, 0], task=task) == pytest.approx(1.0)
    place = foot_places(torch.tensor([[0.8]]), task.robot_tensors.hips, task.gait, task.gait.asked(torch.tensor([[0.6, 0.0, 0.0]])))
    assert (place[0, 0] - task.robot_tensors.hips[0]).norm() < 1e-6  # passing under the hip


def test_the_clock_runs_faster_with_the_speed_that_is_asked_for_alone():
    gait = shared_task("task.gait.frequency=[1.5,2.5]").gait
    frequency = gait.frequency(torch.tensor([[0.0, 0.0, 1.0], [0.3, 0.4, 0.0], [0.0, -2.0, 0.0]]))
    assert frequency.flatten().tolist() == pytest.approx([1.5, 2.0, 3.5])
