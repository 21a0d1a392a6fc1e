"""What a log says of a robot's physics: what was measured, what the motors heard and when, cut into windows to simulate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import robots
from deploy.log_reader import RunLog, read_log
from locomotion.data.stretches import check_clock
from robots import Robot
from robots.errors import InputError

MEASURED = ("joint_pos", "joint_vel", "base_ang_vel", "projected_gravity")
NEEDED = ("time", "sample_time", *MEASURED, "joint_pos_target", "kp", "kd", "feed_forward")
PROTOCOLS = {"ground": "excitation", "stand": "excitation_on_stand"}  # of a motion's bundle, by the place that it is for
FIGURES = ("default_joint_pos", "joint_pos_limit", "effort_limit")
GAP = 1.5  # control periods between two samples that end a stretch
SWAYING = 0.02  # rad, root mean square, by which a base tilts that no stand holds
STILL = 0.03  # rad: a joint that moves by less shows nothing
RESTING = 15  # samples over which a robot at rest moves no joint
BESIDE = 2  # samples to either side of a window's first that say where it begins
NOISE = {"joint_pos": 0.001, "joint_vel": 0.1, "base_ang_vel": 0.02, "projected_gravity": 0.003}  # of a good robot's sensors, to start from


@dataclass(frozen=True)
class Recording:
    """T control steps of one robot. Joints in its canonical order, SI units."""

    robot: Robot  # with the gains that it ran with
    control_dt: float  # s
    sampled: np.ndarray  # [T] s, when the state was measured
    heard: np.ndarray  # [T] s, when the command was sent
    measured: dict[str, np.ndarray]  # [T, ...] by name of MEASURED
    target: np.ndarray  # [T, J] rad, what the motors heard, a feed forward torque over kp added
    stretches: list[tuple[int, int]]  # steps from and to, without gap and under constant gains
    torque: np.ndarray | None = None  # [T, J] N m, what the drives report, if they do
    held: bool = False  # by a stand, its feet free


@dataclass(frozen=True)
class Windows:
    """W stretches of K control steps, and where each begins."""

    first: np.ndarray  # [W] the step in the recording at which the simulation begins
    steps: int  # K, control steps to simulate
    lead: int  # of these, steps for what was not measured at the beginning to fade
    begin: dict[str, np.ndarray]  # [W, ...] what is measured of the initial state, by name of sim.InitialState
    judge: np.ndarray  # [W] bool: held out

    def some(self, every: int) -> Windows:
        """Every ``every``-th of those that are fitted; all for 1, those held out too."""
        if every == 1:
            return self
        kept = np.flatnonzero(~self.judge)[::every]
        begin = {name: value[kept] for name, value in self.begin.items()}
        return replace(self, first=self.first[kept], begin=begin, judge=self.judge[kept])


def read_recording(path: Path, robot: str | None = None, place: str | None = None) -> Recording:
    """The log of a deployment. ``robot``, a name or folder, is the log's own where it is None; ``place``, ground or stand, where the motion
    in it was written for.

    Raises InputError where ``path`` is no log, is too short, lacks signals, is of another robot or of two clocks, or a joint does not move
    in it.
    """
    log = read_log(path)
    missing = [name for name in NEEDED if name not in log.columns]
    if not log.columns or missing:
        allowed = "a log of at least one control step" if not log.columns else f"a log with {', '.join(missing)}"
        raise InputError("log", str(path), allowed, "Record one: locomotion identify excite.")
    found = _robot(log, robot)
    columns = log.columns
    driven = np.isfinite(columns["time"]) & np.isfinite(columns["sample_time"]) & (columns["kp"] > 0.0).all(axis=1)
    check_clock(columns, driven, path)
    target = columns["joint_pos_target"] + np.divide(
        columns["feed_forward"], columns["kp"], out=np.zeros_like(columns["kp"]), where=columns["kp"] > 0.0
    )
    measured = {name: columns[name] for name in MEASURED}
    measured["base_ang_vel"] = measured["base_ang_vel"] - gyroscope_bias(measured)
    held = (PROTOCOLS[place] if place else log.contract.get("protocol")) == PROTOCOLS["stand"]
    torque = columns.get("joint_torque")
    recording = Recording(found, log.control_dt, columns["sample_time"], columns["time"], measured, target, [], torque, held)
    recording.stretches.extend(_stretches(recording, log))
    _check_motion(path, recording)
    return recording


def read_recordings(paths: Sequence[Path], robot: str | None = None) -> list[Recording]:
    """Several logs of one robot under the same gains, of drives that report torque. Raises InputError as :func:`read_recording` does."""
    recordings = [read_recording(path, robot) for path in paths]
    for path, recording in zip(paths, recordings, strict=True):
        if recording.torque is None or not np.isfinite(recording.torque).any(axis=0).all():
            raise InputError("log", str(path), "a log with joint_torque, what each drive reports", "Its robot reports none: use identify.")
        if recording.robot.fingerprint() != recordings[0].robot.fingerprint():
            raise InputError("logs", str(path), f"a log of the robot and the gains of {paths[0]}", "Fit a network to each.")
    return recordings


def gyroscope_bias(measured: dict[str, np.ndarray]) -> np.ndarray:
    """[3] rad/s: what the gyroscope says while no joint moves; 0 where they always do."""
    moved = np.ptp(np.lib.stride_tricks.sliding_window_view(measured["joint_pos"], RESTING, axis=0), axis=-1).max(axis=1)
    still = np.flatnonzero(moved < 8.0 * NOISE["joint_pos"]) + RESTING // 2 if len(measured["joint_pos"]) >= RESTING else np.zeros(0, int)
    return np.median(measured["base_ang_vel"][still], axis=0) if len(still) > RESTING else np.zeros(3)


def _robot(log: RunLog, name: str | None) -> Robot:
    """The robot of a log, as it ran."""
    named = log.about["robot"]
    robot = robots.load(named if name is None else name)
    remedy = "Give the folder of the log's robot, robot=..."
    if robot.name != named or tuple(log.robot["joint_names"]) != robot.joint_names:
        raise InputError("robot", robot.name, f"{named}, the log's", remedy)
    for figure in FIGURES:
        if not np.allclose(log.robot[figure], getattr(robot, figure)):
            raise InputError(f"robot.{figure}", getattr(robot, figure).tolist(), f"{log.robot[figure]}, the log's", remedy)
    return replace(robot, kp=np.array(log.robot["kp"]), kd=np.array(log.robot["kd"]))


def _stretches(recording: Recording, log: RunLog) -> list[tuple[int, int]]:
    """Where every number is there, samples follow each other, and the motors have the whole of the robot's gains."""
    robot, columns = recording.robot, log.columns
    numbers = np.column_stack([recording.sampled, recording.heard, recording.target, *recording.measured.values()])
    gains = np.isclose(columns["kp"], robot.kp).all(axis=1) & np.isclose(columns["kd"], robot.kd).all(axis=1)
    good = np.asarray(np.isfinite(numbers).all(axis=1) & gains)
    apart = np.diff(recording.sampled)
    follows = good[1:] & good[:-1] & (apart > 0.0) & (apart < GAP * recording.control_dt) & (np.diff(log.steps) == 1)
    edges = np.diff(np.concatenate([[0], follows.astype(int), [0]]))
    return [(int(a), int(b)) for a, b in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) + 1, strict=True)]


