"""Small robots, runs and policies that tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import pytest
import torch

import robots
import sim
from locomotion import build
from locomotion.config import compose
from locomotion.export import export
from locomotion.models.policy import Policy

TINY = ["algorithm.num_envs=6", "algorithm.steps=8", "algorithm.minibatches=2", "algorithm.epochs=2"]
TINY += ["algorithm.actor_hidden=[16,16]", "algorithm.critic_hidden=[16,16]", "iterations=3", "threads=1", "sim.threads=1"]


def tiny_config(*overrides: str) -> dict[str, Any]:
    """The training configuration, small."""
    return compose("train", [*TINY, *overrides])


@pytest.fixture(scope="session")
def go2() -> robots.Robot:
    return robots.load("unitree_go2")


def standing(robot: robots.Robot, n: int, yaw: float = 0.0, height: float | None = None) -> sim.InitialState:
    """``n`` robots at rest in the default pose."""
    base_pos = torch.tensor([[0.0, 0.0, robot.standing_height if height is None else height]]).repeat(n, 1)
    quat = torch.tensor([[np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]], dtype=torch.float32).repeat(n, 1)
    pose = torch.tensor(robot.default_joint_pos, dtype=torch.float32).repeat(n, 1)
    return sim.InitialState(base_pos, quat, torch.zeros(n, 3), torch.zeros(n, 3), pose, torch.zeros_like(pose))


def tiny_policy(seed: int = 0) -> Policy:
    """An untrained policy whose outputs are far from zero."""
    torch.manual_seed(seed)
    config = tiny_config()
    task = build.task(config)
    learner = build.algorithm(config, task)
    with torch.no_grad():
        for parameter in learner.actor.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    learner.actor.normalizer.update(torch.randn(500, task.encoder.size) * 2 + 0.3)
    return Policy(task.encoder, learner.actor, task.decoder)


CONTRACT_FIELDS = {
    "control_dt": 0.02,
    "command_range": [[-1.0, 1.5], [-0.6, 0.6], [-1.0, 1.0]],
    "randomization": {},
    "provenance": {"steps": 0, "versions": {}},
    "scorecard": None,
}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, go2: robots.Robot) -> Path:
    """A policy bundle, made once."""
    path = tmp_path_factory.mktemp("bundle") / "policy.onnx"
    export(tiny_policy(), go2, CONTRACT_FIELDS, path)
    return path
