"""A process that is the robot on the wire: physics in real time behind ``rt/lowcmd``, ``rt/lowstate`` and the motion switcher.

Commands are refused while the robot's own motion service drives the motors, and unless checksum and mode are right. The motors keep
the last command for ever: what a real robot does when commands stop is not published.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deploy.hil.drives import Battery, DriveCommand
from deploy.hil.plant import PHYSICS_DT, Plant, PlantSettings, Sample
from deploy.hil.wire import Wire
from deploy.interface import real_time_priority
from deploy.runtime import memory_kept, no_garbage_collection
from deploy.summary import quantiles
from deploy.unitree.interface import LOW_CMD, LOW_STATE
from deploy.unitree.motion_switcher import MotionService
from deploy.unitree.remote import Remote
from deploy.unitree.transport import BYTE, Bus
from robots import InputError, Robot

STATE_EVERY = 2  # physics steps: 500 Hz
SERVICE_EVERY = 20
DAMPING = 3.0  # N m s/rad while a motion service has the motors
PENDING = 16  # commands that may wait for a server that is late
PRIORITY = 40  # of SCHED_FIFO: below a runtime and its guard, which share this machine with it only here
OVERRUN = 0.002  # s
MAX_BEHIND = 0.1  # s of physics that are caught up with; time beyond is skipped, and counted
BATTERIES = {"unitree_go": (8, 8.0), "unitree_hg": (13, 9.0)}  # cells in series, Ah


@dataclass(frozen=True)
class ServerSettings:
    network: str = "lo"
    domain: int = 1
    octet: str = BYTE  # UINT8: for the vendor's Python package alone
    service: str = "normal"  # the motion service that drives the motors at the start; "" for none
    gantry: bool | None = None  # whether it starts hanging; None: if it has two feet, and no stand
    stand: bool = False  # whether a stand holds its base off the ground, for good
    seed: int = 1
    report_every: float = 5.0  # s


class Server:
    """``tell`` gets a line of text now and then, and at the end."""

    PLANT = Plant

    def __init__(self, robot: Robot, settings: ServerSettings, plant: PlantSettings, tell: Callable[[str], None] = print) -> None:
        self.robot, self._settings, self._tell = robot, settings, tell
        self.wire = Wire(robot)
        hang = len(robot.feet) == 2 and not settings.stand if settings.gantry is None else settings.gantry
        if hang and settings.stand:
            raise InputError("stand", True, "false beside gantry=true", "A gantry lets the robot down, a stand never does: say one.")
        cells, capacity = BATTERIES[self.wire.family.name]
        self.plant = self.PLANT(robot, Battery(cells, capacity, plant.charge), plant, hang, settings.seed, settings.stand)
        bus = Bus(settings.network, settings.domain)
        self._commands = bus.subscriber(LOW_CMD, self.wire.family.low_cmd, settings.octet, PENDING)
        self._states = bus.publisher(LOW_STATE, self.wire.family.low_state, settings.octet)
        self.service = MotionService(bus, settings.service, settings.octet)
        self.refused: Counter[str] = Counter()  # commands, by reason
        self.commands = 0  # taken
        self._remarked: set[str] = set()
        self.remote, self._thumb = Remote(), np.random.default_rng(settings.seed)
        self._told = DriveCommand.off(robot.num_joints)
        self._damped = replace(self._told, enabled=np.ones(robot.num_joints, dtype=bool), kd=np.full(robot.num_joints, DAMPING))
        self._gaps: deque[float] = deque(maxlen=5000)  # s between commands
        self._last_command: float | None = None
        self._due: deque[bytes] = deque()
        self._delayed = round(plant.state_delay / (STATE_EVERY * PHYSICS_DT))
        self.skipped = 0.0  # s that could not be simulated in time
        self.late, self.work = array("d"), array("d")  # s of each step: after its deadline that it began, and that it took
        self.stopped = False
        self._keys = b""
        self._listens = sys.stdin is not None
        self._by_hand = False  # the winch has been moved

    def run(self, duration: float | None = None) -> dict[str, Any]:
        """Serve for ``duration`` s (None: until SIGINT, SIGTERM or SIGHUP). SIGUSR1 lets rope out of the gantry, or takes it in."""
        settings = self._settings
        hanging = "hanging from a gantry" if self.plant.gantry else "on a stand" if settings.stand else "lying on the ground"
        holds = f"motion service '{self.service.name}' has the motors" if self.service.name else "no motion service"
        self._tell(f"{self.robot.name} on {settings.network}, domain {settings.domain}: {self.wire.family.name}, {hanging}, {holds}")
        with self._signals(), no_garbage_collection(), memory_kept(True), real_time_priority(PRIORITY):
            began = deadline = time.monotonic()
            reported, reported_at = 0.0, began
            while not self.stopped and (duration is None or time.monotonic() - began < duration):
                woke = time.monotonic()
                behind = woke - deadline
                self.late.append(max(behind, 0.0))
                if behind > MAX_BEHIND:
                    self.skipped += behind
                    deadline += behind
                self._step()
                self.work.append(time.monotonic() - woke)
                deadline += PHYSICS_DT
                if self.plant.time - reported >= settings.report_every:
                    now = time.monotonic()
                    self._tell(self._report((self.plant.time - reported) / (now - reported_at)))
                    reported, reported_at = self.plant.time, now
                if (ahead := deadline - time.monotonic()) > 0.0:
                    time.sleep(ahead)
            summary = self._summary(time.monotonic() - began)
        self._tell(self._report(summary["real_time_factor"]))
        return summary

    def _step(self) -> None:
        plant = self.plant
        for data in self._commands.take():
            self._hear(data)
        plant.step(self._damped if self.service.name else self._told)  # what a motion service does is not modelled
        if plant.step_count % STATE_EVERY == 0:
            self._due.extend(self._packets(plant.sense()))
            while len(self._due) > self._delayed:
                self._states.write(self._due.popleft())
        if plant.step_count % SERVICE_EVERY == 0:
            self._answer()

    def _packets(self, sample: Sample) -> Iterable[bytes]:
        """What goes out on the wire of a sample."""
        return (self.wire.state(sample, self.remote.trembling(self._thumb)),)

    def _drive(self, command: DriveCommand) -> None:
        """What the motors make of a command that was taken."""
        self._told = command

    def _hear(self, data: bytes) -> None:
        command = "motion service" if self.service.name else self.wire.command(data)
        if isinstance(command, str):
            if command not in self.refused:
                self._tell(f"{self.plant.time:8.2f} s  a command was refused: {command}")
            self.refused[command] += 1
            return
        for remark in self.wire.remarks - self._remarked:
            self._tell(f"{self.plant.time:8.2f} s  commands are taken although {remark}")
        self._remarked |= self.wire.remarks
        now = time.monotonic()
        if self._last_command is None:
            self._tell(f"{self.plant.time:8.2f} s  the first command")
        else:
            self._gaps.append(now - self._last_command)
        self._last_command = now
        self._drive(command)
        self.commands += 1
        if self.plant.gantry and not self.plant.gantry.lower and command.drives and not self._by_hand:
            self._tell(f"{self.plant.time:8.2f} s  the motors are driven: the gantry lets the robot down")
            self.plant.gantry.lower = True

    def _answer(self) -> None:
        name = self.service.name
        self.service.answer()
        if self.service.name != name:
            self._tell(f"{self.plant.time:8.2f} s  motion service: '{name}' -> '{self.service.name}'")
            if not self.service.name:
                self._told = DriveCommand.off(self.robot.num_joints)
        self._read_keys()

    def _read_keys(self) -> None:
        """Lines on the standard input press the remote: 'L2+B', 'ly=0.5', an empty line lets go; 'gantry' moves the winch."""
        if not self._listens or not _readable(sys.stdin.fileno()):
            return
        new = os.read(sys.stdin.fileno(), 4096)
        self._listens = bool(new)
        *lines, self._keys = (self._keys + new).split(b"\n")
        for line in lines:
            words = line.decode(errors="replace").split()
            if words == ["gantry"]:
                self._winch()
                continue
            try:
                self.remote = Remote.parse(words)
            except InputError as error:
                self._tell(str(error))

    def _winch(self) -> None:
        if self.plant.gantry:
            self.plant.gantry.lower, self._by_hand = not self.plant.gantry.lower, True
            self._tell(f"{self.plant.time:8.2f} s  the gantry goes {'down' if self.plant.gantry.lower else 'up'}")

    def _report(self, factor: float) -> str:
        drives, gaps = self.plant.drives, np.array(self._gaps) if self._gaps else np.zeros(1)
        hottest = int(np.argmax(drives.temperature))
        p50, p99 = 1e3 * np.quantile(gaps, [0.5, 0.99])
        refused = f", refused {dict(self.refused)}" if self.refused else ""
        return (
            f"{self.plant.time:8.2f} s  real time {factor:.3f}  commands {self.commands} of {self._commands.writers} programs, "
            f"gap p50 {p50:.1f} p99 {p99:.1f} ms{refused}  height {self.plant.height:.2f} m, tilt {np.degrees(self.plant.tilt):.0f} deg  "
            f"{drives.battery.voltage:.1f} V {100 * drives.battery.charge:.0f} %  "
            f"{drives.temperature[hottest]:.0f} C {self.robot.joint_names[hottest]}"
        )

    def _summary(self, seconds: float) -> dict[str, Any]:
        """Plain numbers and text."""
        gaps = np.array(self._gaps) if self._gaps else np.zeros(1)
        return {
            "robot": self.robot.name,
            "seconds": seconds,
            "real_time_factor": self.plant.time / seconds,
            "skipped_seconds": self.skipped,
            "late_us": quantiles(self.late.tolist()),
            "step_us": quantiles(self.work.tolist()),
            "overruns": sum(late > OVERRUN for late in self.late),
            "commands": self.commands,
            "refused": dict(self.refused),
            "command_gap_ms": dict(zip(("p50", "p99", "max"), (1e3 * np.quantile(gaps, [0.5, 0.99, 1.0])).tolist(), strict=True)),
            "motion_service": self.service.name,
            "height": self.plant.height,
            "tilt": self.plant.tilt,
        }

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(number: int, frame: object) -> None:
            self.stopped = True

        def winch(number: int, frame: object) -> None:
            self._winch()

        handlers = {signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGHUP: stop, signal.SIGUSR1: winch}
        try:
            previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        except ValueError:  # not the main thread: its owner handles signals
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _readable(file: int) -> bool:
    """Whether reading would give something at once. A job in the background must not read its terminal: it would be stopped."""
    if os.isatty(file) and os.tcgetpgrp(file) != os.getpgrp():
        return False
    return bool(select.select([file], [], [], 0.0)[0])
