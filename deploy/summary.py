"""What a run of the deployment runtime comes to: ``deploy.json``."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from deploy.log import STAGES
from deploy.runtime import Runtime
from deploy.states import State


def summarize(runtime: Runtime) -> dict[str, Any]:
    """Plain numbers and strings. ``passed``: walked, never faulted, and was damped at the end, or lay down when its time was over."""
    supervisor, columns = runtime.supervisor, runtime.log.columns()
    states = columns["state"].tolist() if columns else []
    timings = {stage: _known(columns[f"timing/{stage}"]) if columns else [] for stage in STAGES}
    dt, channels = runtime.policy.contract.control_dt, runtime.policy.contract.command_names
    result: dict[str, Any] = {
        "passed": State.WALK in states and (supervisor.state is State.DAMPING or _settled(runtime)),
        "robot": supervisor.robot.name,
        "final_state": str(supervisor.state),
        "seconds": {state: states.count(state) * dt for state in dict.fromkeys(states)},
        "events": [{"time": e.time, "state": str(e.state), "kind": e.kind, "detail": e.detail} for e in supervisor.events],
        "interventions": dict(supervisor.interventions),  # control steps that each filter changed
        "warnings": [*runtime.warnings, *held_up(runtime)],
        "loop": {
            "period_ms": 1e3 * dt,
            **{f"{stage}_us": quantiles(seconds) for stage, seconds in timings.items()},
            "missed_deadlines": runtime.missed,
            "steps": len(timings["lateness"]),
        },
    }
    walking = [i for i, state in enumerate(states) if state == State.WALK]
    if walking:
        limit = supervisor.robot.effort_limit
        result["torque_share_of_limit"] = float((np.abs(columns["joint_torque"][walking]) / limit).max())
        if "base_lin_vel" in columns and {"forward", "left"} <= set(channels):
            command = columns["command"][walking][:, [channels.index("forward"), channels.index("left")]]
            error = columns["base_lin_vel"][walking][:, :2] - command
            result["tracking_score"] = float(np.exp(-np.square(error).sum(axis=-1) / 0.25).mean())
    if result["events"]:
        start = result["events"][0]["time"]
        for event in result["events"]:
            event["time"] = round(event["time"] - start, 6)
    return result


def _settled(runtime: Runtime) -> bool:
    """Because its time was over, and nothing came between."""
    return runtime.over and runtime.supervisor.events[-1].detail.endswith("fault (settled)")


def held_up(runtime: Runtime) -> list[str]:
    """What the computer, or a slow policy, did to the loop: a robot that was damped for it may well be in order."""
    if not runtime.missed:
        return []
    priority, load = "a real-time" if runtime.priority else "NO real-time", os.getloadavg()[0]
    return [
        f"the loop was held up: {runtime.missed} periods were missed, one step began {1e3 * runtime.latest:.0f} ms late, under {priority} "
        f"priority, at a load of {load:.1f} on {os.cpu_count()} processors. 'stall', 'slow' and a deadline that the guard found missed say "
        "that, and nothing about the robot: docs/guard.md."
    ]


def _known(values: np.ndarray) -> list[float]:
    return values[np.isfinite(values)].tolist()


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Microseconds."""
    if not seconds:
        return {}
    p50, p99, p999 = np.quantile(seconds, [0.5, 0.99, 0.999])
    return {"p50": 1e6 * float(p50), "p99": 1e6 * float(p99), "p99.9": 1e6 * float(p999), "max": 1e6 * max(seconds)}
