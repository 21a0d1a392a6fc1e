"""A person adds a robot, a reward, a task or an algorithm in a folder of their own."""

import shutil
from pathlib import Path

import pytest

import robots
from deploy.policy import load
from locomotion import plugins
from locomotion.cli import main
from robots import InputError
from tests.conftest import TINY

TERMS = '''
import torch
from locomotion.schema import Positive
from locomotion.task.observations import ObservationTerm
from locomotion.environment import fixed
from locomotion.task.terms import observation, reward

@reward
def joint_acceleration(frame, *, limit: Positive = 100.0):
    """Joint acceleration beyond a limit, and the standing height: what a built-in term has, a plugin has."""
    return (frame.joint_acc.abs() - limit).clamp(min=0).sum(dim=-1) / frame.robot.standing_height

@observation
class tilt_angle(ObservationTerm):
    inputs = ("projected_gravity",)
    text = "angle from upright, rad"

    def __init__(self, context):
        super().__init__(fixed(1))

    def forward(self, inputs, memory):
        return torch.acos(-inputs["projected_gravity"][..., 2:].clamp(-1, 1))
'''

ALGORITHM = """
import torch
from torch import nn
from locomotion.algorithms import algorithm
from locomotion.schema import Count, Positive, Settings

class Settings_(Settings):
    num_envs: Count
    spread: Positive = 0.1

@algorithm("random_search")
class RandomSearch:
    settings_type = Settings_

    @staticmethod
    def make_actor(settings, spaces, generator):
        return nn.Linear(spaces.groups["actor"], spaces.action.size)

    def __init__(self, settings, env, seed, iterations):
        self.settings, self.env, self.best = settings, env, -1e9
        self.generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        self.actor = self.make_actor(settings, env.spaces, self.generator)
        self.iteration_steps = 10 * env.num_envs

    @torch.no_grad()
    def iterate(self):
        old = [p.clone() for p in self.actor.parameters()]
        for p in self.actor.parameters():
            p += self.settings.spread * torch.randn(p.shape, generator=self.generator)
        observations = self.env.observations
        for _ in range(10):
            observations = self.env.step(self.actor(observations["actor"])).observations
        score = float(self.env.rewards().mean())
        if score < self.best:
            for p, q in zip(self.actor.parameters(), old):
                p.copy_(q)
        self.best = max(self.best, score)
        return {"best": self.best}

    def initialize(self, state):
        self.actor.load_state_dict(state["actor"])

    def state_dict(self):
        return {"actor": self.actor.state_dict(), "best": self.best, "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.initialize(state)
        self.best = state["best"]
        self.generator.set_state(state["generator"])
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCOMOTION_ROBOTS", raising=False)
    monkeypatch.delenv("LOCOMOTION_CONFIGS", raising=False)
    return tmp_path


def test_terms_of_one_s_own_are_trained_with_and_exported(elsewhere):
    (elsewhere / "my_terms.py").write_text(TERMS)
    words = ["plugins=[my_terms.py]", "task.rewards.joint_acceleration={weight: -0.001, limit: 50.0}"]
    words += ["task.observations.actor.tilt_angle={}", "run=run", "iterations=1"]
    assert main(["train", *TINY, *words]) == 0
    assert '"reward/joint_acceleration": -' in Path("run/metrics.jsonl").read_text()
    assert main(["export", "checkpoint=run", "output=policy.onnx"]) == 0
    contract = load("policy.onnx", robots.load("unitree_go2")).contract
    assert contract.observation[-1].name == "tilt_angle"


def test_a_bad_setting_of_a_plugin_s_term_is_named(elsewhere, capsys):
    (elsewhere / "my_terms.py").write_text(TERMS)
    words = ["plugins=[my_terms.py]", "task.rewards.joint_acceleration={weight: -0.001, limit: -1.0}"]
    assert main(["train", *TINY, *words]) == 2
    assert "task.rewards.joint_acceleration.limit" in capsys.readouterr().err


def test_a_plugin_that_is_gone_is_said_when_its_run_goes_on(elsewhere, capsys):
    (elsewhere / "my_terms.py").write_text(TERMS)
    assert main(["train", *TINY, "plugins=[my_terms.py]", "run=run", "iterations=1"]) == 0
    (elsewhere / "my_terms.py").unlink()
    assert main(["train", "resume=run", "iterations=2"]) == 2
    assert "my_terms.py" in capsys.readouterr().err


def test_a_plugin_that_raises_is_said(elsewhere):
    (elsewhere / "broken.py").write_text("1 / 0")
    with pytest.raises(InputError, match="ZeroDivisionError"):
        plugins.load(["broken.py"])


def test_a_task_and_an_algorithm_of_one_s_own(elsewhere, capsys):
    (elsewhere / "configs" / "task").mkdir(parents=True)
    (elsewhere / "configs" / "algorithm").mkdir()
    (elsewhere / "configs" / "task" / "slow_walk.yaml").write_text(
        "defaults: [velocity_flat, _self_]\nname: slow_walk\ncommands: {velocity: {forward: [0.0, 0.4]}}\n"
    )
    (elsewhere / "configs" / "algorithm" / "random_search.yaml").write_text("name: random_search\nnum_envs: 4\nspread: 0.05\n")
    (elsewhere / "search.py").write_text(ALGORITHM)
    words = ["task=slow_walk", "algorithm=random_search", "plugins=[search.py]", "run=run", "sim.threads=1", "score_every=0"]
    assert main(["train", *words, "iterations=2"]) == 0
    assert main(["train", "resume=run", "iterations=3"]) == 0
    assert main(["export", "checkpoint=run", "output=policy.onnx"]) == 0
    assert load("policy.onnx").contract.command_range[0].tolist() == [0.0, 0.4]
    assert main(["train", "algorithm=random_search", "plugins=[search.py]", "algorithm.spread=-1"]) == 2
    assert "algorithm.spread" in capsys.readouterr().err


def test_a_robot_of_one_s_own(elsewhere, capsys):
    source = robots.load("unitree_go2").model.parent
    shutil.copytree(source, elsewhere / "robots" / "my_dog")
    path = elsewhere / "robots" / "my_dog" / "robot.yaml"
    path.write_text(path.read_text().replace("name: unitree_go2", "name: my_dog"))
    assert main(["robots", "list"]) == 0
    assert "my_dog" in capsys.readouterr().out
    assert main(["train", *TINY, "robot=my_dog", "run=run", "iterations=1"]) == 0
    assert main(["export", "checkpoint=run", "output=policy.onnx"]) == 0
    assert load("policy.onnx").contract.robot == "my_dog"


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "import sys; sys.exit()", "1 +", "raise ValueError('a\\nb')"])
def test_whatever_a_plugin_does_while_it_is_imported_is_one_error(elsewhere, capsys, code):
    (elsewhere / "bad.py").write_text(code)
    assert main(["train", *TINY, "plugins=bad.py"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return frame.action", "a tensor of shape"),
        ("return None", "a tensor of shape"),
        ("return frame.signals.joint_val", "a term that can be computed"),
        ("return frame.moving / 0.0 * 0.0", "task.rewards.mine"),
    ],
)
def test_a_reward_of_one_s_own_that_is_wrong_is_named(elsewhere, capsys, body, message):
    (elsewhere / "mine.py").write_text(f"from locomotion.task.terms import reward\n\n@reward\ndef mine(frame):\n    {body}\n")
    assert main(["train", *TINY, "plugins=[mine.py]", "task.rewards.mine={weight: 1.0}", "run=run"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "task.rewards.mine" in error


def test_an_observation_of_one_s_own_that_lies_about_its_width_is_named(elsewhere, capsys):
    (elsewhere / "mine.py").write_text(TERMS.replace("super().__init__(fixed(1))", "super().__init__(fixed(1, 1))"))
    assert main(["train", *TINY, "plugins=[mine.py]", "task.observations.actor.tilt_angle={}"]) == 2
    assert "task.observations.actor.tilt_angle.forward" in capsys.readouterr().err


def test_a_name_of_the_toolkit_s_is_not_taken_over(elsewhere, capsys):
    (elsewhere / "mine.py").write_text(
        "from locomotion.task.terms import reward\n\n@reward\ndef foot_slip(frame):\n    return frame.moving\n"
    )
    assert main(["train", *TINY, "plugins=[mine.py]"]) == 2
    assert "a name that is not taken" in capsys.readouterr().err


def test_a_configuration_with_the_name_of_the_toolkit_s_is_refused_and_not_passed_over(elsewhere, capsys):
    (elsewhere / "configs" / "task").mkdir(parents=True)
    (elsewhere / "configs" / "task" / "velocity_flat.yaml").write_text("name: mine\n")
    assert main(["train", *TINY]) == 2
    assert "a name that the toolkit does not use" in capsys.readouterr().err
