"""The policy bundle's reader: one file, ``policy.onnx``, checked before it may move a robot.

The file is an ONNX graph with one JSON object under the metadata key ``policy_contract`` and a checksum of the whole file
under ``bundle_sha256``. Reading needs numpy and onnxruntime only: the few protobuf fields looked at here are parsed by hand,
so that hashes are taken over the very bytes on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from robots import InputError, Robot

VERSION = 1
CONTRACT_KEY, CHECKSUM_KEY = "policy_contract", "bundle_sha256"
SIGNAL_INPUTS = ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "command", "height_scan")
OUTPUTS = ("joint_pos_target", "action", "memory_out")
GOLDEN_TOLERANCE = 1e-4  # rad and units of action, between this machine and the one that exported
_GRAPH_FIELD, _METADATA_FIELD = 7, 14  # of onnx.ModelProto
_KEY_FIELD, _VALUE_FIELD = 1, 2  # of onnx.StringStringEntryProto


class ContractError(InputError):
    """A policy bundle that must not run."""


def read_fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each length-delimited field of a protobuf message; other fields are skipped.

    Raises:
        ValueError: not a protobuf message.
    """

    def varint(position: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            if position >= stop or shift > 63:
                raise ValueError("truncated")
            byte = data[position]
            value |= (byte & 0x7F) << shift
            position, shift = position + 1, shift + 7
            if byte < 0x80:
                return value, position

    position, stop = start, len(data) if end is None else end
    while position < stop:
        tag, position = varint(position)
        number, wire = tag >> 3, tag & 7
        if number == 0 or wire not in (0, 1, 2, 5):
            raise ValueError("not a protobuf message")
        if wire == 0:
            _, position = varint(position)
            continue
        length, position = varint(position) if wire == 2 else ({1: 8, 5: 4}[wire], position)
        if position + length > stop:
            raise ValueError("truncated")
        if wire == 2:
            yield number, position, position + length
        position += length


def find_sections(data: bytes) -> tuple[tuple[int, int], dict[str, tuple[int, int]]]:
    """Where in the bytes of an ONNX file its graph and its metadata values lie."""
    graph, metadata = (0, 0), {}
    for number, begin, end in read_fields(data):
        if number == _GRAPH_FIELD:
            graph = (begin, end)
        elif number == _METADATA_FIELD:
            parts = {part: (b, e) for part, b, e in read_fields(data, begin, end)}
            key = data[slice(*parts[_KEY_FIELD])].decode() if _KEY_FIELD in parts else ""
            metadata[key] = parts.get(_VALUE_FIELD, (end, end))
    return graph, metadata


def graph_sha256(data: bytes) -> str:
    """Hash of the serialised graph of an ONNX file."""
    begin, end = find_sections(data)[0]
    return hashlib.sha256(data[begin:end]).hexdigest()


def bundle_sha256(data: bytes) -> str:
    """Hash of the whole file with the digits of its own checksum read as zeros."""
    begin, end = find_sections(data)[1][CHECKSUM_KEY]
    return hashlib.sha256(data[:begin] + b"0" * (end - begin) + data[end:]).hexdigest()


@dataclass(frozen=True)
class Contract:
    """What a policy demands of the robot and the loop that run it. Per-joint arrays follow ``joint_names``."""

    version: int
    robot: str
    joint_names: tuple[str, ...]
    default_joint_pos: np.ndarray  # [J] rad
    kp: np.ndarray  # [J] N m/rad
    kd: np.ndarray  # [J] N m s/rad
    action_scale: np.ndarray  # [J] rad
    joint_pos_limit: np.ndarray  # [J, 2] rad
    joint_vel_limit: np.ndarray  # [J] rad/s
    effort_limit: np.ndarray  # [J] N m
    control_dt: float  # s
    command_range: np.ndarray  # [3, 2] m/s, m/s, rad/s
    data: dict[str, Any]  # the whole JSON object

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Contract:
        """Raises ContractError for a version from the future or a missing or misshapen field."""
        version = data.get("version")
        if not isinstance(version, int) or version > VERSION or version < 1:
            raise ContractError(
                "policy_contract.version", version, f"a version up to {VERSION}", "Update this program, or export the policy anew with it."
            )
        try:
            joints = tuple(data["joint_names"])
            j = len(joints)
            shapes = {
                "default_joint_pos": (j,), "kp": (j,), "kd": (j,), "action_scale": (j,), "joint_pos_limit": (j, 2),
                "joint_vel_limit": (j,), "effort_limit": (j,), "command_range": (3, 2),
            }  # fmt: skip
            arrays = {name: np.asarray(data[name], dtype=np.float64) for name in shapes}
            robot, control_dt, _ = str(data["robot"]), float(data["control_dt"]), data["graph_sha256"]
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError("policy_contract", str(error), "all fields of the contract", "Export the policy anew.") from error
        for name, shape in shapes.items():
            if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise ContractError(f"policy_contract.{name}", data[name], f"finite numbers of shape {shape}", "Export the policy anew.")
        return cls(version, robot, joints, control_dt=control_dt, data=data, **arrays)

    def check_robot(self, robot: Robot) -> None:
        """Compare with the robot that is to run the policy, joints by name. Raises ContractError on any difference."""
        if self.robot != robot.name:
            raise ContractError("robot", robot.name, f"{self.robot!r}, for which the policy was trained", "Use that robot's policy.")
        if set(self.joint_names) != set(robot.joint_names):
            raise ContractError("joint_names", robot.joint_names, f"{self.joint_names}", "The policy is of another version of the robot.")
        order = [robot.joint_names.index(name) for name in self.joint_names]
        for name in ("default_joint_pos", "joint_pos_limit", "joint_vel_limit", "effort_limit"):
            ours, theirs = getattr(self, name), getattr(robot, name)[order]
            if not np.allclose(ours, theirs, rtol=0, atol=1e-9):
                raise ContractError(name, theirs.tolist(), f"{ours.tolist()}", "Robot and policy disagree: export the policy anew.")

    def robot_with_gains(self, robot: Robot) -> Robot:
        """``robot``, checked, with the gains that the policy was trained with."""
        self.check_robot(robot)
        order = [self.joint_names.index(name) for name in robot.joint_names]
        return replace(robot, kp=self.kp[order], kd=self.kd[order])


class LoadedPolicy:
    """A verified bundle on onnxruntime: one thread, no spinning, memory carried from step to step."""

    def __init__(self, contract: Contract, session: onnxruntime.InferenceSession) -> None:
        self.contract, self._session = contract, session
        shapes = {item.name: item.shape for item in session.get_inputs()}
        self.inputs = tuple(name for name in shapes if name != "memory")
        self._memory_size = int(shapes["memory"][1])
        self.reset(1)

    def reset(self, batch: int = 1) -> None:
        """Begin an episode: memory to zeros."""
        self.memory = np.zeros((batch, self._memory_size), dtype=np.float32)

    def step(self, signals: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """``joint_pos_target`` (rad) and ``action``, [batch, J], of the named float32 signals, [batch, ...] each."""
        feed = {name: signals[name] for name in self.inputs}
        target, action, memory = (np.asarray(x) for x in self._session.run(OUTPUTS, {**feed, "memory": self.memory}))
        self.memory = memory
        return target, action

    def clip_command(self, command: np.ndarray) -> np.ndarray:
        """``command`` [..., 3] within the range that the policy was trained for."""
        return np.clip(command, *self.contract.command_range.T).astype(np.float32)


def load(path: str | Path, robot: Robot | None = None) -> LoadedPolicy:
    """Read and verify a bundle; with ``robot``, also that it is meant for that robot.

    Raises:
        ContractError: no such file, no contract, a changed byte, another version or robot, or outputs that differ from the
            golden vectors recorded at export.
    """
    path = Path(path)
    if not path.is_file():
        raise ContractError("policy", str(path), "the path of a policy.onnx", "Make one with 'locomotion export'.")
    data = path.read_bytes()
    contract = _read_contract(path, data)
    if robot is not None:
        contract.check_robot(robot)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises types of its own for each kind of damage
        raise ContractError("policy", str(path), "a graph that onnxruntime can run", str(error).splitlines()[0]) from error
    names = {item.name for item in session.get_inputs()}
    if "memory" not in names or not names <= {*SIGNAL_INPUTS, "memory"}:
        raise ContractError("inputs", sorted(names), f"memory and some of {SIGNAL_INPUTS}", "Export the policy with this toolkit.")
    policy = LoadedPolicy(contract, session)
    _replay_golden_vectors(policy)
    return policy


def _read_contract(path: Path, data: bytes) -> Contract:
    try:
        _, metadata = find_sections(data)
    except (ValueError, UnicodeDecodeError) as error:
        raise ContractError("policy", str(path), "an undamaged ONNX file", "Copy or export it anew.") from error
    if CONTRACT_KEY not in metadata:
        raise ContractError("policy", str(path), f"metadata with the key {CONTRACT_KEY}", "Use a policy.onnx of 'locomotion export'.")
    if CHECKSUM_KEY not in metadata or data[slice(*metadata[CHECKSUM_KEY])].decode("ascii", "replace") != bundle_sha256(data):
        raise ContractError("policy", str(path), "contents that match their checksum", "The file was changed or damaged: copy it anew.")
    contract = Contract.from_json(json.loads(data[slice(*metadata[CONTRACT_KEY])]))
    if graph_sha256(data) != contract.data["graph_sha256"]:
        raise ContractError("policy", str(path), "the graph that its contract names", "Export the policy anew.")
    return contract


def _replay_golden_vectors(policy: LoadedPolicy) -> None:
    for number, sequence in enumerate(policy.contract.data["golden_vectors"]):
        inputs = {name: np.asarray(sequence["inputs"][name], dtype=np.float32) for name in policy.inputs}
        expected = {name: np.asarray(sequence["outputs"][name], dtype=np.float32) for name in ("joint_pos_target", "action")}
        policy.reset(1)
        for t in range(len(expected["action"])):
            target, action = policy.step({name: value[t : t + 1] for name, value in inputs.items()})
            for name, value in (("joint_pos_target", target[0]), ("action", action[0])):
                worst = np.abs(value - expected[name][t]).max()
                if not worst <= GOLDEN_TOLERANCE:  # NaN fails too
                    raise ContractError(
                        f"golden_vectors[{number}].{name}[{t}]", float(worst), f"a difference of at most {GOLDEN_TOLERANCE}",
                        "This policy does not compute here what it computed at export: do not run it.",
                    )  # fmt: skip
    policy.reset(1)
