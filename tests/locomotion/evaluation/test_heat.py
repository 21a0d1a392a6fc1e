"""Copper loss and the warming of a first-order body, against figures worked out by hand."""

import dataclasses

import numpy as np
import pytest

from locomotion.evaluation import heat


def test_copper_loss_of_the_go2s_motors(go2):
    """Stall 23.7 / (1 - 10.64 / 30) = 36.7 N m over 30 rad/s: a motor constant squared of 1.224 (N m)^2/W."""
    loss = heat.watts(go2, np.full(12, 10.0))
    assert loss[:2] == pytest.approx([100 / 1.2243] * 2, rel=1e-3)
    assert loss[2] == pytest.approx(100 / (1.2243 * 1.917**2), rel=2e-3)  # the linkage divides the motor's torque
    assert heat.watts(go2, np.full(12, -20.0)) == pytest.approx(4 * loss)


def test_minutes_are_when_the_temperature_reaches_the_limit(go2):
    torque = np.full(12, 12.0)
    minutes = heat.minutes_to_limit(go2, torque)
    dt = 1.0
    history = heat.temperature(go2, np.tile(torque, (1200, 1)), dt)
    crossed = (history > heat.LIMIT).argmax(axis=0) * dt / 60  # the step before the crossing ends here
    assert np.isfinite(minutes[[0, 1]]).all()
    assert crossed[[0, 1]] == pytest.approx(minutes[[0, 1]], abs=dt / 60)
    assert np.diff(history, axis=0).min() > 0


def test_a_cool_motor_never_gets_there_and_a_loaded_one_sooner_than_a_less_loaded(go2):
    assert np.isinf(heat.minutes_to_limit(go2, np.full(12, 1.0))).all()
    assert np.isinf(heat.minutes_to_limit(go2, np.zeros(12))).all()
    assert (heat.minutes_to_limit(go2, go2.effort_limit) < heat.minutes_to_limit(go2, 0.8 * go2.effort_limit)).all()


def test_at_first_heat_stays_in_the_body(go2):
    """dT/dt = power / capacity."""
    torque = np.full((1, 12), 10.0)
    capacity = 0.2 * go2.effort_limit * go2.no_load_speed
    assert heat.temperature(go2, torque, 0.1)[0] - heat.AMBIENT == pytest.approx(0.1 * heat.watts(go2, torque)[0] / capacity, rel=1e-3)


def test_a_robot_without_a_curve_has_an_estimate_of_the_same_size(go2):
    plain = dataclasses.replace(go2, speed_at_full_effort=None, no_load_speed=None)
    assert heat.watts(plain, go2.effort_limit) == pytest.approx(heat.watts(go2, go2.effort_limit), rel=0.3)
