"""A Unitree robot as the runtime sees it: joints by name, SI units, float64."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter

import numpy as np

import robots
from deploy.interface import Clock, MotorCommand, RealTime, RobotState
from deploy.unitree.messages import (
    DISABLED,
    ENABLED,
    GO,
    GO_HEAD,
    GO_LEVEL_FLAG,
    HG,
    NO_POSITION,
    NO_VELOCITY,
    PITCH_ROLL,
    Family,
)  # fmt: skip
from deploy.unitree.motion_switcher import MotionSwitcher
from deploy.unitree.remote import Remote
from deploy.unitree.transport import Bus, Publisher, checked_codec
from robots import InputError, Robot

LOW_CMD, LOW_STATE = "rt/lowcmd", "rt/lowstate"
HOLD_SPEED = 0.5  # rad/s that a locked joint is moved to its angle at
OTHERS = 16  # commands of other programs that are kept until they are counted
LISTEN = 0.3  # s for another commander to show


def family_of(robot: Robot) -> Family:
    """What its low level speaks, by its number of motors: up to 20 ``unitree_go`` (Go2, B2), more ``unitree_hg`` (G1)."""
    if robot.motor_index is None:
        raise InputError(f"{robot.name}/robot.yaml: motor_order", None, "the vendor's order of joints", "Add motor_order.")
    whole = whole_robot(robot)
    for family in (GO, HG):
        if whole.num_joints <= family.slots:
            return family
    raise InputError("robot", robot.name, f"at most {HG.slots} motors", "No Unitree message holds more.")


def whole_robot(robot: Robot) -> Robot:
    """The robot without a variant: with the motors of joints that the variant locks."""
    return robots.load(robot.name.partition(".")[0]) if robot.locked else robot


class UnitreeInterface:
    """Reads ``rt/lowstate`` and writes ``rt/lowcmd``. Joints that a variant locks are held at their angle, under the robot's own gains.

    ``network`` is the interface that the robot is behind (``lo`` for a server on this machine). With ``release`` the robot's own motion
    service is stopped first, and whatever stands by it falls: lay the robot down, or hang it up. Without ``commands`` it only reads,
    whoever drives the robot, and :meth:`write` is not for use. One on ``standby`` joins the bus and does nothing until :meth:`take_over`.

    Raises:
        InputError: no state arrives, the motion service runs, or somebody else writes commands.
    """

    def __init__(
        self,
        robot: Robot,
        network: str,
        domain: int = 0,
        release: bool = False,
        clock: Clock | None = None,
        patience: float = 5.0,
        commands: bool = True,
        standby: bool = False,
    ) -> None:
        self.robot, self.family = robot, family_of(robot)
        self.rejected: Counter[str] = Counter()  # states that were not used, by reason: size, crc, tick
        self._clock = clock or RealTime()
        assert robot.motor_index is not None
        self._slots = robot.motor_index
        self._state_codec, self._command_codec = checked_codec(self.family.low_state), checked_codec(self.family.low_cmd)
        self._command = _resting_command(self.family, self._command_codec.blank())
        self._prepare_locked_joints()
        self._bus = bus = Bus(network, domain)
        self._subscriber = bus.subscriber(LOW_STATE, self.family.low_state)
        self._newest: tuple[np.ndarray, float] | None = None  # the message, and when it came
        self._failure: Exception | None = None
        self._open, self._foreign = True, 0
        self._others = bus.subscriber(LOW_CMD, self.family.low_cmd, depth=OTHERS, own=False)
        self._listener = threading.Thread(target=self._listen, name="lowstate", daemon=True)
        self._publisher: Publisher | None = None
        if standby:
            return
        self._listener.start()
        try:
            self._await_state(network, domain, patience)
            if commands:
                _take_over(bus, release)
                self._refuse_other_commanders()
        except BaseException:
            self.close()
            raise
        self._publisher = bus.publisher(LOW_CMD, self.family.low_cmd) if commands else None

    def take_over(self) -> None:
        """Of one on standby: speak at once, whoever else does. For the last word in place of a program that died."""
        self._publisher = self._bus.publisher(LOW_CMD, self.family.low_cmd)
        self._listener.start()

    def read(self) -> RobotState:
        """The newest sample that is whole. ``time`` is when it arrived, ``tick`` the robot's own."""
        message, arrived = self._sample()
        motors, imu = message["motor_state"], message["imu_state"]
        return RobotState(
            time=arrived,
            tick=int(message["tick"]),
            base_ang_vel=imu["gyroscope"].astype(np.float64),
            projected_gravity=projected_gravity(imu["quaternion"]),
            joint_pos=motors["q"][self._slots].astype(np.float64),
            joint_vel=motors["dq"][self._slots].astype(np.float64),
            joint_torque=motors["tau_est"][self._slots].astype(np.float64),
            motor_temperature=self._warmth(message),
            voltage=self._voltage(message),
            foreign_commands=self._foreign,
        )

    def write(self, command: MotorCommand) -> None:
        """Raises ValueError for a command that is not finite in single precision."""
        if self._publisher is None:
            raise InputError("command", "a write", "reading alone", "Open the interface with commands=True.")
        message, slots = self._command, self._slots
        with np.errstate(over="ignore"):  # what is no float32 becomes infinite, and is refused
            values = np.stack([command.joint_pos_target, command.kp, command.kd, command.feed_forward]).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("a command to the motors is not finite")
        motors = message["motor_cmd"]
        for name, value in zip(("q", "kp", "kd", "tau"), values, strict=True):
            motors[name][slots] = value
        self._hold_locked_joints(command)
        if self.family is HG:
            message["mode_machine"] = self._sample()[0]["mode_machine"]
        motors["mode"][slots] = ENABLED
        motors["dq"][slots] = 0.0
        self._publisher.write(self._command_codec.encode(message))

    def close(self) -> None:
        """Stop listening. The motors keep the last command."""
        self._open = False
        if self._listener.ident is not None:  # it was started
            self._listener.join(1.0)

    @property
    def remote(self) -> Remote:
        """The hand-held remote now."""
        return Remote.from_bytes(self._sample()[0]["wireless_remote"].tobytes())

    @property
    def motor_temperature(self) -> np.ndarray:
        """[J] degrees C; of the hotter of the two sensors where there are two."""
        return self._warmth(self._sample()[0])

    def _warmth(self, message: np.ndarray) -> np.ndarray:
        """A motor that says 0 does not measure."""
        temperature = message["motor_state"]["temperature"][self._slots].astype(np.float64)
        hotter = temperature if temperature.ndim == 1 else temperature.max(axis=-1)
        return np.where(hotter == 0.0, np.nan, hotter)

    def _voltage(self, message: np.ndarray) -> float:
        """Of the battery where it tells, else of the motors, in the middle; NaN where all say 0."""
        voltage = float(message["power_v"]) if self.family is GO else float(np.median(message["motor_state"]["vol"][self._slots]))
        return voltage or math.nan

    def _sample(self) -> tuple[np.ndarray, float]:
        if self._failure is not None:
            raise OSError(f"listening to {LOW_STATE} failed") from self._failure
        assert self._newest is not None
        return self._newest

    def _listen(self) -> None:
        try:
            while self._open:
                if self._subscriber.wait(0.05):
                    arrived = self._clock.now()
                    for data in self._subscriber.take():
                        self._accept(data, arrived)
                    self._foreign += len(self._others.take())
        except Exception as error:  # the thread that reads hears of it
            self._failure = error

    def _accept(self, data: bytes, arrived: float) -> None:
        try:
            message = self._state_codec.decode(data)
        except ValueError:
            self.rejected["size"] += 1
            return
        if not self._state_codec.intact(message):
            self.rejected["crc"] += 1
        elif self._newest is not None and message["tick"] <= self._newest[0]["tick"]:
            self.rejected["tick"] += 1
        else:
            self._newest = message, arrived

    def _refuse_other_commanders(self) -> None:
        """Whoever commanded before this, such as a motion service that has now been stopped, does not count."""
        self._others.take()
        before = self._foreign
        time.sleep(LISTEN)
        if self._foreign > before:
            remedy = "Two programs that drive one robot fight: stop the other one."
            raise InputError(LOW_CMD, "commands of another program", "silence", remedy)
        self._foreign = 0

    def _await_state(self, network: str, domain: int, patience: float) -> None:
        deadline = time.monotonic() + patience
        while self._newest is None and self._failure is None:
            if time.monotonic() > deadline:
                heard = f"{sum(self.rejected.values())} that were none ({dict(self.rejected)})" if self.rejected else "nothing"
                remedy = f"Is the robot on, its cable in {network}, the domain {domain}, and the robot a {self.family.name}?"
                raise InputError(LOW_STATE, heard, f"{self.family.low_state.typename} within {patience:g} s", remedy)
            time.sleep(0.01)

    def _prepare_locked_joints(self) -> None:
        whole = whole_robot(self.robot)
        assert whole.motor_index is not None
        joints = [whole.joint_names.index(name) for name in self.robot.locked]
        self._locked_slots, self._locked_kp, self._locked_kd = whole.motor_index[joints], whole.kp[joints], whole.kd[joints]
        self._locked_angle = np.array(list(self.robot.locked.values()))
        self._locked_target: np.ndarray | None = None  # on its way to the angle; None while the motors are not driven
        self._last_write = 0.0

    def _hold_locked_joints(self, command: MotorCommand) -> None:
        """Locked joints do what the others do: driven to their angle while those are driven, damped or limp with them."""
        if not self.robot.locked:
            return
        now, driven = self._clock.now(), bool(command.kp.any())
        if not driven:
            self._locked_target = None
        elif self._locked_target is None:
            self._locked_target = self._sample()[0]["motor_state"]["q"][self._locked_slots].astype(np.float64)
        else:
            step = HOLD_SPEED * min(now - self._last_write, 0.1)
            self._locked_target += np.clip(self._locked_angle - self._locked_target, -step, step)
        self._last_write = now
        motors, slots = self._command["motor_cmd"], self._locked_slots
        motors["q"][slots] = 0.0 if self._locked_target is None else self._locked_target
        motors["kp"][slots] = self._locked_kp if driven else 0.0
        motors["kd"][slots] = self._locked_kd if driven else command.kd.max()
        motors["mode"][slots], motors["dq"][slots] = ENABLED, 0.0


