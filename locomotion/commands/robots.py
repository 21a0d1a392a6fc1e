"""locomotion robots list"""

from __future__ import annotations

import robots
from robots.errors import InputError


def run(words: list[str]) -> int:
    """Robots by name."""
    if words != ["list"]:
        raise InputError("robots", " ".join(words), "list", "Try 'locomotion robots list'.")
    for name in robots.available():
        robot = robots.load(name)
        print(f"{name:20} {robot.num_joints} joints, {len(robot.feet)} feet   {robot.model}")
    return 0
