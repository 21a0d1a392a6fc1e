"""A bundle behind the safety layer on a simulated robot, and what is kept of it: for the command line and the demo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.gate import Gate
from deploy.hil.simulated_robot import SimulatedRobot
from deploy.interface import RealTime
from deploy.limits import Limits
from deploy.operator import ScriptedOperator
from deploy.runtime import Runtime
from deploy.summary import summarize
from deploy.supervisor import Supervisor
from locomotion.evaluation import video
from locomotion.evaluation.rollout import load_policy
from locomotion.files import make_folder, write_atomically, write_json, writing
from robots.errors import InputError, nearest


def run_deployment(
    path: Path,
    duration: float,
    commands: Sequence[Sequence],
    deploy: dict[str, Any],
    output: Path | None,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Run the bundle for ``duration`` s; write ``deploy.json``, ``deploy_log.npz`` and ``video.mp4`` to ``output``; return the summary."""
    limits = _limits(deploy)
    policy, clock = load_policy(path), RealTime()
    shortest = round(limits.stand_up_seconds + Gate.seconds(policy.robot, limits) + 1.0, 1)
    if not duration >= shortest:
        raise InputError("duration", duration, f"at least {shortest} s, to stand up, be checked and walk", "For example duration=25.")
    if output:
        make_folder(output, "output")
    operator = ScriptedOperator(commands, policy.contract)
    plant = SimulatedRobot(policy.robot, clock)
    runtime = Runtime(policy, plant, Supervisor(policy.robot, policy.contract.control_dt, limits), clock)
    try:
        runtime.run(duration, operator)
    finally:  # what led to a crash is what one wants to know
        summary = summarize(runtime)
        for warning in runtime.warnings:
            print(f"warning: {warning}")
        if output:
            write_json(output / "deploy.json", summary, "output")  # the verdict first: a video takes its time, and may fail
            log = output / "deploy_log.npz"
            columns: dict[str, Any] = runtime.log.columns()
            with writing("output", log):
                write_atomically(log, lambda stream: np.savez_compressed(stream, **columns))
    if output:
        message = video.write(output / "video.mp4", policy.robot, plant.frames, policy.contract.control_dt, progress)
        summary["video"] = message or "video.mp4"
        write_json(output / "deploy.json", summary, "output")
    return summary


def _limits(deploy: dict[str, Any]) -> Limits:
    known = Limits.__dataclass_fields__
    given = deploy.get("limits", {})
    for name in given:
        if name not in known:
            raise InputError(f"deploy.limits.{name}", given[name], "the name of a limit", nearest(name, known))
    return Limits(**given)
