"""A verified policy on onnxruntime, and the same bound to a robot."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from deploy import onnx_file
from deploy.contract import Contract, ContractError
from robots import Robot

OUTPUTS = ("joint_pos_target", "action", "memory_out")
JOINT_SIGNALS = ("joint_pos", "joint_vel")
GOLDEN_TOLERANCE = 1e-4  # rad and units of action, between this machine and the one that exported


class LoadedPolicy:
    """A bundle on onnxruntime, in its contract's joint order: one thread, no spinning, memory carried from step to step."""

    def __init__(self, contract: Contract, session: onnxruntime.InferenceSession) -> None:
        self.contract, self.inputs, self._session = contract, contract.inputs, session
        self._memory_size = next(int(item.shape[1]) for item in session.get_inputs() if item.name == "memory")
        self.reset(1)

    def reset(self, batch: int = 1) -> None:
        """Begin an episode: memory to zeros."""
        self.memory = np.zeros((batch, self._memory_size), dtype=np.float32)

    def step(self, signals: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """``joint_pos_target`` (rad) and ``action``, [batch, J], of the named float32 signals, [batch, ...] each."""
        feed = {name: signals[name] for name in self.inputs}
        target, action, memory = (np.asarray(x) for x in self._session.run(OUTPUTS, {**feed, "memory": self.memory}))
        self.memory = memory
        return target, action

    def clip_command(self, command: np.ndarray) -> np.ndarray:
        """``command`` [..., C] within the range that the policy was trained for, float32."""
        command, names = np.asarray(command), self.contract.command_names
        if command.shape[-1:] != (len(names),):
            raise ContractError("command", command.tolist(), f"{len(names)} numbers {list(names)}", "Give one for each channel.")
        return np.clip(command, *self.contract.command_range.T).astype(np.float32)


class RobotPolicy:
    """A policy bound to a robot: joints by name, arrays in the robot's canonical order, commands within the trained range.

    ``robot`` is the robot with the contract's gains. ``measured`` names signals beyond what every robot measures.
    Raises ContractError where policy and robot do not fit.
    """

    def __init__(self, policy: LoadedPolicy, robot: Robot, measured: Collection[str] = ()) -> None:
        self.robot = policy.contract.robot_with_gains(robot, measured)
        self.contract, self.inputs, self._policy = policy.contract, policy.inputs, policy
        self._to_policy = np.array([robot.joint_names.index(name) for name in policy.contract.joint_names])
        self._to_robot = np.argsort(self._to_policy)

    def reset(self, batch: int = 1) -> None:
        """Begin an episode of ``batch`` robots."""
        self._policy.reset(batch)

    def step(self, signals: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """``joint_pos_target`` (rad) and ``action``, float32 [batch, J], of the named signals, [batch, ...] each."""
        feed = {name: np.asarray(signals[name], dtype=np.float32) for name in self.inputs}
        for name in JOINT_SIGNALS:
            if name in feed:
                feed[name] = feed[name].take(self._to_policy, axis=-1)
        if "command" in feed:
            feed["command"] = self.clip_command(feed["command"])
        target, action = self._policy.step(feed)
        return target.take(self._to_robot, axis=-1), action.take(self._to_robot, axis=-1)

    def clip_command(self, command: np.ndarray) -> np.ndarray:
        """``command`` [..., C] within the range that the policy was trained for, float32."""
        return self._policy.clip_command(command)


def load(path: str | Path, robot: Robot | None = None) -> LoadedPolicy:
    """Read and verify a bundle; with ``robot``, also that it is meant for that robot.

    Raises:
        ContractError: whatever :func:`deploy.onnx_file.read`, :meth:`Contract.from_json` or :meth:`Contract.check_robot` refuse;
            a graph whose inputs and outputs are not those of its contract, or whose outputs differ from the golden vectors.
    """
    file, data = onnx_file.read(Path(path))
    contract = Contract.from_json(data)
    if onnx_file.graph_sha256(file) != contract.graph_sha256:
        raise ContractError("graph_sha256", contract.graph_sha256, "the hash of the file's graph", "Export the policy anew.")
    if robot is not None:
        contract.check_robot(robot)
    session = _session(file)
    _check_signature(contract, session)
    policy = LoadedPolicy(contract, session)
    _replay_golden_vectors(policy)
    return policy


def _session(file: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what matters is raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # not what the bytes might claim: it was checked as ONNX
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime raises types of its own for each kind of damage
        raise ContractError("graph", _first_line(error), "a graph that onnxruntime can run", "Export the policy anew.") from error


def _check_signature(contract: Contract, session: onnxruntime.InferenceSession) -> None:
    """Names, types and widths of the graph's inputs and outputs against the contract."""
    j, memory = len(contract.joint_names), None if contract.memory is None else sum(term.width for term in contract.memory)
    golden = contract.golden_vectors[0].inputs
    inputs = {**{name: golden[name].shape[1] for name in contract.inputs}, "memory": memory}
    outputs = {"joint_pos_target": j, "action": j, "memory_out": memory}
    for kind, items, widths in (("input", session.get_inputs(), inputs), ("output", session.get_outputs(), outputs)):
        try:
            found = {item.name: (item.type, item.shape) for item in items}
        except UnicodeDecodeError as error:
            raise ContractError("graph", str(error), "names in UTF-8", "Export the policy anew.") from error
        if found.keys() != widths.keys():
            raise ContractError(f"graph {kind}s", list(found), f"{list(widths)}, as in the contract", "Export the policy anew.")
        for name, (element, shape) in found.items():
            batch, width = shape if len(shape) == 2 else (0, None)
            unsaid = kind == "output" and len(shape) == 2 and not isinstance(width, int)  # the golden vectors will show it
            fits = unsaid or (isinstance(width, int) and widths[name] in (None, width))
            if element != "tensor(float)" or isinstance(batch, int) or not fits:
                allowed = f"tensor(float) ['batch', {'M' if widths[name] is None else widths[name]}], any batch"
                raise ContractError(f"graph {kind} {name}", f"{element} {shape}", allowed, "Export the policy anew.")


def _replay_golden_vectors(policy: LoadedPolicy) -> None:
    for number, vector in enumerate(policy.contract.golden_vectors):
        policy.reset(1)
        shape = policy.memory.shape
        for t in range(len(vector.outputs["action"])):
            try:
                target, action = policy.step({name: value[t : t + 1] for name, value in vector.inputs.items()})
            except Exception as error:  # as in _session
                raise ContractError(
                    f"golden_vectors[{number}][{t}]", _first_line(error), "a graph that runs on its inputs", "Export the policy anew."
                ) from error
            if policy.memory.shape != shape or not np.isfinite(policy.memory).all():
                raise ContractError(
                    f"golden_vectors[{number}].memory_out[{t}]", policy.memory.tolist(), f"finite numbers {shape}",
                    "This policy's memory would not last a step: do not run it.",
                )  # fmt: skip
            for name, value in (("joint_pos_target", target), ("action", action)):
                expected = vector.outputs[name][t : t + 1]
                with np.errstate(invalid="ignore"):
                    worst = np.abs(value - expected).max() if value.shape == expected.shape else np.inf
                if not worst <= GOLDEN_TOLERANCE:  # NaN fails too
                    raise ContractError(
                        f"golden_vectors[{number}].{name}[{t}]", float(worst), f"a difference of at most {GOLDEN_TOLERANCE}",
                        "This policy does not compute here what it computed at export: do not run it.",
                    )  # fmt: skip
    policy.reset(1)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
