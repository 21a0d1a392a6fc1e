"""The graph around a foreign policy's network: from raw signals to its observation, from its output to joint targets; memory in and out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from locomotion.adapters.foreign_policy import WALK, Description, State, Term
from robots.errors import InputError

FOREIGN = "foreign/"  # before every name of the foreign graph
FLOAT = TensorProto.FLOAT
OPSET = 13  # the operators below are the same from here to 23


class _Graph:
    """Nodes and constants, added one by one; each returns the name of what it computes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str | np.ndarray | float, output: str | None = None, **attributes: Any) -> str:
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        output = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], **attributes))
        return output

    def pick(self, value: str, columns: Any) -> str:
        return self.add("Gather", value, np.array(columns, dtype=np.int64), axis=1)

    def join(self, parts: list[str]) -> str:
        return self.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]

    def _constant(self, value: Any) -> str:
        array = value if isinstance(value, np.ndarray) and value.dtype.kind == "i" else np.asarray(value, dtype=np.float32)
        self.constants.append(numpy_helper.from_array(array, f"constant_{len(self.constants)}"))
        return self.constants[-1].name


class ForeignGraph:
    """``model`` in the form of a bundle's graph, with the signals and the memory that it takes and the words for a contract."""

    def __init__(self, found: Description, foreign: onnx.ModelProto) -> None:
        self._found, self._graph = found, _Graph()
        settings = found.settings
        signals = [name for term in settings.observation for name in ([term.term] if term.term not in MADE else [])]
        needed = [*signals, *(["command"] if settings.gait and settings.gait.stand else [])]
        self.inputs = tuple(dict.fromkeys([*needed, "joint_pos"]))  # joint_pos also gives constants their batch
        self.memory = _memory(found)  # name and width
        self._states = {state.input: f"state {state.input}" for state in settings.state}
        self.memory_size = sum(self.memory.values())
        self.model = self._build(foreign)

    @property
    def observation_words(self) -> list[dict[str, Any]]:
        """The terms of one frame, in words."""
        settings, words = self._found.settings, []
        for i, term in enumerate(settings.observation):
            details = {name: value for name, value in term.model_dump(mode="json").items() if name != "term" and value is not None}
            words.append({"name": f"{i}_{term.term}", "width": self._found.width(term), "text": f"{term.term} with {details}"})
        return words

    @property
    def memory_words(self) -> list[dict[str, Any]]:
        """What is carried from step to step, in words."""
        return [{"name": name, "width": width, "text": MEMORY_WORDS[name.partition(" ")[0]]} for name, width in self.memory.items()]

    def _build(self, foreign: onnx.ModelProto) -> onnx.ModelProto:
        found, graph = self._found, self._graph
        settings, j = found.settings, found.robot.num_joints
        name_in, name_out = _check_signature(found, foreign)
        after = {"started": self._ones()} if "started" in self.memory else {}
        phases = self._clock(after)
        frame = graph.join([self._term(term, phases) for term in settings.observation])
        if settings.clip_observation is not None:
            frame = graph.add("Clip", frame, -settings.clip_observation, settings.clip_observation)
        graph.add("Identity", self._with_history(frame, after), output=FOREIGN + name_in)
        for state in settings.state:
            self._feed(state)
        inner = onnx.compose.add_prefix(foreign, FOREIGN).graph
        split = len(graph.nodes)
        raw = graph.add("Reshape", FOREIGN + name_out, np.array([-1, len(found.acted)]))
        clipped = graph.add("Clip", raw, -settings.action.clip, settings.action.clip) if settings.action.clip is not None else raw
        if "previous_action" in self.memory:
            after["previous_action"] = clipped
        for state in settings.state:
            after[self._states[state.input]] = self._return(state)
        place = {int(joint): i for i, joint in enumerate(found.acted)}
        padded = graph.join([clipped, graph.add("Mul", self._ones(), 0.0)])  # a column for joints that are not moved
        graph.add("Identity", graph.pick(padded, [place.get(i, len(place)) for i in range(j)]), output="action")
        scale = np.ones(j)
        scale[found.acted] = found.action_scale
        graph.add("Add", graph.add("Mul", "action", scale), found.robot.default_joint_pos, output="joint_pos_target")
        if self.memory:
            graph.add("Identity", graph.join([after[name] for name in self.memory]), output="memory_out")
        else:
            graph.add("Identity", "memory", output="memory_out")
        widths = {name: 3 for name in self.inputs} | {"joint_pos": j, "joint_vel": j, "command": len(settings.commands)}
        inputs = {name: widths[name] for name in self.inputs} | {"memory": self.memory_size}
        outputs = {"joint_pos_target": j, "action": j, "memory_out": self.memory_size}
        return helper.make_model(
            helper.make_graph(
                [*graph.nodes[:split], *inner.node, *graph.nodes[split:]],
                "policy",
                [helper.make_tensor_value_info(name, FLOAT, ["batch", width]) for name, width in inputs.items()],
                [helper.make_tensor_value_info(name, FLOAT, ["batch", width]) for name, width in outputs.items()],
                [*graph.constants, *inner.initializer],
                sparse_initializer=list(inner.sparse_initializer),
            ),
            opset_imports=list(foreign.opset_import),
            functions=list(foreign.functions),
            ir_version=max(foreign.ir_version, 8),
        )

    def _remembered(self, name: str) -> str:
        """A part of the memory."""
        before = sum(width for other, width in list(self.memory.items())[: list(self.memory).index(name)])
        return self._graph.pick("memory", np.arange(before, before + self.memory[name]))

    def _ones(self) -> str:
        """[batch, 1]"""
        first = self._graph.pick("joint_pos", [0])
        return self._graph.add("Add", self._graph.add("Mul", first, 0.0), 1.0)

    def _term(self, term: Term, phases: str) -> str:
        """One term of a frame [batch, width]."""
        found, graph = self._found, self._graph
        if term.term == "command":
            value = graph.pick("command", found.channels(term))
        elif term.term in ("joint_pos", "joint_vel"):
            value = graph.pick(term.term, found.observed)
            if term.term == "joint_pos" and term.relative:
                value = graph.add("Sub", value, found.robot.default_joint_pos[found.observed])
        elif term.term == "previous_action":
            value = self._remembered("previous_action")
        elif term.term == "gait_phase":
            value = phases
            if term.function != "phase":
                value = graph.add(str(term.function).capitalize(), graph.add("Mul", phases, 2.0 * math.pi))
        elif term.term == "constant":
            value = graph.add("Mul", self._ones(), np.array(term.values))
        else:
            value = term.term
        if term.clip is not None:
            value = graph.add("Clip", value, *term.clip)
        return graph.add("Mul", value, np.array(term.scale)) if term.scale != 1.0 else value

    def _clock(self, after: dict[str, str]) -> str:
        """Phase of each foot, in cycles from 0 to 1 [batch, F]; the clock's own goes into ``after``."""
        settings, graph = self._found.settings, self._graph
        if settings.gait is None:
            return ""
        step = settings.control_dt / settings.gait.period
        time = graph.add("Add", self._remembered("clock"), step)
        time = graph.add("Sub", time, graph.add("Floor", time))
        phases = graph.add("Add", time, np.array(settings.gait.offsets))
        stand = settings.gait.stand
        if stand is not None:
            names = list(settings.commands)
            forward, left, yaw = (graph.pick("command", [names.index(name)]) for name in WALK)
            speed = graph.add("Sqrt", graph.add("Add", graph.add("Mul", forward, forward), graph.add("Mul", left, left)))
            still = graph.add("Less", graph.add("Max", speed, graph.add("Abs", yaw)), stand.below)
            phases = graph.add("Where", still, stand.phase, phases)
            time = graph.add("Where", still, -step, time)
        after["clock"] = time
        return graph.add("Sub", phases, graph.add("Floor", phases))

    def _with_history(self, frame: str, after: dict[str, str]) -> str:
        """The observation [batch, length * width] that the network sees."""
        found, graph = self._found, self._graph
        history, width = found.settings.history, found.frame_width
        if history.length == 1:
            return frame
        past = self._remembered("history")  # oldest first, frame by frame
        if history.start == "first":
            first = graph.pick(frame, np.tile(np.arange(width), history.length - 1))
            past = graph.add("Where", graph.add("Greater", self._remembered("started"), 0.0), past, first)
        every = graph.join([past, frame])
        after["history"] = graph.pick(every, np.arange(width, history.length * width))
        frames = np.arange(history.length * width).reshape(history.length, width)
        if history.order == "newest_first":
            frames = frames[::-1]
        if history.layout == "by_term":
            ends = np.cumsum([found.width(term) for term in found.settings.observation])
            return graph.pick(every, np.concatenate([part.reshape(-1) for part in np.split(frames, ends[:-1], axis=1)]))
        return graph.pick(every, frames.reshape(-1))

    def _feed(self, state: State) -> None:
        value = self._remembered(self._states[state.input])
        if len(state.size) == 2:
            value = self._graph.add("Transpose", self._graph.add("Reshape", value, np.array([-1, *state.size])), perm=[1, 0, 2])
        self._graph.add("Identity", value, output=FOREIGN + state.input)

    def _return(self, state: State) -> str:
        value = FOREIGN + state.output
        if len(state.size) == 2:
            value = self._graph.add("Transpose", value, perm=[1, 0, 2])
        return self._graph.add("Reshape", value, np.array([-1, math.prod(state.size)]))


