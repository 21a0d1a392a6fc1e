"""locomotion train"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locomotion import build, plugins
from locomotion.runs.start import resume, start
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.view import LiveView


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Train, or go on with a run. ``given`` holds the settings that the person gave."""
    settings = check(TrainSettings, config)
    plugins.load(settings.plugins)
    with LiveView("locomotion train") as view:

        def view_of(folder: Path) -> LiveView:
            view.title = f"locomotion train  {folder}"
            return view

        if settings.resume is not None:
            done, folder = resume(settings.resume, given, view_of, view.say)
        else:
            done, folder = start(settings, view_of, view.say)
        view.phase("train", 1.0)
    print(f"{done.iteration} iterations, {done.steps:,} steps in {done.seconds:.0f} s. Next:")
    if build.actor_group(check(TrainSettings, done.config)) == "actor":
        print(f"  locomotion export checkpoint={folder}/best.pt output={folder}/policy.onnx")
    else:
        print(f"  locomotion train algorithm=distill algorithm.teacher={folder}/best.pt")
    return 0
