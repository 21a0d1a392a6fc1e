"""The runtime's side of a fault in real time: the runtime and the guard that drive a robot, in processes of their own, over DDS."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from deploy.connect import standby_of, way_to
from deploy.guard import lease
from deploy.guard_process import GuardedInterface
from deploy.hil.bench import SILENT, WALK_AFTER
from deploy.hil.faults import NOTHING, SIDES, During, Side, make
from deploy.hil.stage import Times
from deploy.interface import MotorCommand, RealTime, RobotState, damping_command, real_time_priority
from deploy.limits import Limits
from deploy.operator import Intent, Stop
from deploy.policy import RobotPolicy, load
from deploy.runtime import PRIORITY, Runtime, no_garbage_collection
from deploy.states import State
from deploy.supervisor import Supervisor
from robots import Robot

PATIENCE = 25.0  # s for the robot to start
BEGINNING = 0.05  # s from the beginning to the runtime's first step


@dataclass(frozen=True)
class Job:
    """What a pilot is for."""

    bundle: Path
    robot: Robot
    domain: int
    phase: str
    fault: str
    settings: dict[str, Any]
    command: tuple[float, ...]
    words: Path  # a file for what the guard says
    seed: int


class MachineTime(RealTime):
    """The clock of the runtime's process, which may jump ahead."""

    ahead = 0.0  # s

    def now(self) -> float:
        return super().now() + self.ahead

    def sleep_until(self, deadline: float) -> None:
        super().sleep_until(deadline - self.ahead)


class Pilot:
    """Tells, through ``pipe``, what is found as it is found, as tuples: a kind, the time, a text and, of an event, its detail."""

    def __init__(self, job: Job, pipe: Connection) -> None:
        self.policy = RobotPolicy(load(job.bundle), job.robot)
        self.robot, self.world, self.clock = job.robot, RealTime(), MachineTime()
        self.random, self.start, self.guard = np.random.default_rng(job.seed), math.inf, None
        self._job, self._pipe, self._during = job, pipe, During(NOTHING, math.inf, math.inf)
        self._rests_at = np.array(job.command)
        self._events = self._warnings = 0  # told
        self._posted = False
        self._late, self._due = -math.inf, math.inf  # s: the latest step so far, and the latest that the first may be
        limits, dt = Limits(), self.policy.contract.control_dt
        way, where = (job.robot, "unitree_dds"), {"network": "lo", "domain": job.domain, "patience": PATIENCE}
        self._way = GuardedInterface(
            way_to(*way, **where), job.robot, limits.damping_kd, lease(dt), standby=standby_of(*way, **where)
        )  # fmt: skip
        self.supervisor = Supervisor(job.robot, dt, limits)
        if job.phase != "standing_up":
            self.supervisor.state = State.READY
        self.runtime = Runtime(self.policy, self, self.supervisor, self.clock)
        self._step, self.policy.step = self.policy.step, self._policy_step
        self.policy.reset()

    def run(self, times: Times) -> None:
        """Until the end of ``times``, and damped."""
        self.start, self._due = times.start, times.begin + BEGINNING
        if SIDES[self._job.fault] in (Side.RUNTIME, Side.PROCESS):
            hooks = make(self._job.fault, self, self._job.settings)
            self._during = During(replace(hooks, begin=lambda: self._begin(hooks.begin)), times.start, times.stop)
        time.sleep(max(0.0, times.begin - time.monotonic()))
        try:
            self.runtime.run(times.end - times.begin, self._operator, Stop.NONE)
        except Exception as error:
            self._pipe.send(("ending", time.monotonic(), f"{type(error).__name__}: {error}".partition(" Token to reset")[0]))
        self._tell()

    def _begin(self, begin: Callable[[], None]) -> None:
        """At the first step since the fault's start."""
        self._pipe.send(("began", time.monotonic()))
        begin()

    # the runtime's interface

    def read(self) -> RobotState:
        if not self._posted:  # as of a run that begins idle; not before the loop turns, for the guard's lease begins with it
            self._posted = True
            self._way.write(damping_command(self.robot.num_joints, 0.0))
        self._during(time.monotonic()).runtime()
        return self._way.read()

    def write(self, command: MotorCommand) -> None:
        self._tell()
        self._way.write(command)

    def close(self) -> None:
        self._tell()
        self._way.close()

    # what faults do to a runtime

    def hang(self, seconds: float) -> None:
        """Do nothing for so long."""
        time.sleep(min(seconds, 1e6))

    def kill(self) -> None:
        """This process is gone."""
        os.kill(os.getpid(), signal.SIGKILL)

    def suspend(self, seconds: float) -> None:
        """This process stands still for so long."""
        nothing = subprocess.DEVNULL
        subprocess.Popen(["/bin/sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()}"], stdin=nothing, stdout=nothing, stderr=nothing)
        os.kill(os.getpid(), signal.SIGSTOP)

    def signal_guard(self, number: signal.Signals) -> None:
        """To the guard's process."""
        os.kill(self._way.report().process, number)

    def _policy_step(self, signals: Any) -> Any:
        target, action = self._step(signals)
        return self._during(time.monotonic()).target(target[0])[None], action

    def _operator(self, since: float, state: State) -> Intent:
        dt = self.policy.contract.control_dt
        late = since - dt * math.floor(since / dt + 1e-6) if self._late > -math.inf else max(0.0, time.monotonic() - self._due)
        if late > self._late:
            self._late = late
            self._pipe.send(("late", time.monotonic(), late))
        walks = self._job.phase == "walking" and since >= WALK_AFTER
        wanted = {State.IDLE: State.STAND_UP, State.READY: State.WALK if walks else None}.get(state)
        command = self._rests_at if state is State.WALK else self.policy.contract.command_rest
        return self._during(time.monotonic()).intent(Intent(wanted, command))

    def _tell(self) -> None:
        for event in self.supervisor.events[self._events :]:
            if event.kind not in SILENT:
                self._pipe.send(("event", time.monotonic(), event.kind, event.detail))
        self._events = len(self.supervisor.events)
        for warning in self.runtime.warnings[self._warnings :]:
            self._pipe.send(("warning", time.monotonic(), warning))
        self._warnings = len(self.runtime.warnings)


def main(job: Job, pipe: Connection) -> None:
    """Of the pilot's process: says "up", or what is wrong, hears the times, and flies."""
    words = os.open(job.words, os.O_WRONLY | os.O_CREAT)
    os.dup2(words, 2)  # the guard's process has it from here
    try:
        pilot = Pilot(job, pipe)
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        return
    with no_garbage_collection(), real_time_priority(PRIORITY):  # before the runtime does, so that it begins in time
        pipe.send("up")
        pilot.run(pipe.recv())
