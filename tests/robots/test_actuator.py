"""The actuator law against its definition, its inverse, and the engine that has it natively."""

import dataclasses

import mujoco
import numpy as np
import pytest
import torch

from robots import InputError
from robots.actuator import clip_target_to_effort, motor_torque, torque_bounds
from robots.model import add_ground, build_spec


def test_law_is_the_clipped_pd_formula():
    torque = motor_torque(np.array([1.0, 9.0]), np.array([0.5, 0.0]), np.array([2.0, 0.0]), 10.0, 0.5, np.array([20.0, 20.0]), 1.0)
    assert torque == pytest.approx([10 * 0.5 - 0.5 * 2 + 1, 20.0])


def test_clipped_target_never_asks_for_more_than_the_limit():
    rng = np.random.default_rng(0)
    target, q, dq = rng.normal(0, 3, (3, 1000, 12))
    kp, kd, limit = np.full(12, 35.0), np.full(12, 0.7), np.full(12, 23.7)
    clipped = clip_target_to_effort(target, q, dq, kp, kd, limit)
    demand = kp * (clipped - q) - kd * dq
    assert np.abs(demand).max() <= 23.7 + 1e-9
    inside = np.abs(kp * (target - q) - kd * dq) <= 23.7
    assert inside.any()
    assert not inside.all()
    np.testing.assert_allclose(clipped[inside], target[inside], atol=1e-12)


def test_numpy_and_torch_agree():
    rng = np.random.default_rng(1)
    arrays = [*rng.normal(size=(3, 4, 12)), np.full(12, 35.0), np.full(12, 0.7), np.full(12, 5.0)]
    for function in (motor_torque, clip_target_to_effort):
        np.testing.assert_array_equal(function(*arrays), function(*map(torch.from_numpy, arrays)).numpy())


def test_mujoco_motors_follow_the_law(go2):
    spec = build_spec(go2)
    add_ground(spec, go2)
    model = spec.compile()
    data, rng = mujoco.MjData(model), np.random.default_rng(2)
    saturated = 0
    for _ in range(50):
        data.qpos[7:] = go2.default_joint_pos + rng.normal(0, 0.3, 12)
        data.qvel[6:] = rng.normal(0, 5, 12)
        data.ctrl[:] = go2.default_joint_pos + rng.normal(0, 1, 12)
        mujoco.mj_forward(model, data)
        expected = motor_torque(data.ctrl, data.qpos[7:], data.qvel[6:], go2.kp, go2.kd, go2.effort_limit)
        np.testing.assert_allclose(data.actuator_force, expected, atol=1e-9)
        np.testing.assert_allclose(data.qfrc_actuator[6:], expected, atol=1e-9)
        saturated += int((np.abs(expected) == go2.effort_limit).sum())
    assert saturated > 0


CURVE = (np.array([10.0]), np.array([30.0]))  # rad/s; with 20 N m the line starts at 30 N m


@pytest.mark.parametrize(
    ("speed", "low", "high"),
    [(0, -20, 20), (10, -20, 20), (20, -20, 10), (30, -20, 0), (40, -20, -10), (60, -20, -20), (-20, -10, 20), (-40, 10, 20)],
)
def test_torque_falls_from_the_knee_to_the_no_load_speed_and_braking_keeps_it_all(speed, low, high):
    """Corners of the curve in all four quadrants, worked out by hand."""
    bounds = torque_bounds(np.array([float(speed)]), np.array([20.0]), CURVE)
    np.testing.assert_allclose(np.ravel(bounds), [low, high], atol=1e-12)


def test_without_a_curve_the_whole_torque_is_there_at_any_speed():
    assert torque_bounds(np.array([100.0]), np.array([20.0])) == (-20.0, 20.0)


@pytest.mark.parametrize("actuator", ["pd", "dc_motor"])
def test_the_engines_motors_follow_the_law_on_a_grid(go2, actuator):
    spec = build_spec(go2, actuator=actuator)
    add_ground(spec, go2)
    model = spec.compile()
    data, curve = mujoco.MjData(model), go2.torque_speed if actuator == "dc_motor" else None
    braked = 0
    for target in np.linspace(-2, 2, 5):
        for offset in (-0.2, 0.1):
            for speed in np.linspace(-40, 40, 17):
                data.qpos[7:], data.qvel[6:] = go2.default_joint_pos + offset, speed
                data.ctrl[:] = go2.default_joint_pos + target
                mujoco.mj_forward(model, data)
                law = (data.ctrl, data.qpos[7:], data.qvel[6:], go2.kp, go2.kd, go2.effort_limit)
                np.testing.assert_allclose(data.actuator_force, motor_torque(*law, curve=curve), atol=1e-9)
                braked += int((motor_torque(*law, curve=curve) != motor_torque(*law)).sum())
    assert (braked > 100) == (actuator == "dc_motor")


def test_a_dc_motor_needs_its_figures(go2):
    with pytest.raises(InputError, match="torque-speed curve"):
        build_spec(dataclasses.replace(go2, no_load_speed=None), actuator="dc_motor")
