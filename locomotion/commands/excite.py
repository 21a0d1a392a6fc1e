"""locomotion identify excite"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import robots
from deploy.gate import Gate
from deploy.limits import Limits
from locomotion.files import output_file
from locomotion.identification import excitation, excite
from locomotion.schema import check
from locomotion.settings import ExciteSettings
from robots.errors import InputError

WAYS = {"ground": excitation.on_ground, "stand": excitation.on_stand}


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """A motion as a bundle, and how to run it."""
    settings = check(ExciteSettings, config)
    robot, output, limits = robots.load(settings.robot), output_file(Path(settings.output), "output"), Limits()
    held = _held(settings)
    targets = np.repeat(WAYS[settings.place](robot, settings.seconds, held * settings.control_dt, settings.seed), held, axis=0)
    excite.write(robot, targets, settings.control_dt, output, settings.place)
    whole = limits.stand_up_seconds + Gate.seconds(robot, limits) + len(targets) * settings.control_dt
    print(f"{output}: {len(targets) * settings.control_dt:g} s. On the simulated robot first, then interface=unitree_dds:")
    plant = 'plant="{stand: true}" ' if settings.place == "stand" else ""
    print(f'  locomotion deploy policy={output} interface=sim {plant}commands="[[0,[]]]" duration={whole:.1f} output=excited')
    print("  locomotion identify excited/deploy_log.mcap")
    return 0


def _held(settings: ExciteSettings) -> int:
    """Steps that each target is held. Raises InputError where they are no whole number."""
    steps = (settings.hold or settings.control_dt) / settings.control_dt
    if abs(steps - round(steps)) > 1e-6 or round(steps) < 1:
        raise InputError(
            "hold", settings.hold, f"a multiple of control_dt, {settings.control_dt:g} s", "For example control_dt=0.005 hold=0.02."
        )
    return round(steps)
