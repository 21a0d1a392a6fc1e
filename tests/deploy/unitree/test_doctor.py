"""The doctor on a robot's wire, over DDS: the simulated robot's server in a thread of this process, whose states tests may spoil."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import robots
from deploy.doctor import diagnose
from deploy.examine import CHECKS
from deploy.hil.drives import DriveCommand
from deploy.hil.plant import PlantSettings
from deploy.hil.server import Server, ServerSettings
from deploy.unitree import motion_switcher
from deploy.unitree.codec import codec
from deploy.unitree.listen import listen
from deploy.unitree.messages import GO, HG
from deploy.unitree.transport import UINT8, Bus, Publisher
from robots import Robot
from tests.deploy.facts import facts
from tests.deploy.unitree.fake import DOMAIN as FIRST
from tests.deploy.unitree.fake import FakeRobot

SECONDS = 0.4
DOMAIN = FIRST + 100  # of these tests alone: readers that linger would count as a robot elsewhere
TIMING = {"state_rate", "state_gaps"}  # may be true of this machine, where others work on it too


class Spoiled:
    """A server that runs. ``spoil`` changes each message in place and says whether it is sent, ``noise`` the bytes."""

    def __init__(self, robot: Robot, domain: int, plant: PlantSettings | None = None, **settings: Any) -> None:
        given = {"network": "lo", "domain": domain, "service": "", **settings}
        self.server = Server(robot, ServerSettings(**given), plant or PlantSettings(), lambda line: None)
        self.server._listens = False  # nobody types
        self.codec, self._write = codec(self.server.wire.family.low_state), self.server._states.write
        self.server._states.write = self._send
        self.mend()

    def mend(self) -> None:
        self.spoil: Callable[[np.ndarray], Any] = lambda message: None
        self.noise: Callable[[bytes], bytes] = lambda data: data

    def _send(self, data: bytes) -> None:
        message = self.codec.decode(data)
        if self.spoil(message) is not False:
            self._write(self.noise(self.codec.encode(message)))


@contextlib.contextmanager
def serving(robot: Robot, domain: int, **settings: Any) -> Iterator[Spoiled]:
    spoiled = Spoiled(robot, domain, **settings)
    thread = threading.Thread(target=spoiled.server.run)
    thread.start()
    try:
        yield spoiled
    finally:
        spoiled.server.stopped = True
        thread.join()


def named(robot: Robot, domain: int = DOMAIN, domains: tuple[int, ...] = ()) -> list[str]:
    """What the doctor finds there, but for what this machine is too busy for; the computer is a good one, whatever this one is."""
    return [name for name in found(robot, domain, domains) if name not in TIMING]


def found(robot: Robot, domain: int = DOMAIN, domains: tuple[int, ...] = ()) -> list[str]:
    wire, samples = listen(robot, "lo", domain, SECONDS, domains)
    return diagnose(facts(robot, wire=wire, samples=samples, network="lo"), CHECKS).named


@pytest.fixture(scope="module")
def lying() -> Iterator[Spoiled]:
    with serving(robots.load("unitree_go2"), DOMAIN) as spoiled:
        yield spoiled
        spoiled.mend()


def scale(field: str, factor: float) -> Callable[[np.ndarray], None]:
    def spoil(message: np.ndarray) -> None:
        message["imu_state"][field] *= factor

    return spoil


def motor(slot: int, field: str, value: Callable[[float, int], float]) -> Callable[[np.ndarray], None]:
    """``value`` of what there is and of the tick."""

    def spoil(message: np.ndarray) -> None:
        message["motor_state"][field][slot] = value(message["motor_state"][field][slot], int(message["tick"]))

    return spoil


def dead(message: np.ndarray) -> None:
    message["motor_state"][4] = np.zeros((), message["motor_state"].dtype)


def turned(message: np.ndarray) -> None:
    """The IMU's chip and its quaternion do not agree: 90 degrees about x."""
    w, x, y, z = message["imu_state"]["quaternion"]
    message["imu_state"]["quaternion"] = np.array([w - x, w + x, y + z, z - y]) / np.sqrt(2.0)


def reordered(message: np.ndarray) -> None:
    message["imu_state"]["quaternion"] = np.roll(message["imu_state"]["quaternion"], -1)


def still(message: np.ndarray) -> None:
    message["imu_state"]["gyroscope"] = 0.01


def version(message: np.ndarray) -> None:
    message["version"] = 1, 33


def rarely(message: np.ndarray) -> bool:
    return int(message["tick"]) % 40 == 0


def same_tick(message: np.ndarray) -> None:
    message["tick"] = 1


