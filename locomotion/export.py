"""Write the policy bundle: the trained module as one ONNX file that carries its contract."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import torch
from torch import nn

import robots
from deploy import contract, onnx_file
from deploy.policy import OUTPUTS, load
from locomotion import build, plugins
from locomotion.files import make_folder, write_atomically, writing
from locomotion.models.policy import Policy
from locomotion.runs import checkpoint
from locomotion.runs.train import refuse_other_robot
from locomotion.schema import check, plain
from locomotion.settings import TrainSettings
from locomotion.task import terminations, terms
from locomotion.task.curriculum import Ranges
from locomotion.task.randomization import RandomizationSettings
from locomotion.task.settings import TaskSettings, make_commands
from locomotion.task.task import Task
from robots import Robot
from robots.errors import InputError

GOLDEN_STEPS, GOLDEN_SEQUENCES = 8, 2
ROBOT_FIELDS = (
    "default_joint_pos", "kp", "kd", "action_scale", "joint_pos_limit", "joint_vel_limit", "effort_limit",
)  # fmt: skip


def export_checkpoint(path: Path, output: Path, scorecard: dict[str, Any] | None = None) -> None:
    """Write the bundle of a checkpoint to ``output``, verified; ``scorecard`` is embedded in its contract.

    Raises:
        InputError: a checkpoint that cannot be used, weights that are not finite, or a file that cannot be written. An older
            file of the name ``output`` then stays as it was.
    """
    state = checkpoint.load(path)
    if state["config"].get("env") is not None:
        remedy = f"This one is of {state['config']['env']}: describe what it sees, and 'locomotion policies import' (docs/isaacgym.md)."
        raise InputError("checkpoint", str(path), "a policy of a robot's task here", remedy)
    refuse_other_robot(state, "checkpoint")
    plugins.load(state["config"]["plugins"])
    settings = check(TrainSettings, state["config"])
    policy = build.policy(settings, state["learner"]["actor"])
    levels = state.get("environment", {}).get("curricula", [0.0] * len(settings.task.curricula))
    # a snapshot of the policy alone knows no levels: those of the start
    fields = _trained_fields(settings.task, settings.randomization, state["config"]["randomization"], levels)
    fields["training"] |= {"physics_dt": settings.sim.physics_dt, "actuator": settings.sim.actuator}
    provenance = {**state["provenance"], "steps": state["steps"], "iteration": state["iteration"]}
    make_folder(output.parent, "output")
    with writing("output", output):
        write_bundle(policy, robots.load(settings.robot), {**fields, "provenance": provenance, "scorecard": scorecard}, output)


def export_actor(
    actor: nn.Module, task: Task, output: Path, provenance: Mapping[str, Any] | None = None, scorecard: dict[str, Any] | None = None
) -> None:
    """Write the bundle of an ``actor`` that somebody else's learner trained on ``task``.

    ``actor`` maps an observation [N, W] of the group "actor" to an action [N, A] without exploration, as ``task.step`` took it in
    training; normalisation belongs inside. It is copied to the CPU. ``provenance`` is what is known of
    :data:`deploy.contract.PROVENANCE`, and whatever else is worth keeping.

    Raises:
        InputError: an actor that gives something else, is not finite or cannot be traced, or a file that cannot be written.
    """
    encoder, decoder, spaces = build.modules(task.robot, task.settings)
    actor = copy.deepcopy(actor).cpu().eval()
    _check_actor(actor, spaces.groups["actor"], spaces.action.size)
    levels = [float(one.level) for one in task.curricula]
    fields = _trained_fields(task.settings, task.randomization, plain(task.randomization), levels)
    fields["training"]["physics_dt"] = task.simulator.physics_dt
    known = {**dict.fromkeys(contract.PROVENANCE), "engine": task.simulator.engine, **(provenance or {})}
    make_folder(output.parent, "output")
    with writing("output", output):
        write_bundle(Policy(encoder, actor, decoder), task.robot, {**fields, "provenance": known, "scorecard": scorecard}, output)


def _check_actor(actor: nn.Module, width: int, size: int) -> None:
    """Raises InputError where ``actor`` is no function from observations [N, ``width``] to actions [N, ``size``]."""
    with torch.no_grad():
        try:
            action = actor(torch.zeros(2, width))
        except Exception as error:  # whatever a module of somebody else's raises
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError("actor", said, f"a module that takes observations [N, {width}]", "Normalisation belongs inside.") from error
    got = list(action.shape) if isinstance(action, torch.Tensor) else type(action).__name__
    if got != [2, size]:
        raise InputError("actor", got, f"actions [N, {size}], here of 2 observations", "Give the mean alone, without a distribution.")


def _trained_fields(task: TaskSettings, randomization: RandomizationSettings, as_written: dict[str, Any], levels: Any) -> dict[str, Any]:
    """What a contract says of the task, and of the ranges that curricula had come to."""
    trained = trained_ranges(task, randomization, levels)
    told = {**as_written, "parameters": trained.parameters}
    delay = trained.parameters.get("action_delay", [0.0, 0.0])
    return {
        **task_fields(task),
        "command_range": [*trained.commands.values()],
        "training": {"randomization": told, "action_delay": delay},
    }


def task_fields(task: TaskSettings) -> dict[str, Any]:
    """What a contract says of the task."""
    commands = make_commands(task, torch.device("cpu"))
    return {
        "protocol": task.protocol,
        "control_dt": task.control_dt,
        "command_names": list(commands.channels),
        "command_range": [list(limits) for limits in commands.limits],
        "command_rest": list(commands.rest),
        "envelope": _envelope(task),
    }


def trained_ranges(task: TaskSettings, randomization: RandomizationSettings, levels: Sequence[Any]) -> Ranges:
    """What episodes are drawn from once curricula have come to ``levels`` (0..1, of each, in order)."""
    commands = make_commands(task, torch.device("cpu"))
    ranges = Ranges(
        dict(zip(commands.channels, map(list, commands.limits), strict=True)),
        {name: list(limits) for name, limits in randomization.parameters.items()},
    )
    for (name, value), level in zip(task.curricula.items(), levels, strict=True):
        term = terms.curriculum.bind("task.curricula", name, value)
        narrow = getattr(term.func, "narrow", None)  # what changes something else has none
        if narrow:
            narrow(ranges, float(level), **term.keywords)
    return ranges


def _envelope(task: TaskSettings) -> dict[str, float]:
    """Where the policy has been in training, and may be."""
    tilts = [terms.termination.bind("task.terminations", name, value) for name, value in task.terminations.items()]
    limits = [term.keywords["limit"] for term in tilts if term.func is terminations.tilt]
    return {"max_tilt": min(limits)} if limits else {}


def write_bundle(policy: Policy, robot: Robot, fields: dict[str, Any], output: Path) -> None:
    """Write ``policy`` with a contract of the robot's figures and ``fields``; verified before it takes ``output``'s place.

    Raises:
        InputError: a parameter of the policy is not finite.
        OSError: ``output`` cannot be written.
    """
    policy.eval()
    for name, value in policy.state_dict().items():
        if not torch.isfinite(value).all():
            raise InputError(f"policy.{name}", "not finite", "finite weights", "Export an earlier checkpoint.")
    model = _trace(policy, robot, len(fields["command_names"]))
    observed, remembered = policy.describe()
    data = {
        "version": contract.VERSION,
        "robot": robot.name,
        "joint_names": list(robot.joint_names),
        **{name: getattr(robot, name).tolist() for name in ROBOT_FIELDS},
        "imu_frame": robot.base_body,
        "inputs": list(policy.inputs),
        "observation": observed,
        "memory": remembered,
        **fields,
        "golden_vectors": [_golden_vector(policy, robot, fields, seed) for seed in range(GOLDEN_SEQUENCES)],
    }
    write_model(model, data, robot, output)


def write_model(model: onnx.ModelProto, data: dict[str, Any], robot: Robot, output: Path) -> None:
    """Seal ``model`` with the contract ``data``; loaded as ``robot`` would before it takes ``output``'s place.

    Raises:
        ContractError: the graph may not run on a robot, or is not what its contract says.
        OSError: ``output`` cannot be written.
    """
    file = onnx_file.attach(model.SerializeToString(deterministic=True), data)

    def write_and_verify(stream: Any) -> None:
        stream.write(file)
        stream.flush()
        contract_of = load(stream.name).contract
        contract_of.check_robot(robot, measured=contract_of.inputs)  # whether a robot measures them is asked where it is to run

    write_atomically(output, write_and_verify)


class TakesSignals(Protocol):
    """What names the signals that it takes, memory aside: a :class:`Policy`, or a graph."""

    inputs: tuple[str, ...]


def example_inputs(policy: TakesSignals, robot: Robot, command_range: Any, batch: int, steps: int, seed: int) -> dict[str, np.ndarray]:
    """Plausible random signals, float32 [steps, batch, ...], without memory."""
    rng, j = np.random.default_rng(seed), robot.num_joints
    gravity = np.array([0.0, 0.0, -1.0]) + 0.1 * rng.standard_normal((steps, batch, 3))
    low, high = np.asarray(command_range, dtype=np.float64).reshape(-1, 2).T
    signals = {
        "base_ang_vel": 0.5 * rng.standard_normal((steps, batch, 3)),
        "projected_gravity": gravity / np.linalg.norm(gravity, axis=-1, keepdims=True),
        "joint_pos": robot.default_joint_pos + 0.2 * rng.standard_normal((steps, batch, j)),
        "joint_vel": 2.0 * rng.standard_normal((steps, batch, j)),
        "command": np.repeat(rng.uniform(low, high, (1, batch, len(low))), steps, axis=0),
        "base_lin_vel": 0.5 * rng.standard_normal((steps, batch, 3)),  # last: what was drawn before there was this stays as it was
    }
    return {name: signals[name].astype(np.float32) for name in policy.inputs}


def _trace(policy: Policy, robot: Robot, channels: int) -> onnx.ModelProto:
    signals = example_inputs(policy, robot, [[-1.0, 1.0]] * channels, batch=2, steps=1, seed=0)
    arguments = [torch.from_numpy(signals[name][0]) for name in policy.inputs]
    arguments.append(torch.zeros(2, policy.memory_size))
    batch = torch.export.Dim("batch")
    names = [*policy.inputs, "memory"]
    with warnings.catch_warnings(), _quiet_exporter():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            policy, tuple(arguments), input_names=names, output_names=OUTPUTS, dynamo=True, verbose=False,
            dynamic_shapes=(tuple({0: batch} for _ in names),), external_data=False, optimize=True,
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


def _golden_vector(policy: Policy, robot: Robot, fields: dict[str, Any], seed: int) -> dict[str, Any]:
    """Inputs and the module's outputs over a few steps with carried memory."""
    signals = example_inputs(policy, robot, fields["command_range"], batch=1, steps=GOLDEN_STEPS, seed=seed)
    memory, outputs = torch.zeros(1, policy.memory_size), []
    with torch.inference_mode():
        for t in range(GOLDEN_STEPS):
            *result, memory = policy(*(torch.from_numpy(signals[name][t]) for name in policy.inputs), memory)
            outputs.append([value[0].tolist() for value in result])
    targets, actions = zip(*outputs, strict=True)
    return {
        "inputs": {name: value[:, 0].tolist() for name, value in signals.items()},
        "outputs": {"joint_pos_target": list(targets), "action": list(actions)},
    }
