"""locomotion tasks import FILE robot=NAME [output=FOLDER] [name=NAME] [class=NAME]"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

from robots.errors import InputError, nearest

KEYS = ("robot", "output", "name", "class")


def run(words: list[str]) -> int:
    """Exit status 0: done."""
    action, *rest = words or [""]
    if action not in ACTIONS:
        raise InputError("tasks", action, f"one of {', '.join(ACTIONS)}", nearest(action, ACTIONS))
    return ACTIONS[action](rest)


def _import(words: list[str]) -> int:
    """A task of isaacgymenvs or legged_gym as files of ours, and a list of what has no counterpart."""
    files = [word for word in words if "=" not in word]
    given = {key: value for key, _, value in (word.partition("=") for word in words if "=" in word)}
    if len(files) != 1 or not set(given) <= set(KEYS) or "" in given.values() or "robot" not in given:
        allowed = f"one file, such as Anymal.yaml or a1_config.py, robot=NAME, and at most one each of {', '.join(KEYS[1:])}"
        raise InputError("tasks import", " ".join(words), allowed, "See 'locomotion tasks --help'.")
    import robots
    from locomotion.adapters import isaac_files, isaac_import, isaac_settings

    robot = robots.load(given["robot"])
    found = isaac_import.import_task(isaac_settings.read(Path(files[0]), given.get("class")), robot, given.get("name"))
    folder = Path(given.get("output", "."))
    paths = isaac_files.write(found, robot, folder)
    for kind, path in paths.items():
        print(f"{kind + ':':14} {path}")
    print("\nwhat only resembles it:")
    for key, text in found.resembles.items():
        print(f"  {key}: {text}")
    for note in found.notes:
        print(f"  {note}")
    print(f"\nwithout a counterpart ({paths['task']} has each with its value):")
    for why, names in found.left_by_reason().items():
        print(textwrap.fill(f"{why}: {', '.join(names)}", 130, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))
    here = "" if folder.resolve() == Path.cwd() else f"cd {folder}; "
    name = found.name
    print(f"\nnext: {here}locomotion train robot={name} task={name} randomization={name} sim.physics_dt={found.physics_dt:g}")
    if "policy" in paths:
        print(f"      {here}locomotion policies import policies/{name}.yaml    once its checkpoint lies beside it")
    return 0


ACTIONS: dict[str, Callable[[list[str]], int]] = {"import": _import}