def _check_motion(path: Path, recording: Recording) -> None:
    inside = [recording.measured["joint_pos"][a:b] for a, b in recording.stretches]
    span = np.ptp(np.concatenate(inside), axis=0) if inside else np.zeros(recording.robot.num_joints)
    for name, moved in zip(recording.robot.joint_names, span, strict=True):
        if not moved > STILL:
            allowed = f"a log in which it moves by more than {STILL} rad under the robot's gains; it moves by {moved:.3f}"
            raise InputError("log", f"{path}: {name}", allowed, "A joint at rest shows nothing: locomotion identify excite.")


def cut(recording: Recording, seconds: float, lead: float, every: int) -> Windows:
    """Windows of ``seconds`` that tile the stretches, each simulated from ``lead`` seconds before; every ``every``-th is held out.

    Raises InputError where the log has too few, or the base moves of a robot that a stand is to hold.
    """
    dt = recording.control_dt
    before, length = max(1, round(lead / dt)), round(seconds / dt)
    first = [
        start
        for a, b in recording.stretches
        for start in range(a + 2 * BESIDE, b - before - length - BESIDE, length)  # steps before it for commands under way
    ]
    if len(first) < every + 1:
        most = len(first) * seconds
        allowed = f"at least {(every + 1) * seconds:g} s under the robot's own gains, without gaps; it has {most:g} s"
        raise InputError("log", f"{len(recording.sampled)} steps", allowed, "Record a longer one: locomotion identify excite.")
    chosen = np.array(first)
    judge = np.arange(len(chosen)) % every == every - 1
    begin = beginnings(recording, chosen)
    if recording.held:
        begin |= _at_rest(recording, chosen, before + length)
    return Windows(chosen, before + length, before, begin, judge)


