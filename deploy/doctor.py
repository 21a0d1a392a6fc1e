"""What is wrong with a set-up before anything moves: facts of the computer, the wire and some seconds of samples, and a table of checks.

Nothing here commands a motor. ``python -m deploy doctor FILE.yaml`` gathers the facts and prints what the checks find in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.interface import Floats
from robots import InputError, Robot
from robots.errors import Finding

LOOPBACK = "lo"


@dataclass(frozen=True)
class Network:
    """A network interface of the computer."""

    up: bool
    multicast: bool
    address: str  # IPv4; empty for none


@dataclass(frozen=True)
class Computer:
    """The computer that is to run the policy."""

    networks: Mapping[str, Network]
    libraries: Mapping[str, str]  # versions of what speaks DDS, by package
    library_path: str  # LD_LIBRARY_PATH
    priority: bool  # SCHED_FIFO is granted
    memory_locked: bool
    governor: str  # of the processor's frequency; empty where the system does not say
    lateness: Floats  # [n] s after its deadlines that an empty loop of the policy's period woke


@dataclass(frozen=True)
class Wire:
    """What was heard of a robot over DDS."""

    seconds: float  # listened
    arrivals: Floats  # [n] s, of whole states
    rejected: Mapping[str, int]  # states that were none, by reason: size, crc, tick
    wanted: str  # the states' type
    offered: tuple[str, ...]  # types that other programs publish states as
    publishers: int  # of states, that we can hear
    elsewhere: tuple[int, ...]  # other domains with states
    commands: int  # of another program, that came meanwhile
    commanders: int  # programs that may send some
    service: str | None  # the motion service that has the motors, "" for none; None where it does not answer
    mode_machine: int | None = None  # unitree_hg alone
    mode_pr: int | None = None
    version: tuple[int, ...] | None = None
    strangers: tuple[int, ...] = ()  # slots of motors that answer and are no joint of the robot's


@dataclass(frozen=True)
class Samples:
    """n samples in the robot's order of joints, SI units. NaN where the robot does not say."""

    time: Floats  # [n] s
    projected_gravity: Floats  # [n, 3]
    base_ang_vel: Floats  # [n, 3] rad/s
    accelerometer: Floats  # [n, 3] m/s^2
    rpy: Floats  # [n, 3] rad, roll, pitch and yaw by the robot's own words
    rpy_of_quaternion: Floats  # [n, 3] rad
    joint_pos: Floats  # [n, J] rad
    joint_vel: Floats  # [n, J] rad/s
    temperature: Floats  # [n, J] degrees C
    motor_error: Floats  # [n, J] codes, or lost messages


@dataclass(frozen=True)
class Facts:
    """What a check may look at. None where nobody looked."""

    robot: Robot
    control_dt: float  # s
    computer: Computer | None = None
    wire: Wire | None = None
    samples: Samples | None = None
    network: str | None = None  # interface that the robot is to be behind
    domain: int = 0
    release: bool = False  # whether the run will stop the motion service


@dataclass(frozen=True)
class Check:
    """``finds`` says what is there in place of what ``expects`` wants, or nothing. ``looks_at`` is the part of the facts it needs."""

    name: str
    looks_at: str
    finds: Callable[[Facts, Any], str | None]
    expects: str
    remedy: str
    error: bool = True  # else a warning to look


@dataclass(frozen=True)
class Diagnosis:
    findings: Sequence[Finding] = field(default_factory=list)  # errors first
    looked: int = 0  # checks
    blind: Sequence[str] = ()  # parts of the facts that nobody looked at

    @property
    def named(self) -> list[str]:
        """The checks that found something."""
        return [finding.problem.field for finding in self.findings]

    def lines(self) -> list[str]:
        """For people."""
        errors = sum(finding.error for finding in self.findings)
        unseen = f"; not looked at: {', '.join(self.blind)}" if self.blind else ""
        return [*map(str, self.findings), f"{self.looked} checks: {errors} errors, {len(self.findings) - errors} warnings{unseen}"]


def diagnose(facts: Facts, checks: Iterable[Check]) -> Diagnosis:
    """Run every check whose part of the facts is there."""
    found, looked, blind = [], 0, {}
    for check in checks:
        part = getattr(facts, check.looks_at)
        if part is None:
            blind[check.looks_at] = True
            continue
        looked += 1
        if (what := check.finds(facts, part)) is not None:
            found.append(Finding(check.error, InputError(check.name, what, check.expects, check.remedy)))
    return Diagnosis(sorted(found, key=lambda finding: not finding.error), looked, tuple(blind))
