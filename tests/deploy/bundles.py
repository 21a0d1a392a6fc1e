"""Small bundles made by hand: no training, no torch, a policy that four lines of numpy can follow.

    x = [inputs in the order of the contract], joint signals in the policy's joint order
    action = x A + memory B
    joint_pos_target = clip(default_joint_pos + action_scale * action, joint_pos_limit)
    memory_out = tanh(x D + memory E)

``weight=0`` is a policy that stands still in the default pose.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy import onnx_file
from robots import Robot

INPUTS = ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "command")
COMMANDS = {"forward": (-1.0, 1.5), "left": (-0.6, 0.6), "yaw": (-1.0, 1.0)}
PER_JOINT = ("default_joint_pos", "kp", "kd", "action_scale", "joint_pos_limit", "joint_vel_limit", "effort_limit")
STEPS = 4  # of a golden vector
HEIGHTS = 5  # of a height scan


@dataclass(frozen=True)
class TinyPolicy:
    """The weights, float32, and the robot's figures, all in the order of ``joint_names``."""

    joint_names: tuple[str, ...]
    figures: dict[str, np.ndarray]  # PER_JOINT
    inputs: tuple[str, ...]
    commands: Mapping[str, tuple[float, float]]
    blocks: dict[str, tuple[np.ndarray, np.ndarray]]  # rows of A and D, by input and for the memory (B, E)

    @property
    def memory_size(self) -> int:
        return self.blocks["memory"][1].shape[1]

    def __call__(self, signals: Mapping[str, np.ndarray], memory: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """joint_pos_target, action and memory_out of [batch, ...] signals in the policy's joint order."""
        everything = {**signals, "memory": memory}
        action = sum(everything[name] @ a for name, (a, _) in self.blocks.items())
        low, high = self.figures["joint_pos_limit"].T
        target = np.clip(self.figures["default_joint_pos"] + self.figures["action_scale"] * action, low, high)
        return target, action, np.tanh(sum(everything[name] @ d for name, (_, d) in self.blocks.items()))


def tiny_policy(
    robot: Robot,
    seed: int = 0,
    weight: float = 0.1,
    inputs: Sequence[str] = INPUTS,
    commands: Mapping[str, tuple[float, float]] = COMMANDS,
    memory: int = 3,
    order: Sequence[int] | None = None,
) -> TinyPolicy:
    """A random policy; ``order`` lists the robot's joints in the policy's order: another order, the same policy."""
    rng, j = np.random.default_rng(seed), robot.num_joints
    order = range(j) if order is None else order
    widths = {**widths_of(j, len(commands)), "memory": memory}
    blocks = {}
    for name in (*inputs, "memory"):
        a, d = (weight * rng.standard_normal((widths[name], columns)) for columns in (j, memory))
        rows = list(order) if name in ("joint_pos", "joint_vel") else slice(None)
        blocks[name] = a[rows][:, list(order)].astype(np.float32), d[rows].astype(np.float32)
    figures = {name: np.asarray(getattr(robot, name))[list(order)] for name in PER_JOINT}
    return TinyPolicy(tuple(robot.joint_names[i] for i in order), figures, tuple(inputs), dict(commands), blocks)


def widths_of(j: int, c: int) -> dict[str, int]:
    three = dict.fromkeys(("base_ang_vel", "projected_gravity", "base_lin_vel"), 3)
    return {**three, "joint_pos": j, "joint_vel": j, "command": c, "height_scan": HEIGHTS}


def signals(policy: TinyPolicy, seed: int, rows: int) -> dict[str, np.ndarray]:
    """Plausible random signals, float32 [rows, ...], in the policy's joint order."""
    rng, j = np.random.default_rng(seed), len(policy.joint_names)
    values = {name: rng.uniform(-0.5, 0.5, (rows, width)) for name, width in widths_of(j, len(policy.commands)).items()}
    values["joint_pos"] += policy.figures["default_joint_pos"]
    return {name: values[name].astype(np.float32) for name in policy.inputs}


def graph(policy: TinyPolicy) -> onnx.ModelProto:
    """The policy as an ONNX model without a contract."""
    f, (low, high) = policy.figures, policy.figures["joint_pos_limit"].T
    names = [*policy.inputs, "memory"]
    constants = {
        "A": np.concatenate([policy.blocks[name][0] for name in names]),
        "D": np.concatenate([policy.blocks[name][1] for name in names]),
        "scale": f["action_scale"], "default": f["default_joint_pos"], "low": low, "high": high,
    }  # fmt: skip
    nodes = [
        helper.make_node("Concat", names, ["x"], axis=1),
        helper.make_node("MatMul", ["x", "A"], ["action"]),
        helper.make_node("Mul", ["scale", "action"], ["scaled"]),
        helper.make_node("Add", ["default", "scaled"], ["free"]),
        helper.make_node("Max", ["free", "low"], ["above"]),
        helper.make_node("Min", ["above", "high"], ["joint_pos_target"]),
        helper.make_node("MatMul", ["x", "D"], ["mixed"]),
        helper.make_node("Tanh", ["mixed"], ["memory_out"]),
    ]
    j, m = len(policy.joint_names), policy.memory_size
    widths = {**widths_of(j, len(policy.commands)), "memory": m, "joint_pos_target": j, "action": j, "memory_out": m}
    value = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name, width in widths.items()}
    outputs = [value[name] for name in ("joint_pos_target", "action", "memory_out")]
    weights = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()]
    body = helper.make_graph(nodes, "policy", [value[name] for name in names], outputs, weights)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def contract(policy: TinyPolicy, robot: Robot) -> dict[str, Any]:
    """A version 2 contract, but for the graph's hash, which :func:`write` adds."""
    widths = widths_of(len(policy.joint_names), len(policy.commands))
    return {
        "version": 2,
        "robot": robot.name,
        "joint_names": list(policy.joint_names),
        **{name: array.tolist() for name, array in policy.figures.items()},
        "control_dt": 0.02,
        "inputs": list(policy.inputs),
        "command_names": list(policy.commands),
        "command_range": [list(limits) for limits in policy.commands.values()],
        "command_rest": [0.0] * len(policy.commands),
        "imu_frame": robot.base_body,
        "observation": [{"name": name, "width": widths[name], "text": f"{name} as measured"} for name in policy.inputs],
        "memory": [{"name": "mixture", "width": policy.memory_size, "text": "of all that was seen"}] if policy.memory_size else [],
        "envelope": {"max_tilt": 0.8},
        "training": {"randomization": {}, "action_delay": [0.0, 0.0]},
        "provenance": {
            "commit": None, "config_sha256": None, "seed": 0, "steps": 0, "iteration": 0, "engine": "none", "versions": {},
        },
        "scorecard": None,
        "golden_vectors": [golden_vector(policy, seed) for seed in range(2)],
    }  # fmt: skip


