"""What a deployment without a safety layer does, for simulated robots alone: to see what a fault would have done."""

from __future__ import annotations

import contextlib

from deploy.interface import Floats, MotorCommand, RobotInterface, RobotState
from deploy.operator import Stop
from deploy.states import State, granted
from deploy.supervisor import Supervisor


class Unsupervised(Supervisor):
    """The states alone. Every sample is believed, every target goes out as it is, and nothing is a fault but an exception."""

    def observe(self, sample: RobotState, now: float, lateness: float = 0.0) -> RobotState:
        if sample is not None:
            self.sample = sample
        if self.state is State.STAND_UP and self._targets.way >= 1.0:
            self._enter(State.READY, now, "standing")
        return self.sample

    def _refusal(self, wanted: State, now: float) -> str:
        return "" if wanted in granted(self.state) else f"not from {self.state}"

    def _watch(self, now: float, names: tuple[str, ...] | list[str]) -> None:
        pass

    def stop(self, level: Stop, now: float) -> None:
        pass

    def _jump(self, asked: Floats) -> str:
        return ""

    def _asked(self, policy_target: Floats | None) -> Floats | None:
        return policy_target if self.state is State.WALK else super()._asked(policy_target)

    def _filtered(self, asked: Floats) -> MotorCommand:
        self._targets.last = asked
        return MotorCommand(asked, self.robot.kp, self.robot.kd, 0.0 * asked)


class Relay:
    """In the guard's place: the last command goes out at each turn, for ever."""

    def __init__(self, interface: RobotInterface) -> None:
        self._interface = interface
        self._command: MotorCommand | None = None

    def read(self) -> RobotState:
        return self._interface.read()

    def write(self, command: MotorCommand) -> None:
        self._command = command
        self._interface.write(command)

    def cycle(self) -> None:
        """A turn."""
        if self._command is not None:
            with contextlib.suppress(OSError):
                self._interface.write(self._command)

    def close(self) -> None:
        self._interface.close()
