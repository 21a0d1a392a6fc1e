"""locomotion identify excite"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import robots
from deploy.gate import Gate
from deploy.limits import Limits
from locomotion.files import output_file
from locomotion.identification import excitation, excite
from locomotion.schema import check
from locomotion.settings import ExciteSettings

WAYS = {"ground": excitation.on_ground, "stand": excitation.on_stand}


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """A motion as a bundle, and how to run it."""
    settings = check(ExciteSettings, config)
    robot, output, limits = robots.load(settings.robot), output_file(Path(settings.output), "output"), Limits()
    targets = WAYS[settings.place](robot, settings.seconds, settings.control_dt, settings.seed)
    excite.write(robot, targets, settings.control_dt, output)
    whole = limits.stand_up_seconds + Gate.seconds(robot, limits) + len(targets) * settings.control_dt
    print(f"{output}: {len(targets) * settings.control_dt:g} s. On the simulated robot first, then interface=unitree_dds:")
    print(f'  locomotion deploy policy={output} interface=sim commands="[[0,[]]]" duration={whole:.1f} output=excited')
    if settings.place == "ground":
        print("  locomotion identify excited/deploy_log.mcap")
    else:
        print("Its log is for your own study: 'locomotion identify' takes a robot to be on the ground, and cannot use it yet.")
    return 0
