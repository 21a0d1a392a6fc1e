"""What this room reads back from files, held to a shape: whoever wrote them, a damaged one is one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from deploy import log_reader
from locomotion.files import read_json
from locomotion.schema import check
from robots.errors import InputError

Figure = Annotated[float, Field(allow_inf_nan=False)] | None


def is_number(value: object) -> bool:
    """A finite number that can be drawn: JSON knows numbers beyond any float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e30 < value < 1e30


class Document(BaseModel):
    """Unknown keys are passed over, so that an older reader reads a newer file."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class WalkFigures(Document):
    """Of one command; [F] a foot. See :mod:`locomotion.evaluation.gait`."""

    command: tuple[float, float, float]
    fell: bool
    apex: tuple[Figure, ...] | None = None  # m
    touchdown: tuple[Figure, ...] | None = None  # m/s
    slide: tuple[Figure, ...] | None = None  # m/s
    peak_force: tuple[Figure, ...] | None = None  # body weights
    duty: tuple[Figure, ...] | None = None
    foothold: tuple[Figure, ...] | None = None  # m
    bias: tuple[Figure, Figure, Figure] | None = None  # m/s, m/s, rad/s
    frequency: Figure = None  # Hz
    height: Figure = None  # m
    height_swing: Figure = None  # m
    sway: Figure = None  # m
    cost: Figure = None
    cost_net: Figure = None


class StandFigures(Document):
    robots: int
    seconds: float
    fell: float  # share of the robots
    steps: tuple[float, ...]  # [F]
    drift: Figure  # m
    joint_speed: Figure  # rad/s
    settling: Figure  # s
    settling_worst: Figure  # s


class Trace(Document):
    dt: Annotated[float, Field(gt=0)]  # s
    sole_height: tuple[tuple[float, ...], ...]  # [F][T] m
    contact: tuple[tuple[int, ...], ...]  # [F][T]
    base_height: tuple[float, ...]  # [T] m


class GaitFigures(Document):
    feet: tuple[str, ...]
    walking: dict[str, WalkFigures]
    standing: StandFigures
    traces: dict[str, Trace]


class ShakingFigures(Document):
    fell: float  # share of the robots
    shaking: Figure  # share of the action's energy above 10 Hz
    joint_acceleration: Figure  # rad/s^2, root mean square
    peak_speed: Figure  # of the joint's speed limit


class LoadFigures(Document):
    torque: tuple[Figure, ...]  # [J] N m, root mean square
    minutes: tuple[Figure, ...]  # [J] to 90 degrees C; None: never


class MotorFigures(Document):
    """See :mod:`locomotion.evaluation.jitter`."""

    joints: tuple[str, ...]
    nominal: ShakingFigures
    harsh: ShakingFigures
    standing: LoadFigures | None
    walking: LoadFigures | None


class Scorecard(Document):
    scores: dict[str, dict[str, dict[str, Figure]]]  # engine, condition, figure
    gait: GaitFigures | None = None
    motors: MotorFigures | None = None
    train_seconds: Figure = None
    train_steps: Figure = None


class Event(Document):
    time: float
    kind: str
    detail: str


class Loop(Document):
    period_ms: float = 0.0
    steps: int = 0
    missed_deadlines: int = 0
    lateness_us: dict[str, float] = Field(default_factory=dict)
    compute_us: dict[str, float] = Field(default_factory=dict)
    inference_us: dict[str, float] = Field(default_factory=dict)


class Deployment(Document):
    """What ``deploy/summary.py`` writes, as far as a person reads it here."""

    passed: bool
    robot: str | None = None
    seconds: dict[str, float] = Field(default_factory=dict)  # by state
    interventions: dict[str, int] = Field(default_factory=dict)  # by filter
    events: tuple[Event, ...] = ()
    loop: Loop = Loop()


class FaultOutcome(Document):
    """What ``deploy/hil/suite.py`` writes of one fault, as far as a person reads it here."""

    case: str
    phase: str
    detected: str
    by: str
    detection_ms: Figure
    response: str
    commanded_torque: float
    beyond_limit: float
    fell: bool
    driven_after_fall: float
    slow: str
    failures: tuple[str, ...]


class FaultReport(Document):
    passed: bool
    cases: int
    failed: int
    not_judged: int
    detected: int
    fell: int
    driven_after_fall: int
    over_torque: int
    held_after_latch: int
    outcomes: tuple[FaultOutcome, ...]


class Faults(Document):
    """``faults.json``."""

    supervised: FaultReport
    unsupervised: FaultReport | None = None


def read_scorecard(path: Path) -> Scorecard:
    """Raises InputError where the file is missing, damaged or another."""
    return check(Scorecard, read_json(path, "scorecard", ("scores",)), "scorecard")


def read_deployment(path: Path) -> Deployment:
    """``deploy.json``. Raises InputError where it is missing, damaged or another."""
    return check(Deployment, read_json(path, "deploy", ("passed",)), "deploy")


def read_faults(path: Path) -> Faults:
    """``faults.json``. Raises InputError where it is missing, damaged or another."""
    return check(Faults, read_json(path, "faults", ("supervised",)), "faults")


def read_log(path: Path) -> dict[str, np.ndarray]:
    """Columns [T, ...] of ``deploy_log.mcap``, of one length. Raises InputError where it is missing, damaged, empty or another."""
    columns = log_reader.read_log(path).columns
    if not columns:
        raise InputError("deploy_log", str(path), "a log of at least one control step", "Run 'locomotion deploy' again.")
    time = column(columns, "time")
    if not (np.isfinite(time).all() and (np.diff(time) >= 0).all()):
        raise InputError("deploy_log.time", str(path), "seconds that do not go back", "Run 'locomotion deploy' again.")
    return columns


def column(log: dict[str, np.ndarray], name: str, *shape: int | None) -> np.ndarray:
    """Column ``name`` [T, *shape] of a log (None: any size). Raises InputError where it is missing or of another shape."""
    found = log[name].shape[1:] if name in log else None
    if found is None or len(found) != len(shape) or any(want not in (None, have) for want, have in zip(shape, found, strict=True)):
        raise InputError(f"deploy_log.{name}", found, f"a column of shape {shape}", "Run 'locomotion deploy' again.")
    return log[name]
