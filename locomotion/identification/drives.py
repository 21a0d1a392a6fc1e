"""What a log says of the motors alone: the torque that each drive reports, beside the errors and velocities that it had seen by then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from locomotion.identification.recording import Recording
from robots import Robot
from robots.actuator import torque_bounds
from robots.errors import InputError

DELAYS = np.arange(0.0, 0.0301, 0.001)  # s from a command to its effect that are tried
BEFORE = 1e-6  # s: a state sampled as a command is sent has not felt it
ALIKE = 0.3  # least correlation of a reported torque with the law's
SILENT = 1e-3  # N m: a torque that changes by less is none


@dataclass(frozen=True)
class Samples:
    """M moments of one robot at which its drives reported a torque; see :mod:`sim.actuator_network` for the history."""

    robot: Robot  # with the gains that it ran with
    errors: np.ndarray  # [M, H, J] rad, target less position, the newest last
    speeds: np.ndarray  # [M, H, J] rad/s
    torque: np.ndarray  # [M, J] N m, as reported
    age: np.ndarray  # [M] s since the motors heard a new target
    block: np.ndarray  # [M] which second of the logs, counted on; -1: its history reaches into the one before

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest torque of the motors [M, J], N m."""
        low, high = torque_bounds(self.speeds[:, -1], self.robot.effort_limit, self.robot.torque_speed)
        return np.broadcast_to(low, self.torque.shape), np.broadcast_to(high, self.torque.shape)

    def law(self) -> np.ndarray:
        """[M, J] N m, the PD law before the motors' limits."""
        return self.robot.kp * self.errors[:, -1] - self.robot.kd * self.speeds[:, -1]

    def inputs(self, joints: Sequence[int], rows: np.ndarray) -> np.ndarray:
        """[2 H, len(joints) len(rows)]: of every joint at every row, one joint after the other."""
        past = np.concatenate([self.errors[rows][..., list(joints)], self.speeds[rows][..., list(joints)]], axis=1)
        return past.transpose(1, 2, 0).reshape(past.shape[1], -1)


def sample(recordings: Sequence[Recording], history: int, spacing: float, delay: float, window: float) -> Samples:
    """All moments of the ``recordings``, of targets that take ``delay`` s; ``window`` s are one block.

    Raises InputError where a drive reports no torque, or one that has nothing to do with what it is told.
    """
    lags = spacing * np.arange(1 - history, 1)
    parts, blocks = [], 0
    for recording in recordings:
        for a, b in recording.stretches:
            part = _stretch(recording, a, b, lags, delay)
            since = recording.sampled[part["row"]] - recording.sampled[a]
            number = (since / window).astype(int)
            part["block"] = np.where(since - number * window >= -lags[0], blocks + number, -1)
            blocks += int(number.max(initial=-1)) + 1
            parts.append(part)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in ("errors", "speeds", "torque", "age", "block")}
    samples = Samples(recordings[0].robot, **joined)
    _check(samples)
    return samples


def _stretch(recording: Recording, a: int, b: int, lags: np.ndarray, delay: float) -> dict[str, np.ndarray]:
    """The moments of the steps from ``a`` to ``b`` that have a history, whatever the delay."""
    sampled = recording.sampled
    assert recording.torque is not None
    rows = np.arange(a, b)
    rows = rows[sampled[rows] - sampled[a] >= DELAYS[-1] - lags[0] + recording.control_dt]
    rows = rows[np.isfinite(recording.torque[rows]).all(axis=1)]
    times = sampled[rows, None] + lags  # [M, H]
    position, speeds = _motion(recording, times)
    heard = np.searchsorted(recording.heard, times - delay - BEFORE) - 1
    told = recording.target[heard]
    changes = np.flatnonzero(np.append(True, (np.diff(recording.target, axis=0) != 0.0).any(axis=1)))
    newest = changes[np.searchsorted(changes, np.searchsorted(recording.heard, sampled[rows] - BEFORE) - 1, side="right") - 1]
    return {
        "row": rows,
        "errors": told - position,
        "speeds": speeds,
        "torque": recording.torque[rows],
        "age": sampled[rows] - recording.heard[newest],
    }


def _motion(recording: Recording, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities at ``times`` [M, H] within a stretch, [M, H, J]: Hermite's cubics through what was measured."""
    left = np.clip(np.searchsorted(recording.sampled, times + BEFORE) - 1, 0, len(recording.sampled) - 2)
    dt = np.diff(recording.sampled)[left][..., None]
    s = np.clip((times - recording.sampled[left])[..., None] / dt, 0.0, 1.0)
    q, v = recording.measured["joint_pos"], recording.measured["joint_vel"]
    (q0, q1), (v0, v1) = (q[left], q[left + 1]), (dt * v[left], dt * v[left + 1])
    step = q1 - q0
    position = q0 + s * (v0 + s * ((3.0 * step - 2.0 * v0 - v1) + s * (v0 + v1 - 2.0 * step)))
    speed = v0 + s * (2.0 * (3.0 * step - 2.0 * v0 - v1) + 3.0 * s * (v0 + v1 - 2.0 * step))
    return position, speed / dt


def _check(samples: Samples) -> None:
    remedy = "Only drives that report the torque of their current, in N m, can be learned from."
    law = samples.law().clip(*samples.bounds)
    for j, name in enumerate(samples.robot.joint_names):
        torque = samples.torque[:, j]
        if len(torque) < 2 or np.ptp(torque) < SILENT:
            raise InputError("log", f"{name}: torque", "a torque that changes as the drive works", remedy)
        alike = float(np.corrcoef(torque, law[:, j])[0, 1])
        if alike < ALIKE:
            allowed = f"a torque that goes with what the motor is told; their correlation is {alike:.2f}"
            raise InputError("log", f"{name}: torque", allowed, f"Its sign, its joint's order or its unit may be wrong. {remedy}")
