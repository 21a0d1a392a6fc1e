"""locomotion finetune"""

from __future__ import annotations

from typing import Any

from locomotion.deployment import NO_NETWORK
from locomotion.finetuning.settings import FinetuneSettings
from locomotion.finetuning.start import start
from locomotion.schema import check, refuse_unused

EXITS = {"stopped": 130, "pressed": 3, "latched": 1}
"""The exit status of what did not go to its end; of what did, 0, or 1 where a person must look first."""
WORDS = {
    "stopped": "Stopped. The same command goes on.",
    "pressed": "STOPPED BY HAND, by the e-stop or the remote: nothing is learned of that run. Look at the robot. The same command goes on.",
    "latched": "The supervisor ended a run: look at the robot, and at the last log in {logs}. The same command goes on.",
}


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """A policy to a better one, on the robot."""
    settings = check(FinetuneSettings, config)
    if settings.interface == "sim":
        refuse_unused(given, NO_NETWORK)
    ended, verdict = start(settings)
    if settings.dry_run:
        return 0
    if ended in EXITS:
        print(WORDS[ended].format(logs=f"{settings.output}/logs"))
        return EXITS[ended]
    bundle = f"{settings.output}/policy.onnx"
    if verdict and verdict.get("look"):
        print(
            f"It is over, and {bundle} is the base: {verdict['worse']}. Look at the robot, and at the last log in {settings.output}/logs."
        )
        return 1
    if verdict and verdict["better"]:
        low, high = verdict["low"], verdict["high"]
        print(f"Better than the base, by {verdict['difference']:.3f} [{low:.3f}, {high:.3f}] a second of {verdict['base']:.3f}. Next:")
        print(f"  locomotion evaluate policy={bundle}")
    else:
        print(f"Nothing was shown to be better: {bundle} is the base.")
    return 0
