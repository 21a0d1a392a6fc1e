"""The episode runner: a plan of short walks through the deployment's runtime, supervisor and guard, and what came of each."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deploy.calibration import Calibration
from deploy.connect import NOTHING, REMOTE, Extras, connect
from deploy.contract import Contract
from deploy.dry_run import DryRun, Observer
from deploy.guard import Guard, GuardError, LockstepGuard
from deploy.hil.simulated_robot import Conditions, SimulatedRobot
from deploy.interface import Clock, RealTime, RobotInterface, SimulatedTime
from deploy.limits import Limits
from deploy.log import Recorder
from deploy.monitors import BY_NAME, Response
from deploy.operator import Stop
from deploy.policy import RobotPolicy
from deploy.runtime import EStop, Runtime
from deploy.states import State
from deploy.supervisor import Event, Supervisor
from locomotion.data.measured import MEASURED
from locomotion.finetuning.area import Area
from locomotion.finetuning.base import Base
from locomotion.finetuning.bounds import refuse_unsupervised, widest
from locomotion.finetuning.exploring import ExploringPolicy, Noise
from locomotion.finetuning.walks import LONGEST, Ends, Walk, WalkOperator
from locomotion.finetuning.word import Word
from locomotion.models.actor_critic import Actor
from robots.errors import InputError
from robots.heat import AMBIENT

IN_ORDER = frozenset({"settled", "stop"})  # faults that are the end of a run that was asked for
LAID_DOWN = f"{Response.SETTLE}: "  # how a monitor's event begins that did
UNCHANGED = 1e-5  # rad: as deploy.filters


class Connected(NamedTuple):
    """A robot, ready to be run once."""

    interface: RobotInterface
    supervisor: Supervisor
    clock: Clock
    estop: EStop | None = None


Connection = Callable[[RobotPolicy, Limits, int], Connected]
"""Opens the robot for a run, whose number is given, behind a supervisor of these limits."""


def simulated(conditions: Conditions, dry_run: bool = False) -> Connection:
    """The simulated robot, in step with a simulated clock: as fast as it can, and the same each time. Other noise in each run."""

    def open_(policy: RobotPolicy, limits: Limits, run: int) -> Connected:
        robot, clock = policy.robot, SimulatedTime()
        plant = SimulatedRobot(robot, clock, replace(conditions, seed=conditions.seed + run))
        if dry_run:
            return Connected(DryRun(plant), Observer(robot, policy.contract.control_dt, limits), clock)
        guarded = LockstepGuard(plant, Guard(robot, limits.damping_kd), clock)
        return Connected(guarded, Supervisor(robot, policy.contract.control_dt, limits), clock)

    return open_


def real(way: Mapping[str, Any], dry_run: bool = False, extras: Extras = NOTHING, calibration: Calibration | None = None) -> Connection:
    """The robot that ``way`` leads to, its name and options, behind the guard's process; of ``extras`` the e-stop."""

    def open_(policy: RobotPolicy, limits: Limits, run: int) -> Connected:
        rest = [[0.0, policy.contract.command_rest.tolist()]]
        with extras.beside(policy.contract) as (estop, _):
            interface, supervisor, _ = connect(policy, limits, way, rest, calibration, dry_run)
        return Connected(interface, supervisor, RealTime(), estop)

    return open_


@dataclass(frozen=True)
class Episode:
    """What one walk left: T steps, and the sample that its last step led to. SI units, joints in the robot's order."""

    walk: Walk
    ended: str  # see WalkOperator
    columns: dict[str, np.ndarray]  # what was measured, [T + 1, ...]; command, asked and sent targets [T, ...]
    observation: Tensor  # [T, D] that the policy saw
    mean: Tensor  # [T, A] of its action
    action: Tensor  # [T, A] that was asked for
    memory: Tensor  # [T, M] after each step
    findings: int = 0  # times that a monitor of the supervisor found something

    def __len__(self) -> int:
        return len(self.action)

    @property
    def changed(self) -> np.ndarray:
        """[T] whether the supervisor's filters changed what was asked for."""
        return np.abs(self.columns["joint_pos_target"] - self.columns["asked_joint_pos_target"]).max(axis=-1) > UNCHANGED


@dataclass(frozen=True)
class Outcome:
    """What one run, from standing up to lying down, came to."""

    episodes: list[Episode]
    seconds: float  # of the robot: without what a person took for their words
    events: list[Event]
    temperature: np.ndarray  # [J] degrees C at its end
    stopped: bool  # by the person, a signal, or the e-stop
    warm: bool  # a motor was
    interventions: Counter[str] = field(default_factory=Counter)  # control steps by filter
    pressed: str = ""  # what was pressed to break it off: the e-stop, or the remote's L2+B
    cut: str = ""  # who walked as a person did
    started: tuple[str, ...] = ()  # who walked, in order, however short

    @property
    def reasons(self) -> list[str]:
        """Why a person must look: monitors that laid the robot down, faults that only a person resets."""
        lain = [event.kind for event in self.events if event.detail.startswith(LAID_DOWN) and event.kind in BY_NAME]
        faults = [event.detail for event in self.events if event.kind == "transition" and "-> fault" in event.detail]
        kinds = [detail.rpartition("(")[2].rstrip(")") for detail in faults]
        return list(dict.fromkeys([*lain, *(kind for kind in kinds if kind not in IN_ORDER)]))

    @property
    def latched(self) -> str:
        """The reasons in words, or nothing."""
        return ", ".join(self.reasons)

    @property
    def findings(self) -> int:
        """Times that a monitor found something."""
        return len(_findings(self.events))


