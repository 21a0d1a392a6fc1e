"""Gait figures of signals whose figures are known by construction."""

import numpy as np
import pytest
import torch

from locomotion.evaluation import gait
from locomotion.task.resets import quat_from_euler

DT = 0.002
PERIOD, AIR = 250, 100  # samples: 2 Hz, 0.2 s of each 0.5 s in the air


def walking(seconds: float = 4.0, feet: int = 2) -> np.ndarray:
    """Contact [T, 1, F] of feet that swing one after the other; foot f is off by 30 f samples."""
    t = np.arange(round(seconds / DT))[:, None] - 30 * np.arange(feet)
    return (t % PERIOD >= AIR)[:, None, :]


def test_swings_are_whole_and_long_enough():
    contact = np.ones(100, dtype=bool)
    contact[10:25] = False  # 30 ms
    contact[40:54] = False  # 28 ms: a bounce
    contact[90:] = False  # does not end in the record
    assert gait.swings(contact, DT) == [(10, 25)]
    assert gait.swings(contact, DT, 0.028) == [(10, 25), (40, 54)]
    assert gait.swings(~contact, DT) == [(25, 40), (54, 90)]  # that from 0 to 10 did not begin in the record


def test_apex_is_the_highest_point_of_a_swing_per_foot():
    contact, apex = walking(), np.array([0.07, 0.04])
    phase = (np.arange(len(contact))[:, None] - 30 * np.arange(2)) % PERIOD
    height = apex * np.sin(np.pi * np.clip(phase / AIR, 0, 1))
    assert gait.swing_apex(height[:, None], contact, DT)[0] == pytest.approx(apex, abs=1e-3)
    # what a loaded foot does is not a swing's
    assert gait.swing_apex(np.where(contact, 9.0, height[:, None]), contact, DT)[0] == pytest.approx(apex, abs=1e-3)


def test_touchdown_takes_the_fastest_fall_of_the_last_ten_milliseconds_and_no_rise():
    contact, velocity = walking(feet=1), np.zeros((2000, 1, 1, 3))
    for land in (100, 350, 600):
        velocity[land - 5, ..., 2] = -0.9  # 10 ms before
        velocity[land - 6, ..., 2] = -5.0  # earlier
        velocity[land + 1, ..., 2] = -7.0  # after the ground has pushed
        velocity[land - 3, ..., 2] = 3.0
        velocity[land, ..., :2] = (0.3, -0.4)
        velocity[land - 1, ..., :2] = 8.0
    assert gait.touchdown_fall(velocity[:700], contact[:700], DT) == pytest.approx(np.array([[0.9]]))
    velocity[[100, 350, 600], ..., 2] = -1.1  # the first sample of contact
    assert gait.touchdown_fall(velocity[:700], contact[:700], DT) == pytest.approx(np.array([[1.1]]))
    assert gait.touchdown_slide(velocity[:700], contact[:700], DT) == pytest.approx(np.array([[0.5]]))


def test_peak_force_is_the_median_stance_in_body_weights():
    contact, force = walking(feet=1), np.zeros((2000, 1, 1))
    force[contact] = 60.0
    force[[400, 650, 900], 0, 0] = (220.0, 240.0, 900.0)  # one a stance that began and ended
    force[[200, 1150], 0, 0] = 3000.0  # in the first, whose swing was not seen, and the last, which is cut
    force[50] = 5000.0  # in the air
    assert gait.peak_force(force[:1200], contact[:1200], np.array([100.0]), DT) == pytest.approx(np.array([[2.4]]))
    still = np.full((100, 1, 1), 30.0)
    assert gait.peak_force(still, still > 0, np.array([100.0]), DT) == pytest.approx(np.array([[0.3]]))


def test_duty_and_frequency():
    contact = walking(seconds=5.0)
    assert gait.duty_factor(contact)[0] == pytest.approx([0.6, 0.6], abs=0.01)
    assert gait.stride_frequency(contact, DT) == pytest.approx([2.0])
    assert gait.stride_frequency(np.ones((100, 1, 2), dtype=bool), DT) == pytest.approx([0.0])


