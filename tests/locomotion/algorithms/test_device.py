"""PPO and SAC keep all they have on the environment's device: on torch's ``meta`` device two devices in one operation raise."""

import pytest
import torch

import robots
from locomotion import build
from locomotion.config import compose
from locomotion.environment import Ended, Transition
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.task.task import Task
from tests.conftest import tiny
from tests.locomotion.task.test_device import MetaSimulator

META, N = torch.device("meta"), 6


class MetaEnvironment:
    """The sizes of a task, on a device without values."""

    def __init__(self, spaces):
        self.spaces, self.num_envs, self.device, self.step_seconds, self._steps = spaces, N, META, 0.02, 0

    def _seen(self, rows):
        return {name: torch.zeros(rows, width, device=META) for name, width in self.spaces.groups.items()}

    @property
    def observations(self):
        return self._seen(N)

    def step(self, action):
        assert action.device == META
        self._steps += 1
        return Transition(self._seen(N), *torch.zeros(2, N, dtype=torch.bool, device=META))

    def ended(self):
        none = torch.zeros(0, dtype=torch.int64, device=META)
        return Ended(none, none, self._seen(0))

    def rewards(self):
        steps, self._steps = self._steps, 0
        return torch.zeros(steps, N, device=META)


@pytest.fixture
def host_generators(monkeypatch):
    """That device has none of its own."""
    generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", type("Generator", (generator,), {"__new__": lambda cls, device="cpu": generator()}))


def test_a_rollout_of_ppo_looks_at_no_value(host_generators):
    """Policy and task together, with resets, commands, events and everything randomized: any look would raise."""
    settings = tiny()
    task = Task(settings.task, MetaSimulator(N), settings.randomization, seed=1)
    learner = build.algorithm(settings, task)
    with torch.inference_mode():
        learner.rollout.collect(learner.generator)
    assert learner.rollout.action.device == META


@pytest.mark.parametrize(
    "words",
    [
        ("algorithm=ppo", "algorithm.steps=8"),
        ("algorithm=sac_robot", "algorithm.warm_up=6", "algorithm.rounds=3", "algorithm.updates=2", "algorithm.capacity=6000"),
    ],
)
def test_an_iteration_stays_on_the_environment_s_device(words, host_generators, monkeypatch):
    settings = check(TrainSettings, compose("train", [*words, f"algorithm.num_envs={N}"]))
    # what that device lacks, too: values for the learner's figures
    monkeypatch.setattr(torch.Tensor, "__float__", lambda self: 0.01, raising=False)
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: [0.0] * self.numel())
    spaces = build.modules(robots.load(settings.robot), settings.task)[2]
    learner = build.algorithm(settings, MetaEnvironment(spaces))
    learner.iterate()
    assert {tensor.device for tensor in learner.actor.state_dict().values()} == {META}
