"""locomotion dataset from-logs LOG... output=FOLDER"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locomotion.runs import from_logs
from locomotion.schema import check
from locomotion.settings import FromLogsSettings


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Logs of deployments to a dataset."""
    settings = check(FromLogsSettings, config)
    written = from_logs.run(settings, [Path(path) for path in settings.logs])
    about = written.metadata["locomotion"]
    for name, count in about["counts"].items():
        if count:
            print(f"  {name:44} {count:,}")
    if about["rewards_left_out"]:
        print(f"  rewards left out, which no robot measures:   {', '.join(about['rewards_left_out'])}")
    print(f"{written.total_episodes} episodes, {written.total_steps:,} steps in {settings.output}. Next:")
    print(f"  locomotion dataset inspect {settings.output}")
    critic = "" if "critic" in written.groups else " algorithm.critic_group=actor"
    print(f"  locomotion offline algorithm=iql dataset={settings.output}{critic}")
    return 0
