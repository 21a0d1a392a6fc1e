"""The simulated robot keeps in step with the clock, however long that has run."""

import pytest

from deploy.hil.simulated_robot import SimulatedRobot
from deploy.interface import SimulatedTime


def test_it_samples_at_the_clock_s_time_after_minutes(go2):
    clock = SimulatedTime()
    clock.sleep_until(500.0)
    robot = SimulatedRobot(go2, clock)
    for step in range(1, 51):
        clock.sleep_until(500.0 + 0.02 * step)
        state = robot.read()
        assert (state.time, state.tick) == (pytest.approx(clock.now(), abs=1e-6), 10 * step)
