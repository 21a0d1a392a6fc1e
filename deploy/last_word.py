"""The last thing that a robot hears: damping, until it is seen to rest."""

from __future__ import annotations

import time
from collections.abc import Callable

from deploy.interface import Clock, MotorCommand, RobotInterface, RobotState
from deploy.supervisor import State, Supervisor

SECONDS = 5.0  # of damping at most


def damp(
    interface: RobotInterface,
    supervisor: Supervisor,
    clock: Clock,
    record: Callable[[RobotState, MotorCommand], None] = lambda state, command: None,
) -> None:
    """Damping commands until the joints rest, or for :data:`SECONDS`, then close.

    Nothing that fails ends it: each write, sleep and read is tried for itself, and what it raised becomes an event. It ends early only
    after ``dwell_seconds`` in which every command was written and every sample was fresh, finite and at rest. An exception that asks the
    program to end (KeyboardInterrupt, SystemExit) is raised again, afterwards.
    """
    dt, command, interrupts = supervisor.control_dt, supervisor.damping(), []
    failures: set[str] = set()
    due, resting, heard = 0.0, 0, False

    def works(what: str, action: Callable[[], object]) -> bool:
        try:
            action()
        except BaseException as error:
            detail = f"{what} failed: {type(error).__name__}: {error}"
            if detail not in failures:
                failures.add(detail)
                supervisor.fault(due, "last_word", detail)
            if not isinstance(error, Exception):
                interrupts.append(error)
            return False
        return True

    def look() -> None:
        sample = interface.read()
        supervisor.observe(sample, clock.now())
        record(sample, command)

    def begin() -> None:
        nonlocal due
        due = clock.now()
        if supervisor.state is not State.FAULT:
            supervisor.request(State.DAMPING, due)

    works("clock", begin)
    for _ in range(round(SECONDS / dt)):
        written = works("write", lambda: interface.write(command))
        heard |= written
        seen = works("read", look)
        resting = resting + 1 if written and seen and supervisor.resting else 0
        if resting * dt >= supervisor.limits.dwell_seconds:
            break
        due += dt
        if not works("sleep", lambda: clock.sleep_until(due)):  # noqa: B023  # called at once
            time.sleep(dt)
    if not heard:
        supervisor.fault(due, "last_word", "no damping command could be written")
    works("write", lambda: interface.write(command))
    works("close", interface.close)
    if interrupts:
        raise interrupts[0]
