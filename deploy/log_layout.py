"""Where each signal lies: in the recorder's row, and in the messages of the log.

Messages are ROS 2 messages (CDR, with their ``ros2msg`` definition in the file), because Foxglove, rerun and PlotJuggler plot these by
field name, and because numbers stay the exact float64 that the loop had. The definitions hold fixed numbers of fields, named after joints,
feet and command channels, so a message is a constant template into which a slice of the row is copied.

    /state              time, sample_time, tick, base_ang_vel, projected_gravity
    /supervisor/state   the supervisor's state after the step, a number with names
    /supervisor/bounds  what narrows the targets: share of kp, action box (rad), least share of a motor's torque, level of the stop
    /operator           what came from outside: the command as it was asked for, s since the operator and since the e-stop were heard,
                        how far heading hold finds the robot off its heading, and the state that was asked for, a number as
                        /supervisor/state has it (NaN where there is none of these)
    /motors             battery's voltage, commands of other programs, motor_temperature (NaN where it is not measured)
    /joint_states       sensor_msgs/JointState: joint_pos, joint_vel, joint_torque
    /command            command; the policy's target as asked; what the motors heard: joint_pos_target, kp, kd, feed_forward
    /policy/inputs      what the policy was given, a field an input      (NaN where it did not run)
    /policy/action      its raw action                                   (NaN where it did not run)
    /timing             s, by stage
    /truth              what only a simulated robot knows
    /supervisor/events  rcl_interfaces/Log
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.contract import Contract
from deploy.mcap import Schema
from robots import Robot

BOUNDS = ("gain", "action_box", "torque_share", "stop")  # of Supervisor.bounds
OPERATOR = ("operator_age", "estop_age", "heading_error", "asked_state")  # behind the command
ENCODING = "cdr"
EVENTS = "/supervisor/events"
JOINT_STATES = "/joint_states"
SEPARATOR = "=" * 80
TIME = "MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
VECTOR = "MSG: geometry_msgs/Vector3\nfloat64 x\nfloat64 y\nfloat64 z\n"
EVENT_SCHEMA = Schema(
    "rcl_interfaces/msg/Log", "ros2msg",
    "byte DEBUG=10\nbyte INFO=20\nbyte WARN=30\nbyte ERROR=40\nbyte FATAL=50\nbuiltin_interfaces/Time stamp\nuint8 level\n"
    f"string name\nstring msg\nstring file\nstring function\nuint32 line\n{SEPARATOR}\n{TIME}",
)  # fmt: skip
JOINT_SCHEMA = Schema(
    "sensor_msgs/msg/JointState", "ros2msg",
    "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n"
    f"{SEPARATOR}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n{SEPARATOR}\n{TIME}",
)  # fmt: skip


@dataclass(frozen=True)
class Signal:
    name: str
    shape: tuple[int, ...]  # () for one number
    kind: str = ""  # message type of its fields; "" for a number or a list of them

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))


@dataclass(frozen=True)
class Region:
    """``row[start:stop]`` as ``dtype`` at byte ``offset`` of a message."""

    signal: Signal
    start: int
    stop: int
    offset: int
    dtype: str = "<f8"


@dataclass(frozen=True)
class Topic:
    name: str
    schema: Schema
    template: bytes
    regions: tuple[Region, ...]
    stamped: bool = False  # the time of the message stands in its first eight bytes

    def encode(self, row: np.ndarray, time: int) -> bytes:
        """The message of one row; ``time`` in ns since 1970."""
        message = bytearray(self.template)
        if self.stamped:
            struct.pack_into("<iI", message, 4, *divmod(time, 10**9))
        for region in self.regions:
            data = row[region.start : region.stop].astype(region.dtype).tobytes()
            message[region.offset : region.offset + len(data)] = data
        return bytes(message)


@dataclass(frozen=True)
class Layout:
    topics: tuple[Topic, ...]
    width: int  # of a row

    def regions(self) -> dict[str, tuple[Topic, Region]]:
        return {region.signal.name: (topic, region) for topic in self.topics for region in topic.regions}

    def described(self) -> dict[str, Any]:
        """For the file: what a reader needs to find each signal."""
        return {
            name: {"topic": topic.name, "offset": region.offset, "shape": list(region.signal.shape), "dtype": region.dtype}
            for name, (topic, region) in self.regions().items()
        }


class Cdr:
    """A little-endian CDR message, grown value by value; alignment counts from behind its four bytes of header."""

    def __init__(self) -> None:
        self.data = bytearray(b"\x00\x01\x00\x00")

    def align(self, size: int) -> Cdr:
        self.data += bytes(-(len(self.data) - 4) % size)
        return self

    def number(self, form: str, value: float) -> Cdr:
        self.align(struct.calcsize(form)).data += struct.pack("<" + form, value)
        return self

    def text(self, value: str) -> Cdr:
        data = value.encode(errors="replace") + b"\0"
        self.number("I", len(data)).data += data
        return self

    def time(self, nanoseconds: int) -> Cdr:
        seconds, rest = divmod(nanoseconds, 10**9)
        return self.number("i", seconds).number("I", rest)


def event_message(time: int, level: int, state: str, kind: str, detail: str) -> bytes:
    """``kind`` is the logger's name and ``state``, of the supervisor, the function."""
    message = Cdr().time(time).number("B", level).text(kind).text(detail).text("supervisor").text(state).number("I", 0)
    return bytes(message.data)


def read_event(data: bytes) -> tuple[int, str, str, str]:
    """Level, state, kind and detail of an :func:`event_message`. Raises ValueError where it is none."""
    try:
        level, place, texts = data[12], 13, []
        for _ in range(4):
            place += -(place - 4) % 4
            (length,) = struct.unpack_from("<I", data, place)
            texts.append(str(data[place + 4 : place + 3 + length], "utf-8"))
            place += 4 + length
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("an event is damaged") from error
    kind, detail, _, state = texts
    return level, state, kind, detail


