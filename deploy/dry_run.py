"""A run that sends nothing: the robot is read, the policy runs on what it measures, all is decided and logged, and no motor hears of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deploy.interface import Floats, MotorCommand, RobotInterface, RobotState
from deploy.limits import Limits
from deploy.states import State
from deploy.supervisor import Supervisor
from robots import Robot

OF_THE_MOTORS = frozenset({"torque_error", "tracking_error"})  # monitors of how they follow: they hear nothing


class DryRun:
    """Reads ``interface``; what is written goes nowhere."""

    def __init__(self, interface: RobotInterface) -> None:
        self._interface = interface

    def read(self) -> RobotState:
        return self._interface.read()

    def write(self, command: MotorCommand) -> None:
        pass

    def close(self) -> None:
        self._interface.close()

    @property
    def remote(self) -> Any:
        return getattr(self._interface, "remote", None)


class Observer(Supervisor):
    """Decides as ever, and goes on where a supervisor ends: the robot lies or is held, and a finding is an event, once.

    It begins ready, so that the policy walks from the first step on, whatever the pose.
    """

    def __init__(self, robot: Robot, control_dt: float, limits: Limits) -> None:
        super().__init__(robot, control_dt, limits)
        self.state, self._found = State.READY, set[str]()

    def fault(self, now: float, kind: str, detail: str) -> None:
        if kind not in self._found:
            self._found.add(kind)
            self._note(now, kind, f"would end a run: {detail}")

    def _watch(self, now: float, names: Iterable[str]) -> None:
        super()._watch(now, [name for name in names if name not in OF_THE_MOTORS])

    def _settle(self, now: float, name: str, detail: str) -> None:
        self.fault(now, name, detail)

    def _jump(self, asked: Floats) -> str:
        if jump := super()._jump(asked):
            self.fault(self._sent_time, "takeover", jump)
        return ""

    def _refusal(self, wanted: State, now: float) -> str:
        return ""
