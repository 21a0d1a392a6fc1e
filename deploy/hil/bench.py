"""One robot and one fault in simulated time: the real runtime, supervisor and guard against a plant that keeps the truth.

    policy, operator -> Runtime, Supervisor -> guard, at 500 Hz -> wire -> plant

Time passes as in two processes: while the runtime computes nothing, or hangs, the guard goes on turning. Same fault and seed, same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import mujoco
import numpy as np

from deploy.guard import Guard, LockstepGuard, Phase, lease, usable
from deploy.hil.faults import NOTHING, During, Hooks
from deploy.hil.simulated_robot import Conditions
from deploy.hil.truth import torque_share
from deploy.hil.unsupervised import Relay, Unsupervised
from deploy.hil.witness import Witness
from deploy.interface import MotorCommand, RobotState, SimulatedTime
from deploy.limits import Limits
from deploy.operator import Intent, Stop
from deploy.policy import RobotPolicy
from deploy.runtime import Runtime
from deploy.states import State
from deploy.supervisor import Supervisor

PERIOD = 0.002  # s, of the guard
PHASES = ("walking", "standing_up", "ready")
SETTLE = 0.4  # s in the default pose before a run that begins there
WALK_AFTER = 0.1  # s of a run: the guard must have heard of a robot that stands
SILENT = ("transition", "refused", "override")  # events that detect nothing


class WorldTime(SimulatedTime):
    """Simulated time in which ``turn`` is called every PERIOD, whoever sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.turn: Callable[[], None] = lambda: None
        self._turns = 0

    def sleep_until(self, deadline: float) -> None:
        while (self._turns + 1) * PERIOD <= deadline + 1e-9:
            self._turns += 1
            super().sleep_until(self._turns * PERIOD)
            self.turn()
        super().sleep_until(deadline)


@dataclass
class MachineTime:
    """The clock of the robot's computer, which may jump ahead of the world's."""

    world: WorldTime
    ahead: float = 0.0  # s

    def now(self) -> float:
        return self.world.now() + self.ahead

    def sleep_until(self, deadline: float) -> None:
        self.world.sleep_until(deadline - self.ahead)


class End(BaseException):
    """The time of a case is over, though its runtime hangs."""


@dataclass
class Finding:
    """The first that the safety layer, or the runtime, said of a fault."""

    kind: str
    by: str  # "supervisor", "guard" or "runtime"
    time: float  # s of the world


