"""locomotion robots list | check NAME | show NAME [output=picture.png] | import FILE [output=robots/NAME]"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import robots
from locomotion.files import output_file, write_atomically, writing
from robots.errors import InputError, nearest


def run(words: list[str]) -> int:
    """Exit status 0: done; 1: a check failed."""
    action, *rest = words or ["list"]
    if action not in ACTIONS:
        raise InputError("robots", action, f"one of {', '.join(ACTIONS)}", nearest(action, ACTIONS))
    return ACTIONS[action](rest)


def _arguments(action: str, words: list[str], what: str) -> tuple[str, str | None]:
    """The one positional argument, and ``output=`` where it is given."""
    names = [word for word in words if not word.startswith("output=")]
    outputs = [word.partition("=")[2] for word in words if word.startswith("output=")]
    if len(names) != 1 or len(outputs) > 1 or "" in outputs:
        raise InputError(f"robots {action}", " ".join(words), f"{what}, and at most one output=", "See 'locomotion robots --help'.")
    return names[0], outputs[0] if outputs else None


def _list(words: list[str]) -> int:
    """Robots by name."""
    if words:
        raise InputError("robots list", " ".join(words), "nothing further", "Try 'locomotion robots list'.")
    status = 0
    for robot in robots.available():
        name = robot
        try:
            for name in (robot, *robots.variants(robot)):
                found = robots.load(name)
                print(f"{name:20} {found.num_joints} joints, {len(found.feet)} feet   {found.model}")
        except InputError as error:
            print(f"{name:20} cannot be used: {error}")
            status = 1
    return status


def _check(words: list[str]) -> int:
    """What is wrong with a robot; 1 if it cannot be used so."""
    name, output = _arguments("check", words, "a robot")
    if output is not None:
        raise InputError("robots check", f"output={output}", "a robot alone", "The findings are printed.")
    from robots.findings import findings

    found = findings(name)
    for finding in found:
        print(finding)
    errors = sum(finding.error for finding in found)
    print(f"{name}: {errors} errors, {len(found) - errors} warnings" if found else f"{name}: nothing found; it stands")
    return 1 if errors else 0


def _show(words: list[str]) -> int:
    """A robot's table, and its picture in ``output``."""
    name, output = _arguments("show", words, "a robot")
    from locomotion.gl import prepare_gl

    prepare_gl()
    from robots import show

    robot = robots.load(name)
    print(show.table(robot))
    if output is None:
        return 0
    path = output_file(Path(output), "output")
    try:
        picture = show.picture(robot)
    except Exception as error:  # each GL backend raises types of its own
        print(f"no picture: nothing here can render ({type(error).__name__}: {error}); install libegl1 (Debian), or mend MUJOCO_GL")
        return 1
    from matplotlib.image import imsave

    with writing("output", path):
        write_atomically(path, lambda stream: imsave(stream, picture, format="png"))
    print(f"\npicture {path}")
    return 0


def _import(words: list[str]) -> int:
    """A robot folder from a URDF or an MJCF, and what was guessed; 1 if it does not stand."""
    file, output = _arguments("import", words, "a URDF or an MJCF")
    from robots.importer import import_robot

    folder = Path(output or Path("robots") / Path(file).stem)
    with writing("output", folder):
        imported = import_robot(Path(file), folder)
    robot, stood = imported.robot, imported.stood
    print(f"{folder}: {robot.num_joints} joints, {len(robot.feet)} feet, base {robot.standing_height:g} m above the ground")
    print("guessed, to be confirmed or mended in robot.yaml:")
    for line in imported.guessed:
        print(f"  {line}")
    if stood.fallen:
        print("it falls within 10 s under its gains: 'locomotion robots check' says more")
    else:
        print(f"it stands for 10 s: sags by {100 * (1 - stood.height / robot.standing_height):.1f} %, tilts by {stood.tilt:.3f}")
    name = robot.name if robot.name in robots.available() else f"{folder}/"
    print(f"next: locomotion robots show {folder}/ output={robot.name}.png; locomotion train robot={name}")
    return 1 if stood.fallen else 0


ACTIONS: dict[str, Callable[[list[str]], int]] = {"list": _list, "check": _check, "show": _show, "import": _import}