def _at_rest(recording: Recording, first: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Of bases that a stand holds: they do not turn, and see gravity as it is in the mean of ``steps``."""
    gravity = recording.measured["projected_gravity"][first[:, None] + np.arange(steps)]
    mean = gravity.mean(axis=1)
    sway = float(np.sqrt(np.square(gravity - gravity.mean(axis=(0, 1))).sum(axis=-1).mean()))
    if sway > SWAYING:
        allowed = f"ground, or a base that tilts by less than {SWAYING} rad (root mean square); this one does by {sway:.3f}"
        raise InputError("place", "stand", allowed, "Hold the base faster, and record another log: a rope is no stand.")
    return {"base_ang_vel": np.zeros_like(mean), "base_quat": upright(mean / np.linalg.norm(mean, axis=1, keepdims=True))}


def beginnings(recording: Recording, first: np.ndarray) -> dict[str, np.ndarray]:
    """What of the initial states is measured. Joints by a cubic through positions and velocities nearby, weighted by their noise."""
    beside = np.arange(-BESIDE, BESIDE + 1)
    near = first[:, None] + beside
    offset = recording.sampled[near] - recording.sampled[first][:, None]  # [W, B] s
    powers = offset[..., None] ** np.arange(4)
    slopes = np.arange(4) * offset[..., None] ** np.maximum(np.arange(4) - 1, 0)
    design = np.concatenate([powers / NOISE["joint_pos"], slopes / NOISE["joint_vel"]], axis=1)
    given = [recording.measured[name][near] / NOISE[name] for name in ("joint_pos", "joint_vel")]
    cubic = np.linalg.pinv(design) @ np.concatenate(given, axis=1)  # [W, 4, J]
    gravity = recording.measured["projected_gravity"][near].mean(axis=1)
    gravity /= np.linalg.norm(gravity, axis=1, keepdims=True)
    return {
        "joint_pos": cubic[:, 0],
        "joint_vel": cubic[:, 1],
        "base_ang_vel": recording.measured["base_ang_vel"][near[:, 1:-1]].mean(axis=1),
        "base_quat": upright(gravity),
    }


def upright(gravity: np.ndarray) -> np.ndarray:
    """The rotations without yaw [W, 4] (w, x, y, z; world <- base) of bases that see gravity's unit vector [W, 3] so."""
    half_roll, half_pitch = 0.5 * np.arctan2(-gravity[:, 1], -gravity[:, 2]), 0.5 * np.arcsin(gravity[:, 0].clip(-1.0, 1.0))
    roll, pitch = (np.cos(half_roll), np.sin(half_roll)), (np.cos(half_pitch), np.sin(half_pitch))
    return np.stack([pitch[0] * roll[0], pitch[0] * roll[1], pitch[1] * roll[0], -pitch[1] * roll[1]], axis=1)
