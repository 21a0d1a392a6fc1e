"""locomotion play"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locomotion import plugins
from locomotion.evaluation import video
from locomotion.evaluation.rollout import load_policy
from locomotion.files import output_file
from locomotion.schema import check, refuse_unused
from locomotion.settings import SCORING, PlaySettings
from locomotion.view import LiveView


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Show a bundle following one command."""
    settings = check(PlaySettings, config)
    refuse_unused(given, SCORING)
    plugins.load(settings.plugins)
    path = Path(settings.policy)
    policy = load_policy(path)
    if settings.output is None:
        video.window(policy, settings.command, settings.duration, settings.sim.engine, settings.sim.actuator, settings.sim.device)
        return 0
    output = output_file(Path(settings.output), "output", path)
    with LiveView(f"locomotion play  {path}") as view:
        frames = video.rollout(policy, settings.command, settings.duration, settings.sim.engine, settings.sim.actuator, settings.sim.device)
        message = video.write(output, policy.robot, frames, policy.contract.control_dt, lambda share: view.phase("render", share))
    print(message or f"{output}")
    return 1 if message else 0
