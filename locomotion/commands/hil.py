"""locomotion hil"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import robots
from locomotion.files import output_file, write_json
from locomotion.schema import check
from locomotion.settings import HilSettings


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Serve a simulated robot over DDS."""
    settings = check(HilSettings, config)
    from deploy.hil.plant import PlantSettings
    from deploy.hil.server import Server, ServerSettings

    output = output_file(Path(settings.output), "output") if settings.output else None
    names = ("network", "domain", "octet", "service", "gantry", "stand", "seed", "report_every")
    server = ServerSettings(**{name: getattr(settings, name) for name in names})
    plant = PlantSettings(**settings.plant.model_dump())
    summary = Server(robots.load(settings.robot), server, plant, lambda line: print(line, flush=True)).run(settings.duration)
    if output:
        write_json(output, summary, "output")
    return 0
