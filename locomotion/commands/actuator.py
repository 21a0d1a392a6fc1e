"""locomotion actuator fit LOG..."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from locomotion.files import make_folder
from locomotion.identification import actuator_result
from locomotion.identification.actuator import How, fit
from locomotion.identification.recording import read_recordings
from locomotion.schema import check
from locomotion.settings import ActuatorSettings


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Logs to an actuator network and a page. Exit status 1 where the network is no better than the law, and is not written."""
    import torch

    settings = check(ActuatorSettings, config)
    torch.set_num_threads(settings.threads)
    logs = [Path(log) for log in settings.logs]
    recordings = read_recordings(logs, settings.robot)
    output = make_folder(Path(settings.output) if settings.output else logs[0].with_name(f"{logs[0].stem}_actuator"), "output")
    how = How(**{field.name: getattr(settings, field.name) for field in fields(How)})
    found = fit(recordings, how, lambda words: print(f"  {words}", flush=True))
    result = actuator_result.write(found, output, logs)
    print("\n".join(actuator_result.lines(result)))
    print(output / "actuator.html")
    if not result["network"]:
        return 1
    print(f"Next: {actuator_result.command(result, Path(result['network']))}")
    return 0
