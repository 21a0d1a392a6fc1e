"""A deployment on a simulated robot in simulated time, with faults to order, and a policy that trots on the spot without any training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deploy.hil.simulated_robot import PERFECT, Conditions, SimulatedRobot
from deploy.interface import MotorCommand, RobotState, SimulatedTime
from deploy.limits import Limits
from deploy.operator import ScriptedOperator, Stop
from deploy.policy import RobotPolicy, load
from deploy.runtime import Runtime
from deploy.states import State
from deploy.supervisor import Supervisor
from robots import Robot


class Faulty:
    """A simulated robot whose samples and commands tests may change on their way, or keep from arriving."""

    def __init__(self, plant: SimulatedRobot) -> None:
        self.plant = plant
        self.on_read: Callable[[RobotState], Any] = lambda sample: sample
        self.on_write: Callable[[MotorCommand], MotorCommand] = lambda command: command

    def read(self) -> RobotState:
        return self.on_read(self.plant.read())

    def write(self, command: MotorCommand) -> None:
        self.plant.write(self.on_write(command))

    def close(self) -> None:
        self.plant.close()


class Deployment:
    """A bundle on a robot; ``run`` it, and look at what the plant's motors and pose came to."""

    def __init__(
        self,
        bundle: Path,
        robot: Robot,
        conditions: Conditions = PERFECT,
        limits: Limits | None = None,
        script: Any = ((0.0, (0.0, 0.0, 0.0)),),
    ) -> None:
        self.bundle = bundle
        self.policy, self.clock = RobotPolicy(load(bundle), robot), SimulatedTime()
        self.plant = SimulatedRobot(self.policy.robot, self.clock, conditions)
        self.robot = Faulty(self.plant)
        self.supervisor = Supervisor(self.policy.robot, self.policy.contract.control_dt, limits or Limits())
        self.runtime = Runtime(self.policy, self.robot, self.supervisor, self.clock)
        self.operator = ScriptedOperator(script, self.policy.contract)
        self.start = 0.0

    def again(self) -> Deployment:
        """Another one of the kind, trotting from the start."""
        return Deployment(self.bundle, self.policy.robot).trot().standing()

    def run(self, seconds: float) -> Deployment:
        """And be damped where it is."""
        self.runtime.run(seconds, self.operator, Stop.NONE)
        return self

    def standing(self) -> Deployment:
        """Begin ready on its feet, and so walk at the first step."""
        plant, robot = self.plant, self.policy.robot
        plant.gantry, plant.data.xfrc_applied[:] = None, 0.0
        plant.data.qpos[:7] = (0.0, 0.0, robot.standing_height, 1.0, 0.0, 0.0, 0.0)
        plant.data.qpos[7:] = robot.default_joint_pos
        plant.data.qvel[:] = 0.0
        plant.write(MotorCommand(robot.default_joint_pos, robot.kp, robot.kd, np.zeros(robot.num_joints)))
        self.clock.sleep_until(0.4)
        plant.read()
        plant.frames.clear()
        self.supervisor.state = State.READY
        self.start = self.clock.now()
        return self

    def at(self, seconds: float) -> bool:
        """Whether so many seconds have passed since it stood."""
        return self.clock.now() - self.start >= seconds - 1e-9

    def act(self, target: Callable[[], np.ndarray]) -> Deployment:
        """Let the policy say ``target()`` [J] rad at every step."""
        self.policy.step = lambda signals: (target()[None].astype(np.float32), np.zeros((1, self.policy.robot.num_joints)))
        return self

    def trot(self) -> Deployment:
        """Trot on the spot, open loop, at 2 Hz: diagonal legs fold in turn."""
        robot, steps = self.policy.robot, iter(range(10**9))
        phase = np.array([0.0 if name[:2] in ("FL", "RR") else 0.5 for name in robot.joint_names])
        fold = np.select([["thigh" in name for name in robot.joint_names], ["calf" in name for name in robot.joint_names]], [0.2, -0.4])
        return self.act(lambda: robot.default_joint_pos + fold * np.sin(2 * np.pi * (0.04 * next(steps) + phase)).clip(0.0))

    # what the robot came to

    @property
    def damped(self) -> bool:
        """Whether the plant's motors damp, hold nothing, and the interface is closed."""
        model = self.plant.model
        gains = model.actuator_gainprm[:, 0], model.actuator_biasprm[:, 1], model.actuator_biasprm[:, 2] + self.supervisor.limits.damping_kd
        return self.plant.closed and not np.any(gains)

    @property
    def upright(self) -> float:
        """The cosine of the base's angle from upright, least over the run."""
        quats = np.array(self.plant.frames)[:, 3:7]
        return float((1.0 - 2.0 * (quats[:, 1] ** 2 + quats[:, 2] ** 2)).min())

    @property
    def kinds(self) -> list[str]:
        """Of the events that are no transitions."""
        return [event.kind for event in self.supervisor.events if event.kind != "transition"]

    def time_of(self, kind: str) -> float:
        """s since it stood."""
        return next(event.time for event in self.supervisor.events if event.kind == kind) - self.start

    def seconds(self, state: State) -> float:
        return 0.02 * sum(row["state"] == state for row in rows(self.runtime))


def rows(runtime: Runtime) -> list[dict[str, np.ndarray]]:
    """What a run's log holds of each step."""
    columns = runtime.log.columns()
    return [{name: column[i] for name, column in columns.items()} for i in range(len(columns["time"]))]


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[RobotState], RobotState]:
    return lambda sample: replace(sample, **{name: change(getattr(sample, name))})
