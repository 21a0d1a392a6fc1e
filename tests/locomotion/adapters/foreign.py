"""A small foreign policy with its description, and what a plain program on somebody's robot would compute with it."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import helper, numpy_helper

from robots import Robot

LEGS = ["FL", "FR", "RL", "RR"]
BREADTH_FIRST = [f"{leg}_{joint}_joint" for joint in ("hip", "thigh", "calf") for leg in LEGS]
TERMS = [
    {"term": "base_ang_vel", "scale": 0.25},
    {"term": "projected_gravity", "clip": [-0.95, 0.95]},
    {"term": "command", "channels": ["yaw", "forward"], "scale": [0.25, 2.0]},
    {"term": "joint_pos"},
    {"term": "joint_vel", "scale": 0.05, "clip": [-2.0, 2.0]},
    {"term": "previous_action"},
    {"term": "gait_phase", "function": "sin"},
    {"term": "gait_phase", "function": "phase"},
    {"term": "constant", "values": [0.7, -0.2]},
]
WIDTHS = {"base_ang_vel": 3, "projected_gravity": 3, "joint_pos": 12, "joint_vel": 12, "previous_action": 12}


def description(**changes: Any) -> dict[str, Any]:
    """A description of everything but history and a recurrent state, with ``changes``."""
    return {
        "policy": "foreign.onnx",
        "robot": "unitree_go2",
        "control_dt": 0.02,
        "joint_names": BREADTH_FIRST,
        "observation": TERMS,
        "gait": {"period": 0.64, "offsets": [0.0, 0.5, 0.25], "stand": {"below": 0.1, "phase": 0.75}},
        "commands": {"forward": [-1.0, 1.5], "left": [-0.5, 0.5], "yaw": [-1.0, 1.0]},
        "action": {"scale": 0.3, "clip": 0.8},
        "default_joint_pos": {"*_hip_joint": 0.05, "*_thigh_joint": 0.8, "*_calf_joint": -1.6},
        "kp": 25.0,
        "kd": 0.6,
        **changes,
    }


def frame_width(data: dict[str, Any]) -> int:
    return sum(term_width(data, term) for term in data["observation"])


def term_width(data: dict[str, Any], term: dict[str, Any]) -> int:
    """Numbers of one term, as its YAML says."""
    if term["term"] == "command":
        return len(term.get("channels", data["commands"]))
    if term["term"] == "gait_phase":
        return len(data["gait"]["offsets"])
    if term["term"] == "previous_action" and "joint_names" in data["action"]:
        return len(data["action"]["joint_names"])
    return len(term["values"]) if term["term"] == "constant" else WIDTHS[term["term"]]


def write(folder: Path, data: dict[str, Any], acted: int = 12) -> tuple[Path, np.ndarray]:
    """The description, and beside it a network tanh(W observation) for one robot only in name; ``W`` as well."""
    width = data.get("history", {}).get("length", 1) * frame_width(data)
    weights = (np.random.default_rng(5).standard_normal((width, acted)) * 2.0 / np.sqrt(width)).astype(np.float32)
    state = "state" in data
    nodes = [helper.make_node("MatMul", ["obs", "W"], ["x"])]
    if state:  # h' = 0.5 h + x, of [layers, batch, hidden]; action = tanh(h')
        nodes += [
            helper.make_node("Unsqueeze", ["x", "axis"], ["row"]),
            helper.make_node("Mul", ["h_in", "half"], ["old"]),
            helper.make_node("Add", ["old", "row"], ["h_out"]),
            helper.make_node("Gather", ["h_out", "zero"], ["last"], axis=0),
            helper.make_node("Tanh", ["last"], ["actions"]),
        ]
    else:
        nodes += [helper.make_node("Tanh", ["x"], ["actions"])]

    def value(name: str, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    constants = {"W": weights}
    if state:
        constants |= {"axis": np.array([0]), "half": np.float32(0.5), "zero": np.array(0)}
    graph = helper.make_graph(
        nodes,
        "net",
        [value("obs", 1, width), *([value("h_in", 2, 1, acted)] if state else [])],
        [value("actions", 1, acted), *([value("h_out", 2, 1, acted)] if state else [])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.save(model, folder / "foreign.onnx")
    path = folder / "foreign.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path, weights


class Program:
    """What somebody's deployment program does with one robot, number by number."""

    def __init__(self, data: dict[str, Any], weights: np.ndarray, robot: Robot) -> None:
        self.data, self.weights, self.robot = data, weights, robot
        names = data.get("joint_names", list(robot.joint_names))
        self.seen = [robot.joint_names.index(name) for name in names]
        moved = data["action"].get("joint_names", names)
        self.moved = [robot.joint_names.index(name) for name in moved]
        self.pose = np.array(
            [next(v for key, v in data["default_joint_pos"].items() if name.endswith(key.lstrip("*"))) for name in robot.joint_names]
        )
        self.action = np.zeros(len(self.moved))
        self.time, self.moving = 0.0, True
        self.frames: deque[list[np.ndarray]] = deque(maxlen=data.get("history", {}).get("length", 1))
        self.hidden = np.zeros((2, len(self.moved)))

    def phases(self, command: dict[str, float]) -> np.ndarray:
        gait = self.data["gait"]
        stand = gait.get("stand")
        if stand and np.hypot(command["forward"], command["left"]) < stand["below"] and abs(command["yaw"]) < stand["below"]:
            self.moving = False
            return np.full(len(gait["offsets"]), stand["phase"])
        self.time = self.time + self.data["control_dt"] if self.moving else 0.0
        self.moving = True
        return np.array([(self.time / gait["period"] + offset) % 1.0 for offset in gait["offsets"]])

    def frame(self, signals: dict[str, np.ndarray]) -> list[np.ndarray]:
        command = dict(zip(self.data["commands"], signals["command"], strict=True))
        phases = self.phases(command) if "gait" in self.data else np.zeros(0)
        parts = []
        for term in self.data["observation"]:
            name = term["term"]
            if name == "command":
                value = np.array([command[channel] for channel in term.get("channels", command)])
            elif name == "joint_pos":
                value = signals["joint_pos"][self.seen] - (self.pose[self.seen] if term.get("relative", True) else 0.0)
            elif name == "joint_vel":
                value = signals["joint_vel"][self.seen]
            elif name == "previous_action":
                value = self.action
            elif name == "gait_phase":
                turn = {"sin": np.sin, "cos": np.cos}.get(term["function"])
                value = phases if turn is None else turn(2.0 * np.pi * phases)
            elif name == "constant":
                value = np.array(term["values"])
            else:
                value = signals[name]
            if "clip" in term:
                value = np.clip(value, *term["clip"])
            value = value * np.array(term.get("scale", 1.0))
            if "clip_observation" in self.data:
                value = np.clip(value, -self.data["clip_observation"], self.data["clip_observation"])
            parts.append(value)
        return parts

    def step(self, signals: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Target and action of all joints, in the robot's order, of one robot's signals."""
        frame, history = self.frame(signals), self.data.get("history", {})
        if not self.frames:
            before = frame if history.get("start") == "first" else [np.zeros_like(part) for part in frame]
            self.frames.extend([before] * self.frames.maxlen)
        self.frames.append(frame)
        frames = list(self.frames)
        if history.get("order") == "newest_first":
            frames.reverse()
        if history.get("layout", "by_term") == "by_term":
            parts = [frames[t][k] for k in range(len(frame)) for t in range(len(frames))]
        else:
            parts = [part for one in frames for part in one]
        out = np.concatenate(parts) @ self.weights
        if "state" in self.data:
            self.hidden = 0.5 * self.hidden + out
            out = self.hidden[0]
        clip = self.data["action"].get("clip", np.inf)
        self.action = np.clip(np.tanh(out), -clip, clip)
        scale = self.data["action"]["scale"]
        target, action = self.pose.copy(), np.zeros(self.robot.num_joints)
        for i, joint in enumerate(self.moved):
            action[joint] = self.action[i]
            target[joint] += (scale[i] if isinstance(scale, list) else scale) * self.action[i]
        return target, action
