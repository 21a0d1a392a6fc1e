"""The walks in a deployment's log, cut wherever a step is missing, and a count of what was not in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deploy.log_reader import RunLog
from locomotion.data.measured import MEASURED
from robots.errors import InputError

GAP = 1.5  # control periods between two steps, one of which is missing
UNCHANGED = 1e-5  # rad that a command may differ from what was asked and count as the same: policies decode in single precision
MOST_AGE, MOST_DRIFT = 0.5, 0.01  # s of a sample; s a second that its clock may differ from the loop's
COLUMNS = ("time", "sample_time", "tick", "state", *MEASURED, "action", "asked_joint_pos_target", "joint_pos_target", "inputs/command")


@dataclass(frozen=True)
class Walk:
    """One walk of T steps, from the policy's reset on. Nothing here comes from a simulated robot's ``truth``."""

    seen: dict[str, np.ndarray]  # what the policy was given in each step, [T, ...], by input
    measured: dict[str, np.ndarray]  # MEASURED [T + 1, ...], the last row after the last step
    action: np.ndarray  # [T, J], raw
    asked: np.ndarray  # [T, J] rad, the policy's target
    heard: np.ndarray  # [T, J] rad, the motors'
    pieces: list[slice]  # steps without a gap between them
    fell: bool  # the supervisor damped the robot for its tilt

    @property
    def changed(self) -> np.ndarray:
        """[T] bool: steps in which the motors heard something else than the policy asked."""
        return np.abs(self.heard - self.asked).max(axis=-1) > UNCHANGED


@dataclass
class Found:
    """What a log holds. ``counts`` are steps unless they say otherwise."""

    walks: list[Walk] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def walks_of(log: RunLog, path: Path) -> Found:
    """Raises InputError where the log has no walk, lacks a signal, or was written by two clocks."""
    _check(log, path)
    columns, found = log.columns, Found()
    walking = (columns["state"] == "walk") & np.isfinite(columns["time"])
    ran = walking & np.isfinite(columns["action"]).all(axis=-1)
    begins = np.flatnonzero(walking & ~np.concatenate([[False], walking[:-1]]))
    ends = np.flatnonzero(walking & ~np.concatenate([walking[1:], [False]])) + 1
    check_clock(columns, ran, path)
    for begin, end in zip(begins, ends, strict=True):
        found.counts["steps of walking"] += int(end - begin)
        # beyond a step that the log lost nobody knows what the policy remembers
        lost = np.flatnonzero((np.diff(log.steps[begin:end]) > 1) | ~ran[begin + 1 : end])
        known = int(begin + 1 + lost[0]) if len(lost) else int(end)
        if not ran[begin] or (begin > 0 and log.steps[begin] - log.steps[begin - 1] > 1):
            known = int(begin)
        found.counts["left out: after a step that the log lost"] += int(end) - known
        if known > begin:
            _take(log, int(begin), known, known == end, found)
    return found


def _take(log: RunLog, begin: int, end: int, whole: bool, found: Found) -> None:
    """The walk of rows ``begin`` to ``end``; ``whole`` where the log knows what came next."""
    columns, counts = log.columns, found.counts
    measured = {name: columns[name][begin : end + 1] for name in MEASURED}
    after = whole and end < len(columns["time"]) and log.steps[end] - log.steps[end - 1] == 1
    after = after and all(np.isfinite(value[-1]).all() for value in measured.values())
    steps = end - begin if after else end - begin - 1  # of the last one nobody knows where it led
    if steps < 1:
        return
    rows = slice(begin, begin + steps)
    measured = {name: value[: steps + 1].copy() for name, value in measured.items()}
    seen = {name.removeprefix("inputs/"): value[rows] for name, value in columns.items() if name.startswith("inputs/")}
    for name in MEASURED:  # where a sample was no good the policy saw the last good one
        if name in seen:
            measured[name][:steps] = seen[name]
        else:
            counts["torques that were bridged"] += _bridge(measured[name])
    twice = np.diff(columns["tick"][begin : begin + steps + 1]) == 0
    gaps = np.flatnonzero(np.diff(columns["time"][begin : begin + steps + 1]) > GAP * log.control_dt)
    counts["samples seen twice"] += int(twice.sum())
    counts["gaps"] += len(gaps)
    pieces, first = [], 0
    for gap in [*(int(gap) for gap in gaps), steps]:  # the step before a gap led to nobody knows what
        if gap > first:
            pieces.append(slice(first, gap))
        first = gap + 1
    fell = bool(after and columns["state"][end] == "fault" and _cause(log, end) == "tilt")
    walk = Walk(
        seen, measured, columns["action"][rows], columns["asked_joint_pos_target"][rows], columns["joint_pos_target"][rows], pieces, fell
    )
    counts["changed by the supervisor"] += int(walk.changed.sum())
    counts["falls"] += fell
    found.walks.append(walk)


def _bridge(values: np.ndarray) -> int:
    """Put the last good row in the place of one that is not finite; returns how many."""
    good = np.isfinite(values).all(axis=-1)
    last = np.maximum.accumulate(np.where(good, np.arange(len(values)), 0))
    values[:] = np.nan_to_num(values[last])
    return int((~good).sum())


def _cause(log: RunLog, row: int) -> str:
    """The kind of the event that led to the fault of this step."""
    time = float(log.columns["time"][row])
    kinds = [event.kind for event in log.events if abs(event.time - time) < 0.5 * log.control_dt and event.kind != "transition"]
    return kinds[-1] if kinds else ""


def _check(log: RunLog, path: Path) -> None:
    """There is a walk, with every signal that a dataset needs."""
    columns = log.columns
    if not columns or not (columns["state"] == "walk").any():
        reason = f" ({log.damage})" if log.damage else ""
        raise InputError("log", str(path), "a log with at least one step of walking", f"It has none{reason}.")
    walking = columns["state"] == "walk"
    for name in COLUMNS:
        if name not in columns or (columns[name].dtype.kind == "f" and not np.isfinite(columns[name][walking]).any()):
            raise InputError(f"log.{name}", "nothing", "a log with this signal", f"Leave {path} out: a robot that walks measures it.")


def check_clock(columns: Mapping[str, np.ndarray], ran: np.ndarray, path: Path) -> None:
    """Loop and samples tell the same time in the steps ``ran`` [T]. Raises InputError."""
    time, sampled = columns["time"][ran], columns["sample_time"][ran]
    age = time - sampled
    if not len(time):
        return
    if (np.diff(time) <= 0.0).any():
        raise InputError("log.time", float(np.diff(time).min()), "times that grow", f"{path} was written by two clocks.")
    worst = float(np.median(age))
    if not -0.01 <= worst <= MOST_AGE:
        remedy = f"{path} was written by two clocks: the interface must put samples on the loop's."
        raise InputError("log.sample_time", f"{worst:.3f} s old", f"samples that are 0 to {MOST_AGE} s old", remedy)
    if len(time) > 100:
        drift = float(np.median(age[-50:]) - np.median(age[:50])) / float(time[-1] - time[0])
        if abs(drift) > MOST_DRIFT:
            remedy = f"{path} was written by two clocks, one of which goes wrong."
            raise InputError("log.sample_time", f"{drift:.3f} s a second", f"a clock within {MOST_DRIFT:g} of the loop's", remedy)
