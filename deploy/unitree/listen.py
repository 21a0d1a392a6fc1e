"""What a Unitree robot says on its wire, for the doctor. Listens, and asks who has the motors; commands nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from deploy.doctor import Samples, Wire
from deploy.unitree.interface import LOW_CMD, LOW_STATE, family_of, projected_gravity, roll_pitch_yaw, whole_robot
from deploy.unitree.messages import HG
from deploy.unitree.motion_switcher import MotionSwitcher
from deploy.unitree.transport import Bus, checked_codec
from robots import InputError, Robot

DOMAINS = (0, 1)  # where robots, and the server, are by themselves
MEETING = 2.0  # s that programs may take to find each other
DEPTH = 256  # states that may wait while another thread has the computer


def listen(robot: Robot, network: str, domain: int, seconds: float, domains: Sequence[int] = DOMAINS) -> tuple[Wire, Samples | None]:
    """Listen for ``seconds`` s; where nothing comes, also in other ``domains``. Raises InputError where there is no such network."""
    family = family_of(robot)
    bus = Bus(network, domain)
    states = bus.subscriber(LOW_STATE, family.low_state, depth=DEPTH)
    commands = bus.subscriber(LOW_CMD, family.low_cmd, depth=DEPTH)
    codec = checked_codec(family.low_state)
    deadline = time.monotonic() + MEETING
    while not states.wait(0.05) and time.monotonic() < deadline:
        pass
    messages: list[np.ndarray] = []
    arrivals: list[float] = []
    rejected: Counter[str] = Counter()
    for subscriber in (states, commands):
        subscriber.take()  # what came while the two met
    heard, began = 0, time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        states.wait(0.05)
        for data in states.take():
            try:
                message = codec.decode(data)
            except ValueError:
                rejected["size"] += 1
                continue
            if not codec.intact(message):
                rejected["crc"] += 1
            elif messages and message["tick"] <= messages[-1]["tick"]:
                rejected["tick"] += 1
            else:
                messages.append(message)
                arrivals.append(now)
        heard += len(commands.take())
    try:
        service = MotionSwitcher(bus).active(MEETING)
    except InputError:
        service = None
    elsewhere = () if messages else tuple(other for other in domains if other != domain and _speaks(robot, network, other))
    newest = messages[-1] if messages else None
    modes = {name: int(newest[name]) for name in ("mode_machine", "mode_pr")} if family is HG and newest is not None else {}
    wire = Wire(
        seconds=seconds,
        arrivals=np.array(arrivals),
        rejected=dict(rejected),
        wanted=family.low_state.typename.replace(".", "::"),
        offered=bus.published(LOW_STATE),
        publishers=states.writers,
        elsewhere=elsewhere,
        commands=heard,
        commanders=commands.writers,
        service=service,
        version=None if newest is None else tuple(newest["version"].tolist()),
        strangers=() if newest is None else _strangers(robot, newest),
        **modes,
    )
    return wire, _samples(robot, messages, np.array(arrivals)) if messages else None


def _speaks(robot: Robot, network: str, domain: int) -> bool:
    return Bus(network, domain).subscriber(LOW_STATE, family_of(robot).low_state).wait(MEETING)


def _strangers(robot: Robot, message: np.ndarray) -> tuple[int, ...]:
    motors, known = message["motor_state"], whole_robot(robot).motor_index
    assert known is not None
    alive = (motors["q"] != 0.0) | (motors["dq"] != 0.0)
    alive[known] = False
    return tuple(np.flatnonzero(alive).tolist())


def _samples(robot: Robot, messages: Sequence[np.ndarray], arrivals: np.ndarray) -> Samples:
    everything = np.stack(messages)
    motors, imu = everything["motor_state"][:, robot.motor_index], everything["imu_state"]
    error = motors["motorstate"] if "motorstate" in (motors.dtype.names or ()) else motors["lost"] - motors["lost"][:1]
    temperature = motors["temperature"].astype(np.float64)
    return Samples(
        time=arrivals,
        projected_gravity=np.array([projected_gravity(quaternion) for quaternion in imu["quaternion"]]),
        base_ang_vel=imu["gyroscope"].astype(np.float64),
        accelerometer=imu["accelerometer"].astype(np.float64),
        rpy=imu["rpy"].astype(np.float64),
        rpy_of_quaternion=roll_pitch_yaw(imu["quaternion"]),
        joint_pos=motors["q"].astype(np.float64),
        joint_vel=motors["dq"].astype(np.float64),
        temperature=temperature if temperature.ndim == 2 else temperature.max(axis=-1),
        motor_error=error.astype(np.float64),
    )
