"""locomotion report"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locomotion.evaluation import report
from locomotion.schema import check
from locomotion.settings import ReportSettings


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Run folder to page."""
    print(report.write(Path(check(ReportSettings, config).run)))
    return 0
