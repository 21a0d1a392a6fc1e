"""Whatever fails, the plant's motors end in damping, and nothing ends the damping early but a robot that is seen to rest."""

from dataclasses import replace

import numpy as np
import pytest

from deploy.states import State
from tests.deploy.plants import Deployment, rows

END = 0.5  # s at which the run ends


@pytest.fixture
def walker(bundle, go2):
    return Deployment(bundle, go2).trot().standing()


def damping_seconds(walker):
    return walker.clock.now() - walker.start - END


def failing(error, times):
    """A function that raises ``error`` the first so many times."""
    count = iter(range(10**9))

    def act(value):
        if next(count) < times:
            raise error
        return value

    return act


def low(walker):
    """Whether it lies on the ground."""
    return walker.plant.data.qpos[2] < 0.15


@pytest.mark.parametrize("times", [1, 3, 100])
@pytest.mark.parametrize("error", [OSError("bus down"), KeyboardInterrupt(), SystemExit(3)])
def test_writes_that_fail_at_first_are_repeated_until_one_gets_through(walker, times, error):
    fail = failing(error, times)
    walker.robot.on_write = lambda command: fail(command) if walker.at(END) else command
    if isinstance(error, Exception):
        walker.run(END)
    else:
        with pytest.raises(type(error)):
            walker.run(END)
    assert walker.damped
    assert low(walker)
    assert "last_word" in walker.kinds
    assert walker.supervisor.state is State.FAULT


def test_a_write_that_fails_while_walking_is_a_crash_and_then_damping(walker):
    fail = failing(OSError("bus down"), 3)
    walker.robot.on_write = lambda command: fail(command) if walker.at(0.4) else command
    with pytest.raises(OSError, match="bus down"):
        walker.run(END)
    assert walker.kinds == ["crash", "last_word"]
    assert walker.damped
    assert low(walker)


@pytest.mark.parametrize(
    "broken",
    [
        lambda sample: None,
        lambda sample: replace(sample, joint_vel=np.zeros(0), joint_pos=np.zeros(0)),
        lambda sample: replace(sample, joint_vel=np.full(12, np.nan)),
        lambda sample: replace(sample, joint_vel=np.zeros(12), tick=7),
        lambda sample: replace(sample, joint_vel=np.zeros(12), time=0.0),
        failing(OSError("bus down"), 10**6),
    ],
)
def test_a_robot_that_is_not_seen_is_damped_to_the_time_limit(walker, broken):
    walker.robot.on_read = lambda sample: broken(sample) if walker.at(END) else sample
    walker.run(END)
    assert walker.damped
    assert damping_seconds(walker) == pytest.approx(5.0, abs=0.05)


def test_an_interrupt_while_reading_does_not_end_it(walker):
    fail = failing(KeyboardInterrupt(), 1)
    walker.robot.on_read = lambda sample: fail(sample) if walker.at(END) else sample
    with pytest.raises(KeyboardInterrupt):
        walker.run(END)
    assert walker.damped
    assert low(walker)


def test_a_clock_that_fails_does_not_end_it(walker):
    sleep, fail = walker.clock.sleep_until, failing(OSError("no clock"), 3)
    walker.clock.sleep_until = lambda deadline: sleep(fail(deadline) if walker.at(END) else deadline)
    with pytest.raises(OSError, match="no clock"):  # the loop's own sleep
        walker.run(END + 0.02)
    assert walker.damped
    assert low(walker)


def test_it_ends_after_half_a_second_of_rest_without_a_break(walker):
    """A sample that moves, or a write that fails, begins the count anew."""
    calm = lambda sample: replace(sample, joint_vel=np.zeros(12)) if walker.at(END) else sample  # noqa: E731
    walker.robot.on_read = calm
    assert damping_seconds(walker.run(END)) == pytest.approx(0.5, abs=0.03)

    def restless(sample):
        return replace(sample, joint_vel=np.full(12, 0.6)) if walker.at(END + 0.4) and not walker.at(END + 0.44) else calm(sample)

    walker = walker.again()
    walker.robot.on_read = restless
    assert damping_seconds(walker.run(END)) == pytest.approx(0.44 + 0.5, abs=0.05)
    walker = walker.again()
    fail = failing(OSError("once"), 1)
    walker.robot.on_read = lambda sample: calm(sample)
    walker.robot.on_write = lambda command: fail(command) if walker.at(END + 0.3) else command
    assert damping_seconds(walker.run(END)) == pytest.approx(0.3 + 0.5, abs=0.05)


def test_a_bus_that_is_dead_is_said_so(walker):
    fail = failing(OSError("bus down"), 10**6)
    walker.robot.on_write = lambda command: fail(command) if walker.at(END) else command
    walker.run(END)
    details = [event.detail for event in walker.supervisor.events]
    assert "no damping command could be written" in details
    assert len(details) < 10  # the same failure is told once
    assert walker.plant.closed


def test_damping_is_in_the_log(walker):
    walker.run(END)
    states = [str(row["state"]) for row in rows(walker.runtime)]
    assert states[-25:] == ["damping"] * 25
    assert walker.runtime.log.columns()["joint_pos"].shape == (len(states), 12)
