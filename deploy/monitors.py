"""Monitors: pure functions of what was measured, each with its threshold and what follows when it is passed."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deploy.interface import Floats, RobotState
from deploy.limits import Limits
from deploy.window import Window
from robots import Robot

LARGEST = 1e6  # in any unit: no sensor of a legged robot says more, and single precision holds it
UNIT = (0.9, 1.1)  # length of gravity's unit vector
BEYOND = 0.2  # rad that an encoder may read outside of its joint's limits
SWINGS = 8.0  # a joint that moves by less than an eighth of what its target does is blocked
AHEAD = 0.001  # s that a sample may be in the future, by rounding
SHAPES = {"base_ang_vel": 3, "projected_gravity": 3, "joint_pos": 0, "joint_vel": 0, "joint_torque": 0}  # 0: a number a joint

NUMBERS = (
    ("time", float, "a float"), ("tick", int | np.integer, "an integer"),
    ("voltage", int | float | np.number, "a number"), ("foreign_commands", int | np.integer, "an integer"),
)  # fmt: skip


class Response(enum.StrEnum):
    """What follows a finding, mildest first."""

    DERATE = "derate"  # half the command, while it lasts
    HOLD = "hold"  # the command to rest, while it lasts
    SETTLE = "settle"  # the command to rest, then lying down, then damping until a person resets
    DAMPING = "damping"  # fault: damping until a person resets


SHARES = {Response.DERATE: 0.5, Response.HOLD: 0.0, Response.SETTLE: 0.0}  # of the command less the one to rest


@dataclass(frozen=True)
class SampleCheck:
    """Whether one sample can be believed. ``finds`` says what is wrong, or nothing."""

    name: str
    finds: Callable[[RobotState, Robot, Limits, float], str]
    text: str


@dataclass(frozen=True)
class Monitor:
    """``value`` above ``limits.<limit>`` is a finding; so is one that is no number."""

    name: str
    value: Callable[[Window], float]
    limit: str
    response: Response = Response.DAMPING


def _shape(sample: RobotState, robot: Robot, limits: Limits, now: float) -> str:
    for name, width in SHAPES.items():
        value, shape = getattr(sample, name, None), (width or robot.num_joints,)
        if not isinstance(value, np.ndarray) or value.dtype != np.float64 or value.shape != shape:
            return f"{name} is not float64 {list(shape)}"
    warm = sample.motor_temperature
    if warm is not None and (not isinstance(warm, np.ndarray) or warm.dtype != np.float64 or warm.shape != (robot.num_joints,)):
        return f"motor_temperature is not float64 [{robot.num_joints}]"
    return next((f"{name} is not {words}" for name, kinds, words in NUMBERS if not isinstance(getattr(sample, name), kinds)), "")


def _finite(sample: RobotState, robot: Robot, limits: Limits, now: float) -> str:
    for name in SHAPES:
        if not (np.abs(getattr(sample, name)) <= LARGEST).all():
            return f"{name} is not finite"
    return ""


def _gravity(sample: RobotState, robot: Robot, limits: Limits, now: float) -> str:
    length = float(np.linalg.norm(sample.projected_gravity))
    return "" if UNIT[0] <= length <= UNIT[1] else f"gravity's unit vector is {length:.3g} long"


def _position(sample: RobotState, robot: Robot, limits: Limits, now: float) -> str:
    low, high = robot.joint_pos_limit.T
    beyond = np.maximum(low - sample.joint_pos, sample.joint_pos - high)
    i = int(beyond.argmax())
    return f"{robot.joint_names[i]} is {beyond[i]:.2f} rad beyond its limits" if beyond[i] > BEYOND else ""


def _velocity(sample: RobotState, robot: Robot, limits: Limits, now: float) -> str:
    share = np.abs(sample.joint_vel) / robot.joint_vel_limit
    i = int(share.argmax())
    return f"{robot.joint_names[i]} at {share[i]:.1f} times its speed limit" if share[i] > limits.joint_vel else ""


def _time(sample: RobotState, robot: Robot, limits: Limits, now: float) -> str:
    age = now - sample.time
    return "" if -AHEAD <= age <= limits.max_state_age else f"taken {1e3 * age:.0f} ms before it was read"


SAMPLE_CHECKS = (
    SampleCheck("shape", _shape, "float64 arrays of the right shape, a float time, an integer tick"),
    SampleCheck("finite", _finite, f"every number within ±{LARGEST:g}"),
    SampleCheck("gravity", _gravity, f"gravity's vector {UNIT[0]} to {UNIT[1]} long: a unit vector, not m/s²"),
    SampleCheck("position", _position, f"joints within their limits, ±{BEYOND} rad"),
    SampleCheck("joint_vel", _velocity, "joints below `joint_vel` times their speed limit"),
    SampleCheck("time", _time, "taken at most `max_state_age` before it is read, and not in the future"),
)


def tilt(gravity: Floats) -> float:
    """Angle from upright of a base that sees gravity's vector [3] so, rad."""
    return math.acos(float(np.clip(-gravity[2] / np.linalg.norm(gravity), -1.0, 1.0)))


def _tilt(window: Window) -> float:
    gravity = window["projected_gravity"]
    return tilt(gravity[-1]) if len(gravity) else math.nan


def _base_ang_vel(window: Window) -> float:
    rate = window["base_ang_vel"]
    return float(np.linalg.norm(rate[-1])) if len(rate) else math.nan


def _integral(rate: Floats, time: Floats) -> Floats:
    """Of ``rate`` [n, ...] over ``time`` [n], by the trapezoidal rule."""
    return np.tensordot(np.diff(time), 0.5 * (rate[1:] + rate[:-1]), axes=1)


