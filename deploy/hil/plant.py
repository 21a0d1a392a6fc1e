"""A robot's body, motors and sensors, in MuJoCo at 1 kHz: what the hardware-in-the-loop server puts on the wire."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import mujoco
import numpy as np

from deploy.hil.drives import Battery, DriveCommand, Drives
from deploy.hil.rope import LIFT, Rope
from deploy.hil.stand import Stand
from robots import InputError, Robot
from robots.robot import GRAVITY
from sim.mujoco_model import build_model

PHYSICS_DT = 0.001  # s
COST_EVERY = 20  # steps that heat and charge are reckoned for at once
SETTLE = 1500  # steps before the wire hears of anything


@dataclass(frozen=True)
class PlantSettings:
    """Imperfections: standard deviations of white noise, and delays."""

    joint_pos_noise: float = 0.001  # rad
    joint_vel_noise: float = 0.05  # rad/s
    ang_vel_noise: float = 0.01  # rad/s
    accelerometer_noise: float = 0.1  # m/s^2
    tilt_noise: float = 0.002  # rad
    motor_delay: float = 0.002  # s from the bus to the motors
    state_delay: float = 0.002  # s from the sensors to the bus
    charge: float = 0.9  # of the battery at the start

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (isinstance(value, int | float) and 0.0 <= value <= 1.0):
                raise InputError(f"plant.{name}", value, "a number from 0 to 1", "See 'locomotion hil --help'.")


@dataclass(frozen=True)
class Sample:
    """What the sensors say at one moment. Joints in the robot's order, SI units."""

    step: int  # of the physics
    enabled: np.ndarray
    joint_pos: np.ndarray
    joint_vel: np.ndarray
    joint_acc: np.ndarray
    joint_torque: np.ndarray
    temperature: np.ndarray  # degrees C
    quaternion: np.ndarray  # w, x, y, z; world <- base
    base_ang_vel: np.ndarray  # base frame
    accelerometer: np.ndarray  # base frame, m/s^2; +g along z at rest
    foot_force: np.ndarray  # [F] N
    voltage: float
    current: float
    charge: float


class Plant:
    """Starts with its motors off: folded on the ground, hanging from a gantry, or on a stand, which holds it for good."""

    def __init__(self, robot: Robot, battery: Battery, settings: PlantSettings, hang: bool, seed: int, stand: bool = False) -> None:
        self.robot, self._settings = robot, settings
        self._rng = np.random.default_rng(seed)
        self.model = build_model(robot, PHYSICS_DT)
        self.data = mujoco.MjData(self.model)
        self._qpos = np.array([self.model.joint(name).qposadr[0] for name in robot.joint_names])
        self._qvel = np.array([self.model.joint(name).dofadr[0] for name in robot.joint_names])
        self.drives = Drives(robot, battery)
        self.step_count = 0
        self._command = DriveCommand.off(robot.num_joints)
        self._on_their_way = deque([self._command] * round(settings.motor_delay / PHYSICS_DT))
        self._last_velocity = np.zeros(3)
        pose, height = robot.lie_joint_pos, 0.5 * robot.standing_height
        if hang or stand:
            pose, height = np.clip(0.0, *robot.joint_pos_limit.T), Stand.height(robot) if stand else robot.standing_height + LIFT
        self.data.qpos[self._qpos], self.data.qpos[2] = pose, height
        self.gantry = Rope(self.model, self.data) if hang else None
        self._stand = Stand(self.model, self.data) if stand else None
        self._apply(self._command)
        for _ in range(SETTLE):
            self._physics()
        self.data.qvel[:] = 0.0

    @property
    def time(self) -> float:
        """s since the wire first heard of the robot."""
        return self.step_count * PHYSICS_DT

    @property
    def command(self) -> DriveCommand:
        """What the motors are under."""
        return self._command

    @property
    def height(self) -> float:
        """m of the base above the ground."""
        return float(self.data.qpos[2])

    @property
    def tilt(self) -> float:
        """rad from upright."""
        x, y = self.data.qpos[4:6]
        return float(np.arccos(np.clip(1.0 - 2.0 * (x * x + y * y), -1.0, 1.0)))

    def step(self, command: DriveCommand) -> None:
        """1 ms under what the motors were told ``motor_delay`` ago."""
        self._on_their_way.append(command)
        command = self._on_their_way.popleft()
        if command is not self._command:
            self._apply(command)
        self._last_velocity = self.data.qvel[:3].copy()
        self._physics()
        self.step_count += 1
        if self.step_count % COST_EVERY == 0:
            self.drives.work(self.data.actuator_force, self.data.qvel[self._qvel], COST_EVERY * PHYSICS_DT)

    def sense(self) -> Sample:
        data, settings, j = self.data, self._settings, self.robot.num_joints
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, data.qpos[3:7])
        acceleration = (data.qvel[:3] - self._last_velocity) / PHYSICS_DT + np.array([0.0, 0.0, GRAVITY])
        feet = len(self.robot.feet)
        noise = self._rng.standard_normal(2 * j + 9)
        quaternion = np.zeros(4)
        mujoco.mju_mulQuat(quaternion, data.qpos[3:7], np.array([1.0, *(0.5 * settings.tilt_noise * noise[:3])]))
        battery = self.drives.battery
        return Sample(
            step=self.step_count,
            enabled=self._command.enabled,
            joint_pos=data.qpos[self._qpos] + settings.joint_pos_noise * noise[9 : 9 + j],
            joint_vel=data.qvel[self._qvel] + settings.joint_vel_noise * noise[9 + j :],
            joint_acc=data.qacc[self._qvel],
            joint_torque=data.actuator_force.copy(),
            temperature=self.drives.temperature,
            quaternion=quaternion / np.linalg.norm(quaternion),
            base_ang_vel=data.qvel[3:6] + settings.ang_vel_noise * noise[3:6],
            accelerometer=rotation.reshape(3, 3).T @ acceleration + settings.accelerometer_noise * noise[6:9],
            foot_force=np.linalg.norm(data.sensordata[: 3 * feet].reshape(feet, 3), axis=1),
            voltage=battery.voltage,
            current=battery.current,
            charge=battery.charge,
        )

    def _apply(self, command: DriveCommand) -> None:
        """MuJoCo's affine actuator is the drive's law, its damping integrated implicitly: a drive runs many times faster than 1 kHz."""
        self._command, model = command, self.model
        kp, kd, tau = (np.where(command.enabled, value, 0.0) for value in (command.kp, command.kd, command.tau))
        model.actuator_gainprm[:, 0] = kp
        model.actuator_biasprm[:, 0] = tau + kd * command.dq
        model.actuator_biasprm[:, 1], model.actuator_biasprm[:, 2] = -kp, -kd
        self.data.ctrl[:] = command.q

    def _physics(self) -> None:
        low, high = self.drives.torque_bounds(self.data.qvel[self._qvel])
        self.model.actuator_forcerange[:, 0], self.model.actuator_forcerange[:, 1] = low, high
        if self.gantry:
            self.gantry.pull(self.data)
        if self._stand:
            self._stand.hold(self.data)
        mujoco.mj_step(self.model, self.data)
