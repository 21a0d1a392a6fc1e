"""Hand-made bundles and a run's folder, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import robots
from tests.conftest import tiny_config
from tests.deploy import bundles


@pytest.fixture(scope="session")
def standing_bundle(tmp_path_factory: pytest.TempPathFactory, go2: robots.Robot) -> Path:
    """A policy that holds the default pose whatever it is told."""
    return bundles.write_tiny(tmp_path_factory.mktemp("standing") / "policy.onnx", go2, weight=0.0)


def write_run(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> Path:
    """A run's folder as training leaves it, without checkpoints."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text("# locomotion train\n" + yaml.safe_dump(tiny_config() | settings))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def metrics_row(iteration: int, score: float = 0.5, **more: float) -> dict[str, Any]:
    """One line of metrics.jsonl."""
    return {
        "iteration": iteration, "steps": 48 * iteration, "seconds": 2.0 * iteration, "steps_per_second": 24.0, "score": score,
        "smoothed_score": score, "falls": 1, "timeouts": 0, "faults": 0, "reward/tracking": 0.1, "metric/tracking": score,
        "loss/value": 0.3, "policy/std": 0.5, **more,
    }  # fmt: skip
