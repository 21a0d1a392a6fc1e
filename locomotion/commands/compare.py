"""locomotion compare"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locomotion.evaluation import compare
from locomotion.files import output_file
from locomotion.schema import check
from locomotion.settings import CompareSettings


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Several run folders to one table."""
    settings = check(CompareSettings, config)
    print(compare.table([Path(run) for run in settings.runs], output_file(Path(settings.output), "output") if settings.output else None))
    return 0