class EpisodeRunner:
    """Runs plans of walks on the robot behind ``connection``, under limits that are never wider than the base's.

    Raises InputError where the connection brings no supervisor, a mere onlooker's, or wider limits; ``dry_run`` is for an onlooker.
    """

    def __init__(
        self, base: Base, contract: Contract, connection: Connection, noise: Noise, ends: Ends, word: Word, area: Area,
        dry_run: bool = False,
    ) -> None:  # fmt: skip
        self.base, self.contract, self.noise = base, contract, noise
        self._connection, self._ends, self._word, self.area, self._dry_run = connection, ends, word, area, dry_run
        self.temperature = np.full(base.robot.num_joints, AMBIENT)  # [J] degrees C, with which the next run begins, where no sensor says
        self.widest = widest(contract)

    def run(self, plan: Sequence[Walk], actors: Mapping[str, Actor], limits: Limits, number: int, log: Path | None = None) -> Outcome:
        """One run of ``plan``, its ``number`` for the simulated robot's noise, with ``limits``. ``actors`` by the walks' ``who``."""
        exploring = ExploringPolicy(self.contract, self.base.policy(self.base.actor))
        policy, dt = RobotPolicy(exploring, self.base.robot), self.noise.control_dt
        noise = {  # drawn before the loop begins, which has no time for it
            walk: self.noise.sequence(round(walk.seconds / dt) + 1, policy.robot.num_joints, walk.seed) * (not walk.quiet) for walk in plan
        }
        interface, supervisor, clock, estop = self._connection(policy, limits, number)
        try:
            if not self._dry_run:
                refuse_unsupervised(supervisor, self.widest)
            record = Recorder(log, policy.robot, self.contract, supervisor.limits)
        except InputError:
            interface.close()
            if estop:
                estop.close()
            raise
        supervisor.window.begin_warm(self.temperature)
        for actor in actors.values():
            exploring.rehearse(actor)
        started: list[Walk] = []

        def begin(walk: Walk) -> None:
            exploring.begin(actors[walk.who], noise[walk])
            started[:] = [*started[: len(operator.ended)], walk]

        operator = WalkOperator(
            plan, self.contract, supervisor, self._ends, self._word, self.area, begin, lambda: getattr(interface, REMOTE, None)
        )  # fmt: skip
        runtime, began = Runtime(policy, interface, supervisor, clock, record, estop), clock.now()
        operator.end, operator.recover = runtime.end, lambda: exploring.take_over(self.base.actor)
        with torch.inference_mode(), contextlib.suppress(GuardError):  # the supervisor has noted it
            runtime.run(LONGEST, operator)
        if record.lost or record.malformed:
            raise InputError("log", f"{record.lost} steps lost", "every step of a run, which is what is learned from", "Lighten the load.")
        damped = supervisor.state is State.DAMPING  # by a signal: a run that goes to its end settles
        stopped = damped or operator.stopped or runtime.pressed is not Stop.NONE
        pressed = f"the e-stop: {runtime.pressed.name.lower()}" if runtime.pressed else "the remote's L2+B" if operator.cut else ""
        operator.ended += ["cut" if damped or pressed else "supervisor"] * (len(started) - len(operator.ended))
        cut = started[-1].who if operator.ended[-1:] == ["cut"] else ""
        columns, found_at = record.columns(), np.array(_findings(supervisor.events)) - began
        episodes = _episodes(columns, exploring, started, operator.ended, found_at) if columns else []
        return Outcome(
            episodes, clock.now() - began - operator.waited, list(supervisor.events), supervisor.window.temperature.copy(), stopped,
            operator.warm, Counter(supervisor.interventions), pressed, cut, tuple(walk.who for walk in started),
        )  # fmt: skip


def _findings(events: Sequence[Event]) -> list[float]:
    """When monitors found something, s on the runtime's clock."""
    return [event.time for event in events if event.kind in BY_NAME and event.detail != "over"]


def _granted(columns: dict[str, np.ndarray], row: int) -> bool:
    """Whether a walk began there: the supervisor refuses a first target that is far away, and the robot stands or lies down."""
    return columns["state"][row] not in (State.READY, State.SETTLE)


STEP = ("command", "asked_joint_pos_target", "joint_pos_target")


def _episodes(
    columns: dict[str, np.ndarray], exploring: ExploringPolicy, walks: list[Walk], ended: list[str], found_at: np.ndarray
) -> list[Episode]:  # fmt: skip
    """One for each walk that lasted: the rows of the log in which the policy ran, and the row after them. ``found_at`` in s of the run."""
    control_dt = exploring.contract.control_dt
    ran, found = np.flatnonzero(np.isfinite(columns["asked_joint_pos_target"][:, 0])), list[Episode]()
    lengths = [len(record.action) for record in exploring.records]
    rows = np.split(ran, np.cumsum(lengths)[:-1])  # each of a record's steps is a row, whatever came of it
    lasted = [(kept, record) for kept, record in zip(rows, exploring.records, strict=True) if len(kept) and _granted(columns, kept[0])]
    for (own, record), walk, why in zip(lasted, walks, ended, strict=False):
        begin, end = int(own[0]), int(own[-1]) + 1
        if columns["state"][end - 1] != State.WALK:  # the step in which the supervisor took over
            end -= 1
        end = min(end, begin + record.own, begin + round(walk.seconds / control_dt) + 1)  # what is yet to come to rest is none
        if end - begin < 2 or end >= len(columns["state"]):
            continue
        steps = slice(begin, end)
        table = {name: columns[name][begin : end + 1] for name in MEASURED} | {name: columns[name][steps] for name in STEP}
        kept = (torch.stack(rows[: end - begin]) for rows in (record.observation, record.mean, record.action, record.memory))
        during = (found_at >= columns["time"][begin]) & (found_at <= columns["time"][end])
        found.append(Episode(walk, why, table, *kept, findings=int(during.sum())))
    return found
