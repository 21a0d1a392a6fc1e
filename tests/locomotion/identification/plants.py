"""Robots with hidden physics, and what was measured of them."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np

from deploy.hil.simulated_robot import PHYSICS_DT, Conditions, SimulatedRobot
from deploy.interface import MotorCommand, RobotState, SimulatedTime
from deploy.limits import Limits
from deploy.log import Recorder
from deploy.operator import ScriptedOperator
from deploy.policy import RobotPolicy, load
from deploy.runtime import Runtime
from deploy.supervisor import State, Supervisor
from locomotion.identification.recording import MEASURED, Recording
from robots.actuator import torque_bounds
from tests.deploy import bundles

DT = 0.02  # s
WEAK = Limits(pose_tolerance=0.4, wiggle=0.1)  # of a robot that sags, and whose legs stick


def follow(robot, targets, conditions):
    """A recording of a plant that hears ``targets`` [T, J], without a runtime between."""
    clock = SimulatedTime()
    plant, measured, times = SimulatedRobot(robot, clock, conditions), {name: [] for name in MEASURED}, []
    zeros = np.zeros(robot.num_joints)
    for step, target in enumerate(targets):
        clock.sleep_until(DT * step)
        state = plant.read()
        plant.write(MotorCommand(target, robot.kp, robot.kd, zeros))
        times.append(state.time)
        for name in MEASURED:
            measured[name].append(getattr(state, name))
    sampled = np.array(times)
    return Recording(robot, DT, sampled, sampled, {k: np.array(v) for k, v in measured.items()}, targets, [(25, len(targets))])


class HiddenMotors:
    """Motors that no factor on the law's gains describes: a dead zone, less of the torque the faster they turn, and a lag."""

    LAG, DEAD, FADING = 0.008, 0.8, 0.02  # s, N m, share a rad/s

    def __init__(self, robot, dt):
        self.robot, self.dt, self.torque = robot, dt, np.zeros(robot.num_joints)

    def __call__(self, asked, joint_vel):
        """N m [J] that they give, ``dt`` s after what the last call gave."""
        settled = np.sign(asked) * np.maximum(np.abs(asked) - self.DEAD, 0.0) * np.maximum(1.0 - self.FADING * np.abs(joint_vel), 0.0)
        low, high = torque_bounds(joint_vel, self.robot.effort_limit, self.robot.torque_speed)
        self.torque = self.torque + (settled.clip(low, high) - self.torque) * (1.0 - np.exp(-self.dt / self.LAG))
        return self.torque


class Unlawful(SimulatedRobot):
    """A plant with such motors."""

    motors = told = None

    def _apply(self, command):
        self.told = command

    def _step(self):
        self.motors = self.motors or HiddenMotors(self.robot, PHYSICS_DT)
        q, dq, told = self.data.qpos[self._qpos], self.data.qvel[self._qvel], self.told
        asked = told.kp * (told.joint_pos_target - q) - told.kd * dq + told.feed_forward
        self.model.actuator_gainprm[:, 0] = 0.0
        self.model.actuator_biasprm[:, :3] = 0.0
        self.model.actuator_biasprm[:, 0] = self.motors(asked, dq)
        mujoco.mj_step(self.model, self.data)


def run(bundle, robot, path, seconds, conditions, plant=SimulatedRobot):
    """The log of a deployment in simulated time, and its runtime."""
    policy, clock = RobotPolicy(load(bundle), robot), SimulatedTime()
    plant = plant(policy.robot, clock, conditions)
    supervisor = Supervisor(policy.robot, policy.contract.control_dt, WEAK)
    runtime = Runtime(policy, plant, supervisor, clock, Recorder(path, policy.robot, policy.contract, WEAK))
    runtime.run(seconds, ScriptedOperator([[0.0, list(policy.contract.command_rest)]], policy.contract))
    return runtime, plant


def write_log(folder, robot, steps=400, still=None, name=None):
    """A log of made-up motion, of which one joint may be ``still``."""
    bundle = bundles.write_tiny(folder / "policy.onnx", robot)
    path = folder / "log.mcap"
    path.unlink(missing_ok=True)
    recorder = Recorder(path, replace(robot, name=name or robot.name), load(bundle).contract, Limits())
    moves = np.ones(robot.num_joints)
    if still is not None:
        moves[robot.joint_names.index(still)] = 0.0
    zeros = np.zeros(robot.num_joints)
    for step in range(steps):
        position = robot.default_joint_pos + 0.2 * np.sin(3.0 * DT * step) * moves
        state = RobotState(DT * step, step, np.zeros(3), np.array([0.0, 0.0, -1.0]), position, zeros, zeros)
        motor = MotorCommand(position, robot.kp, robot.kd, zeros)
        recorder.record(DT * step, state, np.zeros(3), motor, State.WALK, (0.0, 0.0, 0.0))
    recorder.close()
    return path


__all__ = ["DT", "Conditions", "MotorCommand", "SimulatedRobot", "SimulatedTime", "follow", "run", "write_log"]