def golden_vector(policy: TinyPolicy, seed: int) -> dict[str, Any]:
    given, memory, outputs = signals(policy, seed, STEPS), np.zeros((1, policy.memory_size)), []
    for t in range(STEPS):
        target, action, memory = policy({name: value[t : t + 1] for name, value in given.items()}, memory)
        outputs.append((target[0].tolist(), action[0].tolist()))
    targets, actions = zip(*outputs, strict=True)
    return {
        "inputs": {name: value.tolist() for name, value in given.items()},
        "outputs": {"joint_pos_target": list(targets), "action": list(actions)},
    }


def write(path: Path, model: onnx.ModelProto, data: dict[str, Any]) -> Path:
    """The bundle of ``model`` and contract ``data``, sealed, at ``path``."""
    path.write_bytes(onnx_file.attach(model.SerializeToString(deterministic=True), data))
    return path


def write_tiny(path: Path, robot: Robot, **overrides: Any) -> Path:
    """The bundle of a :func:`tiny_policy` with ``overrides`` of its arguments."""
    policy = tiny_policy(robot, **overrides)
    return write(path, graph(policy), contract(policy, robot))


def rewrite(
    bundle: Path,
    path: Path,
    change: Callable[[dict[str, Any]], Any] = lambda data: None,
    edit: Callable[[onnx.ModelProto], Any] = lambda model: None,
) -> Path:
    """A copy of ``bundle`` with its contract and its model changed in place, sealed anew."""
    model = onnx.load(bundle)
    data = json.loads({entry.key: entry.value for entry in model.metadata_props}[onnx_file.CONTRACT_KEY])
    del model.metadata_props[:]
    change(data)
    edit(model)
    return write(path, model, data)


def seal(model: bytes, contract: str) -> bytes:
    """A bundle of a serialised model and any text for a contract, its checksum right; :func:`rewrite` where the contract is JSON."""
    entries = onnx.ModelProto()
    entries.metadata_props.add(key="policy_contract", value=contract)
    entries.metadata_props.add(key="bundle_sha256", value="0" * 64)
    file = model + entries.SerializeToString()
    begin, end = onnx_file.find_sections(file)[1]["bundle_sha256"]
    return file[:begin] + onnx_file.bundle_sha256(file).encode() + file[end:]
