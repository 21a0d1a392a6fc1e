"""What a fine-tuning leaves in its folder beside its state: the base, a line a run, what they came to."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from locomotion.export import export_checkpoint
from locomotion.finetuning.base import Base
from locomotion.finetuning.batch import Measure
from locomotion.finetuning.runner import Outcome
from locomotion.models.actor_critic import Actor
from locomotion.runs import checkpoint


def base_bundle(base: Base, folder: Path) -> Path:
    """The base as a bundle, for its contract and to compare with; written once."""
    path, source, data = folder / "base.onnx", folder / "base.pt", checkpoint.to_bytes(base.state)
    if not path.exists() or not source.exists() or checkpoint.digest(source.read_bytes()) != checkpoint.digest(data):
        path.unlink(missing_ok=True)  # of another policy: a start that was cut before its first run
        checkpoint.write(source, data)
        export_checkpoint(source, path)
    return path


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The good lines of ``metrics.jsonl``, the newest of each run, in order."""
    rows: dict[int, dict[str, Any]] = {}
    path = folder / "metrics.jsonl"
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            rows[row["run"]] = row
    return [rows[number] for number in sorted(rows)]


def mark(actor: Actor) -> bytes:
    """What tells a policy from others that began as the same base: its last layer, in which 0 has no sign."""
    last = actor.network[-1]
    return (torch.cat([last.weight.flatten(), last.bias]).detach() + 0.0).numpy().tobytes()


def told(outcome: Outcome, measure: Measure) -> dict[str, Any]:
    """Of a run, for metrics.jsonl."""
    rewards: dict[str, list[float]] = {}
    for one in outcome.episodes:
        rewards.setdefault(one.walk.who, []).append(measure.walked(one).reward)
    return {
        "reward": {who: float(np.mean(values)) for who, values in rewards.items()},
        "ended": [one.ended for one in outcome.episodes], "changed": [float(one.changed.mean()) for one in outcome.episodes],
        "interventions": dict(outcome.interventions), "findings": outcome.findings, "temperature": float(outcome.temperature.max()),
        "torque_share": max(
            (float((np.abs(one.columns["joint_torque"]) / measure.base.robot.effort_limit).max()) for one in outcome.episodes), default=0.0
        ),
    }  # fmt: skip


def cut_logs(folder: Path) -> list[str]:
    """Of runs that were stopped or killed, and walked again: named by the run's number, and how many there were before."""
    return sorted(path.name for path in (folder / "logs").glob("run_*.[0-9]*.mcap"))


def counted(folder: Path) -> dict[str, Any]:
    """Of all runs, for summary.json."""
    rows = read_rows(folder)
    return {
        "rolled_back": sum(row.get("rolled_back", False) for row in rows),
        "refused_by_the_gate": sum(bool(row.get("gate_why")) for row in rows),
        "latched": [row["latched"] for row in rows if "latched" in row], "findings": sum(row["findings"] for row in rows),
        "torque_share": max((row["torque_share"] for row in rows), default=0.0), "logs_of_cut_runs": cut_logs(folder),
    }  # fmt: skip