def layout(robot: Robot, contract: Contract, states: Sequence[str], stages: Sequence[str], truth: Mapping[str, tuple[int, ...]]) -> Layout:
    """The rows and messages of one run: ``truth`` gives shapes by name."""
    j, feet = robot.num_joints, len(robot.feet)
    kinds = {
        "Vector3": VECTOR,
        "Joints": _definition("Joints", "float64", robot.joint_names),
        "Channels": _definition("Channels", "float64", contract.command_names),
        "Feet": _definition("Feet", "geometry_msgs/Vector3", robot.feet) + f"{SEPARATOR}\n{VECTOR}",
    }

    def kind_of(name: str, shape: tuple[int, ...]) -> str:
        if shape == (feet, 3):
            return "Feet"
        if name.startswith("joint_") and shape == (j,):
            return "Joints"
        return "Vector3" if shape == (3,) else ""

    def joints(*names: str) -> list[Signal]:
        return [Signal(name, (j,), "Joints") for name in names]

    c = Signal("command", (len(contract.command_names),), "Channels")
    golden = contract.golden_vectors[0].inputs
    shapes = {name: (golden[name].shape[1],) for name in contract.inputs}
    inputs = [Signal(name, shape, c.kind if name == "command" else kind_of(name, shape)) for name, shape in shapes.items()]
    fields = {
        "/state": [
            *(Signal(name, ()) for name in ("time", "sample_time", "tick")),
            *(Signal(name, (3,), "Vector3") for name in ("base_ang_vel", "projected_gravity")),
        ],
        "/supervisor/state": [Signal("state", ())],
        "/supervisor/bounds": [Signal(name, ()) for name in BOUNDS],
        "/operator": [Signal("asked_command", c.shape, c.kind), *(Signal(name, ()) for name in OPERATOR)],
        "/motors": [*(Signal(name, ()) for name in ("voltage", "foreign_commands")), *joints("motor_temperature")],
        JOINT_STATES: joints("joint_pos", "joint_vel", "joint_torque"),
        "/command": [c, *joints("asked_joint_pos_target", "joint_pos_target", "kp", "kd", "feed_forward")],
        "/policy/inputs": inputs,
        "/policy/action": joints("action"),
        "/timing": [Signal(stage, ()) for stage in stages],
        "/truth": [Signal(name, shape, kind_of(name, shape)) for name, shape in truth.items()],
    }
    prefixes = {"/policy/inputs": "inputs/", "/timing": "timing/"}  # of columns
    topics, start = [], 0
    for topic, signals in fields.items():
        if not signals:
            continue
        prefix = prefixes.get(topic, "")
        if topic == "/supervisor/state":
            names = "".join(f"uint8 {_field(name).upper()}={i}\n" for i, name in enumerate(states))
            schema = Schema("locomotion_msgs/msg/SupervisorState", "ros2msg", names + "uint8 state\n")
            regions, template = (Region(signals[0], start, start + 1, 4, "u1"),), bytes(Cdr().number("B", 0).data)
        elif topic == JOINT_STATES:
            schema, (template, offsets) = JOINT_SCHEMA, _joint_template(robot.joint_names)
            regions = tuple(Region(s, start + i * j, start + (i + 1) * j, offsets[i]) for i, s in enumerate(signals))
        else:
            schema, regions, place = _schema(topic, signals, kinds), [], start
            for s in signals:
                regions.append(Region(Signal(prefix + s.name, s.shape, s.kind), place, place + s.size, 4 + 8 * (place - start)))
                place += s.size
            template = bytes(Cdr().data + bytes(8 * (place - start)))
        topics.append(Topic(topic, schema, template, tuple(regions), topic == JOINT_STATES))
        start += sum(s.size for s in signals)
    return Layout(tuple(topics), start)


def _schema(topic: str, signals: Sequence[Signal], kinds: Mapping[str, str]) -> Schema:
    lines = []
    for s in signals:
        package = "geometry_msgs" if s.kind == "Vector3" else "locomotion_msgs"
        kind = f"{package}/{s.kind}" if s.kind else f"float64[{s.size}]" if s.shape else "float64"
        lines.append(f"{kind} {_field(s.name)}")
    used = dict.fromkeys(s.kind for s in signals if s.kind)
    if "Feet" in used:
        used.pop("Vector3", None)  # it brings its own
    name = "".join(word.capitalize() for word in re.findall(r"[a-z]+", topic))
    return Schema(f"locomotion_msgs/msg/{name}", "ros2msg", f"\n{SEPARATOR}\n".join(["\n".join(lines), *(kinds[kind] for kind in used)]))


def _definition(kind: str, element: str, names: Sequence[str]) -> str:
    fields = [_field(name) for name in names]
    if len(set(fields)) < len(fields):
        fields = [f"{field}_{i}" for i, field in enumerate(fields)]
    return f"MSG: locomotion_msgs/{kind}\n" + "".join(f"{element} {field}\n" for field in fields)


def _field(name: str) -> str:
    """A name as ROS allows it: small letters, digits and single underscores between them."""
    clean = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return clean if clean[:1].isalpha() else f"x{clean}"


def _joint_template(names: Sequence[str]) -> tuple[bytes, list[int]]:
    """A JointState without its numbers, and where its three lists of them begin."""
    message = Cdr().time(0).text("").number("I", len(names))
    for name in names:
        message.text(name)
    offsets = []
    for _ in range(3):
        message.number("I", len(names)).align(8)
        offsets.append(len(message.data))
        message.data += bytes(8 * len(names))
    return bytes(message.data), offsets