def projected_gravity(quaternion: np.ndarray) -> np.ndarray:
    """[3] base frame, of w, x, y, z, world <- base. As long as the quaternion's square: an IMU that says nothing gives no gravity."""
    w, x, y, z = quaternion.astype(np.float64)
    return np.array([2.0 * (w * y - x * z), -2.0 * (y * z + w * x), x * x + y * y - w * w - z * z])


def roll_pitch_yaw(quaternion: np.ndarray) -> np.ndarray:
    """[..., 3] rad, of w, x, y, z [..., 4]; about x, then y, then z of the world."""
    w, x, y, z = np.moveaxis(quaternion.astype(np.float64), -1, 0)
    roll = np.arctan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y))
    pitch = np.arcsin(np.clip(2.0 * (w * y - z * x), -1.0, 1.0))
    yaw = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    return np.stack([roll, pitch, yaw], axis=-1)


def _resting_command(family: Family, message: np.ndarray) -> np.ndarray:
    """Every motor off and not commanded."""
    motors = message["motor_cmd"]
    motors["mode"], motors["q"], motors["dq"] = DISABLED, NO_POSITION, NO_VELOCITY
    if family is GO:
        message["head"], message["level_flag"] = GO_HEAD, GO_LEVEL_FLAG
    else:
        message["mode_pr"] = PITCH_ROLL
    return message


def _take_over(bus: Bus, release: bool) -> None:
    switcher = MotionSwitcher(bus)
    name = switcher.active(2.0)
    if name and not release:
        remedy = "Lay the robot down or hang it up, then release=true stops the service."
        raise InputError("motion service", name, "no service that drives the motors", remedy)
    if name:
        switcher.release()
