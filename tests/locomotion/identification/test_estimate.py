"""What a plant hides is found from what was measured, and what a log does not show is said."""

from dataclasses import replace

import numpy as np
import pytest

import robots
from deploy.hil.simulated_robot import Conditions
from locomotion.identification import estimate as estimate_module
from locomotion.identification import excitation, excite, result
from locomotion.identification.estimate import estimate
from locomotion.identification.recording import cut, read_recording
from locomotion.identification.unknowns import DEFAULT, unknowns
from locomotion.task.randomization import RandomizationSettings
from tests.locomotion.identification import plants

HIDDEN = Conditions(noise=1.0, strength=0.85, delay=0.012, joint_friction=1.5, joint_damping=1.5, seed=5)
TRUTH = {"motor_strength": 0.85, "joint_friction_scale": 1.5, "joint_damping_scale": 1.5, "armature_scale": 1.0, "action_delay": 0.012}


def lying(robot, seconds, seed=0):
    """Targets of a robot on its belly that swings a pair of legs in the air."""
    whole = excitation.on_ground(robot, 12.0 + 4 * seconds, plants.DT, seed)
    begin = round((2 * seconds + 2 * excitation.MOVE) / plants.DT)  # after the sway and two moves
    return whole[begin - 50 : begin + round(seconds / plants.DT)]


@pytest.fixture(scope="module")
def swinging(go2):
    return lying(go2, 5.2)


@pytest.fixture(scope="module")
def recording(go2, swinging):
    """Six seconds of two swinging legs."""
    return plants.follow(go2, swinging, HIDDEN)


@pytest.fixture(scope="module")
def found(recording):
    """Its physics; a number for all joints."""
    windows = cut(recording, 0.9, 0.1, 5)
    return estimate(recording, windows, unknowns(recording.robot, tuple(TRUTH), "all"), 1, lambda words: None)


def test_deviations_grow_with_windows_that_disagree_and_shrink_with_their_number():
    random = np.random.default_rng(0)
    j = random.standard_normal((4000, 50, 2))
    alike, shared = random.standard_normal((4000, 50)), random.standard_normal((4000, 1, 2))

    def deviation(residual, windows):
        information = np.einsum("wri,wrj->wij", j[:windows], j[:windows])
        return estimate_module._deviation(information, np.einsum("wr,wri->wi", residual[:windows], j[:windows]), np.full(2, 1e3))

    np.testing.assert_allclose(deviation(alike, 4000), 1.0 / np.sqrt(4000 * 50), rtol=0.05)  # as independent residuals
    biased = alike + np.einsum("wri,wsi->wr", j, shared)  # every window has parameters of its own, one deviation from the others'
    np.testing.assert_allclose(deviation(biased, 4000), 1.0 / np.sqrt(4000), rtol=0.06)

    # a linear problem: what is left without each of five windows, solved anew
    few, y = j[:5], biased[:5]
    found = np.linalg.lstsq(few.reshape(-1, 2), -y.ravel(), rcond=None)[0]
    without = [np.linalg.lstsq(np.delete(few, w, 0).reshape(-1, 2), -np.delete(y, w, 0).ravel(), rcond=None)[0] for w in range(5)]
    expected = np.sqrt(0.8 * np.square(np.array(without) - found).sum(axis=0))
    np.testing.assert_allclose(deviation(y + few @ found, 5), expected, rtol=1e-3)


class Curved:
    """A problem of one parameter, whose answer to it is curved and that no parameter explains; steps of differences are 0.05 wide."""

    many, few, prior, start, fitted = None, None, np.full(1, 1e3), np.ones(1), np.ones(20, bool)

    def __init__(self):
        random = np.random.default_rng(0)
        self.slope, self.left = random.uniform(0.5, 2.0, (20, 30)), random.standard_normal((20, 30))

    def residuals(self, shooting, theta):
        t = theta[:, :, None]  # [C, 1, 1]
        return 30.0 * self.slope * (t - 0.8 + 3.0 * self.slope * (t - 0.8) ** 2) + self.left + self.slope**2

    def exact(self, theta):
        """The derivative, [W, R, 1]."""
        return (30.0 * self.slope * (1.0 + 6.0 * self.slope * (theta - 0.8)))[..., None]