def test_height_and_sway_are_peak_to_peak_within_a_second():
    t = np.arange(0, 4.0, DT)[:, None]
    drifting = 0.01 * np.sin(2 * np.pi * 2 * t) + 0.001 * t
    assert gait.peak_to_peak(drifting, DT) == pytest.approx([0.02], abs=1e-3)
    # a path that swings by +-1 cm about a steady walk to the left
    velocity = 0.3 + 0.01 * 2 * np.pi * 2 * np.cos(2 * np.pi * 2 * t)
    assert gait.sway(velocity, DT) == pytest.approx([0.02], abs=1e-3)


def test_bias_is_velocity_less_command():
    velocity = np.tile([0.55, -0.02, 0.1], (10, 1, 1))
    assert gait.bias(velocity, np.array([[0.5, 0.0, 0.0]]))[0] == pytest.approx([0.05, -0.02, 0.1])


def test_cost_of_transport_with_and_without_regained_energy():
    torque, velocity = np.tile([2.0, 3.0], (500, 1, 1)), np.tile([0.3, 0.4], (500, 1, 1))
    joint_vel = np.tile([5.0, -2.0], (500, 1, 1))  # 10 W given, 6 W regained, at 0.5 m/s and 40 N
    cost, net = gait.cost_of_transport(torque, joint_vel, velocity, np.array([40.0]))
    assert cost == pytest.approx([16 / 20])
    assert net == pytest.approx([4 / 20])
    assert gait.cost_of_transport(torque, -joint_vel, velocity, np.array([40.0]))[1] == pytest.approx([0.0])  # no robot is a mill
    assert np.isnan(gait.cost_of_transport(torque, joint_vel, 0.05 * velocity, np.array([40.0]))[0])


def test_foothold_is_where_the_foot_is_as_it_lands():
    contact = walking(feet=2)
    ahead = np.zeros((2000, 1, 2))
    ahead[100::PERIOD, 0, 0] = 0.08
    ahead[130::PERIOD, 0, 1] = -0.03
    assert gait.foothold(ahead, contact, DT)[0] == pytest.approx([0.08, -0.03])


def test_heading_frame_turns_with_the_heading_alone():
    half = np.pi / 4
    yawed = np.array([np.cos(half), 0, 0, np.sin(half)])  # a quarter turn to the left
    assert gait.heading_frame(np.array([0.0, 1.0, 2.0]), yawed) == pytest.approx([1.0, 0.0, 2.0])
    assert gait.heading_frame(np.array([1.0, 0.0, 0.0]), yawed) == pytest.approx([0.0, -1.0, 0.0])
    tilted = quat_from_euler(*(torch.tensor([angle], dtype=torch.float64) for angle in (0.2, -0.3, 0.7))).numpy()
    turned = np.array([[np.cos(0.7) + 2 * np.sin(0.7), 2 * np.cos(0.7) - np.sin(0.7), 3.0]])
    assert gait.heading_frame(np.array([[1.0, 2.0, 3.0]]), tilted) == pytest.approx(turned)


def test_steps_of_a_standing_robot():
    contact = np.ones((100, 1, 2), dtype=bool)
    contact[10:12, 0, 1] = False  # 40 ms at 20 ms a sample
    contact[20:21, 0, 1] = False  # 20 ms
    contact[50:60, 0, 1] = False
    assert gait.steps_taken(contact, 0.02).tolist() == [[0, 2]]


def test_drift_and_rms():
    path = np.zeros((50, 1, 3))
    path[1:-1] = 9.0
    path[-1] = (0.03, -0.04, 1.0)
    assert gait.drift(path + 7.0) == pytest.approx([0.05])
    assert gait.rms(np.tile([3.0, -4.0], (5, 1, 1))) == pytest.approx([np.sqrt(12.5)])


def test_settling_is_the_end_of_the_last_motion():
    speed, contact = np.full((100, 4), 0.01), np.ones((100, 4, 2), dtype=bool)
    speed[:30, 0] = 0.5
    contact[40:45, 0, 1] = False  # a step after it had stopped
    speed[:30, 1] = 0.05
    speed[99, 2] = 0.06
    assert gait.settling_time(speed, contact, 0.02, 0.05).tolist() == pytest.approx([0.9, 0.6, np.inf, 0.0])
