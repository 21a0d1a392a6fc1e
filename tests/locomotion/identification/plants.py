"""Robots with hidden physics, and what was measured of them."""

from __future__ import annotations

from dataclasses import replace
from time import sleep

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
    measured = {k: np.array(v) for k, v in measured.items()}
    return Recording(robot, DT, sampled, sampled, measured, targets, [(25, len(targets))], held=conditions.stand)


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


def motors_moved(robot, seconds, motors=None, dt=0.005, hold=4, noise=1.0, delay=0.0, seed=0, size=1.0):
    """A recording of motors whose joints somebody moves, about the default pose; targets go their own way, each held ``hold`` steps."""
    fine, random = 0.001, np.random.default_rng(seed)
    motors = motors or HiddenMotors(robot, fine)
    j, every, late = robot.num_joints, round(dt / fine), round(delay / fine)
    time = np.arange(round(seconds / fine)) * fine
    rate, phase = 2 * np.pi * random.uniform(0.5, 4.0, (3, j)), random.uniform(0.0, 2 * np.pi, (3, j))
    waves = [np.sin(np.multiply.outer(time, r) + p) for r, p in zip(rate, phase, strict=True)]
    q = robot.default_joint_pos + 0.15 * size * sum(waves)
    dq = np.gradient(q, fine, axis=0)
    wanted = q + 0.12 * size * np.sin(np.multiply.outer(time, 2.3 * rate[0]) + 1.0) + 0.1 * size * random.standard_normal((1, j))
    target = wanted[(np.arange(len(time)) // (every * hold)) * every * hold]
    heard = np.concatenate([np.repeat(target[:1], late, axis=0), target])[: len(target)]
    torque = np.array([motors(robot.kp * (h - a) - robot.kd * b, b) for h, a, b in zip(heard, q, dq, strict=True)])
    # a state is sampled before that moment's command is felt, and reports the torque until then
    at = np.arange(every, len(time), every)
    sizes = {"joint_pos": (q, 0.001), "joint_vel": (dq, 0.1)}
    measured = {name: value[at] + noise * size * random.standard_normal((len(at), j)) for name, (value, size) in sizes.items()}
    measured |= {"base_ang_vel": np.zeros((len(at), 3)), "projected_gravity": np.tile([0.0, 0.0, -1.0], (len(at), 1))}
    reported = torque[at - 1] + noise * 0.2 * random.standard_normal((len(at), j))
    return Recording(robot, dt, time[at], time[at], measured, target[at], [(0, len(at))], reported)


def save(recording, folder, name="log.mcap", torque=True):
    """``recording`` as the log of a deployment."""
    robot = recording.robot
    path = folder / name
    path.unlink(missing_ok=True)
    contract = replace(load(bundles.write_tiny(folder / "policy.onnx", robot)).contract, control_dt=recording.control_dt)
    recorder = Recorder(path, robot, contract, Limits())
    zeros = np.zeros(robot.num_joints)
    for k, time in enumerate(recording.sampled):
        while recorder.waiting > 1000:  # nothing here waits for the clock, and the writer must not fall behind
            sleep(0.01)
        motion = [recording.measured[name][k] for name in ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel")]
        state = RobotState(float(time), k, *motion, recording.torque[k] if torque else zeros)
        recorder.record(
            float(time), state, np.zeros(3), MotorCommand(recording.target[k], robot.kp, robot.kd, zeros), State.WALK, (0.0, 0.0, 0.0)
        )
    recorder.close()
    return path


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


__all__ = ["DT", "Conditions", "MotorCommand", "SimulatedRobot", "SimulatedTime", "follow", "motors_moved", "run", "save", "write_log"]
