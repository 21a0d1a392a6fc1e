"""Small robots, runs and policies that tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from locomotion.gl import prepare_gl

prepare_gl()

import numpy as np
import pytest
import torch

import robots
import sim
from deploy.contract import PROVENANCE
from deploy.policy import LoadedPolicy
from locomotion import build
from locomotion.config import compose
from locomotion.export import task_fields, write_bundle
from locomotion.models.policy import Policy
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.task.task import Task

TINY = ["algorithm.num_envs=6", "algorithm.steps=8", "algorithm.minibatches=2", "algorithm.epochs=2"]
TINY += ["algorithm.actor_hidden=[16,16]", "algorithm.critic_hidden=[16,16]", "iterations=3", "threads=1", "sim.threads=1"]
TINY += ["score_every=0", "snapshot_every=2"]


def tiny_config(*overrides: str) -> dict[str, Any]:
    """The training configuration, small, as plain containers."""
    return compose("train", [*TINY, *overrides])


def tiny(*overrides: str) -> TrainSettings:
    """The training settings, small."""
    return check(TrainSettings, tiny_config(*overrides))


def make_task(*overrides: str) -> Task:
    return build.task(tiny(*overrides))


@pytest.fixture(scope="session", autouse=True)
def _stable_baselines_logs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """stable-baselines3 makes a folder for every logger, in the temporary one unless it is told where."""
    os.environ["SB3_LOGDIR"] = str(tmp_path_factory.mktemp("sb3"))


@pytest.fixture
def hangs_up() -> Iterator[None]:
    """SIGHUP as a terminal's programs have it, also where the tests run under nohup, which ignores it and all that it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def go2() -> robots.Robot:
    return robots.load("unitree_go2")


@pytest.fixture(scope="session")
def warp() -> Any:
    """Warp, its kernels compiled in half the time; a test that needs them is left out where it is not installed."""
    pytest.importorskip("mujoco_warp")
    import warp

    warp.config.optimization_level = 0
    return warp


def standing(robot: robots.Robot, n: int, yaw: float = 0.0, height: float | None = None) -> sim.InitialState:
    """``n`` robots at rest in the default pose."""
    pose = torch.tensor(robot.default_joint_pos, dtype=torch.float32)
    return sim.InitialState.standing(n, pose, robot.standing_height if height is None else height, yaw)


def only(n: int, *rows: int) -> torch.Tensor:
    """A mask [n] that is true for ``rows``; for all where none is named."""
    mask = torch.zeros(n, dtype=torch.bool)
    mask[list(rows) if rows else slice(None)] = True
    return mask


def tiny_policy(*overrides: str, seed: int = 0) -> Policy:
    """An untrained policy whose outputs are far from zero."""
    torch.manual_seed(seed)
    settings = tiny(*overrides)
    task = build.task(settings)
    learner = build.algorithm(settings, task)
    with torch.no_grad():
        for parameter in learner.actor.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    learner.actor.normalizer.update(torch.randn(500, task.encoder.size) * 2 + 0.3)
    return task.policy(learner.actor)


def bundle_fields(*overrides: str) -> dict[str, Any]:
    """What a contract says beside the robot and the policy."""
    fields = task_fields(tiny(*overrides).task)
    return {**fields, "training": {"randomization": None, "action_delay": None}, "provenance": dict.fromkeys(PROVENANCE), "scorecard": None}


def exported_targets(policy: Policy, loaded: LoadedPolicy, signals: dict[str, np.ndarray]) -> np.ndarray:
    """Joint targets [T, N, J] of what was exported, which says what was trained says, step by step under ``signals`` [T, N, ...]."""
    steps, batch = next(iter(signals.values())).shape[:2]
    memory, targets = torch.zeros(batch, policy.memory_size), []
    loaded.reset(batch)
    for t in range(steps):
        with torch.inference_mode():
            target, action, memory = policy(*(torch.from_numpy(signals[name][t]) for name in policy.inputs), memory)
        onnx_target, onnx_action = loaded.step({name: value[t] for name, value in signals.items()})
        np.testing.assert_allclose(onnx_target, target, atol=1e-5)
        np.testing.assert_allclose(onnx_action, action, atol=1e-5)
        np.testing.assert_allclose(loaded.memory, memory, atol=1e-5)
        targets.append(onnx_target.copy())
    return np.stack(targets)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, go2: robots.Robot) -> Path:
    """A policy bundle, made once."""
    path = tmp_path_factory.mktemp("bundle") / "policy.onnx"
    write_bundle(tiny_policy(), go2, bundle_fields(), path)
    return path
