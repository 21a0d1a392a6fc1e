"""locomotion evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locomotion import plugins
from locomotion.commands import robustness
from locomotion.evaluation import scorecard
from locomotion.files import output_file, write_json
from locomotion.schema import check
from locomotion.settings import EvaluateSettings
from locomotion.view import LiveView, print_scores
from robots.errors import InputError


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Bundle to scorecard."""
    settings = check(EvaluateSettings, config)
    plugins.load(settings.plugins)
    if settings.sweep:
        return robustness.run(settings)
    if settings.against:
        raise InputError(
            "against", settings.against, "a policy to draw beside in a sweep", "Add sweep=randomization, or see 'locomotion compare'."
        )
    policy = Path(settings.policy)
    if settings.output:
        output_file(Path(settings.output), "output")  # before the work, so that it is not lost
    with LiveView(f"locomotion evaluate  {policy}") as view:
        card = scorecard.score_file(
            policy,
            {settings.sim.engine: settings.episodes},
            settings.randomization,
            settings.seed,
            lambda name, share: view.phase(name, share),
            settings.gait,
            settings.sim.actuator,
            settings.sim.device,
        )
    print_scores(card["scores"])
    outside = max(figures["outside"] for conditions in card["scores"].values() for figures in conditions.values())
    if outside:
        print(f"{outside} of the commands lie outside the range that the policy was trained for: clipped to it, as on the robot")
    if settings.output:
        write_json(Path(settings.output), card, "output")
    return 0
