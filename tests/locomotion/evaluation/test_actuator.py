"""Whatever tries a policy tries it on the actuator that a person asked for."""

import pytest
import torch

from locomotion.evaluation import falsify, gait_trial, jitter, robustness, rollout, scorecard, video
from locomotion.evaluation.rollout import load_policy
from locomotion.runs.start import make, scorer
from locomotion.schema import plain
from locomotion.task.randomization import NOMINAL, RandomizationSettings
from sim.actuation import NETWORKS
from tests.conftest import tiny


class Limp:
    """A motor without power."""

    history, spacing = 1, 0.002

    def __call__(self, error, joint_vel):
        return torch.zeros_like(error[:, -1])


@pytest.fixture(autouse=True)
def limp():
    NETWORKS["limp"] = Limp()
    yield
    del NETWORKS["limp"]


@pytest.fixture
def policy(standing_bundle):
    return load_policy(standing_bundle)


class Made(Exception):
    """A simulator would have been made."""


@pytest.fixture
def asked(monkeypatch):
    """The actuators that simulators were asked for; none is made."""
    actuators = []

    def instead(*arguments, actuator=None, **more):
        actuators.append(actuator)
        raise Made

    monkeypatch.setattr(rollout.sim, "make", instead)
    return actuators


RANGES = RandomizationSettings(parameters={"friction": (0.5, 1.0)})
TRIALS = {
    "grid": lambda policy: scorecard.evaluate(policy, policy.robot, "mujoco", NOMINAL, 1, 0, actuator="limp"),
    "walk": lambda policy: gait_trial.walk(policy, lambda share: None, "limp"),
    "stand": lambda policy: gait_trial.stand(policy, NOMINAL, lambda share: None, "limp"),
    "stop": lambda policy: gait_trial.stop(policy, "limp"),
    "gait": lambda policy: gait_trial.measure(policy, NOMINAL, actuator="limp"),
    "motors": lambda policy: jitter.measure(policy, actuator="limp"),
    "sweep": lambda policy: robustness.sweep(policy, "mujoco", RANGES, 0, actuator="limp"),
    "falsify": lambda policy: falsify.falsify(policy, "mujoco", RANGES, 0, actuator="limp"),
    "play": lambda policy: video.rollout(policy, [0.0, 0.0, 0.0], 1.0, actuator="limp"),
}


@pytest.mark.parametrize("trial", TRIALS)
def test_every_trial_of_a_bundle(trial, policy, asked):
    with pytest.raises(Made):
        TRIALS[trial](policy)
    assert asked == ["limp"]


def test_the_parts_of_a_scorecard(standing_bundle, monkeypatch):
    seen = {}
    monkeypatch.setattr(scorecard, "SECONDS", 2.1)
    monkeypatch.setattr(gait_trial, "measure", lambda policy, randomization, progress, actuator: seen.update(gait=actuator))
    monkeypatch.setattr(jitter, "measure", lambda policy, progress, actuator: seen.update(motors=actuator))
    inner = rollout.sim.make
    monkeypatch.setattr(
        rollout.sim, "make", lambda *a, actuator=None, **more: seen.update(grid=actuator) or inner(*a, actuator=actuator, **more)
    )
    scorecard.score_file(standing_bundle, {"mujoco": 1}, NOMINAL, 0, actuator="limp")
    assert seen == {"grid": "limp", "gait": "limp", "motors": "limp"}


@pytest.fixture(params=["velocity_flat", "stand"])
def begun(request):
    settings = tiny("sim.actuator=pd", f"task={request.param}")
    run = make(settings, plain(settings))
    yield run
    run.env.close()


def test_the_score_that_chooses_the_best(begun, asked):
    with pytest.raises(Made):
        scorer(begun)(begun.learner)
    assert asked == ["pd"]


def test_a_robot_without_power_is_played_as_it_sinks(policy):
    limp, held = (video.rollout(policy, [0.0, 0.0, 0.0], 0.6, actuator=actuator)[-1][2] for actuator in ("limp", "pd"))
    assert limp < 0.5 * held
