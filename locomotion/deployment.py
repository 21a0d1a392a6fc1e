"""A bundle behind the safety layer, and what is kept of it: for the command line and the demo."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy import calibration as calibrations
from deploy.connect import NOTHING, Extras, connect, operator_of
from deploy.dashboard import attended
from deploy.gate import Gate
from deploy.guard import LEASE, Guard, GuardError, LockstepGuard, lease
from deploy.hil.simulated_robot import PERFECT, Conditions, SimulatedRobot
from deploy.interface import Clock, RealTime, SimulatedTime
from deploy.limits import Limits
from deploy.log import CAPACITY, POLL_SECONDS, Recorder
from deploy.operator import Stop
from deploy.runtime import Runtime
from deploy.summary import summarize
from deploy.supervisor import Supervisor
from locomotion.evaluation import video
from locomotion.evaluation.rollout import load_policy
from locomotion.files import make_folder, write_json
from locomotion.settings import ExtrasSettings
from robots.errors import InputError, nearest

SIMULATED = {"name": "sim"}


def run_deployment(
    path: Path,
    duration: float,
    commands: Sequence[Sequence] | str,
    deploy: dict[str, Any],
    output: Path | None,
    way: Mapping[str, Any] = SIMULATED,
    calibration: Path | None = None,
    dry_run: bool = False,
    extras: Extras = NOTHING,
    hurry: bool = False,
    dashboard: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Run the bundle for ``duration`` s on the robot that ``way`` leads to, its name and options, following ``commands``: a script,
    ``keyboard`` or ``remote``. A dry run sends nothing. ``dashboard`` shows the run, on a terminal. With ``hurry`` the
    simulated robot lives in a time of its own: as fast as it can, and the same each time.

    Writes ``deploy.json``, ``deploy_log.mcap`` and, of a simulated robot, ``video.mp4`` to ``output``; returns the summary.
    """
    limits, policy = limits_of(deploy), load_policy(path)
    robot, control_dt = policy.robot, policy.contract.control_dt
    shortest = round(limits.stand_up_seconds + Gate.seconds(robot, limits) + 1.0, 1)
    if not dry_run and not duration >= shortest:
        raise InputError("duration", duration, f"at least {shortest} s, to stand up, be checked and walk", "For example duration=25.")
    if output:
        make_folder(output, "output")
    log = Recorder(output / "deploy_log.mcap" if output else None, robot, policy.contract, limits)
    clock: Clock = Hurried(log) if hurry else RealTime()
    own, plant = calibrations.read(calibration, robot) if calibration else None, None
    with extras.beside(policy.contract) as (switch, heading):
        if way["name"] == "sim" and not (dry_run or own or extras.interpolate):  # in this process: the video wants the plant's frames
            operator = operator_of(commands, policy.contract)
            plant, supervisor = SimulatedRobot(robot, clock, way.get("conditions", PERFECT)), Supervisor(robot, control_dt, limits)
            interface = LockstepGuard(plant, Guard(robot, limits.damping_kd), clock, max(LEASE, lease(control_dt)))
        else:
            interface, supervisor, operator = connect(policy, limits, way, commands, own, dry_run, extras.interpolate)
        runtime = Runtime(policy, interface, supervisor, clock, log, switch, heading)
    try:
        with attended(runtime, operator, dry_run, dashboard):
            runtime.run(duration, operator, Stop.NONE if dry_run else Stop.SETTLE)
    except GuardError as error:
        print(f"stopped: {error}")
    finally:  # what led to a crash is what one wants to know
        summary = summarize(runtime)
        for warning in summary["warnings"]:
            print(f"warning: {warning}")
        if output:
            write_json(output / "deploy.json", summary, "output")  # the verdict first: a video takes its time, and may fail
    if output and plant and not hurry:
        message = video.write(output / "video.mp4", robot, plant.frames, control_dt, progress)
        summary["video"] = message or "video.mp4"
        write_json(output / "deploy.json", summary, "output")
    return summary


class Hurried(SimulatedTime):
    """Simulated time that waits for the writer of ``log`` alone: nothing is lost of a run that is faster than its log."""

    def __init__(self, log: Recorder) -> None:
        super().__init__()
        self._log = log

    def sleep_until(self, deadline: float) -> None:
        while self._log.waiting > CAPACITY // 2:
            time.sleep(POLL_SECONDS)
        super().sleep_until(deadline)


WHY = "A simulated robot is on no network (interface=unitree_dds is)"
NO_NETWORK: dict[str, str] = dict.fromkeys(("network", "domain", "release"), WHY)
"""Settings that play no part with interface=sim, and why: see :func:`~locomotion.schema.refuse_unused`."""


def conditions_of(plant: Mapping[str, Any]) -> Conditions:
    """What a simulated robot meets, by name (see :class:`~deploy.hil.simulated_robot.Conditions`). Raises InputError."""
    known = Conditions.__dataclass_fields__
    for name in plant:
        if name not in known:
            raise InputError(f"plant.{name}", plant[name], f"one of {', '.join(known)}", nearest(name, known))
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in plant.items()}
    return Conditions(**values)


def extras_of(settings: ExtrasSettings) -> Extras:
    """Of a command's settings; the key's file is found from the present folder."""
    estop = settings.estop.model_dump() if settings.estop else None
    return Extras(estop, settings.heading_hold, settings.interpolate)


def limits_of(deploy: Mapping[str, Any]) -> Limits:
    """The thresholds that ``deploy`` names. Raises InputError."""
    known = Limits.__dataclass_fields__
    given = deploy.get("limits", {})
    for name in given:
        if name not in known:
            raise InputError(f"deploy.limits.{name}", given[name], "the name of a limit", nearest(name, known))
    return Limits(**given)
