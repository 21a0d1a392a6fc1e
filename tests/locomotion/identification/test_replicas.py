"""Replicas of a log are what its robot would have measured again; what they show of an estimate's own error is taken off."""

from dataclasses import replace

import numpy as np
import pytest

from deploy.hil.simulated_robot import Conditions
from locomotion.identification import estimate as estimate_module
from locomotion.identification import excitation, replicas
from locomotion.identification.recording import MEASURED, NOISE, cut
from locomotion.identification.unknowns import unknowns
from tests.locomotion.identification import plants

TRUTH = {"motor_strength": 0.85, "action_delay": 0.012}
THETA = np.array(list(TRUTH.values()))
COUNT = 3


@pytest.fixture(scope="module")
def recording(go2):
    """Four seconds of two swinging legs."""
    whole = excitation.on_ground(go2, 28.0, plants.DT, 0)
    begin = round((8.0 + 2 * excitation.MOVE) / plants.DT)
    return plants.follow(go2, whole[begin - 50 : begin + 200], Conditions(noise=1.0, strength=0.85, delay=0.012, seed=5))


@pytest.fixture(scope="module")
def windows(recording):
    return cut(recording, 0.5, 0.1, 5)


@pytest.fixture(scope="module")
def sought(recording):
    return unknowns(recording.robot, tuple(TRUTH), "all")


@pytest.fixture(scope="module")
def sigma(recording):
    return np.concatenate([np.full(recording.measured[name].shape[1], NOISE[name]) for name in MEASURED])


@pytest.fixture(scope="module")
def made(recording, windows, sought, sigma):
    return replicas.replicas(recording, windows, sought, THETA, sigma, COUNT, 1)


def test_a_replica_has_the_log_s_commands_and_differs_from_it_by_noise_alone(recording, windows, made, sigma):
    copy, again = made
    (first, _), room = recording.stretches[0], replicas.BEFORE + replicas.EARLIER
    chosen = windows.first[~windows.judge & (windows.first >= first + room)]
    assert 3 < len(chosen) < (~windows.judge).sum()  # the first has nothing before it to be simulated from
    assert len(again.first) == COUNT * len(chosen)
    steps = np.arange(-replicas.EARLIER, windows.steps + 1)
    theirs, own = np.tile(chosen, COUNT)[:, None] + steps, again.first[:, None] + steps
    np.testing.assert_array_equal(copy.target[own], recording.target[theirs])
    for made_of, of in ((copy.sampled, recording.sampled), (copy.heard, recording.heard)):
        np.testing.assert_array_equal(made_of[own], of[theirs])
    seen, logged = (
        np.concatenate([one.measured[name][at] for name in MEASURED], axis=-1) for one, at in ((copy, own), (recording, theirs))
    )
    apart = (seen - logged)[..., :24] / sigma[:24]
    assert np.sqrt(np.mean(np.square(apart))) == pytest.approx(np.sqrt(2.0), rel=0.1)  # two sensors' noise
    between = (seen[: len(chosen)] - seen[len(chosen) : 2 * len(chosen)]) / sigma
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(between), axis=(0, 1))), np.sqrt(2.0), rtol=0.2)


def test_what_replicas_are_wrong_by_is_taken_off(recording, windows, sought, sigma, monkeypatch):
    """A replica that hears each command 1 ms sooner than its log says is one that an estimate takes for 1 ms faster."""
    problem = estimate_module._Problem.of(recording, windows, sought, sigma, 1)
    right, deviation = estimate_module._own_error(problem, windows, sought, THETA, 1)
    np.testing.assert_allclose(right, 0.0, atol=4.0 * deviation.max())

    def late(*given):
        copy, again = replicas.replicas(*given)
        return replace(copy, heard=copy.heard + 0.001), again

    monkeypatch.setattr(estimate_module, "replicas", late)
    wrong, _ = estimate_module._own_error(problem, windows, sought, THETA, 1)
    assert (wrong - right)[1] == pytest.approx(-0.001, abs=2e-4)
    residual, jacobian = estimate_module._linearised(problem, THETA, sought)
    for deviation, off in ((0.05, 0.01), (0.5, 0.0)):  # of a strength that is not seen it would be the replicas' noise
        own = (np.array([0.01, 0.001]), np.array([deviation, 0.0]))
        found = estimate_module._result(problem, windows, sought, THETA, residual, jacobian, residual, own)
        np.testing.assert_allclose(found.value, THETA - [off, 0.001])
        assert found.deviation[0] == pytest.approx(deviation, rel=0.05)  # what is not known of it is not known of the estimate


def test_a_log_without_room_before_its_windows_has_no_replicas(recording, windows, sought, sigma):
    short = replace(recording, stretches=[(int(first), int(first) + windows.steps) for first in windows.first])
    problem = estimate_module._Problem.of(short, windows, sought, sigma, 1)
    own = estimate_module._own_error(problem, windows, sought, THETA, 1)
    np.testing.assert_array_equal(own, np.zeros((2, 2)))