MADE = ("previous_action", "gait_phase", "constant")  # terms that are no signals
MEMORY_WORDS = {
    "previous_action": "the last action, clipped, in the policy's order; zeros at the start",
    "clock": "time of the gait in cycles",
    "history": "frames before the present one, oldest first, each of all terms as scaled",
    "started": "1 after the first step",
    "state": "recurrent state of the network",
}


def _memory(found: Description) -> dict[str, int]:
    settings = found.settings
    parts: dict[str, int] = {}
    if any(term.term == "previous_action" for term in settings.observation):
        parts["previous_action"] = len(found.acted)
    if settings.gait is not None:
        parts["clock"] = 1
    if settings.history.length > 1:
        parts["history"] = (settings.history.length - 1) * found.frame_width
        if settings.history.start == "first":
            parts["started"] = 1
    return parts | {f"state {state.input}": math.prod(state.size) for state in settings.state}


def _check_signature(found: Description, foreign: onnx.ModelProto) -> tuple[str, str]:
    """Names of the foreign graph's observation and action. Raises InputError where its sizes are not the description's."""
    settings = found.settings
    states = {state.input for state in settings.state}, {state.output for state in settings.state}
    constants = {tensor.name for tensor in foreign.graph.initializer}
    given = {value.name: value for value in foreign.graph.input if value.name not in constants}
    gives = {value.name: value for value in foreign.graph.output}
    for field, names, known in (("state: input", states[0], given), ("state: output", states[1], gives)):
        for name in names - set(known):
            raise InputError(field, name, f"one of {list(known)}", f"{found.file.name} has no such name.")
    observations, actions = [name for name in given if name not in states[0]], [name for name in gives if name not in states[1]]
    if (settings.input is None and len(observations) != 1) or settings.input not in (None, *observations):
        raise InputError("input", settings.input, f"one of {observations}", "Name the observation.")
    if len(observations) != 1:
        raise InputError(
            "state", sorted(states[0]), f"every input but the observation, {observations}", f"Describe {found.file.name} whole."
        )
    if (settings.output is None and len(actions) != 1) or settings.output not in (None, *actions):
        raise InputError("output", settings.output, f"one of {actions}", "Name the action.")
    observed, acted = settings.input or observations[0], settings.output or actions[0]
    wanted = settings.history.length * found.frame_width
    for field, value, width, what in (
        ("observation", given[observed], wanted, f"{settings.history.length} frames of {found.frame_width}"),
        ("joint_names", gives[acted], len(found.acted), "the joints that it moves"),
    ):
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.elem_type != FLOAT:
            raise InputError(field, found.file.name, f"32 bit floats as {value.name}", "Export it so.")
        if dims and dims[-1] and dims[-1] != width:
            terms = {f"{i}: {term.term}": found.width(term) for i, term in enumerate(settings.observation)}
            raise InputError(field, f"{width} numbers ({what})", f"{dims[-1]}, the width of {value.name}", f"Terms have {terms}.")
    return observed, acted
