"""locomotion dataset collect"""

from __future__ import annotations

from typing import Any

from locomotion import plugins
from locomotion.runs import collecting
from locomotion.schema import check
from locomotion.settings import CollectSettings
from locomotion.view import LiveView


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """A policy to a dataset."""
    settings = check(CollectSettings, config)
    plugins.load(settings.plugins)
    with LiveView(f"locomotion dataset collect  {settings.output}") as view:
        written = collecting.run(settings, given, lambda share: view.phase("collect", share))
    print(f"{written.total_episodes} episodes, {written.total_steps:,} steps in {settings.output}. Next:")
    print(f"  locomotion dataset inspect {settings.output}")
    learner = "iql_gymnasium" if "env_spec" in written.metadata else "iql"  # which of its settings fit
    print(f"  locomotion offline algorithm={learner} dataset={settings.output}")
    return 0
