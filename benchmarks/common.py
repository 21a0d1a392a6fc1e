"""What benchmarks share: a configuration, a robust timer, and the machine."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from locomotion import build
from locomotion.config import compose
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.task.task import Task
from sim.mujoco_batch import cpu_count


def settings(*overrides: str) -> TrainSettings:
    """The default training settings."""
    return check(TrainSettings, compose("train", list(overrides)))


def make_task(num_envs: int, *overrides: str) -> Task:
    """The default training task."""
    return build.task(settings(f"algorithm.num_envs={num_envs}", *overrides))


def seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def machine() -> str:
    return f"{cpu_count()} CPUs, torch {torch.__version__} with {torch.get_num_threads()} threads"
