"""locomotion export"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locomotion.export import export_checkpoint
from locomotion.files import output_file, read_json
from locomotion.runs.checkpoint import find
from locomotion.schema import check
from locomotion.settings import ExportSettings


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Checkpoint to bundle."""
    settings = check(ExportSettings, config)
    output = output_file(Path(settings.output), "output")
    scorecard = read_json(Path(settings.scorecard), "scorecard", ("scores",))["scores"] if settings.scorecard else None
    export_checkpoint(find(settings.checkpoint, "checkpoint"), output, scorecard)
    print(f"{output}: {output.stat().st_size / 1024:.0f} KiB, verified. Next:")
    print(f"  locomotion evaluate policy={output}")
    return 0
