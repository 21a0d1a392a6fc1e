"""locomotion finetune"""

from __future__ import annotations

from typing import Any

from locomotion.finetuning.settings import FinetuneSettings
from locomotion.finetuning.start import start
from locomotion.schema import check


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """A policy to a better one, on the robot."""
    settings = check(FinetuneSettings, config)
    ended, verdict = start(settings)
    if settings.dry_run:
        return 0
    if ended == "latched":
        print(f"The supervisor ended a run: look at the robot, and at the last log in {settings.output}/logs. The same command goes on.")
        return 1
    if ended == "stopped":
        print("Stopped. The same command goes on.")
        return 130
    if verdict and verdict["better"]:
        low, high, bundle = verdict["low"], verdict["high"], f"{settings.output}/policy.onnx"
        print(f"Better than the base, by {verdict['difference']:.3f} [{low:.3f}, {high:.3f}] a second of {verdict['base']:.3f}. Next:")
        print(f"  locomotion evaluate policy={bundle}")
    else:
        print(f"Nothing was shown to be better: {settings.output}/policy.onnx is the base.")
    return 0
