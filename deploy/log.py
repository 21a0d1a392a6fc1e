"""The black box: what a run read, decided and said, in memory for its summary and in an MCAP file that a crash cannot spoil.

The control loop writes a row of numbers into a ring of memory that exists beforehand: no lock, no file, nothing that grows. A thread
empties the ring, a row at a time so that the loop never waits for it long, and hands the file a chunk every quarter of a second, at once
where an event came. What the thread cannot keep up with is counted and said, as are a full disk and rows that are no rows.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time as clocks
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from deploy.contract import Contract
from deploy.interface import MotorCommand, RobotState, is_real_time
from deploy.log_file import LogFile
from deploy.log_layout import BOUNDS, EVENT_SCHEMA, EVENTS, OPERATOR, Layout, event_message, layout
from deploy.mcap import McapWriter, Schema
from deploy.supervisor import Limits, State
from robots import Robot

STAGES = ("lateness", "inference", "compute")  # s: after the deadline that a step began; in the policy; from waking to the command written
CAPACITY = 4096  # rows of the ring: 80 s at 50 Hz, 2 s of a simulation that runs ahead of the clock
PENDING = 8192  # events, or raw messages, that may wait for the writer
PRIORITY = 49  # of SCHED_FIFO: after the loop, and before every ordinary process
POLL_SECONDS = 0.02
CLOSE_SECONDS = 10.0
MAX_BYTES = 512 * 2**20  # of a file; then it becomes the previous one
MEMORY_BYTES = 256 * 2**20  # of rows kept for the summary
LEVELS = {"transition": 20, "refused": 30, "warning": 30, "override": 30}  # of rcl_interfaces/Log; anything else is an error
ERROR = 40
OPAQUE = Schema("")
ROBOT = ("joint_names", "feet", "default_joint_pos", "kp", "kd", "joint_pos_limit", "joint_vel_limit", "effort_limit")


class Recorder:
    """Keeps a run. ``path`` is the .mcap file, None for memory alone; times are on the runtime's clock and kept from the first one on.

    A file that is at ``path`` already is renamed, never overwritten. Raises InputError where ``path`` cannot be written; later failures
    end the file, not the run, and are in :meth:`warnings`.
    """

    def __init__(
        self,
        path: Path | None,
        robot: Robot,
        contract: Contract,
        limits: Limits,
        stages: Sequence[str] = STAGES,
        max_bytes: int = MAX_BYTES,
        raw_schemas: Mapping[str, Schema] | None = None,
    ) -> None:
        self.robot, self.contract, self.stages = robot, contract, tuple(stages)
        self.lost = self.lost_messages = self.malformed = 0  # steps, events or raw messages, rows
        self._limits, self._raw_schemas = limits, dict(raw_schemas or {})
        self._codes = {str(state): float(i) for i, state in enumerate(State)}
        self._origin: float | None = None
        self._epoch = clocks.time_ns()
        self._layout: Layout | None = None
        self._first = False  # whether the loop goes before ordinary processes, and so this must
        self._steps = self._head = self._tail = 0  # steps seen, rows written, rows read
        self._numbers = np.full(3, np.nan)  # time, sample_time, tick
        self._code = np.zeros(1)
        self._messages: deque[tuple[str, float, bytes]] = deque()
        self._events: deque[tuple[float, str, str, str]] = deque()
        self._said: list[str] = []
        self._file = LogFile(path, max_bytes, self._describe) if path else None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def begin(self, time: float) -> None:
        """The run's time 0; without it, the first time that is told. The writer begins: a busy computer is slow to start a thread, and a
        loop that has begun may not wait for it."""
        self._origin = time
        self._start()

    def record(
        self,
        time: float,
        state: RobotState | None,
        command: np.ndarray | None,
        motor: MotorCommand,
        supervisor_state: str,
        timings: Sequence[float],
        inputs: Mapping[str, np.ndarray] | None = None,
        action: np.ndarray | None = None,
        asked: np.ndarray | None = None,
        bounds: Sequence[float] = (math.nan,) * len(BOUNDS),
        outside: np.ndarray | None = None,
    ) -> None:
        """One control step; what is None was not there, and is NaN. Costs some microseconds and raises nothing."""
        if self._origin is None:
            self._origin = time
        if self._layout is None:
            self._begin(state)
        step, self._steps = self._steps, self._steps + 1
        if self._head - self._tail >= CAPACITY:
            self.lost += 1
            return
        nothing = self._nothing
        three, j = nothing[:3], nothing[: self.robot.num_joints]
        numbers, code = self._numbers, self._code
        numbers[0], code[0] = time - self._origin, self._codes[supervisor_state]
        slot = self._head % CAPACITY
        row = self._ring[slot]
        try:
            if state is None:
                numbers[1:] = np.nan
                measured, truth = (three, three), ()
                joints = (j, j, j)
                power, warm = self._nothing[:2], j
            else:
                numbers[1], numbers[2] = state.time - self._origin, state.tick
                measured = (state.base_ang_vel, state.projected_gravity)
                joints = (state.joint_pos, state.joint_vel, state.joint_torque)
                truth = state.truth
                power = (state.voltage, state.foreign_commands)
                warm = j if state.motor_temperature is None else state.motor_temperature
            np.concatenate(
                (
                    numbers, *measured, code, bounds, nothing[: self._outside] if outside is None else outside, power, warm, *joints,
                    nothing[: self._channels] if command is None else command,
                    j if asked is None else asked, motor.joint_pos_target, motor.kp, motor.kd, motor.feed_forward,
                    *([nothing[: self._inputs]] if inputs is None else [inputs[name] for name in self.contract.inputs]),
                    j if action is None else action, timings,
                    *([truth[name].ravel() for name in self._truth] if truth else [nothing[: self._truth_size]]),
                ),
                out=row,
            )  # fmt: skip
        except (ValueError, TypeError, KeyError, AttributeError):  # the supervisor judges such samples; a log must not end the run
            row[:] = np.nan
            row[0], row[self._code_at] = numbers[0], code[0]
            self.malformed += 1
        self._row_steps[slot] = step
        self._head += 1

    def event(self, time: float, state: str, kind: str, detail: str) -> None:
        """Something that the supervisor did or found; from any thread."""
        self._put(self._events, (self._since(time), str(state), kind, detail))

    def raw(self, topic: str, time: float, data: bytes) -> None:
        """A message as it was on the wire; from any thread."""
        self._put(self._messages, (topic, self._since(time), data))

    def close(self) -> None:
        """Write what is left, and the summary by which other programs find everything. Does nothing the second time."""
        if self._closing.is_set():
            return
        self._closing.set()
        if self._thread.ident is None:  # nothing has begun
            self._run()
        else:
            self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self._say(f"the log's disk takes no data for {CLOSE_SECONDS:g} s: the log ends there")

    def columns(self) -> dict[str, np.ndarray]:
        """Signals as arrays [steps, ...], after :meth:`close`; the newest where there were too many for the memory."""
        if self._layout is None or not self._kept:
            return {}
        rows = np.stack(self._kept)
        found = {name: rows[:, r.start : r.stop].reshape(len(rows), *r.signal.shape) for name, (_, r) in self._layout.regions().items()}
        names = np.array([str(state) for state in State])
        return found | {"state": names[found["state"].astype(int)]}

    @property
    def waiting(self) -> int:
        """Rows that the writer has not come to yet, at most CAPACITY."""
        return self._head - self._tail

    def warnings(self) -> list[str]:
        """What the log lacks, in words."""
        found = list(self._said)
        for count, what in (
            (self.lost, "control steps are not in the log: its writer fell behind"),
            (self.lost_messages, "events or raw messages are not in the log: its writer fell behind"),
            (self.malformed, "rows of the log hold no numbers: a sample or command had another shape"),
        ):
            if count:
                found.append(f"{count} {what}")
        return found

    def _begin(self, state: RobotState | None) -> None:
        """Memory for the run, once what the robot tells is known."""
        truth = {name: np.shape(value) for name, value in getattr(state, "truth", {}).items()}
        built = layout(self.robot, self.contract, list(State), self.stages, truth)
        self._ring, self._row_steps = np.zeros((CAPACITY, built.width)), np.zeros(CAPACITY, dtype=int)
        self._kept: deque[np.ndarray] = deque(maxlen=MEMORY_BYTES // (8 * built.width))
        self._nothing = np.full(built.width, np.nan)
        self._truth = tuple(truth)
        self._truth_size = sum(int(np.prod(shape, dtype=int)) for shape in truth.values())
        regions = built.regions()
        self._channels, self._code_at = len(self.contract.command_names), regions["state"][1].start
        self._outside = self._channels + len(OPERATOR)
        self._inputs = sum(regions[f"inputs/{name}"][1].signal.size for name in self.contract.inputs)
        self._layout = built
        self._start()

    def _start(self) -> None:
        if self._thread.ident is None:
            self._first = is_real_time()
            self._thread.start()

    def _since(self, time: float) -> float:
        if self._origin is None:
            self._origin = time
        return time - self._origin

    def _put(self, queue: deque[Any], item: Any) -> None:
        if len(queue) >= PENDING:
            self.lost_messages += 1
        else:
            queue.append(item)

    def _say(self, words: str) -> None:
        if words not in self._said:
            self._said.append(words)

    # The writer's thread from here on.

    def _run(self) -> None:
        if self._first:  # a busy computer must not stop it while it has the interpreter, and so the loop
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        while not self._closing.wait(POLL_SECONDS):
            self._drain()
        self._drain()
        if self._file:
            self._attempt(self._file.close)

    def _drain(self) -> None:
        """Everything that has come since. One row at a time, the interpreter offered to the loop after each."""
        while self._tail < self._head:
            slot = self._tail % CAPACITY
            row, step = self._ring[slot].copy(), int(self._row_steps[slot])
            self._tail += 1
            if len(self._kept) == self._kept.maxlen:
                self._say(f"the summary knows the last {self._kept.maxlen} steps only")
            self._kept.append(row)
            if self._file and self._layout:
                self._attempt(self._file.rows, self._layout, row, step, self._time(row[0]))
            clocks.sleep(0)
        for queue, write in ((self._messages, self._write_raw), (self._events, self._write_event)):
            while queue:
                item = queue.popleft()
                if self._file:
                    self._attempt(write, *item)
        if self._file:
            self._attempt(self._file.tick)

    def _time(self, since: float) -> int:
        return self._epoch + round(1e9 * since)

    def _write_raw(self, topic: str, since: float, data: bytes) -> None:
        assert self._file
        self._file.message(topic, self._raw_schemas.get(topic, OPAQUE), self._time(since), data)

    def _write_event(self, since: float, state: str, kind: str, detail: str) -> None:
        assert self._file
        time = self._time(since)
        self._file.message(EVENTS, EVENT_SCHEMA, time, event_message(time, LEVELS.get(kind, ERROR), state, kind, detail), urgent=True)

    def _attempt(self, write: Any, *arguments: Any) -> None:
        try:
            write(*arguments)
        except OSError as error:
            assert self._file
            self._say(f"{self._file.path} ends early: {error.strerror or error}")
            self._file.give_up()
            self._file = None
        if self._file and self._file.rotated:
            self._say(f"the log is longer than its file may be: {self._file.previous} and {self._file.path} hold its end")

    def _describe(self, writer: McapWriter) -> None:
        """What a file must say about the run before its messages."""
        robot, contract = self.robot, self.contract
        writer.metadata(
            "locomotion",
            {
                "robot": robot.name,
                "robot_fingerprint": robot.fingerprint(),
                "graph_sha256": contract.graph_sha256,
                "control_dt": repr(contract.control_dt),
                "epoch_ns": str(self._epoch),  # time 0
                "created": datetime.fromtimestamp(self._epoch / 1e9, UTC).isoformat(timespec="milliseconds"),
                "states": json.dumps([str(state) for state in State]),
                "limits": json.dumps(asdict(self._limits)),
            },
        )
        figures = {name: np.asarray(getattr(robot, name)).tolist() for name in ROBOT}
        said = {name: value for name, value in contract.data.items() if name != "golden_vectors"}
        for name, data in (("robot.json", {"name": robot.name, **figures}), ("policy_contract.json", said)):
            writer.attachment(name, self._epoch, "application/json", json.dumps(data).encode())
