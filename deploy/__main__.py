"""``python -m deploy FILE.yaml``: a policy on a robot, behind the supervisor and the guard. Needs numpy, onnxruntime and a yaml reader.

    policy: policy.onnx                 # beside this file
    interface: {name: unitree_dds, network: eth0}
    duration: 25                        # s
    commands: [[0, [0.5, 0, 0]]]        # from that second of the walk on, by the policy's command names
    limits: {max_tilt: 0.6}             # where they are not to be the defaults

What the run came to is printed as JSON. The exit status is 0 if it passed, 1 if it did not, 2 if it could not begin.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import yaml

import robots
from deploy.connect import way_to
from deploy.guard import GuardDead, GuardError, lease
from deploy.guard_process import GuardedInterface
from deploy.interface import RealTime
from deploy.operator import ScriptedOperator
from deploy.policy import RobotPolicy, load
from deploy.runtime import Runtime
from deploy.summary import summarize
from deploy.supervisor import Limits, Supervisor
from robots import InputError
from robots.errors import nearest

REQUIRED = ("policy", "interface", "duration", "commands")
OPTIONAL = ("limits",)


def main(arguments: list[str]) -> int:
    """The exit status."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        runtime, duration, operator = prepare(Path(arguments[0]))
    except (InputError, GuardDead) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        runtime.run(duration, operator)
    except GuardError as error:
        print(f"stopped: {error}", file=sys.stderr)
    finally:
        summary = summarize(runtime)
        print(json.dumps(summary, indent=2))
    return 0 if summary["passed"] else 1


def prepare(path: Path) -> tuple[Runtime, float, ScriptedOperator]:
    """All that a run needs, the guard started last. Raises InputError, and GuardDead where the robot cannot be reached."""
    settings = read(path)
    loaded = load(path.parent / settings["policy"])
    policy = RobotPolicy(loaded, robots.load(loaded.contract.robot))
    limits, control_dt = settings["limits"], policy.contract.control_dt
    operator, supervisor = ScriptedOperator(settings["commands"], policy.contract), Supervisor(policy.robot, control_dt, limits)
    factory = way_to(policy.robot, **settings["interface"])
    interface = GuardedInterface(factory, policy.robot, limits.damping_kd, lease(control_dt))
    return Runtime(policy, interface, supervisor, RealTime()), settings["duration"], operator


def read(path: Path) -> dict[str, Any]:
    """The settings of a file, its values of the right kind. Raises InputError."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("file", str(path), "a YAML file", f"{error}") from error
    settings = _mapping("file", settings, (*REQUIRED, *OPTIONAL))
    if missing := [name for name in REQUIRED if name not in settings]:
        raise InputError(missing[0], None, "a value", f"Add {missing[0]}.")
    if not isinstance(settings["policy"], str):
        raise InputError("policy", settings["policy"], "the path of a policy.onnx", "It is relative to this file's folder.")
    duration = settings["duration"]
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 < duration < math.inf:
        raise InputError("duration", duration, "seconds above zero", "For example duration: 25.")
    interface = _mapping("interface", settings["interface"])
    if not isinstance(interface.get("name"), str):
        raise InputError("interface", interface, "a name, and options", "For example interface: {name: sim}.")
    limits = _mapping("limits", settings.get("limits", {}), tuple(Limits.__dataclass_fields__))
    return settings | {"interface": interface, "limits": Limits(**limits)}


def _mapping(field: str, value: object, known: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(field, value, "names with values", "Write lines such as duration: 25.")
    for key in value:
        if known and key not in known:
            raise InputError(f"{field}.{key}", value[key], f"one of {', '.join(known)}", nearest(key, known))
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
