"""Reads a run's log back: signals as columns, events, and what is missing. A file that a crash cut is read to its last whole step."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy import mcap
from deploy.log_layout import EVENTS, read_event
from robots import InputError

REMEDY = "Logs are the .mcap files of 'locomotion deploy'."


@dataclass(frozen=True)
class LoggedEvent:
    time: float  # s since the run's start
    state: str  # of the supervisor
    kind: str
    detail: str


@dataclass(frozen=True)
class RunLog:
    """One run. T is the number of steps that are in the log."""

    columns: dict[str, np.ndarray]  # [T, ...] by signal; "state" holds names
    steps: np.ndarray  # [T] number of each step; where it jumps, the writer fell behind
    events: list[LoggedEvent]
    raw: dict[str, list[tuple[float, bytes]]]  # seconds and message, by topic
    about: dict[str, str]  # robot, graph_sha256, created, limits and others
    control_dt: float  # s
    robot: dict[str, Any]  # figures of the robot as it was run
    contract: dict[str, Any]  # of the policy, without its golden vectors
    damage: str  # why the file ends early; empty where it was closed

    @property
    def lost(self) -> int:
        """Steps that are missing between the first and the last one."""
        return int(self.steps[-1] - self.steps[0] + 1 - len(self.steps)) if len(self.steps) else 0


def read_log(path: Path) -> RunLog:
    """Raises InputError where ``path`` is no log of a run."""
    try:
        contents = mcap.read(path.read_bytes())
        about = contents.metadata["locomotion"]
        epoch, states, control_dt = int(about["epoch_ns"]), json.loads(about["states"]), float(about["control_dt"])
        robot, contract = (json.loads(contents.attachments[name]) for name in ("robot.json", "policy_contract.json"))
        signals = json.loads(contents.metadata.get("signals", {}).get("signals", "{}"))
        messages: dict[str, list[mcap.Message]] = defaultdict(list)
        for message in contents.messages:
            messages[message.topic].append(message)
        topics = {signal["topic"] for signal in signals.values()}
        count = min((len(messages[topic]) for topic in topics), default=0)  # the last step may be there in part
        if not count:
            signals = {}
        steps = [np.array([message.sequence for message in messages[topic][:count]], dtype=int) for topic in topics]
        if any((other != steps[0]).any() for other in steps):
            raise ValueError("its topics are not of the same steps")
        bodies = {topic: _bodies(messages[topic][:count]) for topic in topics}
        columns = {name: _column(bodies[signal["topic"]], signal) for name, signal in signals.items()}
        if "state" in columns:
            columns["state"] = np.array(states)[columns["state"]]
        events = [LoggedEvent((message.time - epoch) / 1e9, *read_event(message.data)[1:]) for message in messages.pop(EVENTS, [])]
    except OSError as error:
        raise InputError("log", str(path), "a file that can be read", error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        detail = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError("log", str(path), "a log of a run", f"{detail}: {REMEDY}") from error
    raw = {
        topic: [((message.time - epoch) / 1e9, message.data) for message in found]
        for topic, found in messages.items() if topic not in topics
    }  # fmt: skip
    return RunLog(columns, steps[0] if steps else np.zeros(0, int), events, raw, about, control_dt, robot, contract, contents.damage)


def _bodies(messages: list[mcap.Message]) -> np.ndarray:
    """[T, bytes] uint8."""
    return np.frombuffer(b"".join(message.data for message in messages), np.uint8).reshape(len(messages), -1)


def _column(bodies: np.ndarray, signal: dict[str, Any]) -> np.ndarray:
    dtype, shape, offset = np.dtype(signal["dtype"]), tuple(signal["shape"]), signal["offset"]
    size = dtype.itemsize * int(np.prod(shape, dtype=int))
    if dtype.kind not in "fu" or offset + size > bodies.shape[1]:
        raise ValueError("a signal lies outside its messages")
    return bodies[:, offset : offset + size].copy().view(dtype).reshape(len(bodies), *shape)
