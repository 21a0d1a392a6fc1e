"""``python -m deploy FILE.yaml``: a policy on a robot, behind the supervisor and the guard. Needs numpy, onnxruntime and a yaml reader.

    policy: policy.onnx                 # beside this file
    interface: {name: unitree_dds, network: eth0}
    duration: 25                        # s; then the robot comes to rest and lies down
    commands: [[0, [0.5, 0, 0]]]        # from that second of the walk on, by the policy's command names; or keyboard, or remote
    limits: {max_tilt: 0.6}             # where they are not to be the defaults
    calibration: go2.yaml               # joint_zero, imu_mount, yaw_bias of this very robot; beside this file
    estop: {key: estop.key}             # run only while 'python -m deploy estop FILE.yaml' answers; docs/guard.md
    heading_hold: true                  # keep the heading while nobody turns the robot
    interpolate: true                   # lead targets from step to step, at 500 Hz, in place of holding them
    dry_run: true                       # read, decide and log; send nothing
    log: run.mcap                       # beside this file

``python -m deploy inspect policy.onnx`` prints what a policy demands and whether this computer may run it, ``python -m deploy doctor
FILE.yaml`` what is wrong with the set-up, before anything moves; ``python -m deploy estop FILE.yaml`` is the operator's e-stop. On a
terminal a run shows itself.

What the run came to is printed as JSON. The exit status is 0 if it passed, or nothing was found, 1 if not, 2 if it could not begin.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

import robots
from deploy import calibration, estop
from deploy.connect import Extras, connect
from deploy.dashboard import attended
from deploy.examine import examine
from deploy.guard import GuardError
from deploy.inspection import inspect
from deploy.interface import RealTime
from deploy.log import Recorder
from deploy.operator import Operator, Stop
from deploy.policy import RobotPolicy, load
from deploy.runtime import Runtime
from deploy.summary import summarize
from deploy.supervisor import Limits
from robots import InputError, yaml_file
from robots.errors import nearest

REQUIRED = ("policy", "interface", "duration", "commands")
FLAGS = ("dry_run", "heading_hold", "interpolate")
LONGEST = 86400  # s
OPTIONAL = ("limits", "calibration", "log", "estop", *FLAGS)


def main(arguments: list[str]) -> int:
    """The exit status."""
    if arguments and arguments[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    action = ACTIONS.get(arguments[0]) if len(arguments) == 2 else _run if len(arguments) == 1 else None
    if action is None:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return action(Path(arguments[-1]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(path: Path) -> int:
    runtime, duration, operator = prepare(path)
    dry_run = read(path)["dry_run"]
    try:
        with attended(runtime, operator, dry_run):
            runtime.run(duration, operator, Stop.NONE if dry_run else Stop.SETTLE)
    except GuardError as error:
        print(f"stopped: {error}", file=sys.stderr)
    finally:
        summary = summarize(runtime)
        _say(json.dumps(summary, indent=2))
    return 0 if summary["passed"] else 1


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever read the output has gone, such as head: the exit status stays what was found
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _inspect(path: Path) -> int:
    found = inspect(path)
    _say("\n".join(found.lines))
    return 0 if found.may_run else 1


def _doctor(path: Path) -> int:
    settings = read(path)
    policy = load(path.parent / settings["policy"])
    found = examine(robots.load(policy.contract.robot), policy.contract.control_dt, settings["interface"])
    _say("\n".join(found.lines()))
    return 1 if any(finding.error for finding in found.findings) else 0


def _estop(path: Path) -> int:
    settings = _yaml(path).get("estop")  # of a file that may say nothing else: the operator's computer needs no policy
    if settings is None:
        raise InputError("estop", None, "a key", "For example estop: {key: estop.key}.")
    _mapping("estop", settings)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts it in the background has it ignored
    return estop.attend(estop.place(settings, path.parent))


ACTIONS: dict[str, Callable[[Path], int]] = {"inspect": _inspect, "doctor": _doctor, "estop": _estop}


def prepare(path: Path) -> tuple[Runtime, float, Operator]:
    """All that a run needs, the guard started last. Raises InputError, also where the robot cannot be reached."""
    settings = read(path)
    loaded = load(path.parent / settings["policy"])
    policy, limits = RobotPolicy(loaded, robots.load(loaded.contract.robot)), settings["limits"]
    own = calibration.read(path.parent / settings["calibration"], policy.robot) if settings["calibration"] else None
    log = Recorder(path.parent / settings["log"] if settings["log"] else None, policy.robot, policy.contract, limits)
    extras = Extras(settings["estop"], settings["heading_hold"], settings["interpolate"], path.parent)
    with extras.beside(policy.contract) as (switch, heading):
        interface, supervisor, operator = connect(
            policy, limits, settings["interface"], settings["commands"], own, settings["dry_run"], extras.interpolate
        )
        runtime = Runtime(policy, interface, supervisor, RealTime(), log, switch, heading)
    return runtime, settings["duration"], operator


def read(path: Path) -> dict[str, Any]:
    """The settings of a file, its values of the right kind. Raises InputError."""
    settings = _yaml(path)
    if missing := [name for name in REQUIRED if name not in settings]:
        raise InputError(missing[0], None, "a value", f"Add {missing[0]}.")
    if not isinstance(settings["policy"], str):
        raise InputError("policy", settings["policy"], "the path of a policy.onnx", "It is relative to this file's folder.")
    duration = settings["duration"]
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 < duration <= LONGEST:
        raise InputError("duration", duration, f"seconds above zero, {LONGEST:g} at most", "For example duration: 25.")
    way = settings["interface"]
    interface = _mapping("interface", {"name": way} if isinstance(way, str) else way)
    if not isinstance(interface.get("name"), str):
        raise InputError("interface", interface, "a name, and options", "For example interface: {name: sim}.")
    limits = _mapping("limits", settings.get("limits", {}), tuple(Limits.__dataclass_fields__))
    for name in ("calibration", "log"):
        if not isinstance(settings.setdefault(name, None), str | None):
            raise InputError(name, settings[name], "the path of a file", "It is relative to this file's folder.")
    for name in FLAGS:
        if not isinstance(settings.setdefault(name, False), bool):
            raise InputError(name, settings[name], "true or false", f"For example {name}: true.")
    if settings.setdefault("estop", None) is not None:
        _mapping("estop", settings["estop"])
    return settings | {"interface": interface, "limits": Limits(**limits)}


def _yaml(path: Path) -> dict[str, Any]:
    """The settings of a file, all of them known."""
    try:
        settings = yaml_file.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("file", str(path), "a YAML file", f"{error}") from error
    return _mapping("file", settings, (*REQUIRED, *OPTIONAL))


def _mapping(field: str, value: object, known: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(field, value, "names with values", "Write lines such as duration: 25.")
    for key in value:
        if known and key not in known:
            raise InputError(f"{field}.{key}", value[key], f"one of {', '.join(known)}", nearest(key, known))
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
