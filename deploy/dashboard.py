"""A run on a terminal: state, limits as bars, latencies and events, five times a second, from a thread that only reads."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence

import numpy as np

from deploy.keyboard import HELP, KeyboardOperator
from deploy.log import STAGES
from deploy.monitors import tilt
from deploy.operator import Operator
from deploy.runtime import PRIORITY, Moment, Runtime
from deploy.supervisor import Event, Limits
from robots import Robot

DRY = "DRY RUN: nothing is sent"
PERIOD = 0.2  # s
CELLS = 24
EVENTS = 5
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


def bar(share: float) -> str:
    """``share`` of 1, as cells; full beyond, and empty where it is no number."""
    filled = round(CELLS * min(max(share, 0.0), 1.0)) if np.isfinite(share) else 0
    return f"[{'#' * filled}{'.' * (CELLS - filled)}]"


def render(moment: Moment, robot: Robot, limits: Limits, period: float, channels: Sequence[str], events: Sequence[Event], note: str) -> str:
    """The screen, lines joined by newlines."""
    sample = moment.sample
    torque = np.abs(sample.joint_torque) / robot.effort_limit
    speed = np.abs(sample.joint_vel) / robot.joint_vel_limit
    low, high = robot.joint_pos_limit.T
    way = np.abs(2.0 * sample.joint_pos - low - high) / (high - low)  # 0 in the middle, 1 at a stop
    angle = tilt(sample.projected_gravity) if np.linalg.norm(sample.projected_gravity) > 0.0 else np.nan
    lines = [
        f"{robot.name}   {str(moment.state).upper()}   {moment.time:.1f} s   {note}",
        "",
        "command     " + "  ".join(f"{name} {value:+.2f}" for name, value in zip(channels, moment.command, strict=True)),
        f"tilt        {bar(angle / limits.max_tilt)} {angle:.2f} of {limits.max_tilt:g} rad",
        *(f"{name:11} {bar(float(values.max()))} {values.max():4.0%} {robot.joint_names[int(values.argmax())]}"
          for name, values in (("torque", torque), ("speed", speed), ("position", way))),
        *(f"{name:11} {bar(seconds / period)} {1e3 * seconds:.2f} of {1e3 * period:g} ms"
          for name, seconds in zip(STAGES, moment.timings, strict=True)),
        f"state's age {bar((moment.now - sample.time) / limits.max_state_age)} {1e3 * (moment.now - sample.time):.1f} ms",
        "",
        *(f"{event.time - moment.start:8.2f} s  {event.kind:12} {event.detail}" for event in events[-EVENTS:]),
    ]  # fmt: skip
    return "\n".join(lines)


@contextlib.contextmanager
def shown(runtime: Runtime, note: str = "", terminal: int = 1) -> Iterator[None]:
    """While this is entered, the run is on the ``terminal``, the standard output; nothing happens where that is none.

    The thread takes what the loop has published, and may stand still with its terminal: the loop does not wait for it.
    """
    if not os.isatty(terminal):
        yield
        return
    ended = threading.Event()

    def show() -> None:
        with contextlib.suppress(PermissionError):  # a busy computer must not stop it while it has the interpreter, and so the loop
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        os.write(terminal, b"\x1b[2J")
        while not ended.wait(PERIOD):
            if (moment := runtime.moment) is None:
                continue
            contract, supervisor = runtime.policy.contract, runtime.supervisor
            screen = render(
                moment, supervisor.robot, supervisor.limits, contract.control_dt, contract.command_names, supervisor.events, note
            )
            try:
                os.write(terminal, (HOME + screen.replace("\n", f"{CLEAR_LINE}\n") + CLEAR_LINE + CLEAR_BELOW + "\n").encode())
            except OSError:
                return  # the terminal is gone; the operator's own loss is the supervisor's to see

    thread = threading.Thread(target=show, name="dashboard", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2 * PERIOD)


@contextlib.contextmanager
def attended(runtime: Runtime, operator: Operator, dry_run: bool, dashboard: bool = True) -> Iterator[None]:
    """While this is entered, an operator at the keyboard is heard, and the run is shown."""
    keyboard = operator if isinstance(operator, KeyboardOperator) else contextlib.nullcontext()
    note = "   ".join(word for word, said in ((DRY, dry_run), (HELP, operator is keyboard)) if said)
    with keyboard, shown(runtime, note) if dashboard else contextlib.nullcontext():
        yield
