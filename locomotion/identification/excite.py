"""An excitation as a policy bundle: a table of joint targets, played from its beginning behind the same supervisor as any policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy import contract
from locomotion.export import GOLDEN_STEPS, ROBOT_FIELDS, write_model
from locomotion.files import make_folder, writing
from locomotion.identification.recording import PROTOCOLS
from robots import Robot

FLOAT, OPSET = TensorProto.FLOAT, 17


def write(robot: Robot, targets: np.ndarray, control_dt: float, output: Path, place: str = "ground") -> None:
    """``targets`` [T, J] (rad) for ``place`` as a bundle that takes no command. Raises InputError where ``output`` cannot be written."""
    table = targets.astype(np.float32)
    action = ((table - robot.default_joint_pos) / robot.action_scale).astype(np.float32)
    data = {
        "version": contract.VERSION,
        "robot": robot.name,
        "joint_names": list(robot.joint_names),
        **{name: getattr(robot, name).tolist() for name in ROBOT_FIELDS},
        "imu_frame": robot.base_body,
        "inputs": ["joint_pos"],
        "observation": [{"name": "none", "width": 1, "text": "a table of targets: nothing that is measured plays a part"}],
        "memory": [{"name": "step", "width": 1, "text": "control steps since the beginning"}],
        "protocol": PROTOCOLS[place],
        "control_dt": control_dt,
        "command_names": [],
        "command_range": [],
        "command_rest": [],
        "envelope": {},
        "training": {"randomization": None, "action_delay": None},
        "provenance": dict.fromkeys(contract.PROVENANCE),
        "scorecard": None,
        "golden_vectors": [
            {
                "inputs": {"joint_pos": [robot.default_joint_pos.tolist()] * GOLDEN_STEPS},
                "outputs": {"joint_pos_target": table[:GOLDEN_STEPS].tolist(), "action": action[:GOLDEN_STEPS].tolist()},
            }
        ],
    }
    make_folder(output.parent, "output")
    with writing("output", output):
        write_model(_graph(table, action), data, robot, output)


def _graph(table: np.ndarray, action: np.ndarray) -> onnx.ModelProto:
    """Row after row of ``table`` and ``action`` [T, J]; the last one goes on."""
    steps, j = table.shape
    nodes = [
        helper.make_node("Cast", ["memory"], ["step"], to=TensorProto.INT64),
        helper.make_node("GatherND", ["table", "step"], ["joint_pos_target"]),
        helper.make_node("GatherND", ["actions", "step"], ["action"]),
        helper.make_node("Add", ["memory", "one"], ["next"]),
        helper.make_node("Min", ["next", "last"], ["memory_out"]),
    ]
    constants = {"table": table, "actions": action, "one": np.ones(1, np.float32), "last": np.full(1, steps - 1, np.float32)}
    graph = helper.make_graph(
        nodes,
        "excitation",
        [helper.make_tensor_value_info(name, FLOAT, ["batch", width]) for name, width in (("joint_pos", j), ("memory", 1))],
        [
            helper.make_tensor_value_info(name, FLOAT, ["batch", width])
            for name, width in (("joint_pos_target", j), ("action", j), ("memory_out", 1))
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
