"""Make a normal policy bundle of a described foreign policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from deploy import contract
from deploy.policy import OUTPUTS
from locomotion.adapters.foreign_file import load_network
from locomotion.adapters.foreign_graph import ForeignGraph
from locomotion.adapters.foreign_policy import Description
from locomotion.export import GOLDEN_SEQUENCES, GOLDEN_STEPS, ROBOT_FIELDS, example_inputs, write_model
from locomotion.files import writing
from locomotion.schema import plain
from robots.errors import InputError

BATCH_TOLERANCE = 1e-4  # between two robots at once and each alone


class GraphRunner:
    """A foreign policy's whole graph on onnxruntime, with its memory; joints in the robot's order."""

    def __init__(self, graph: ForeignGraph) -> None:
        self.inputs, self.memory_size = graph.inputs, graph.memory_size
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        try:
            self._session = onnxruntime.InferenceSession(graph.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own
            raise InputError("policy", str(error).splitlines()[0][:200], "a graph that onnxruntime can run", "Export it anew.") from error
        self.reset(1)

    def reset(self, batch: int) -> None:
        self.memory = np.zeros((batch, self.memory_size), dtype=np.float32)

    def step(self, signals: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """``joint_pos_target`` (rad) and ``action``, [batch, J], of float32 signals [batch, ...]."""
        feed = {name: signals[name] for name in self.inputs}
        target, action, memory = (np.asarray(x) for x in self._session.run(OUTPUTS, {**feed, "memory": self.memory}))
        self.memory = memory
        return target, action


def build(found: Description) -> tuple[ForeignGraph, str]:
    """The graph around the network, and the sha256 of the network's file. Raises InputError where they do not fit."""
    network, digest = load_network(found)
    return ForeignGraph(found, network), digest


def import_policy(found: Description, output: Path) -> ForeignGraph:
    """Write the bundle of a foreign policy to ``output``, verified.

    The contract has the policy's gains. Its own default pose lives in the graph: the contract's is the robot's, where it stands up.

    Raises:
        InputError: the network does not fit its description, takes one robot only, or may not run on a robot.
    """
    graph, digest = build(found)
    settings, robot = found.settings, found.robot
    scale = found.own.action_scale.copy()
    scale[found.acted] = found.action_scale
    data = {
        "version": contract.VERSION,
        "robot": robot.name,
        "joint_names": list(robot.joint_names),
        **{name: getattr(robot, name).tolist() for name in ROBOT_FIELDS},
        "default_joint_pos": found.own.default_joint_pos.tolist(),
        "action_scale": scale.tolist(),
        "imu_frame": robot.base_body,
        "inputs": list(graph.inputs),
        "observation": graph.observation_words,
        "memory": graph.memory_words,
        "protocol": "velocity",
        "control_dt": settings.control_dt,
        "command_names": list(settings.commands),
        "command_range": [list(limits) for limits in settings.commands.values()],
        "command_rest": [0.0] * len(settings.commands),
        "envelope": {"max_tilt": settings.max_tilt} if settings.max_tilt else {},
        "training": {"randomization": None, "action_delay": None},
        "provenance": {
            **dict.fromkeys(contract.PROVENANCE),
            "adapted_from": {"file": found.file.name, "sha256": digest, "description": plain(settings)},
        },
        "scorecard": None,
        "golden_vectors": _golden_vectors(found, graph),
    }
    with writing("output", output):
        write_model(graph.model, data, found.own, output)
    return graph


def _golden_vectors(found: Description, graph: ForeignGraph) -> list[dict[str, Any]]:
    """What the graph computes over a few steps with carried memory. Raises InputError where robots at once are not each alone."""
    ranges, runner = list(found.settings.commands.values()), GraphRunner(graph)
    signals = example_inputs(graph, found.robot, ranges, GOLDEN_SEQUENCES, GOLDEN_STEPS, seed=0)
    alone = []
    for i in range(GOLDEN_SEQUENCES):
        runner.reset(1)
        alone.append([runner.step({name: value[t, i : i + 1] for name, value in signals.items()}) for t in range(GOLDEN_STEPS)])
    try:
        runner.reset(GOLDEN_SEQUENCES)
        together = [runner.step({name: value[t] for name, value in signals.items()}) for t in range(GOLDEN_STEPS)]
        pairs = [(together[t][k][i], alone[i][t][k][0]) for i in range(GOLDEN_SEQUENCES) for t in range(GOLDEN_STEPS) for k in range(2)]
        worst = max(float(np.abs(a - b).max()) for a, b in pairs)
    except Exception as error:  # onnxruntime raises types of its own
        raise _one_robot_only(found, str(error).splitlines()[0][:200]) from error
    if not worst <= BATCH_TOLERANCE:
        raise _one_robot_only(found, f"differs by {worst:.3g}")
    return [
        {
            "inputs": {name: value[:, i].tolist() for name, value in signals.items()},
            "outputs": {
                "joint_pos_target": [target[0].tolist() for target, _ in steps],
                "action": [action[0].tolist() for _, action in steps],
            },
        }
        for i, steps in enumerate(alone)
    ]


def _one_robot_only(found: Description, what: str) -> InputError:
    allowed = f"a graph that takes any number of robots; of {found.file.name}, two at once: {what}"
    return InputError("policy", found.file.name, allowed, "Export it with a dynamic batch axis.")
