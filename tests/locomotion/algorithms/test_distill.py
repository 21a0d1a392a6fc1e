"""A student learns from a teacher that sees more: who sees what, that it imitates, that nothing is lost, and what is refused."""

import pytest
import torch

from deploy.policy import load
from locomotion import build
from locomotion.config import compose
from locomotion.export import export_checkpoint
from locomotion.runs import checkpoint
from locomotion.runs.start import resume, start
from locomotion.schema import check
from locomotion.settings import TrainSettings
from robots import InputError
from tests.conftest import tiny
from tests.locomotion.runs.test_checkpoint import Silent, assert_same, go_on, run

HISTORY = "task.observations.actor.history={terms: [joint_pos, base_ang_vel], length: 3}"
SMALL = ("algorithm.num_envs=6", "algorithm.steps=8", "algorithm.minibatches=2", "algorithm.actor_hidden=[16,16]")


def student(teacher, *overrides):
    """Tiny settings of a student; the defaults of tests name some that it has not."""
    words = ["iterations=3", "sim.threads=1", "score_every=0", "snapshot_every=2", "algorithm=distill", f"algorithm.teacher={teacher}"]
    return check(TrainSettings, compose("train", [*words, *SMALL, *overrides]))


def make(teacher, *overrides):
    settings = student(teacher, *overrides)
    return build.algorithm(settings, build.task(settings))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A run whose policy sees what the critic sees, its outputs far from zero."""
    path = tmp_path_factory.mktemp("teacher") / "run"
    run(path, 2, "algorithm.actor_group=critic", "algorithm.initial_std=1.0")
    return path


@pytest.mark.parametrize("history", [(), (HISTORY,)])
def test_the_teacher_is_asked_about_what_it_was_trained_on(teacher, history):
    """Its own terms by name, without the sensors' noise, whatever else the student sees."""
    learner = make(teacher, *history)
    settings = tiny("algorithm.actor_group=critic")
    asked = build.algorithm(settings, build.task(settings))
    asked.load_state_dict(checkpoint.load(teacher / "last.pt")["learner"])
    with torch.inference_mode():
        learner.collect()
        batch = learner.label()
        critic = learner._rollout["critic"].flatten(0, 1)
        parts = critic.split([*learner.env.spaces.parts["critic"].values()], dim=-1)
        named = dict(zip(learner.env.spaces.parts["critic"], parts, strict=True))
        named.pop("history", None)
        expected = asked.actor(torch.cat([*named.values()], dim=-1))
    torch.testing.assert_close(batch["action"], expected, rtol=0, atol=0)
    assert expected.std() > 1e-3


def test_the_student_acts_on_what_a_robot_measures(teacher):
    learner = make(teacher)
    taken, inner = [], learner.env.step
    learner.env.step = lambda action: taken.append(action.clone()) or inner(action)
    with torch.inference_mode():
        learner.collect()
        expected = learner.actor(learner._rollout["actor"])
    torch.testing.assert_close(torch.stack(taken), expected)
    assert not torch.equal(learner._rollout["critic"][..., : expected.shape[-1]], learner._rollout["actor"][..., : expected.shape[-1]])


def test_the_student_imitates(teacher):
    """Far better than the best action that is always the same."""
    words = ("algorithm.num_envs=32", "algorithm.learning_rate=0.003", "algorithm.actor_hidden=[64,64]", "randomization=none")
    learner = make(teacher, *words, "iterations=100")
    losses = [learner.iterate()["loss/imitation"] for _ in range(40)]
    with torch.inference_mode():
        learner.collect()
        spread = learner.label()["action"].var(dim=0).mean().item()
    assert losses[-1] < 0.5 * spread


def test_the_rate_falls_to_a_tenth_over_a_run(teacher):
    learner = make(teacher, "algorithm.learning_rate=0.01", "iterations=10")
    for iteration, rate in ((0, 0.01), (5, 0.0055), (10, 0.001), (20, 0.001)):
        learner.iteration = iteration
        assert learner.learning_rate == pytest.approx(rate)
    learner.iteration = 10
    before = learner.actor.network.weights[0].detach().clone()
    learner.iterate()
    # an early step of Adam moves a weight by the rate at most; 4 minibatches
    assert 0.0 < (learner.actor.network.weights[0] - before).abs().max() < 4.5 * 0.001


def test_nothing_of_a_student_is_lost(teacher, tmp_path):
    """A resumed one equals one that never stopped, even if its teacher has learned on meanwhile; its bundle runs."""
    estimator = "algorithm.estimator={targets: [base_lin_vel, foot_height], hidden: [16]}"

    def train(name, stop=0):
        settings = student(teacher, HISTORY, estimator, f"run={tmp_path / name}")
        try:
            start(settings, lambda _: Silent(stop), print)
        except KeyboardInterrupt:
            assert stop

    train("whole")
    train("parts", stop=1)
    before = (teacher / "last.pt").read_bytes()
    go_on(teacher, iterations=3)
    assert (teacher / "last.pt").read_bytes() != before
    _, folder = resume(str(tmp_path / "parts"), {}, lambda _: Silent(), print)
    (teacher / "last.pt").write_bytes(before)
    assert_same(checkpoint.load(tmp_path / "whole" / "last.pt"), checkpoint.load(folder / "last.pt"))
    export_checkpoint(folder / "last.pt", tmp_path / "policy.onnx")
    assert load(tmp_path / "policy.onnx").contract.inputs == ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "command")
    # and it may learn on by itself
    state = run(tmp_path / "on", 1, HISTORY, estimator, f"init={folder}")
    assert "critic" in state["learner"]


def test_a_teacher_cannot_be_exported(teacher, tmp_path):
    with pytest.raises(InputError, match=r"this one sees base_lin_vel, base_height.*algorithm=distill"):
        export_checkpoint(teacher / "last.pt", tmp_path / "policy.onnx")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.observations.critic.base_lin_vel=null", "It also sees base_lin_vel. Set task.observations.critic.base_lin_vel={}"),
        ("task.control_dt=0.01", "the same task.control_dt: 0.01"),
        ("task.gait.frequency=[1.0,1.0]", "the same task.gait"),
        ("robot=unitree_go1", "the same robot"),
        ("algorithm.teacher=no_such_run", "a run folder, or the path of a checkpoint"),
        ("algorithm.actor_hidden=[15]", "even"),
        ("algorithm.minibatches=1000", "minibatches"),
        ("algorithm.estimator={targets: [base_lin]}", "Did you mean base_lin_vel"),
    ],
)
def test_what_cannot_be_taught_is_refused(teacher, override, message):
    with pytest.raises(InputError, match=message):
        make(teacher, override)


def test_a_teacher_that_sees_estimates_makes_no_sense():
    settings = tiny("algorithm.actor_group=critic", "algorithm.estimator={targets: [base_lin_vel]}")
    with pytest.raises(InputError, match="sees what the critic sees"):
        build.algorithm(settings, build.task(settings))