def test_the_estimate_is_where_the_gradient_is_zero_not_where_forward_differences_say_so(go2):
    problem, sought = Curved(), unknowns(go2, ("motor_strength",), "all")

    def off(theta, jacobian):
        information, score = estimate_module._by_window(problem, problem.residuals(None, theta[None])[0], jacobian)
        return abs(score.sum() / information.sum()) / estimate_module._deviation(information, score, problem.prior)[0]

    theta = np.array([0.78])
    for _ in range(50):
        residual, jacobian = estimate_module._linearised(problem, theta, sought)
        information, score = estimate_module._by_window(problem, residual, jacobian)
        theta = theta - score.sum() / information.sum()
    assert off(theta, problem.exact(theta)) > 1.0
    settled, residual, jacobian = estimate_module._settle(problem, theta, sought, lambda words: None)
    assert off(settled, problem.exact(settled)) < estimate_module.SETTLED
    np.testing.assert_allclose(residual, problem.residuals(None, settled[None])[0])
    np.testing.assert_allclose(jacobian, problem.exact(settled), rtol=1e-6)


def right(unknown, value, interval, truth):
    """Within 10 % (a delay within 3 ms), or inside its own interval."""
    near = abs(value - truth) <= (0.003 if unknown.parameter == "action_delay" else 0.1 * truth)
    return near or interval[0] <= truth <= interval[1]


def test_a_plant_s_strength_friction_damping_and_delay_are_found(found):
    for unknown, value, interval in zip(found.sought, found.value, found.interval, strict=True):
        assert right(unknown, value, interval, TRUTH[unknown.parameter]), (unknown.name, value, interval)
    # and they are not found by saying nothing
    strength, friction, damping, _, delay = found.interval
    assert np.ptp(strength) < 0.1
    assert np.ptp(friction) < 0.5
    assert np.ptp(damping) < 0.9
    assert np.ptp(delay) < 0.004
    assert found.seen.all()


def test_the_model_that_was_found_explains_what_was_held_out(found):
    assert found.fit["held out before"] > 1.4
    assert found.fit["held out"] == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(found.sigma[[0, 12]], [0.001, 0.1], rtol=0.15)  # the noise of the sensors


@pytest.fixture(scope="module")
def weak(go2, swinging):
    """A recording of a plant that is weak, and else as it is described."""
    return plants.follow(go2, swinging, Conditions(noise=1.0, strength=0.85))


def test_what_only_acts_together_is_said_and_named(weak, go2):
    sought = unknowns(go2, ("motor_strength", "kp_scale", "kd_scale"), "all")
    short = replace(weak, stretches=[(25, 140)])
    found = estimate(short, cut(short, 0.5, 0.1, 2), sought, 1, lambda words: None)
    assert any("motor_strength" in words and "kp_scale" in words and "together" in words for words in found.together)
    assert not found.seen.any()
    assert found.value[0] * found.value[1] == pytest.approx(0.85, rel=0.03)  # what is seen is right
    hard = replace(weak, robot=replace(go2, effort_limit=0.02 * go2.effort_limit))  # as if the motors had come to their limits
    assert estimate_module._one_torque(hard, sought) == (pytest.approx(np.zeros(3)), [])


@pytest.mark.slow
def test_a_trunk_that_nothing_moves_is_not_seen_and_keeps_its_range(weak, go2):
    found = estimate(weak, cut(weak, 0.9, 0.1, 5), unknowns(go2, ("motor_strength", "base_com_offset"), "all"), 1, lambda words: None)
    assert found.seen[0]
    assert found.value[0] == pytest.approx(0.85, abs=0.02)
    assert not found.seen[[1, 3]].any()
    assert any("base_com_offset x" in words for words in found.together)
    base = RandomizationSettings(parameters={"base_com_offset": (-0.03, 0.03), "motor_strength": (0.9, 1.1)})
    ranges = result.randomization(found, base)["parameters"]
    assert ranges["base_com_offset"] == [-0.03, 0.03]
    assert ranges["motor_strength"][0] < 0.85 < ranges["motor_strength"][1] < 0.95


@pytest.mark.slow
def test_a_weak_late_rough_and_heavy_plant_is_found_from_a_minute_s_log(tmp_path):
    go2 = robots.load("unitree_go2")
    conditions = replace(HIDDEN, payload=2.5)
    excite.write(go2, excitation.on_ground(go2, 50.0, plants.DT, 0), plants.DT, tmp_path / "excite.onnx")
    runtime, _ = plants.run(tmp_path / "excite.onnx", go2, tmp_path / "log.mcap", 56.2, conditions)
    assert {event.kind for event in runtime.supervisor.events} <= {"transition", "override", "stop", "settled"}
    recording = read_recording(tmp_path / "log.mcap")
    assert recording.sampled[-1] < 60.0
    found = estimate(recording, cut(recording, 2.0, 0.6, 5), unknowns(go2, DEFAULT, "all"))
    truth = TRUTH | {"payload_mass": 2.5}
    for unknown, value, interval in zip(found.sought, found.value, found.interval, strict=True):
        if unknown.parameter in truth:
            assert right(unknown, value, interval, truth[unknown.parameter]), (unknown.name, value, interval)
    assert found.fit["held out"] < 0.2 * found.fit["held out before"]
