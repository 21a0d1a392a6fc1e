"""A simulated robot behind the robot interface, in step with the runtime's clock.

The plant is advanced lazily: each call brings the physics up to the clock's present under the command that was in force
meanwhile. A controller that is late therefore meets a robot that has moved on, as a real one would have.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from deploy.hil.gantry import Gantry
from deploy.hil.stand import Stand
from deploy.interface import Clock, Floats, MotorCommand, RobotState
from robots import InputError, Robot
from robots.actuator import torque_bounds
from sim.mujoco_model import GROUND, PAYLOAD, build_model

PHYSICS_DT = 0.002  # s
ROUNDING = 1e-6  # of a physics step that sums of steps may be short: a minute's are by 1e-9, and would be a step behind the clock
MAX_CATCH_UP = 0.5  # s of physics that one call simulates at most
PUSH_EVERY = 4.0  # s
# standard deviations of a good robot's sensors; the bias of the gyroscope is as large as its noise
NOISE = {"base_ang_vel": 0.02, "projected_gravity": 0.003, "joint_pos": 0.001, "joint_vel": 0.1, "joint_torque": 0.2}  # SI units
LARGEST = 1_000_000  # that any of the conditions may be less than


@dataclass(frozen=True)
class Conditions:
    """What the robot meets. The default is a perfect world."""

    noise: float = 0.0  # multiple of NOISE
    friction: float | None = None  # of the ground
    payload: float = 0.0  # kg on the base
    delay: float = 0.0  # s from a command to its effect
    push: float = 0.0  # m/s that the base gets in a random direction every PUSH_EVERY
    seed: int = 0
    strength: float | tuple[float, ...] = 1.0  # share of its torque that each motor delivers, its limit included; all, or each joint's
    joint_friction: float = 1.0  # factor on the dry friction of all joints
    joint_damping: float = 1.0  # factor on their viscous friction
    stand: bool = False  # whether a stand holds its base, its feet free

    def __post_init__(self) -> None:
        if not isinstance(self.stand, bool):
            raise InputError("plant.stand", self.stand, "true or false", "Leave it out for a robot on the ground.")
        for name, value in vars(self).items():
            kind, allowed = (int, "a whole number") if name == "seed" else (int | float, "a number")
            numbers: tuple[Any, ...] = (value,)
            if name == "strength" and isinstance(value, tuple):
                numbers = value
            elif name == "stand" or (name == "friction" and value is None):
                numbers = ()
            if not all(isinstance(v, kind) and not isinstance(v, bool) and 0 <= v < LARGEST for v in numbers):
                allowed += f" of at least 0 and less than {LARGEST:,}"
                raise InputError(f"plant.{name}", value, allowed, "Leave it out for the perfect world's.")


PERFECT = Conditions()


class SimulatedRobot:
    """MuJoCo at 500 Hz with the motors' PD law, and their torque-speed curve, at every step; starts folded on the ground, motors off.

    A robot that cannot rise by itself hangs from a :class:`~deploy.hil.gantry.Gantry` until it stands. ``strength`` [J] is the share of its
    limit that each motor has; ``conditions.strength`` the share of all its torque that it delivers.
    """

    def __init__(self, robot: Robot, clock: Clock, conditions: Conditions = PERFECT) -> None:
        self.robot, self._clock, self._conditions = robot, clock, conditions
        self.model = build_model(robot, PHYSICS_DT, payload=True)
        self.data = mujoco.MjData(self.model)
        self.strength = np.ones(robot.num_joints)
        self._qpos = np.array([self.model.joint(name).qposadr[0] for name in robot.joint_names])
        self._qvel = np.array([self.model.joint(name).dofadr[0] for name in robot.joint_names])
        self._base = self.model.body(robot.base_body).id
        self._random = np.random.default_rng(conditions.seed)
        self._bias = conditions.noise * NOISE["base_ang_vel"] * self._random.standard_normal(3)
        self.model.body(PAYLOAD).mass = conditions.payload
        try:
            self._delivered = np.broadcast_to(np.array(conditions.strength, float), robot.num_joints)
        except ValueError:
            raise InputError("plant.strength", conditions.strength, f"a number, or {robot.num_joints}", "One a joint.") from None
        self.model.dof_frictionloss[self._qvel] *= conditions.joint_friction
        self.model.dof_damping[self._qvel] *= conditions.joint_damping
        if conditions.friction is not None:
            self.model.geom(GROUND).friction[0] = conditions.friction
        mujoco.mj_setConst(self.model, self.data)
        self.frames: list[np.ndarray] = []  # qpos at every read, to make a video of
        self.data.qpos[self._qpos] = robot.lie_joint_pos
        self.gantry = Gantry(robot, self.model) if Gantry.needed(robot) and not conditions.stand else None
        self.data.qpos[2] = self.gantry.height if self.gantry else Stand.height(robot) if conditions.stand else 0.5 * robot.standing_height
        self._stand = Stand(self.model, self.data) if conditions.stand else None
        self._apply(MotorCommand(*(np.zeros(robot.num_joints) for _ in range(4))))
        for _ in range(500):  # settle
            self._step()
        self._time = self._last_push = clock.now()
        self._tick = 0
        self._on_their_way: deque[tuple[float, MotorCommand]] = deque()  # commands, and when they arrive
        self.closed = False

    def read(self) -> RobotState:
        self._advance()
        data = self.data
        mujoco.mj_kinematics(self.model, data)
        rotation = data.xmat[self._base].reshape(3, 3)
        self.frames.append(data.qpos.copy())
        feet = len(self.robot.feet)
        return RobotState(
            time=self._time,
            tick=self._tick,
            base_ang_vel=self._measured("base_ang_vel", data.qvel[3:6] + self._bias),
            projected_gravity=self._measured("projected_gravity", -rotation[2]),
            joint_pos=self._measured("joint_pos", data.qpos[self._qpos]),
            joint_vel=self._measured("joint_vel", data.qvel[self._qvel]),
            joint_torque=self._measured("joint_torque", data.actuator_force / np.maximum(self._delivered, 1e-9)),
            truth={
                "base_pos": data.qpos[:3].copy(),
                "base_lin_vel": rotation.T @ data.qvel[:3],
                "foot_contact_force": data.sensordata[: 3 * feet].reshape(feet, 3).copy(),
            },
        )

    def write(self, command: MotorCommand) -> None:
        self._advance()
        self._on_their_way.append((self._time + self._conditions.delay, command))
        self._receive()

    def close(self) -> None:
        self.closed = True

    def _measured(self, name: str, value: Floats) -> Floats:
        return value + self._conditions.noise * NOISE[name] * self._random.standard_normal(value.shape)

    def _receive(self) -> None:
        while self._on_their_way and self._on_their_way[0][0] <= self._time + ROUNDING * PHYSICS_DT:
            self._apply(self._on_their_way.popleft()[1])

    def _apply(self, command: MotorCommand) -> None:
        model = self.model
        share = self._delivered
        model.actuator_gainprm[:, 0] = share * command.kp
        model.actuator_biasprm[:, 0] = share * command.feed_forward
        model.actuator_biasprm[:, 1], model.actuator_biasprm[:, 2] = -share * command.kp, -share * command.kd
        self.data.ctrl[:] = command.joint_pos_target

    def _step(self) -> None:
        robot, model, data = self.robot, self.model, self.data
        low, high = torque_bounds(data.qvel[self._qvel], robot.effort_limit, robot.torque_speed)
        strength = self.strength * self._delivered
        model.actuator_forcerange[:, 0], model.actuator_forcerange[:, 1] = strength * low, strength * high
        if self.gantry:
            self.gantry.act(data, data.qpos[self._qpos], PHYSICS_DT)
        if self._stand:
            self._stand.hold(data)
        mujoco.mj_step(model, data)

    def _advance(self) -> None:
        behind = min(self._clock.now() - self._time, MAX_CATCH_UP)
        for _ in range(int(behind / PHYSICS_DT + ROUNDING)):
            self._receive()
            if self._conditions.push and self._time - self._last_push >= PUSH_EVERY:
                self._last_push, angle = self._time, self._random.uniform(-np.pi, np.pi)
                self.data.qvel[:2] += self._conditions.push * np.array([np.cos(angle), np.sin(angle)])
            self._step()
            self._time += PHYSICS_DT
            self._tick += 1
        if behind == MAX_CATCH_UP:
            self._time = self._clock.now()
