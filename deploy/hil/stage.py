"""The robot's side of a fault in real time: a server on the wire whose packets, sensors, motors and world go wrong at a set time.

It judges by the truth: what reached the robot over the wire and when, and what the robot's body came to. Times are on the machine's
monotonic clock, which the runtime's and the guard's processes share.
"""

from __future__ import annotations

import math
import time
from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import mujoco
import numpy as np

from deploy.guard import usable
from deploy.hil.drives import DriveCommand
from deploy.hil.faults import NOTHING, SIDES, During, Side, make
from deploy.hil.plant import Plant, PlantSettings, Sample
from deploy.hil.server import Server, ServerSettings
from deploy.hil.simulated_robot import Conditions
from deploy.hil.truth import Truth, torque_share
from deploy.interface import MotorCommand, RealTime, RobotState
from deploy.unitree.interface import LOW_CMD, projected_gravity
from deploy.unitree.messages import ENABLED, GO, GO_HEAD, GO_LEVEL_FLAG
from deploy.unitree.transport import Bus, checked_codec
from robots import Robot
from sim.mujoco_model import GROUND

FALLBACK = 600.0  # s after which a stage that nobody ends ends
ON_THE_WIRE = 3  # samples: the guard's turn, 2 ms, and both ways may lie between one and the command that was clamped by it


@dataclass(frozen=True)
class Job:
    """What a stage is for."""

    robot: Robot
    domain: int
    phase: str
    fault: str
    settings: dict[str, Any]
    conditions: Conditions


@dataclass(frozen=True)
class Times:
    """Of a case, s."""

    begin: float  # of the runtime
    start: float  # of the fault
    stop: float
    end: float


@dataclass(frozen=True)
class Seen:
    """What the robot can say of a case."""

    truth: Truth
    commanded: float  # largest torque that a command asked for since the fault, by what was measured; share of a motor's limit
    heard: np.ndarray  # [commands, 2]: when, and whether it was to hold the robot
    late: tuple[float, float]  # when the latest step of the physics began, and how late, s
    skipped: float  # s of physics that were not simulated


class StagePlant(Plant):
    """``physics`` is called before each step: hands that hold the robot, a stone in its way."""

    def __init__(self, *arguments: Any) -> None:
        self.physics = lambda: None
        super().__init__(*arguments)
        self.strength = np.ones(self.robot.num_joints)
        self.base = self.model.body(self.robot.base_body).id
        bounds = self.drives.torque_bounds
        self.drives.torque_bounds = lambda speed: tuple(self.strength * bound for bound in bounds(speed))  # pyright: ignore

    def index(self, joint: int) -> tuple[int, int]:
        """Of a joint in qpos and qvel."""
        return int(self._qpos[joint]), int(self._qvel[joint])

    def stand(self) -> DriveCommand:
        """In the default pose, from now on; what holds it there."""
        robot, j = self.robot, self.robot.num_joints
        self.gantry = None
        self.data.qpos[:7] = (0.0, 0.0, robot.standing_height, 1.0, 0.0, 0.0, 0.0)
        self.data.qpos[self._qpos], self.data.qvel[:] = robot.default_joint_pos, 0.0
        self.data.qfrc_applied[:] = 0.0
        return DriveCommand(np.ones(j, dtype=bool), robot.default_joint_pos, np.zeros(j), np.zeros(j), robot.kp, robot.kd)

    def meet(self, conditions: Conditions) -> None:
        """The world."""
        if conditions.friction is not None:
            self.model.geom(GROUND).friction[0] = conditions.friction
        self.model.body_mass[self.base] += conditions.payload
        mujoco.mj_setConst(self.model, self.data)

    def _physics(self) -> None:
        self.physics()
        super()._physics()


