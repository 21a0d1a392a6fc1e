"""locomotion deploy"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from locomotion.deployment import NO_NETWORK, conditions_of, extras_of, run_deployment
from locomotion.schema import check, refuse_unused
from locomotion.settings import DeploySettings
from robots.errors import InputError


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Run a bundle behind the safety layer."""
    settings = check(DeploySettings, config)
    output = Path(settings.output) if settings.output else None
    dds = {"network": settings.network, "domain": settings.domain, "release": settings.release}
    others = settings.dry_run or settings.calibration or settings.estop or settings.interpolate or isinstance(settings.commands, str)
    if settings.hurry and (settings.interface != "sim" or others):
        raise InputError("hurry", True, "interface=sim and a script of commands alone", "A robot and a person live in real time.")
    if settings.plant and settings.interface != "sim":
        raise InputError("plant", settings.plant, "interface=sim: what a robot meets, it meets", "Leave plant out.")
    if settings.interface == "sim":
        refuse_unused(given, NO_NETWORK)
    own = {"conditions": conditions_of(settings.plant)} if settings.interface == "sim" else dds
    way = {"name": settings.interface, **own}
    summary = run_deployment(
        Path(settings.policy),
        settings.duration,
        settings.commands,
        settings.deploy,
        output,
        way,
        Path(settings.calibration) if settings.calibration else None,
        settings.dry_run,
        extras_of(settings),
        settings.hurry,
        dashboard=True,
    )
    print(json.dumps({key: value for key, value in summary.items() if key != "events"}, indent=2))
    for event in summary["events"]:
        print(f"{event['time']:8.3f} s  {event['kind']:12} {event['detail']}")
    return 0 if summary["passed"] else 1
