"""Sensors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from deploy.hil.faults.fault import ENCODERS, IMU, Hooks, Joints, Numbers, Signals, changed, fault
from deploy.hil.simulated_robot import NOISE
from deploy.interface import RobotState
from deploy.monitors import SHAPES

if TYPE_CHECKING:
    from deploy.hil.bench import Bench


@fault
def frozen(bench: Bench, signals: Signals = IMU) -> Hooks:
    """Signals stay as they are, under new ticks."""
    kept: dict[str, np.ndarray] = {}

    def sample(now: RobotState) -> RobotState:
        kept.update({name: getattr(now, name) for name in signals if name not in kept})
        return replace(now, **kept)

    return Hooks(sample=sample)


@fault
def scaled(bench: Bench, signal: str = "joint_pos", factor: float = 57.29578) -> Hooks:
    """A signal in the wrong unit; -1 is the wrong sign."""
    return Hooks(sample=lambda now: changed(now, (signal,), lambda value: factor * value))


@fault
def biased(bench: Bench, signal: str = "base_ang_vel", offset: Numbers = (0.0, 1.0, 0.0)) -> Hooks:
    """A signal is off by a constant."""
    return Hooks(sample=lambda now: changed(now, (signal,), lambda value: value + np.resize(offset, len(value))))


@fault
def noisy(bench: Bench, signals: Signals = IMU, factor: float = 10.0) -> Hooks:
    """So many times the noise of a good sensor."""

    def sample(now: RobotState) -> RobotState:
        noise = {name: factor * NOISE[name] * bench.random.standard_normal(SHAPES[name] or bench.robot.num_joints) for name in signals}
        return replace(now, **{name: getattr(now, name) + value for name, value in noise.items()})

    return Hooks(sample=sample)


@fault
def turned(bench: Bench, degrees: float = 15.0, axis: Numbers = (0.0, 1.0, 0.0)) -> Hooks:
    """The IMU is mounted, or has slipped, by so much about an axis of the base."""
    rotation = np.zeros(9)
    quat = np.zeros(4)
    mujoco.mju_axisAngle2Quat(quat, np.array(axis, dtype=float) / np.linalg.norm(axis), math.radians(degrees))
    mujoco.mju_quat2Mat(rotation, quat)
    return Hooks(sample=lambda now: changed(now, IMU, lambda value: rotation.reshape(3, 3).T @ value))


@fault
def encoder_stuck(bench: Bench, joint: int = 4) -> Hooks:
    """One joint's position stays as it is, and its speed is 0."""
    kept: list[float] = []

    def sample(now: RobotState) -> RobotState:
        kept.append(float(now.joint_pos[joint])) if not kept else None
        here = np.arange(len(now.joint_pos)) == joint
        return replace(now, joint_pos=np.where(here, kept[0], now.joint_pos), joint_vel=np.where(here, 0.0, now.joint_vel))

    return Hooks(sample=sample)


@fault
def encoder_step(bench: Bench, joint: int = 4, offset: float = 0.3) -> Hooks:
    """One joint's position is off by so many rad: a slipped magnet, a wrong zero."""
    return Hooks(sample=lambda now: changed(now, ("joint_pos",), lambda q: q + offset * (np.arange(len(q)) == joint)))


@fault
def encoder_drift(bench: Bench, joint: int = 4, rate: float = 0.5) -> Hooks:
    """One joint's position runs away at so many rad/s, which its speed does not say."""
    return Hooks(
        sample=lambda now: changed(
            now, ("joint_pos",), lambda q: q + rate * (bench.world.now() - bench.start) * (np.arange(len(q)) == joint)
        )
    )


@fault
def encoder_noisy(bench: Bench, joint: int = 4, deviation: float = 0.1) -> Hooks:
    """One joint's position has so many rad of noise."""
    return Hooks(
        sample=lambda now: changed(
            now, ("joint_pos",), lambda q: q + deviation * bench.random.standard_normal() * (np.arange(len(q)) == joint)
        )
    )


@fault
def joints_swapped(bench: Bench, joints: Joints = (1, 2)) -> Hooks:
    """Two joints' encoders are taken for each other."""
    order = np.arange(bench.robot.num_joints)
    order[list(joints)] = joints[::-1]
    return Hooks(sample=lambda now: changed(now, ENCODERS, lambda value: value[order]))


@fault
def joint_reversed(bench: Bench, joint: int = 1) -> Hooks:
    """One joint's encoder has the wrong sign."""
    sign = 1.0 - 2.0 * (np.arange(bench.robot.num_joints) == joint)
    return Hooks(sample=lambda now: changed(now, ENCODERS, lambda value: sign * value))
