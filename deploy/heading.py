"""Heading hold, outside the policy: while the operator does not turn the robot, a yaw command brings it back to where it headed.

The heading is the gyroscope's rate about the vertical, integrated. Its bias, which would turn the robot for ever, is the mean rate of a
robot that stands in check and ready, without its faster moves; until half a second of that has been seen, nothing is held. Nor is it
while the robot is to rest: one that somebody turns where it stands does not step back by itself.
"""

from __future__ import annotations

import math

import numpy as np

from deploy.contract import Contract
from deploy.interface import RobotState
from deploy.states import State
from robots import InputError

YAW = "yaw"
GAIN = 1.0  # 1/s
MOST = 0.3  # of the trained range on either side that the hold may ask for
TURNS = 1e-3  # rad/s from rest that counts as an operator who turns
STILL_SECONDS = 0.5  # of standing, before the bias is known
MEMORY = 5.0  # s of standing that the bias is the mean of
MAX_BIAS = 0.1  # rad/s; faster is no bias, somebody turns the robot
STILL_JOINT_VEL = 0.5  # rad/s
MAX_GAP = 0.1  # s between two samples that are integrated over


def vertical_rate(sample: RobotState) -> float:
    """rad/s to the left about the vertical, of a base that may be tilted."""
    up = -sample.projected_gravity / np.linalg.norm(sample.projected_gravity)
    return float(up @ sample.base_ang_vel)


class HeadingHold:
    """For one run. Raises InputError where the policy has no yaw command."""

    def __init__(self, contract: Contract) -> None:
        if YAW not in contract.command_names:
            raise InputError("heading_hold", True, f"a policy with a command {YAW}", f"This one has {', '.join(contract.command_names)}.")
        self._channel = contract.command_names.index(YAW)
        low, high = contract.command_range[self._channel]
        self._resting = contract.command_rest
        self._rest = float(self._resting[self._channel])
        self._low, self._high = self._rest + MOST * (low - self._rest), self._rest + MOST * (high - self._rest)
        self.bias, self._still = 0.0, 0.0  # rad/s; s that it was measured for
        self.error = 0.0  # rad to the left that the robot is off its heading
        self._time = math.nan

    @property
    def calibrated(self) -> bool:
        return self._still >= STILL_SECONDS

    def steer(self, command: np.ndarray, sample: RobotState, state: State) -> np.ndarray:
        """``command`` [C] with the yaw that holds the heading, a copy; as it is while the operator turns or rests, and but in walk."""
        passed, self._time = sample.time - self._time, sample.time
        if not 0.0 < passed < MAX_GAP:  # the same sample again, the first one, or a gap that nobody saw
            passed = 0.0
        rate = vertical_rate(sample)
        if state in (State.CHECK, State.READY):
            self._calibrate(rate, passed, sample)
        off = np.abs(command - self._resting)
        moves = off.max() > TURNS and off[self._channel] <= TURNS
        if state is not State.WALK or not moves or not self.calibrated:
            self.error = 0.0
            return command
        self.error = math.remainder(self.error + (rate - self.bias) * passed, 2.0 * math.pi)
        held = command.copy()
        held[self._channel] = min(max(self._rest - GAIN * self.error, self._low), self._high)
        return held

    def _calibrate(self, rate: float, passed: float, sample: RobotState) -> None:
        if passed and abs(rate) < MAX_BIAS and np.abs(sample.joint_vel).max() < STILL_JOINT_VEL:
            self._still = min(self._still + passed, MEMORY)
            self.bias += (rate - self.bias) * passed / self._still