class Bench:
    """A deployment that begins in a phase, meets ``hooks`` from ``at`` s on for ``lasts`` s, and ends ``seconds`` after that began.

    ``supervised`` False: nothing stands between the policy and the motors.
    """

    def __init__(
        self, policy: RobotPolicy, phase: str, conditions: Conditions, command: np.ndarray, at: float, lasts: float, seconds: float,
        supervised: bool = True,
    ) -> None:  # fmt: skip
        self.policy, self.robot, self.phase, self._rests_at = policy, policy.robot, phase, command
        self.world = WorldTime()
        self.clock = MachineTime(self.world)
        self.random = np.random.default_rng(conditions.seed)
        self.plant = Witness(self.robot, self.world, conditions)
        limits, dt = Limits(), policy.contract.control_dt
        if not supervised:  # it is driven beyond all physics: the verdict says so, and MuJoCo need not say it a thousand times
            mujoco.set_mju_user_warning(lambda message: None)
        self.supervisor: Supervisor = (Supervisor if supervised else Unsupervised)(self.robot, dt, limits)
        wire = Wire(self)
        self.guard = Guard(self.robot, limits.damping_kd) if supervised else None
        self.way = LockstepGuard(wire, self.guard, self.clock, lease(dt)) if self.guard else Relay(wire)
        if phase != "standing_up":
            self._stand()
        begin = self.world.now() + WALK_AFTER * (phase == "walking")
        self.start, self.stop, self.end = begin + at, begin + at + lasts, begin + at + seconds
        self.plant.begin(self.end)
        self.runtime = Runtime(policy, Front(self), self.supervisor, self.clock)
        self._during = During(NOTHING, math.inf, math.inf)
        self.finding: Finding | None = None
        self.mild = ""  # the strongest response short of damping
        self.latched = math.inf  # s of the world at which damping was decided on
        self.commands_after_latch = 0
        self.commanded = 0.0  # share of a motor's limit, by what was measured
        self.ending = ""
        self._done = False
        self._told = self._warned = 0
        self._last: RobotState | None = None  # that could be used
        self._step = policy.step

    def run(self, hooks: Hooks) -> None:
        """Until the end; what the runtime raises is one of the things that may come of a fault."""
        self._during = During(hooks, self.start, self.stop)
        self.world.turn = self._turn
        step, self.policy.step = self.policy.step, self._policy_step
        self.policy.reset()
        try:
            self.runtime.run(self.end - self.world.now(), self._operator, Stop.NONE)
        except (Exception, End) as error:
            self.ending = f"{type(error).__name__}: {error}".partition(" Token to reset")[0]  # which is another one each time
        finally:
            self.policy.step = step
        self._done = True
        self.world.sleep_until(self.end)
        self.plant.read()

    @property
    def active(self) -> Hooks:
        """What is broken now."""
        return self._during(self.world.now())

    @property
    def physics_time(self) -> float:
        """s of the world that the physics has come to."""
        return self.plant.time

    def kill(self) -> None:
        """The runtime's process is gone."""
        if self.guard:
            self.guard.end(self.clock.now(), "the runtime is gone")
        self.hang(math.inf)

    def hang(self, seconds: float) -> None:
        """The runtime does nothing for so long. Raises End where the case is over by then."""
        self.world.sleep_until(min(self.world.now() + seconds, self.end))
        if self.world.now() >= self.end - 1e-9:
            raise End("the runtime did not come back")

    def notice(self) -> None:
        """Look for what was newly found or decided."""
        now, supervisor = self.world.now(), self.supervisor
        if now > self.end or self._done:
            return
        for event in supervisor.events[self._told :]:
            if event.kind not in SILENT and now >= self.start - 1e-9:
                self._found(event.kind, "supervisor")
                if event.detail.startswith(("hold", "derate", "settle")):
                    self.mild = event.detail.partition(":")[0]
        self._told = len(supervisor.events)
        if len(self.runtime.warnings) > self._warned:
            self._warned = len(self.runtime.warnings)
            self._found("warning", "runtime")
            self.mild = self.mild or "warning"
        tripped = self.guard is not None and self.guard.phase is Phase.DAMPING
        if tripped and supervisor.state is not State.FAULT:
            self._found(self.guard.reason if self.guard else "", "guard")
        if tripped or supervisor.state is State.FAULT:
            self.latched = min(self.latched, now)

    def heard(self, command: MotorCommand) -> None:
        """``command`` goes out on the wire: by what was measured, what does it ask of the motors?"""
        self.notice()
        now, last = self.world.now(), self._last
        if not command.kp.any() or now > self.end:
            return
        if now >= self.latched:
            self.commands_after_latch += 1
        if last is not None and now >= self.start - 1e-9:
            self.commanded = max(self.commanded, torque_share(self.robot, command, last.joint_pos, last.joint_vel))

    def saw(self, sample: Any) -> None:
        """``sample`` arrived from the wire."""
        if isinstance(sample, RobotState) and usable(sample, self.robot):
            self._last = sample

    def _found(self, kind: str, by: str) -> None:
        if self.finding is None:
            self.finding = Finding(kind, by, self.world.now())

    def _turn(self) -> None:
        _ = self.active
        self.way.cycle()

    def _stand(self) -> None:
        plant, robot = self.plant, self.robot
        plant.gantry, plant.data.xfrc_applied[:] = None, 0.0  # what it pulled last would go on
        plant.data.qpos[:7] = (0.0, 0.0, robot.standing_height, 1.0, 0.0, 0.0, 0.0)
        plant.data.qpos[7:] = robot.default_joint_pos
        plant.data.qvel[:] = 0.0
        plant.write(MotorCommand(robot.default_joint_pos, robot.kp, robot.kd, np.zeros(robot.num_joints)))
        self.world.sleep_until(SETTLE)
        plant.read()
        self.supervisor.state = State.READY

    def _operator(self, time: float, state: State) -> Intent:
        walks = self.phase == "walking" and time >= WALK_AFTER
        wanted = {State.IDLE: State.STAND_UP, State.READY: State.WALK if walks else None}.get(state)
        rest = self.policy.contract.command_rest
        return self.active.intent(Intent(wanted, self._rests_at if state is State.WALK else rest))

    def _policy_step(self, signals: Any) -> Any:
        target, action = self._step(signals)
        return self.active.target(target[0])[None], action


class Wire:
    """Between the guard and the robot: where packets are lost, and sensors lie."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def read(self) -> Any:
        bench = self._bench
        sample = bench.plant.read()
        sample = bench.active.sample(replace(sample, time=sample.time + bench.clock.ahead))
        bench.saw(sample)
        return sample

    def write(self, command: MotorCommand) -> None:
        bench = self._bench
        bench.heard(command)
        for heard in bench.active.command(command):
            bench.plant.write(heard)

    def close(self) -> None:
        self._bench.plant.close()


class Front:
    """What the runtime holds: the guard, behind whatever befalls the runtime's own process."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def read(self) -> RobotState:
        self._bench.active.runtime()
        return self._bench.way.read()

    def write(self, command: MotorCommand) -> None:
        self._bench.notice()
        self._bench.way.write(command)

    def close(self) -> None:
        self._bench.way.close()
