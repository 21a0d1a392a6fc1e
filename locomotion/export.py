"""Write the policy bundle: the trained module as one ONNX file that carries its contract."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from deploy import contract
from locomotion.files import write_atomically
from locomotion.models.policy import Policy
from robots import Robot
from robots.errors import InputError

INPUTS = ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "command", "memory")
GOLDEN_STEPS = 8


def example_inputs(policy: Policy, robot: Robot, batch: int, steps: int, seed: int) -> dict[str, np.ndarray]:
    """Plausible random signals, float32 [steps, batch, ...], without memory."""
    rng, j = np.random.default_rng(seed), robot.num_joints
    gravity = np.array([0.0, 0.0, -1.0]) + 0.1 * rng.standard_normal((steps, batch, 3))
    signals = {
        "base_ang_vel": 0.5 * rng.standard_normal((steps, batch, 3)),
        "projected_gravity": gravity / np.linalg.norm(gravity, axis=-1, keepdims=True),
        "joint_pos": robot.default_joint_pos + 0.2 * rng.standard_normal((steps, batch, j)),
        "joint_vel": 2.0 * rng.standard_normal((steps, batch, j)),
        "command": np.repeat(rng.uniform(-0.5, 0.8, (1, batch, 3)), steps, axis=0),
    }
    return {name: value.astype(np.float32) for name, value in signals.items()}


def export(policy: Policy, robot: Robot, fields: dict[str, Any], output: Path) -> None:
    """Write ``policy`` to ``output`` with a contract of the robot's figures and ``fields`` (control_dt, provenance, ...).

    Raises:
        InputError: a parameter of the policy is not finite.
        OSError: ``output`` cannot be written; an older file of that name stays as it was.
    """
    policy.eval()
    for name, value in policy.state_dict().items():
        if not torch.isfinite(value).all():
            raise InputError(f"policy.{name}", "not finite", "finite weights", "Export an earlier checkpoint.")
    model = _trace(policy, robot)
    graph_bytes = model.graph.SerializeToString(deterministic=True)
    data = {
        "version": contract.VERSION,
        "robot": robot.name,
        "joint_names": list(robot.joint_names),
        **{
            name: getattr(robot, name).tolist()
            for name in (
                "default_joint_pos", "kp", "kd", "action_scale", "joint_pos_limit", "joint_vel_limit", "effort_limit"
            )
        },
        "imu_frame": robot.base_body,
        **fields,
        "golden_vectors": [_golden_vector(policy, robot, seed) for seed in range(2)],
        "graph_sha256": hashlib.sha256(graph_bytes).hexdigest(),
    }  # fmt: skip
    for key, value in ((contract.CONTRACT_KEY, json.dumps(data)), (contract.CHECKSUM_KEY, "0" * 64)):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    file = model.SerializeToString(deterministic=True)
    begin, end = contract.find_sections(file)[1][contract.CHECKSUM_KEY]
    file = file[:begin] + contract.bundle_sha256(file).encode() + file[end:]
    write_atomically(output, lambda stream: stream.write(file))
    contract.load(output, robot)


def _trace(policy: Policy, robot: Robot) -> onnx.ModelProto:
    signals = example_inputs(policy, robot, batch=2, steps=1, seed=0)
    arguments = [torch.from_numpy(signals[name][0]) for name in INPUTS[:-1]]
    arguments.append(torch.zeros(2, policy.encoder.memory_size))
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), _quiet_exporter():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            policy, tuple(arguments), input_names=INPUTS, output_names=contract.OUTPUTS, dynamo=True, verbose=False,
            dynamic_shapes=tuple({0: batch} for _ in INPUTS), external_data=False, optimize=True,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    del model.metadata_props[:]
    for node in model.graph.node:  # the exporter notes source lines of the machine that it ran on
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    return model


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's warnings about packages and folding that do not concern this graph."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _golden_vector(policy: Policy, robot: Robot, seed: int) -> dict[str, Any]:
    """Inputs and the module's outputs over a few steps with carried memory."""
    signals = example_inputs(policy, robot, batch=1, steps=GOLDEN_STEPS, seed=seed)
    memory, outputs = torch.zeros(1, policy.encoder.memory_size), []
    with torch.inference_mode():
        for t in range(GOLDEN_STEPS):
            *result, memory = policy(*(torch.from_numpy(signals[name][t]) for name in INPUTS[:-1]), memory)
            outputs.append([value[0].tolist() for value in result])
    targets, actions = zip(*outputs, strict=True)
    return {
        "inputs": {name: value[:, 0].tolist() for name, value in signals.items()},
        "outputs": {"joint_pos_target": list(targets), "action": list(actions)},
    }
