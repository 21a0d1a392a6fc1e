"""What benchmarks share: a configuration, a robust timer, and a table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import torch
from locomotion.task.velocity import VelocityTask

from locomotion import build
from locomotion.config import compose


def make_task(num_envs: int, *overrides: str) -> tuple[dict[str, Any], VelocityTask]:
    """The default training task, reset."""
    config = compose("train", [f"algorithm.num_envs={num_envs}", *overrides])
    task = build.task(config)
    task.reset()
    return config, task


def seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def machine() -> str:
    return f"{len(os.sched_getaffinity(0))} CPUs, torch {torch.__version__} with {torch.get_num_threads()} threads"