class Stage(Server):
    """A server that a case is played on."""

    PLANT = StagePlant
    plant: StagePlant

    def __init__(self, job: Job, pipe: Connection) -> None:
        conditions, self._pipe, self._up = job.conditions, pipe, False
        noises = {name: conditions.noise * value for name, value in vars(PlantSettings()).items() if name.endswith("noise")}
        settings = PlantSettings(**noises, motor_delay=PlantSettings().motor_delay + conditions.delay)
        server = ServerSettings(domain=job.domain, service="", seed=conditions.seed, report_every=math.inf)
        super().__init__(job.robot, server, settings, lambda line: None)
        self.plant.meet(conditions)
        self.random, self.world, self.clock = np.random.default_rng(conditions.seed), RealTime(), RealTime()
        self.start, self._times = math.inf, Times(math.inf, math.inf, math.inf, math.inf)
        self._job, self._during = job, During(NOTHING, math.inf, math.inf)
        self._truth = Truth(self.robot, self.plant.model)
        self._heard: list[tuple[float, bool]] = []
        self._latest = (0.0, 0.0)
        self._commanded, self._measured = 0.0, deque[tuple[np.ndarray, np.ndarray]](maxlen=ON_THE_WIRE)
        self._bus, self._intruder = Bus("lo", job.domain), None
        self._stands = job.phase != "standing_up"  # by itself, until it is first held: a guard that waits damps
        if self._stands:
            self._told = self.plant.stand()

    @property
    def physics_time(self) -> float:
        """s on the clock."""
        return self.world.now()

    def _play(self, times: Times) -> None:
        self.start, self._times = times.start, times
        if SIDES[self._job.fault] in (Side.ROBOT, Side.WIRE):
            self._during = During(make(self._job.fault, self, self._job.settings), times.start, times.stop)
        self.late, self._latest = array("d"), (0.0, 0.0)
        self.skipped = 0.0

    @property
    def seen(self) -> Seen:
        return Seen(self._truth, self._commanded, np.array(self._heard).reshape(-1, 2), self._latest, self.skipped)

    def intrude(self) -> None:
        """Write a command that is not the runtime's."""
        if self._intruder is None:
            data = self.plant.data.qpos[[self.plant.index(joint)[0] for joint in range(self.robot.num_joints)]]
            self._intruder = self._bus.publisher(LOW_CMD, self.wire.family.low_cmd), self._foreign(data)
        publisher, data = self._intruder
        publisher.write(data)

    def _foreign(self, pose: np.ndarray) -> bytes:
        codec, robot = checked_codec(self.wire.family.low_cmd), self.robot
        message, slots = codec.blank(), robot.motor_index
        if self.wire.family is GO:
            message["head"], message["level_flag"] = GO_HEAD, GO_LEVEL_FLAG
        motors = message["motor_cmd"]
        motors["mode"][slots], motors["q"][slots], motors["kp"][slots], motors["kd"][slots] = ENABLED, pose, robot.kp, robot.kd
        return codec.encode(message)

    def _step(self) -> None:
        now = time.monotonic()
        if self._times.begin <= now < self._times.end:
            self._during(now)
            self._truth.look(self.plant.data, now, _motor(self.plant.command))
            self._latest = max(self._latest, (now, self.late[-1] if self.late else 0.0), key=lambda moment: moment[1])
        super()._step()

    def _packets(self, sample: Sample) -> Iterable[bytes]:
        now = time.monotonic()
        hooks = self._during(now)
        if hooks is NOTHING:
            self._measured.append((sample.joint_pos, sample.joint_vel))
            return super()._packets(sample)
        seen = hooks.sample(_state(sample, now))
        if seen is None:
            return ()
        if usable(seen, self.robot):
            self._measured.append((seen.joint_pos, seen.joint_vel))
        with np.errstate(over="ignore", invalid="ignore"):  # what is no float32 becomes infinite
            data = self.wire.state(_sample(sample, seen), self.remote)
        return hooks.packet(data)

    def _hear(self, data: bytes) -> None:
        if self._intruder and data == self._intruder[1]:
            self._told = self.wire.command(data)
        else:
            super()._hear(data)

    def _answer(self) -> None:
        super()._answer()
        if not self._up:
            self._up = True
            self._pipe.send("up")
        if self._pipe.poll():
            self._play(self._pipe.recv())
        self.stopped |= time.monotonic() > self._times.end

    def _drive(self, command: DriveCommand) -> None:
        now, motor = time.monotonic(), _motor(command)
        self._stands &= not motor.kp.any()
        if self._stands:
            return
        if now < self._times.end:
            self._heard.append((now, bool(motor.kp.any())))
            if motor.kp.any() and now >= self.start and self._measured:
                shares = (torque_share(self.robot, motor, *measured) for measured in self._measured)
                self._commanded = max(self._commanded, min(shares))  # by the one that the guard had
        for told in self._during(now).command(motor):
            self._told = replace(command, q=told.joint_pos_target, kp=told.kp, kd=told.kd, tau=told.feed_forward)


def _motor(command: DriveCommand) -> MotorCommand:
    kp, kd, tau = (np.where(command.enabled, value, 0.0) for value in (command.kp, command.kd, command.tau))
    return MotorCommand(command.q, kp, kd, tau)


def _state(sample: Sample, now: float) -> RobotState:
    """What the driver of a robot makes of a sample."""
    return RobotState(
        now, sample.step, sample.base_ang_vel, projected_gravity(sample.quaternion), sample.joint_pos, sample.joint_vel, sample.joint_torque
    )


def _sample(sample: Sample, seen: RobotState) -> Sample:
    """With what ``seen`` says."""
    gravity = seen.projected_gravity
    same = np.array_equal(gravity, projected_gravity(sample.quaternion))
    return replace(
        sample, step=seen.tick, base_ang_vel=seen.base_ang_vel, joint_pos=seen.joint_pos, joint_vel=seen.joint_vel,
        joint_torque=seen.joint_torque, quaternion=sample.quaternion if same else quaternion_of(gravity),
    )  # fmt: skip


def quaternion_of(gravity: np.ndarray) -> np.ndarray:
    """[4] w, x, y, z, without yaw, in whose frame gravity's vector is ``gravity`` [3]: its square as long as that."""
    length = float(np.linalg.norm(gravity))
    if not length > 0.0 or not math.isfinite(length):
        return np.full(4, length if length == 0.0 else math.nan)
    up = -gravity / length  # of the world, in the base's frame
    quaternion = np.array([1.0 + up[2], up[1], -up[0], 0.0]) if up[2] > -1.0 + 1e-12 else np.array([0.0, 1.0, 0.0, 0.0])
    return math.sqrt(length) * quaternion / np.linalg.norm(quaternion)


def main(job: Job, pipe: Connection) -> None:
    """Of the stage's process: says "up", hears the times, says what it saw."""
    stage = Stage(job, pipe)
    stage.run(FALLBACK)
    pipe.send(stage.seen)
