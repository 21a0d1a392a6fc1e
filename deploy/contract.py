"""The policy contract: what a bundle demands of the robot and the loop that run it.

A JSON object inside ``policy.onnx``. It is untrusted until :meth:`Contract.from_json` has looked at every field.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deploy.fields import ContractError, Fields, error
from robots import Robot
from robots.robot import PER_JOINT, REACH, TIME_CONSTANT

VERSION = 2  # written; version 1 is read too
VELOCITY_COMMAND = ("forward", "left", "yaw")  # m/s, m/s, rad/s: the channels of every version 1 policy
MEASURED = ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "command")  # what every robot measures, or is told
KNOWN_INPUTS = (*MEASURED, "base_lin_vel", "height_scan")
CONTROL_DT = (0.002, 0.05)  # s: a state is too old, and a loop too slow, after 0.06 s
ANGLE = 2.0 * math.pi  # rad
MAX_COMMAND = 100.0  # in any unit
MAX_GOLDEN_STEPS = 10_000  # in all
TRAINING = ("randomization", "action_delay")
PROVENANCE = {"commit": str, "config_sha256": str, "seed": int, "steps": int, "iteration": int, "engine": str, "versions": dict}


@dataclass(frozen=True)
class Term:
    """A part of the observation or of the memory, in words."""

    name: str
    width: int
    text: str


@dataclass(frozen=True)
class GoldenVector:
    """What the exported module computed over T steps from zero memory: float32 by signal name."""

    inputs: dict[str, np.ndarray]  # [T, width]
    outputs: dict[str, np.ndarray]  # joint_pos_target and action, [T, J]


@dataclass(frozen=True)
class Contract:
    """A checked contract. Per-joint arrays are float64 in the order of ``joint_names``; C is the number of command channels."""

    version: int
    robot: str
    joint_names: tuple[str, ...]
    default_joint_pos: np.ndarray  # [J] rad
    kp: np.ndarray  # [J] N m/rad
    kd: np.ndarray  # [J] N m s/rad
    action_scale: np.ndarray  # [J] rad per unit of action
    joint_pos_limit: np.ndarray  # [J, 2] rad
    joint_vel_limit: np.ndarray  # [J] rad/s
    effort_limit: np.ndarray  # [J] N m
    control_dt: float  # s
    inputs: tuple[str, ...]  # of KNOWN_INPUTS; without memory
    command_names: tuple[str, ...]  # [C]
    command_range: np.ndarray  # [C, 2] as trained
    command_rest: np.ndarray  # [C] the command that means: stand
    imu_frame: str
    observation: tuple[Term, ...]  # empty in version 1, which did not say
    memory: tuple[Term, ...] | None  # None in version 1
    protocol: str  # how it is scored; "velocity" where the file does not say
    envelope: dict[str, float]  # the states that it may be in, such as max_tilt (rad)
    training: dict[str, Any]  # randomization and action_delay as trained
    provenance: dict[str, Any]
    scorecard: dict[str, Any] | None
    golden_vectors: tuple[GoldenVector, ...]
    graph_sha256: str
    data: dict[str, Any]  # the JSON object as it was read

    @classmethod
    def from_json(cls, data: Any) -> Contract:
        """Check every field. Raises ContractError, which names the first one that does not hold."""
        version = Fields(data).data.get("version")
        if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= VERSION:
            raise error("version", version, f"a version up to {VERSION}", "Update this program, or export the policy anew with it.")
        old = version == 1
        fields = Fields({**data, **_unsaid_in_version_1(data)} if old else data)
        joint_names = fields.names("joint_names")
        j, inputs = len(joint_names), fields.names("inputs", KNOWN_INPUTS)
        uncommanded = fields.data.get("command_names") == [] and "command" not in inputs  # some tasks take no command
        command_names = () if uncommanded else fields.names("command_names")
        gains = _gains(fields, j)
        return cls(
            version=version,
            robot=fields.text("robot"),
            joint_names=joint_names,
            default_joint_pos=_default_joint_pos(fields, j),
            **gains,
            joint_pos_limit=fields.ranges("joint_pos_limit", j, ANGLE),
            control_dt=fields.number("control_dt", *CONTROL_DT),
            inputs=inputs,
            command_names=command_names,
            command_range=fields.ranges("command_range", len(command_names), MAX_COMMAND),
            command_rest=_command_rest(fields, len(command_names), old),
            imu_frame=fields.text("imu_frame"),
            observation=_terms(fields, "observation"),
            memory=None if old else _terms(fields, "memory"),
            protocol=fields.text("protocol") if "protocol" in fields.data else "velocity",
            envelope=_envelope(fields),
            training=fields.mapping("training", TRAINING),
            provenance=fields.mapping("provenance") if old else _provenance(fields),
            scorecard=_scorecard(fields),
            golden_vectors=_golden_vectors(fields, inputs, j, len(command_names)),
            graph_sha256=fields.text("graph_sha256"),
            data=data,
        )

    def check_robot(self, robot: Robot, measured: Collection[str] = ()) -> None:
        """Compare with the robot that is to run the policy, joints by name.

        ``measured`` names the signals beyond :data:`MEASURED` that the caller gives. Raises ContractError on any difference, or
        where the policy needs a signal that nobody gives.
        """
        if self.robot != robot.name:
            raise ContractError("robot", robot.name, f"{self.robot!r}, for which the policy was trained", "Use that robot's policy.")
        if sorted(self.joint_names) != sorted(robot.joint_names):
            raise ContractError("joint_names", robot.joint_names, f"{self.joint_names}", "The policy is of another version of the robot.")
        for name in self.inputs:
            if name not in MEASURED and name not in measured:
                raise ContractError(
                    "inputs", name, f"what is measured here: {(*MEASURED, *measured)}",
                    f"Use a policy without {name}, or measure it and name it in measured=.",
                )  # fmt: skip
        order = [robot.joint_names.index(name) for name in self.joint_names]
        for name in ("default_joint_pos", "joint_pos_limit", "joint_vel_limit", "effort_limit"):
            ours, theirs = getattr(self, name), getattr(robot, name)[order]
            if not np.allclose(ours, theirs, rtol=0, atol=1e-9):
                raise ContractError(name, theirs.tolist(), f"{ours.tolist()}", "Robot and policy disagree: export the policy anew.")

    def robot_with_gains(self, robot: Robot, measured: Collection[str] = ()) -> Robot:
        """``robot``, checked, with the gains that the policy was trained with."""
        self.check_robot(robot, measured)
        order = [self.joint_names.index(name) for name in robot.joint_names]
        return replace(robot, kp=self.kp[order], kd=self.kd[order])


def _unsaid_in_version_1(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of version 2 for a version 1 object. Its golden vectors name its inputs."""
    golden = Fields(data).objects("golden_vectors", at_least=1)[0].mapping("inputs")
    return {
        "inputs": list(golden),
        "command_names": VELOCITY_COMMAND,
        "command_rest": [0.0] * len(VELOCITY_COMMAND),
        "imu_frame": data.get("imu_frame", "base"),
        "observation": [],
        "envelope": {},
        "training": {"randomization": data.get("randomization"), "action_delay": None},
        "provenance": data.get("provenance", {}),
        "scorecard": data.get("scorecard"),
    }