def _gravity_drift(window: Window) -> float:
    """A vector that is fixed in the world changes in the base frame at g x w."""
    gravity = window["projected_gravity"]
    return float(np.linalg.norm(_change(gravity) - _integral(np.cross(gravity, window["base_ang_vel"]), window["time"])))


def _position_drift(window: Window) -> float:
    drift = _change(window["joint_pos"]) - _integral(window["joint_vel"], window["time"])
    return float(np.abs(drift).max())


def _change(values: Floats) -> Floats:
    return values[-1] - values[0] if len(values) else np.zeros(values.shape[1:])


def _frozen(window: Window) -> float:
    """Newest samples in a row that repeat the one before: gyroscope, gravity, all joints' torques or velocities, or one's that moves."""
    names = ("base_ang_vel", "projected_gravity", "joint_torque", "joint_vel")
    rate, gravity, torque, speed = (np.diff(window[name], axis=0) == 0.0 for name in names)
    moving = window["joint_vel"][1:] != 0.0
    whole = (signal.all(axis=1) for signal in (rate, gravity, torque, speed))
    repeats = np.column_stack([*whole, speed & moving])[::-1]
    return float(np.logical_and.accumulate(repeats).sum(axis=0).max()) if len(repeats) else 0.0


def _stuck(window: Window) -> float:
    """How far a joint's target has moved while its position repeats bit for bit, rad."""
    position = window["joint_pos"]
    if not window.histories["joint_pos"].full:
        return 0.0
    return float((np.ptp(window["tracking_error"], axis=0) * (np.ptp(position, axis=0) == 0.0)).max())


def _blocked(window: Window) -> float:
    """How much further a joint's target swings in 1 s than a joint would that moves by an eighth of it, rad.

    Targets of the last 0.2 s do not count: a robot that stood still sets out with a swing that its joints have yet to follow.
    """
    if not window.histories["asked"].full:
        return 0.0
    to_follow = window.histories["torque_error"].rows  # control steps of SHORT
    return float((np.ptp(window["asked"][:-to_follow], axis=0) - SWINGS * np.ptp(window["swung"], axis=0)).max())


def _empty(window: Window) -> float:
    """How far the battery's voltage has come from full to empty, mean of 1 s; 0 where that, or its range, is not known."""
    voltage, known = window["voltage"], window.robot.battery_voltage
    if known is None or not window.histories["voltage"].full:
        return 0.0
    empty, full = known
    return (full - float(voltage.mean())) / (full - empty)


def _mean_power(window: Window) -> float:
    """Of the battery's power; 0 where that is not known."""
    most = window.robot.battery_power
    return float(window.mean("power")) / most if most else 0.0


def _rms_torque(window: Window) -> float:
    return math.sqrt(float(window.mean("squared_torque").max()))


MONITORS = (
    Monitor("bad_sample", lambda window: window.bad_samples, "max_bad_samples"),
    Monitor("stale_state", lambda window: window.age, "max_state_age"),
    Monitor("stall", lambda window: window.silence, "max_silence"),
    Monitor("slow", lambda window: float(window.mean("lateness")) / window.control_dt, "max_lateness"),
    Monitor("tilt", _tilt, "max_tilt"),
    Monitor("standing_tilt", _tilt, "standing_tilt"),
    Monitor("base_ang_vel", _base_ang_vel, "base_ang_vel"),
    Monitor("gravity_drift", _gravity_drift, "gravity_drift"),
    Monitor("frozen", _frozen, "frozen_samples"),
    Monitor("stuck", _stuck, "stuck_target"),
    Monitor("blocked", _blocked, "blocked_target", Response.SETTLE),
    Monitor("position_drift", _position_drift, "position_drift"),
    Monitor("torque_error", lambda window: float(np.abs(window.mean("torque_error")).max()), "torque_error"),
    Monitor("tracking_error", lambda window: float(np.abs(window.mean("tracking_error")).max()), "tracking_error"),
    Monitor("filtered", lambda window: float(window.mean("filtered")), "filtered_share"),
    Monitor("hot_motor", _rms_torque, "hot_torque"),
    Monitor("warm_motor", _rms_torque, "warm_torque", Response.DERATE),
    Monitor("hot_winding", lambda window: float(window.temperature.max()), "hot_winding", Response.SETTLE),
    Monitor("warm_winding", lambda window: float(window.temperature.max()), "warm_winding", Response.DERATE),
    Monitor("empty_battery", _empty, "empty_voltage", Response.SETTLE),
    Monitor("low_battery", _empty, "low_voltage", Response.DERATE),
    Monitor("odd_reading", lambda window: float(window.mean("odd")), "odd_readings", Response.SETTLE),
    Monitor("mean_power", _mean_power, "mean_power", Response.DERATE),
    Monitor("second_commander", lambda window: window.foreign_commands, "foreign_commands"),
    Monitor("stuck_policy", lambda window: window.same_targets, "stuck_policy"),
    Monitor("estop_lost", lambda window: window.estop_silence, "estop_loss"),
    Monitor("estop_silent", lambda window: window.estop_silence, "estop_silence", Response.SETTLE),
    Monitor("operator_lost", lambda window: window.operator_silence, "operator_loss", Response.SETTLE),
    Monitor("operator_silent", lambda window: window.operator_silence, "operator_silence", Response.HOLD),
)
BY_NAME = {monitor.name: monitor for monitor in MONITORS}


def exceeds(value: float, threshold: float) -> bool:
    """Also where ``value`` is no number."""
    return not value <= threshold
