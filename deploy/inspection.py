"""What a bundle demands and where it comes from, for people, and whether this computer may run it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime

import robots
from deploy import onnx_file
from deploy.contract import Contract
from deploy.policy import GOLDEN_TOLERANCE, LoadedPolicy, RobotPolicy, load
from robots import InputError

STEPS = 200  # that are timed
SHARE = 0.25  # of the control period that one step of the policy may take
PER_JOINT = {
    "default_joint_pos": "default",
    "kp": "kp",
    "kd": "kd",
    "action_scale": "scale",
    "effort_limit": "N m",
    "joint_vel_limit": "rad/s",
}


@dataclass(frozen=True)
class Inspection:
    lines: tuple[str, ...]
    may_run: bool


def inspect(path: Path) -> Inspection:
    """Raises InputError where ``path`` holds no contract that can be read."""
    _, data = onnx_file.read(path)
    contract = Contract.from_json(data)
    lines, problems = [f"{path}: contract version {contract.version}", *_contract(contract)], []
    try:
        policy = load(path)
        lines.append(f"golden vectors  {_worst(policy):.2g} off at most, of {GOLDEN_TOLERANCE:g} allowed")
        seconds = _seconds(policy)
        lines.append(
            f"a step here     {1e3 * seconds:.2f} ms of {1e3 * contract.control_dt:g}, one in a hundred longer; "
            f"onnxruntime {onnxruntime.__version__}"
        )
        if seconds > SHARE * contract.control_dt:
            problems.append(f"a step takes more than {SHARE:.0%} of the control period")
        RobotPolicy(policy, robots.load(contract.robot))
    except InputError as error:
        problems.append(str(error))
    verdict = [f"MAY NOT run here: {problem}" for problem in problems] or [
        f"may run here, on {contract.robot}: its description here is the policy's"
    ]
    return Inspection((*lines, *verdict), not problems)


def _contract(contract: Contract) -> Iterator[str]:
    yield f"robot           {contract.robot}, {len(contract.joint_names)} joints, IMU frame {contract.imu_frame}"
    yield f"control         {1.0 / contract.control_dt:g} Hz, protocol {contract.protocol}"
    yield f"inputs          {', '.join(contract.inputs)}"
    for name, (low, high), rest in zip(contract.command_names, contract.command_range, contract.command_rest, strict=True):
        yield f"command         {name} from {low:g} to {high:g}, at rest {rest:g}"
    for name, value in contract.envelope.items():
        yield f"envelope        {name} {value:g}"
    training = contract.training
    yield f"trained under   {_delay(training.get('action_delay'))}, {_count(training.get('randomization'))} randomized"
    if training.get("actuator"):
        yield f"motors were     {training['actuator']}"
    for name, value in contract.provenance.items():
        yield f"{name:15} {'unknown' if value is None else _short(value)}"
    yield f"scorecard       {'none' if contract.scorecard is None else ''}".rstrip()
    for where, value in _leaves(contract.scorecard or {}):
        yield f"  {where}: {_short(value)}"
    yield f"graph sha256    {contract.graph_sha256}"
    width = max(map(len, contract.joint_names))
    yield f"{'joint':{width}} {'from':>8} {'to rad':>8}" + "".join(f"{label:>9}" for label in PER_JOINT.values())
    for i, name in enumerate(contract.joint_names):
        low, high = contract.joint_pos_limit[i]
        yield f"{name:{width}} {low:8.3f} {high:8.3f}" + "".join(f"{getattr(contract, key)[i]:9.3f}" for key in PER_JOINT)


def _delay(value: Any) -> str:
    if isinstance(value, list) and len(value) == 2:
        return f"an action delay from {1e3 * value[0]:g} to {1e3 * value[1]:g} ms"
    return "an unknown action delay" if value is None else f"an action delay of {value} s"


def _count(randomization: Any) -> str:
    return f"{len(randomization)} things" if isinstance(randomization, dict) else "nothing known to be"


def _leaves(tree: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{where}.{key}" if where else str(key))
    else:
        yield where, tree


def _short(value: Any) -> str:
    text = (
        f"{value:.4g}"
        if isinstance(value, float)
        else ", ".join(f"{k} {v}" for k, v in value.items())
        if isinstance(value, dict)
        else str(value)
    )
    return text if len(text) <= 100 else f"{text[:97]}..."


def _worst(policy: LoadedPolicy) -> float:
    """The largest difference, rad or units of action, from what the exporting machine computed."""
    worst = 0.0
    for vector in policy.contract.golden_vectors:
        policy.reset()
        for t in range(len(vector.outputs["action"])):
            target, action = policy.step({name: value[t : t + 1] for name, value in vector.inputs.items()})
            for name, value in (("joint_pos_target", target), ("action", action)):
                worst = max(worst, float(np.abs(value[0] - vector.outputs[name][t]).max()))
    return worst


def _seconds(policy: LoadedPolicy) -> float:
    """That 99 of 100 steps take less than."""
    signals = {name: value[:1] for name, value in policy.contract.golden_vectors[0].inputs.items()}
    policy.reset()
    seconds = []
    for _ in range(STEPS):
        before = perf_counter()
        policy.step(signals)
        seconds.append(perf_counter() - before)
    return float(np.quantile(seconds, 0.99))
