"""A log in the place of a robot: the loop computes everything again, sends nothing, and is told where it decides otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.heading import HeadingHold
from deploy.interface import MotorCommand, RobotState
from deploy.limits import Limits
from deploy.log_reader import RunLog
from deploy.operator import Intent, Stop
from deploy.policy import RobotPolicy
from deploy.runtime import Runtime
from deploy.supervisor import State, Supervisor
from robots import InputError

HEARD = ("joint_pos_target", "kp", "kd", "feed_forward")
ASKED = frozenset({State.STAND_UP, State.WALK, State.DAMPING, State.IDLE})  # states that only a request leads to, for older logs
TRUTH = ("base_pos", "base_lin_vel", "foot_contact_force")


@dataclass(frozen=True)
class Difference:
    """A step at which the robot would have heard something else."""

    time: float  # s since the run's start
    signal: str
    worst: float  # in the signal's unit


class ReplayInterface:
    """Robot, clock, operator and e-stop of a run that was: give it as all of these to the loop, for :attr:`duration` seconds.

    Steps without a command are the damping at the end, which the loop adds by itself. Raises InputError where the log holds no step
    of a command.
    """

    def __init__(self, log: RunLog, tolerance: float = 0.0) -> None:
        self._columns, self._tolerance = log.columns, tolerance
        commanded = np.flatnonzero(~np.isnan(log.columns["command"]).any(axis=1)) if log.columns else np.zeros(0, int)
        if not len(commanded):
            raise InputError("log", "no step", "a log of at least one step with a command", "It ends before the loop began.")
        self._times: np.ndarray = log.columns["time"]
        self.duration = float(self._times[commanded[-1]]) + 0.5 * log.control_dt
        self.differences: list[Difference] = []
        self._compared: set[int] = set()
        self._row = 0

    @property
    def compared(self) -> int:
        """Steps of the log that were decided again."""
        return len(self._compared)

    def now(self) -> float:
        return float(self._times[self._row])

    def sleep_until(self, deadline: float) -> None:
        """To the next step of the log, whenever it was: the replay lives in the time of the run."""
        if deadline > self.now():
            self._row = min(self._row + 1, len(self._times) - 1)

    def read(self) -> RobotState:
        row = {name: values[self._row] for name, values in self._columns.items()}
        joints = {name: row[name] for name in ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "joint_torque")}
        tick = -1 if np.isnan(row["tick"]) else int(row["tick"])
        power: dict[str, Any] = {name: row[name] for name in ("motor_temperature", "voltage") if name in row}  # in older logs there is none
        power["foreign_commands"] = int(np.nan_to_num(row.get("foreign_commands", 0.0)))
        return RobotState(float(row["sample_time"]), tick, **joints, **power, truth={name: row[name] for name in TRUTH if name in row})

    def write(self, command: MotorCommand) -> None:
        """Compare with what the robot heard in this step; nothing is sent."""
        self._compared.add(self._row)
        for name in HEARD:
            worst = float(np.abs(getattr(command, name) - self._columns[name][self._row]).max(initial=0.0))
            if not worst <= self._tolerance:  # NaN is a difference
                self.differences.append(Difference(self.now(), name, worst))

    def close(self) -> None:
        pass

    @property
    def watched(self) -> bool:
        """Whether the run had an e-stop."""
        return self._had("estop_age")

    @property
    def heads(self) -> bool:
        """Whether the run held its heading."""
        return self._had("heading_error")

    def _had(self, name: str) -> bool:
        return name in self._columns and not np.isnan(self._columns[name]).all()

    @property
    def heard(self) -> float:
        """s, when the e-stop was."""
        return self.now() - float(self._columns["estop_age"][self._row])

    def poll(self, now: float, stopped: Stop = Stop.NONE) -> Stop:
        """Of the e-stop. What it asked for the operator says, too."""
        return Stop.NONE

    def __call__(self, time: float, state: State) -> Intent:
        """The operator: what was asked for in this step, of an older log as the state after it tells, and the command."""
        after = State(self._columns["state"][self._row])
        wanted = after if after is not state and (after in ASKED or (after is State.READY and state is State.WALK)) else None
        if "asked_state" in self._columns:
            code = self._columns["asked_state"][self._row]
            wanted = None if np.isnan(code) else list(State)[int(code)]
        stop = Stop(int(np.nan_to_num(self._columns["stop"][self._row]))) if "stop" in self._columns else Stop.NONE
        command = self._columns.get("asked_command", self._columns["command"])[self._row]  # older logs do not know what was asked for
        age = float(np.nan_to_num(self._columns["operator_age"][self._row])) if "operator_age" in self._columns else 0.0
        return Intent(wanted, command, age, stop)

    def runtime(self, policy: RobotPolicy, limits: Limits) -> Runtime:
        """The loop as it was: with the e-stop and the heading hold that it had. Raises InputError."""
        heading, supervisor = (
            HeadingHold(policy.contract) if self.heads else None,
            Supervisor(policy.robot, policy.contract.control_dt, limits),
        )
        return Runtime(policy, self, supervisor, self, estop=self if self.watched else None, heading=heading)