@pytest.mark.parametrize(
    ("check", "spoil"),
    [
        ("gravity", scale("quaternion", 0.8)),
        ("gravity", scale("quaternion", 0.0)),
        ("imu_frame", turned),
        ("quaternion", reordered),
        ("accelerometer", scale("accelerometer", 1 / 9.81)),
        ("gyroscope", scale("gyroscope", 180 / np.pi)),
        ("frozen", still),
        ("finite", motor(3, "dq", lambda value, tick: np.nan)),
        ("dead_motors", dead),
        ("motor_errors", motor(3, "lost", lambda value, tick: tick)),
        ("hot_motors", motor(3, "temperature", lambda value, tick: 95)),
        ("joint_limits", motor(5, "q", lambda value, tick: value - 0.3)),
        ("joint_zeros", motor(0, "q", lambda value, tick: value + 0.4)),
        ("joint_velocities", motor(1, "dq", lambda value, tick: value + 1.0)),
        ("strangers", motor(14, "q", lambda value, tick: 0.5)),
        ("firmware", version),
        ("state_rate", rarely),
        ("ticks", same_tick),
    ],
)  # fmt: skip
def test_what_a_robot_says_wrong_is_named(go2, lying, check, spoil):
    lying.spoil = spoil
    time.sleep(0.05)
    names = found(go2)
    lying.mend()
    assert check in names
    also = {
        "gravity": {"imu_frame", "quaternion", "frozen"},
        "imu_frame": {"quaternion", "upright"},
        "quaternion": {"imu_frame", "upright"},
    }
    also |= {name: {"joint_zeros"} for name in ("dead_motors", "joint_limits")}
    assert set(names) - {check} - TIMING <= also.get(check, set())


def test_a_bad_cable_is_named(go2, lying):
    lying.noise = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    time.sleep(0.05)
    names = named(go2)
    lying.mend()
    assert names == ["checksums"]


def test_who_else_is_there_is_named(go2, lying):
    bus = Bus("lo", DOMAIN)
    other = bus.publisher("rt/lowcmd", GO.low_cmd)
    time.sleep(0.3)
    assert named(go2) == ["possible_commander"]
    stop = threading.Event()

    def talk(publisher: Publisher) -> None:
        while not stop.wait(0.02):
            publisher.write(codec(GO.low_cmd).encode(codec(GO.low_cmd).blank()))

    talker = threading.Thread(target=talk, args=[other])
    talker.start()
    names = named(go2)
    stop.set()
    talker.join()
    del talker
    assert names == ["second_commander"]
    del other
    second = bus.publisher("rt/lowstate", GO.low_state)
    time.sleep(0.3)
    names = named(go2)
    del second
    assert names == ["second_robot"]


def test_another_kind_of_robot_another_domain_and_nobody_are_told_apart(go2, lying):
    assert "family" in named(robots.load("unitree_g1"))
    assert named(go2, DOMAIN + 1, (DOMAIN,)) == ["domain"]
    assert named(go2, DOMAIN + 1) == ["states"]


def test_the_vendor_s_motion_service_is_named_while_it_has_the_motors_and_where_it_does_not_answer(go2, lying, monkeypatch):
    lying.server.service.name = "normal"
    assert named(go2) == ["motion_service"]
    lying.server.service.name = ""
    monkeypatch.setattr(motion_switcher, "ANSWER", 0.5)
    monkeypatch.setattr(lying.server.service, "answer", lambda: lying.server.service._requests.take())
    assert named(go2) == ["motion_service"]


def test_a_program_with_the_vendor_s_python_types_is_named(go2):
    with serving(go2, DOMAIN + 2, octet=UINT8):
        assert named(go2, DOMAIN + 2) == ["types"]


def test_a_g1_of_another_variant_is_named():
    g1 = robots.load("unitree_g1")
    with FakeRobot(g1, DOMAIN + 3) as fake:
        assert fake.family is HG
        fake.state["mode_machine"], fake.state["mode_pr"] = 4, 1
        fake.state["motor_state"]["motorstate"][7] = 3
        assert {"mode_machine", "mode_pr", "motor_errors"} <= set(named(g1, DOMAIN + 3))


def test_a_go2_that_lies_or_stands_and_a_noisy_one_in_another_domain_are_left_alone(go2, lying):
    assert named(go2) == []
    noise = PlantSettings(joint_pos_noise=0.003, joint_vel_noise=0.2, ang_vel_noise=0.04, accelerometer_noise=0.4, tilt_noise=0.004)
    with serving(go2, DOMAIN + 4, plant=noise) as other:
        assert named(go2, DOMAIN + 4) == []
        stand_up(other.server)
        assert named(go2, DOMAIN + 4) == []


def test_a_g1_on_its_gantry_is_left_alone():
    g1 = robots.load("unitree_g1")
    with serving(g1, DOMAIN + 5):
        assert named(g1, DOMAIN + 5) == []


def stand_up(server: Server) -> None:
    """By a commander whose program has ended: the last command stays."""
    robot, everything = server.robot, np.ones(server.robot.num_joints, dtype=bool)
    zeros = np.zeros(robot.num_joints)
    for share in np.linspace(0.0, 1.0, 30):
        pose = robot.lie_joint_pos + share * (robot.default_joint_pos - robot.lie_joint_pos)
        server._told = DriveCommand(everything, pose, zeros, zeros, robot.kp, robot.kd)
        time.sleep(0.05)
    time.sleep(1.0)
    assert server.plant.height > 0.8 * robot.standing_height
