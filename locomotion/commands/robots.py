"""locomotion robots list"""

from __future__ import annotations

import robots
from robots.errors import InputError


def run(words: list[str]) -> int:
    """Robots by name."""
    if words not in (["list"], []):
        raise InputError("robots", " ".join(words), "list", "Try 'locomotion robots list'.")
    status = 0
    for name in [entry for robot in robots.available() for entry in (robot, *robots.variants(robot))]:
        try:
            robot = robots.load(name)
        except InputError as error:
            print(f"{name:20} cannot be used: {error}")
            status = 1
            continue
        print(f"{name:20} {robot.num_joints} joints, {len(robot.feet)} feet   {robot.model}")
    return status
