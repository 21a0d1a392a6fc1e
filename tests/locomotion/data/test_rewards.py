"""Rewards from recorded signals are those that were paid, to the last bit, whatever happened on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from locomotion import build
from locomotion.config import compose
from locomotion.data.collect import collect
from locomotion.data.dataset import Dataset, Writer
from locomotion.data.episode import Steps
from locomotion.data.rewards import recomputed
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.task.task import Task
from robots.errors import InputError

EVENTFUL = "randomization.events.push={velocity: [-2.0, 2.0], interval: [0.1, 0.3]}"


def task(num_envs: int, *overrides: str) -> Task:
    words = [f"algorithm.num_envs={num_envs}", "task.episode_seconds=0.9", "sim.threads=1", *overrides]
    config = compose("train", words)
    config["task"]["curricula"] = {}
    return build.task(check(TrainSettings, config))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """Robots that flail and are pushed: some fall, some time out; longer than a block of the recorder."""
    env, folder = task(6, EVENTFUL), tmp_path_factory.mktemp("data") / "a"
    generator = torch.Generator().manual_seed(0)
    strength = torch.tensor([0.0, 0.3, 1.0, 2.0, 4.0, 4.0])[:, None]
    writer = Writer(folder, dict(env.spaces.groups), torch.stack([env.spaces.action.low, env.spaces.action.high]).numpy(), {})
    collect(env, lambda seen: strength * torch.randn(6, 12, generator=generator), 6 * 75, writer)
    env.close()
    return Dataset(folder).steps(signals=True)


def test_they_are_those_that_were_paid(recorded: Steps) -> None:
    assert len(recorded) == 450
    assert recorded.terminated.any()
    assert recorded.truncated.any()
    assert np.array_equal(recomputed(recorded, task(1)), recorded.reward)


def test_under_another_reward_they_are_others(recorded: Steps) -> None:
    alone = [
        "task.reward_floor=null",
        *(f"task.rewards.{name}=null" for name in compose("train", [])["task"]["rewards"] if name != "upright"),
    ]
    one, two = (recomputed(recorded, task(1, *alone, f"task.rewards.upright.weight={weight}")) for weight in (1.0, -2.0))
    gravity = recorded.after["projected_gravity"]
    off = (gravity[:, :2] ** 2).sum(-1) + (gravity[:, 2] + 1.0) ** 2
    assert np.allclose(one, 0.02 * np.exp(-off / 0.25), atol=1e-7)
    assert np.allclose(two, -2.0 * one, atol=1e-7)


def test_signals_are_those_around_each_step(recorded: Steps) -> None:
    """Joint positions and velocities of the observation, which has no noise for the critic, are the signals before the step."""
    inside = np.ones(len(recorded), dtype=bool)
    inside[recorded.starts] = False
    assert np.array_equal(recorded.before["joint_pos"][1:][inside[1:]], recorded.after["joint_pos"][:-1][inside[1:]])
    assert np.abs(recorded.steps["joint_pos_target"] - recorded.before["joint_pos"]).max() < 3.0
    assert np.ptp(recorded.steps["command"], axis=0).min() > 0.1


def test_what_was_not_measured_is_named(recorded: Steps) -> None:
    lacking = Steps(**{**vars(recorded), "before": {k: v for k, v in recorded.before.items() if k != "foot_vel"}})
    with pytest.raises(InputError, match="no foot_vel"):
        recomputed(lacking, task(1))
    after = {**recorded.after, "base_lin_vel": np.full_like(recorded.after["base_lin_vel"], np.nan)}
    with pytest.raises(InputError, match=r"track_lin_vel.*not measured everywhere \(base_lin_vel\)"):
        recomputed(Steps(**{**vars(recorded), "after": after}), task(1))