def _default_joint_pos(fields: Fields, j: int) -> np.ndarray:
    pose, (low, high) = fields.array("default_joint_pos", j), fields.ranges("joint_pos_limit", j, ANGLE).T
    if ((pose < low) | (pose > high)).any():
        raise fields.error("default_joint_pos", "a pose within joint_pos_limit")
    return pose


def _gains(fields: Fields, j: int) -> dict[str, np.ndarray]:
    """Gains and limits [J] within what any legged robot has, each and to each other."""
    names = ("kp", "kd", "action_scale", "joint_vel_limit", "effort_limit")
    gains = {name: fields.within(name, j, PER_JOINT[name].low, PER_JOINT[name].high) for name in names}
    reach, constant = gains["effort_limit"] / gains["kp"], gains["kd"] / gains["kp"]
    if ((reach < REACH.low) | (reach > REACH.high)).any():
        raise fields.error("kp", f"effort_limit / kp from {REACH}")
    if ((constant < TIME_CONSTANT.low) | (constant > TIME_CONSTANT.high)).any():
        raise fields.error("kd", f"kd / kp from {TIME_CONSTANT}")
    return gains


def _command_rest(fields: Fields, c: int, old: bool) -> np.ndarray:
    rest, (low, high) = fields.array("command_rest", c), fields.ranges("command_range", c, MAX_COMMAND).T
    if old:  # it had no word for rest, and zero need not have been trained
        return np.clip(rest, low, high)
    if ((rest < low) | (rest > high)).any():
        raise fields.error("command_rest", "a command within command_range")
    return rest


def _terms(fields: Fields, name: str) -> tuple[Term, ...]:
    terms = tuple(Term(item.text("name"), item.integer("width", low=1), item.text("text")) for item in fields.objects(name))
    if len({term.name for term in terms}) < len(terms):
        raise fields.error(name, "terms whose names differ from each other")
    return terms


def _envelope(fields: Fields) -> dict[str, float]:
    envelope = Fields(fields.mapping("envelope"), "envelope")
    return {name: envelope.number(name, 0.0, math.pi if name == "max_tilt" else math.inf) for name in envelope.data}


def _provenance(fields: Fields) -> dict[str, Any]:
    provenance = fields.mapping("provenance", PROVENANCE)
    for name, kind in PROVENANCE.items():
        if provenance[name] is not None and type(provenance[name]) is not kind:
            raise error(f"provenance.{name}", provenance[name], f"{kind.__name__}, or null where it is not known")
    return provenance


def _scorecard(fields: Fields) -> dict[str, Any] | None:
    if "scorecard" in fields.data and fields.data["scorecard"] is None:
        return None
    return fields.mapping("scorecard")


def _golden_vectors(fields: Fields, inputs: tuple[str, ...], j: int, c: int) -> tuple[GoldenVector, ...]:
    widths = {"joint_pos": j, "joint_vel": j, "command": c, "height_scan": None}  # all others have three numbers
    vectors, total = [], 0
    for item in fields.objects("golden_vectors", at_least=1):
        steps = len(item.read("outputs").array("action", None, j))
        total += steps
        if total > MAX_GOLDEN_STEPS:
            raise fields.error("golden_vectors", f"at most {MAX_GOLDEN_STEPS} steps in all")
        given = item.read("inputs")
        if set(given.data) != set(inputs):
            raise item.error("inputs", f"a value for each of {inputs}")
        vectors.append(
            GoldenVector(
                {name: given.array(name, steps, widths.get(name, 3)).astype(np.float32) for name in inputs},
                {
                    name: item.read("outputs").array(name, steps, j).astype(np.float32)
                    for name in ("joint_pos_target", "action")
                },
            )
        )  # fmt: skip
    return tuple(vectors)
