"""Takeovers from random poses: how fast do joints get, and how much power do all motors take together?

    python -m benchmarks.takeover policy.onnx [poses]

limp: joints anywhere within their limits, the robot dropped and damped until it rests; then the supervisor stands it up.
at once: the same, with the default pose commanded at full gains and nothing between, for comparison.
policy: standing, each joint off the default pose by up to 90 % of ``pose_tolerance`` and moving; then the policy walks.
wild: the same, with targets that jump about within ``takeover_jump`` in the policy's place, with and without a limit of power.

Speeds and powers are the plant's, at each of its steps of 2 ms; a supervisor that refuses, or finds something and damps, counts as such.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import robots
from deploy.hil.simulated_robot import Conditions, SimulatedRobot
from deploy.interface import MotorCommand, RobotState, SimulatedTime, damping_command
from deploy.limits import Limits
from deploy.policy import RobotPolicy, load
from deploy.states import State
from deploy.supervisor import Reply, Supervisor
from deploy.window import motor_power
from robots import Robot
from robots.heat import loss

REST_SECONDS = 1.0  # of damping before a stand up
WILD = 0.5  # rad
BARE_SECONDS = 0.4  # s
SPEED = 0.5  # rad/s, standard deviation of the joints of a robot that a policy takes over

Asks = Callable[[RobotState], np.ndarray]  # the target [J], rad, of whoever takes over


class Measured(SimulatedRobot):
    """Keeps the largest joint speed, as a share of its limit, and power, W, since :meth:`forget`."""

    speed = power = 0.0

    def place(self, height: float, pose: np.ndarray, joint_vel: np.ndarray) -> None:
        data = self.data
        data.qpos[:7], data.qvel[:] = (0.0, 0.0, height, 1.0, 0.0, 0.0, 0.0), 0.0
        data.qpos[self._qpos], data.qvel[self._qvel] = pose, joint_vel
        self.frames.clear()
        self.forget()

    def forget(self) -> None:
        self.speed = self.power = 0.0

    def _step(self) -> None:
        super()._step()
        joint_vel = self.data.qvel[self._qvel]
        self.speed = max(self.speed, float((np.abs(joint_vel) / self.robot.joint_vel_limit).max()))
        self.power = max(self.power, motor_power(self.data.actuator_force, joint_vel, loss(self.robot)))


@dataclass
class Takeovers:
    """What came of so many."""

    speed: list[float] = field(default_factory=list)  # largest of any joint, share of its limit
    power: list[float] = field(default_factory=list)  # W, largest of all motors together
    ends: Counter[str] = field(default_factory=Counter)

    def lines(self, name: str, budget: float) -> list[str]:
        speed, power = (np.quantile(values or [0.0], [0.5, 0.99, 1.0]) for values in (self.speed, self.power))
        over = f"{sum(value > budget for value in self.power)} of {len(self.power)} over {budget:.0f}"
        return [
            f"{name}: {dict(self.ends.most_common())}",
            f"    joint speed, share of its limit: p50 {speed[0]:.2f}  p99 {speed[1]:.2f}  most {speed[2]:.2f}",
            f"    power of all motors, W: p50 {power[0]:.0f}  p99 {power[1]:.0f}  most {power[2]:.0f}; {over}",
        ]


def limp(robot: Robot, control_dt: float, poses: int, seed: int, limits: Limits, bare: bool = False, seconds: float = 2.5) -> Takeovers:
    """From any pose in which the robot lies."""
    clock, random, found = SimulatedTime(), np.random.default_rng(seed), Takeovers()
    plant = Measured(robot, clock)
    damping = damping_command(robot.num_joints, limits.damping_kd)
    for _ in range(poses):
        supervisor = Supervisor(robot, control_dt, limits)
        plant.place(1.2 * robot.standing_height, random.uniform(*robot.joint_pos_limit.T), np.zeros(robot.num_joints))
        plant.write(damping)
        clock.sleep_until(clock.now() + REST_SECONDS)
        supervisor.observe(plant.read(), clock.now())
        plant.forget()
        if bare:
            plant.write(MotorCommand(robot.default_joint_pos, robot.kp, robot.kd, np.zeros(robot.num_joints)))
            clock.sleep_until(clock.now() + BARE_SECONDS)
            plant.read()
            add(found, supervisor, plant)
            continue
        if supervisor.request(State.STAND_UP, clock.now()) is not Reply.ENTERED:
            found.ends["refused"] += 1
            continue
        follow(supervisor, plant, clock, round(seconds / control_dt))
        add(found, supervisor, plant)
    return found


def policy(policy: RobotPolicy, poses: int, seed: int, limits: Limits, wild: float = 0.0, seconds: float = 1.0) -> Takeovers:
    """From any pose that counts as standing, at rest as it never is."""
    robot, control_dt = policy.robot, policy.contract.control_dt
    clock, random, found = SimulatedTime(), np.random.default_rng(seed), Takeovers()
    plant = Measured(robot, clock, Conditions(noise=1.0))
    rest = policy.contract.command_rest.astype(np.float32)
    for _ in range(poses):
        supervisor = Supervisor(robot, control_dt, limits)
        supervisor.state = State.READY
        off = 0.9 * limits.pose_tolerance * random.uniform(-1.0, 1.0, robot.num_joints)
        pose = (robot.default_joint_pos + off).clip(*robot.joint_pos_limit.T)
        plant.place(robot.standing_height, pose, SPEED * random.standard_normal(robot.num_joints))
        plant.write(MotorCommand(pose, robot.kp, robot.kd, 0.0 * pose))
        clock.sleep_until(clock.now() + control_dt)
        supervisor.observe(plant.read(), clock.now())
        plant.forget()
        asks = _policy(policy, rest) if wild == 0.0 else _wild(robot, wild, random)
        if supervisor.request(State.WALK, clock.now()) is not Reply.ENTERED:
            found.ends["refused"] += 1
            continue
        follow(supervisor, plant, clock, round(seconds / control_dt), asks)
        add(found, supervisor, plant)
    return found


def _policy(policy: RobotPolicy, command: np.ndarray) -> Asks:
    policy.reset()

    def asks(sample: RobotState) -> np.ndarray:
        inputs = {name: command if name == "command" else getattr(sample, name) for name in policy.inputs}
        return policy.step({name: value[None] for name, value in inputs.items()})[0][0].astype(np.float64)

    return asks


def _wild(robot: Robot, reach: float, random: np.random.Generator) -> Asks:
    return lambda sample: robot.default_joint_pos + reach * random.uniform(-1.0, 1.0, robot.num_joints)


def follow(supervisor: Supervisor, plant: SimulatedRobot, clock: SimulatedTime, steps: int, asks: Asks | None = None) -> None:
    """The loop of the runtime, until the supervisor finds something."""
    target, due = None, clock.now()
    for _ in range(steps):
        sample = supervisor.observe(plant.read(), clock.now())
        supervisor.heard(clock.now())
        if asks is not None and supervisor.state is State.WALK:
            target = asks(sample)
        plant.write(supervisor.command(clock.now(), target))
        if supervisor.state is State.FAULT:
            return
        due += supervisor.control_dt
        clock.sleep_until(due)
    plant.read()


def add(found: Takeovers, supervisor: Supervisor, plant: Measured) -> None:
    found.speed.append(plant.speed)
    found.power.append(plant.power)
    kinds = [event.kind for event in supervisor.events if event.kind not in ("transition", "override")]
    found.ends[kinds[0] if kinds else str(supervisor.state)] += 1


def main() -> None:
    bundle = load(Path(sys.argv[1]))
    taken, poses, limits = (
        RobotPolicy(bundle, robots.load(bundle.contract.robot)),
        int(sys.argv[2]) if len(sys.argv) > 2 else 1000,
        Limits(),
    )
    robot, dt = taken.robot, taken.contract.control_dt
    unlimited = RobotPolicy(bundle, replace(robot, battery_power=None))
    budget = limits.power * (robot.battery_power or np.inf)
    for name, found in (
        ("limp", limp(robot, dt, poses, 0, limits)),
        ("at once", limp(robot, dt, poses, 0, limits, bare=True)),
        ("policy", policy(taken, poses, 0, limits)),
        ("wild", policy(taken, poses, 0, limits, WILD)),
        ("wild, without a limit of power", policy(unlimited, poses, 0, limits, WILD)),
    ):
        print("\n".join(found.lines(name, budget)))


if __name__ == "__main__":
    main()
