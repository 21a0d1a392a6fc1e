"""Motors, the battery, and the way to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from deploy.hil.faults.fault import Hooks, Joints, Side, changed, fault, on, physics_of
from deploy.interface import MotorCommand

if TYPE_CHECKING:
    from deploy.hil.bench import Bench


@fault
def motors_weak(bench: Bench, strength: float = 0.0, joints: Joints = (), seconds: float = 0.0) -> Hooks:
    """Motors (none named: all) have that share of their torque: dead at 0, and after so many seconds where they get there by heat."""
    chosen = list(joints) or list(range(bench.robot.num_joints))

    def physics() -> None:
        gone = 1.0 if seconds == 0.0 else min(1.0, (bench.physics_time - bench.start) / seconds)
        bench.plant.strength[chosen] = 1.0 - (1.0 - strength) * gone

    return physics_of(bench, physics)


@fault
def motors_swapped(bench: Bench, joints: Joints = (1, 2)) -> Hooks:
    """Two motors hear each other's commands."""
    order = np.arange(bench.robot.num_joints)
    order[list(joints)] = joints[::-1]
    return Hooks(command=lambda told: (MotorCommand(*(value[order] for value in vars(told).values())),))


@fault
def motor_reversed(bench: Bench, joint: int = 1) -> Hooks:
    """One motor takes the target for its negative."""
    sign = 1.0 - 2.0 * (np.arange(bench.robot.num_joints) == joint)
    return Hooks(command=lambda told: (replace(told, joint_pos_target=sign * told.joint_pos_target),))


@fault
def motor_torque_noisy(bench: Bench, share: float = 0.5) -> Hooks:
    """What the motors say of their torque has noise of that share of the limit."""
    limit = bench.robot.effort_limit
    return Hooks(
        sample=lambda now: changed(now, ("joint_torque",), lambda value: value + share * limit * bench.random.standard_normal(len(value)))
    )


@fault
def commands_lost(bench: Bench, share: float = 0.3) -> Hooks:
    """So many of the commands get lost; the motors keep the last one."""
    return Hooks(command=lambda told: () if bench.random.random() < share else (told,))


@fault
def commands_delayed(bench: Bench, seconds: float = 0.02) -> Hooks:
    """Commands arrive so late."""
    way: deque[tuple[float, MotorCommand]] = deque()

    def command(told: MotorCommand) -> Iterable[MotorCommand]:
        now = bench.world.now()
        way.append((now + seconds, told))
        while way and way[0][0] <= now + 1e-9:
            yield way.popleft()[1]

    return Hooks(command=command)


@fault
def commands_reordered(bench: Bench, share: float = 0.3, turns: int = 10) -> Hooks:
    """So many of the commands are followed by one of up to so many turns (2 ms) before."""
    past: deque[MotorCommand] = deque(maxlen=turns)

    def command(told: MotorCommand) -> Iterable[MotorCommand]:
        past.append(told)
        return (told, past[int(bench.random.integers(len(past)))]) if bench.random.random() < share else (told,)

    return Hooks(command=command)


@fault
def commands_doubled(bench: Bench) -> Hooks:
    """Each command arrives twice."""
    return Hooks(command=lambda told: (told, told))


@on(Side.LOCKSTEP)
def wire_fails(bench: Bench) -> Hooks:
    """Each write raises, and nothing reaches the motors."""

    def command(told: MotorCommand) -> Iterable[MotorCommand]:
        raise OSError("no such device")

    return Hooks(command=command)


@fault
def second_commander(bench: Bench, share: float = 0.5) -> Hooks:
    """Another program holds the pose that the robot had; whose command a motor hears is chance."""
    pose: list[np.ndarray] = []
    robot = bench.robot

    def command(told: MotorCommand) -> Iterable[MotorCommand]:
        if not pose:
            pose.append(bench.plant.data.qpos[[bench.plant.index(i)[0] for i in range(robot.num_joints)]].copy())
        theirs = MotorCommand(pose[0], robot.kp, robot.kd, np.zeros(robot.num_joints))
        return (theirs,) if bench.random.random() < share else (told,)

    return Hooks(command=command)


@on(Side.WIRE)
def intruder(bench: Bench) -> Hooks:
    """Another program on the network writes commands: it holds the pose that the robot had."""

    def packet(data: bytes) -> Iterable[bytes]:
        bench.intrude()
        return (data,)

    return Hooks(packet=packet)
