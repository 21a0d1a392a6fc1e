"""locomotion export"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from locomotion.evaluation import scorecard, sim_to_sim, sim_to_sim_page
from locomotion.export import export_checkpoint
from locomotion.files import output_file, read_json
from locomotion.runs.checkpoint import find
from locomotion.schema import check, refuse_unused
from locomotion.settings import SCORING, ExportSettings
from locomotion.task.randomization import NOMINAL
from locomotion.view import LiveView, print_table
from robots.errors import InputError

NO_GATE = "Engines are for a gate between several"


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Checkpoint to bundle, where the gate is passed."""
    settings = check(ExportSettings, config)
    asked = sim_to_sim.check_gate([one.engine for one in settings.sim], settings.gate)
    without = {} if asked or len(settings.sim) > 1 else dict.fromkeys((key for key in given if key.startswith("sim")), NO_GATE)
    refuse_unused(given, SCORING | without)
    checkpoint = find(settings.checkpoint, "checkpoint")
    output = output_file(Path(settings.output), "output", checkpoint, settings.scorecard)
    scores = read_json(Path(settings.scorecard), "scorecard", ("scores",))["scores"] if settings.scorecard else None
    if asked:
        failed = _failed(settings, checkpoint)
        if failed:
            kept = ": what is there is older" if output.exists() else ""
            print("\n".join([*(f"gate: {line}" for line in failed), f"gate: not passed, {output} is not written{kept}"]))
            return 1
        print("gate: passed")
    elif len(settings.sim) > 1:
        raise InputError("gate", None, "what to keep in the second engine", "For example gate.tracking=0.95 gate.falls=0.")
    export_checkpoint(checkpoint, output, scores)
    print(f"{output}: {output.stat().st_size / 1024:.0f} KiB, verified. Next:")
    print(f"  locomotion evaluate policy={output}")
    return 0


def _failed(settings: ExportSettings, checkpoint: Path) -> list[str]:
    """What the bundle lacks of the gate, each command of the grid once in each engine."""
    engines = [one.engine for one in settings.sim]
    with tempfile.TemporaryDirectory() as folder, LiveView(f"locomotion export  {checkpoint}") as view:
        bundle = Path(folder) / "policy.onnx"
        export_checkpoint(checkpoint, bundle)
        episodes = dict.fromkeys(engines, len(scorecard.GRID))
        device = next((one.device for one in settings.sim if one.device), None)
        card = scorecard.score_file(bundle, episodes, NOMINAL, 0, view.phase, False, settings.sim[0].actuator, device)
    rows = sim_to_sim.matrix(card["scores"])
    print_table(f"nominal, and as a share of {engines[0]}'s", *sim_to_sim_page.table(rows))
    return sim_to_sim.shortfalls(rows, settings.gate)
