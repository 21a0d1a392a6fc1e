"""Does a policy walk in engines that it never saw? Scores side by side, a gate, and where matched runs part.

Matched runs begin in the same state, hear the same command, and meet no noise. Two engines never agree to the last bit: the question is
whether they differ by more than robots do. So :data:`TWINS` robots of the first engine, begun and told alike, have the physics that is
drawn in randomized training (masses, friction, gains, delay ...). The spread of a signal is the root mean square of their distance from the
nominal robot over the whole run; a signal has diverged where another engine is further than :data:`BEYOND` spreads from the first for
:data:`HELD` control steps. Beside it stands how many of the drawn robots go as far in that signal: where many do, it says little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deploy.policy import RobotPolicy
from locomotion.evaluation import protocols
from locomotion.evaluation.rollout import DROP, BundleActor, World, channels, has_fallen, make_simulator, rollout
from locomotion.settings import GateSettings
from locomotion.task.randomization import NOMINAL, PhysicsSampler, RandomizationSettings
from locomotion.task.resets import standing
from robots import Robot
from robots.errors import InputError
from sim import InitialState, Simulator
from sim.signals import initial_shapes, width

COMMANDS = ((0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.8, 0.0, 0.0), (0.0, 0.3, 0.0), (0.5, 0.0, 0.6))
SECONDS = 4.0
TWINS = 16
BEYOND, HELD = 3.0, 3
SIGNALS = ("foot_contact_force", "foot_height", "joint_torque", "joint_vel", "joint_pos", "base_ang_vel", "base_lin_vel", "tilt",
           "base_height", "action")  # fmt: skip
SCORES = {"tracking_score": "tracking", "yaw_score": "yaw", "fall_rate": "falls"}
Array = np.ndarray
Recorded = tuple[dict[str, Array], Array]  # signals [T, N, components] by name, and who fell [N]
Way = tuple[str | None, str | None]  # actuator and device of an engine; None: its own choice
Progress = Callable[[str, float], object]


@dataclass(frozen=True)
class Run:
    """What one robot did: signals [T, components] by name."""

    signals: Mapping[str, Array]
    fell: bool


@dataclass(frozen=True)
class Divergence:
    """A signal of one command in one engine, beside the first engine."""

    signal: str
    component: str
    seconds: float | None  # None: never
    ratio: float  # largest distance of the component, in spreads
    drawn: float = 0.0  # share of the drawn robots of the first engine that go as far in this signal


@dataclass(frozen=True)
class Matched:
    """Runs of every engine under one command; ``spread`` [components] of each signal is the first engine's own."""

    command: tuple[float, ...]
    runs: Mapping[str, Run]  # by engine, the first one first
    spread: Mapping[str, Array]
    divergences: Mapping[str, list[Divergence]]  # by further engine, the first to part first


def compare(
    policy: RobotPolicy,
    engines: Mapping[str, Way],
    randomization: RandomizationSettings,
    seed: int,
    progress: Progress = lambda name, share: None,
) -> list[Matched]:
    """Matched runs in ``engines`` (with their actuators and devices), a :class:`Matched` a command."""
    command = _commands(policy)
    state = _beginning(policy, len(command), seed)
    first, *others = engines
    rows = command.repeat(1 + TWINS, 1), state.repeat(1 + TWINS, 1)
    recorded = {first: _record(policy, first, engines[first], *rows, progress, (randomization, seed))}
    recorded |= {name: _record(policy, name, engines[name], command, state, progress) for name in others}
    return [_matched(policy, recorded, told, c) for c, told in enumerate(command.tolist())]


def _matched(policy: RobotPolicy, recorded: Mapping[str, Recorded], command: Sequence[float], c: int) -> Matched:
    first, *others = recorded
    count, dt, names = len(recorded[first][1]) // (1 + TWINS), policy.contract.control_dt, components(policy.robot)
    runs = {name: _run(record, c) for name, record in recorded.items()}
    twins = [_run(recorded[first], c + (1 + i) * count) for i in range(TWINS)]
    spread = {signal: spread_of(runs[first].signals[signal], [twin.signals[signal] for twin in twins]) for signal in SIGNALS}

    def beside(run: Run, signal: str) -> Divergence:
        return diverged(signal, names[signal], runs[first].signals[signal], run.signals[signal], spread[signal], dt)

    drawn = {signal: float(np.mean([beside(twin, signal).seconds is not None for twin in twins])) for signal in SIGNALS}
    found = {name: sort([replace(beside(runs[name], signal), drawn=drawn[signal]) for signal in SIGNALS]) for name in others}
    return Matched(tuple(command), runs, spread, found)


def spread_of(value: Array, twins: Sequence[Array]) -> Array:
    """Root mean square distance of ``twins`` from ``value`` [T, components], over time; [components]."""
    return np.sqrt(np.mean([np.square(twin - value) for twin in twins], axis=(0, 1)))


def diverged(signal: str, names: Sequence[str], first: Array, other: Array, spread: Array, dt: float) -> Divergence:
    """When ``other`` [T, components] leaves ``first`` by :data:`BEYOND` spreads for :data:`HELD` steps, and in which component."""
    finest = 1e-6 * max(1.0, float(np.abs(first).max()))  # below it is the rounding of signals
    ratio = np.nan_to_num(np.abs(other - first) / np.maximum(spread, finest), nan=np.inf)
    beyond = ratio > BEYOND
    lasting = np.logical_and.reduce([beyond[i : len(beyond) - HELD + 1 + i] for i in range(HELD)])
    when = int(lasting.any(axis=1).argmax()) if lasting.any() else None
    at = int((ratio[when] * lasting[when]).argmax() if when is not None else ratio.max(axis=0).argmax())
    return Divergence(signal, names[at], None if when is None else (when + 1) * dt, float(ratio[:, at].max()))


def sort(found: Sequence[Divergence]) -> list[Divergence]:
    """The first to part first; of those at the same time, the one that goes further."""
    return sorted(found, key=lambda one: (one.seconds if one.seconds is not None else np.inf, -one.ratio))


def components(robot: Robot) -> dict[str, list[str]]:
    """What each signal's components are called."""
    joints, feet, axes = list(robot.joint_names), list(robot.feet), ["x", "y", "z"]
    of_joints = dict.fromkeys(("joint_torque", "joint_vel", "joint_pos", "action"), joints)
    of_feet = dict.fromkeys(("foot_contact_force", "foot_height"), feet)
    return {"base_lin_vel": axes, "base_ang_vel": axes, "tilt": axes[:2], "base_height": [""]} | of_joints | of_feet


def matrix(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Nominal scores by engine, and their share of the first one's."""
    nominal = {engine: conditions["nominal"] for engine, conditions in scores.items()}
    first = next(iter(nominal.values()))
    names = [name for name in SCORES if name in first] or ["fall_rate"]
    rows = []
    for engine, figures in nominal.items():
        row: dict[str, Any] = {"engine": engine} | {SCORES[name]: figures[name] for name in names}
        row |= {
            f"{SCORES[name]}_ratio": figures[name] / first[name] if first[name] > 0 else None for name in names if name.endswith("_score")
        }
        rows.append(row)
    return rows


def shortfalls(rows: Sequence[Mapping[str, Any]], gate: GateSettings) -> list[str]:
    """What each engine beyond the first lacks of ``gate``, in words; none: it is passed."""
    said, first = [], rows[0]
    for row in rows[1:]:
        for name, least in (("tracking", gate.tracking), ("yaw", gate.yaw)):
            if least is not None and not (row.get(f"{name}_ratio") is not None and row[f"{name}_ratio"] >= least):
                share = row.get(f"{name}_ratio")
                found = "no figure" if share is None else f"{share:.3f}"
                said.append(f"{row['engine']}: {name} is {found} of {first['engine']}'s, below gate.{name}={least:g}")
        more = row["falls"] - first["falls"]
        if gate.falls is not None and not more <= gate.falls + 1e-9:
            said.append(f"{row['engine']}: {more:.3f} more of the robots fall than in {first['engine']}, above gate.falls={gate.falls:g}")
    return said


def summary(matched: Sequence[Matched]) -> list[dict[str, Any]]:
    """What parted, for a file."""
    return [
        {"command": list(one.command), "fell": [name for name, run in one.runs.items() if run.fell],
         "divergences": {engine: [asdict(found) for found in several] for engine, several in one.divergences.items()}}
        for one in matched
    ]  # fmt: skip


def check_gate(engines: Sequence[str], gate: GateSettings) -> bool:
    """Whether anything is asked. Raises InputError where there is no second engine to ask it of."""
    asked = {name: value for name, value in vars(gate).items() if value is not None}
    if asked and len(engines) < 2:
        name, value = next(iter(asked.items()))
        raise InputError(f"gate.{name}", value, "nothing, with one engine", 'Name several: sim="[mujoco,pybullet]".')
    return bool(asked)


class _Beginning:
    """A reset term that puts robots into given states [N, ...]."""

    draws = 0

    def __init__(self, packed: Tensor) -> None:
        self._packed = packed

    def __call__(self, u: Tensor, state: InitialState) -> None:
        state.packed.copy_(self._packed)


def _commands(policy: RobotPolicy) -> Tensor:
    """[C, channels], within the range that the policy was trained for."""
    contract = policy.contract
    if contract.protocol == protocols.VELOCITY:
        asked = channels(COMMANDS, contract.command_names, contract.command_rest)
    else:
        protocol = protocols.find(contract.protocol)
        every = max(1, len(protocol.rows) // len(COMMANDS))
        rest = torch.tensor(contract.command_rest).float()
        asked = protocols.command_of(protocol, len(protocol.rows), contract.command_names, rest)[::every][: len(COMMANDS)].unique(dim=0)
    return torch.from_numpy(policy.clip_command(asked.numpy()))


def _beginning(policy: RobotPolicy, rows: int, seed: int) -> Tensor:
    """Initial states [rows, ...], all alike, as the policy's protocol begins."""
    simulator, start = _simulator(policy, "mujoco", (None, None), 1), protocols.start_of(policy.contract.protocol)
    begin = start(policy.robot, simulator) if start else standing(policy.robot, simulator, drop=DROP)
    state = InitialState(torch.zeros(1, width(initial_shapes(policy.robot.num_joints))), policy.robot.num_joints)
    begin(torch.rand(1, begin.draws, generator=torch.Generator().manual_seed(seed)), state)
    simulator.close()
    return state.packed.repeat(rows, 1)


def _simulator(policy: RobotPolicy, engine: str, way: Way, count: int) -> Simulator:
    meeting, (actuator, device) = protocols.lies(policy.contract.protocol), way
    return make_simulator(policy.robot, count, policy.contract.control_dt, actuator, engine, self_collision=meeting, device=device)


def _record(
    policy: RobotPolicy,
    engine: str,
    way: Way,
    command: Tensor,
    state: Tensor,
    progress: Progress,
    twins: tuple[RandomizationSettings, int] | None = None,
) -> Recorded:
    """Signals [T, N, components] of a matched run, and who fell [N]; ``twins``: all after the first N / (1 + TWINS) have drawn physics."""
    simulator = _simulator(policy, engine, way, len(command))
    try:
        told, begin = command.to(simulator.device), state.to(simulator.device)
        world = World(simulator, NOMINAL, policy.contract.control_dt, 0, lambda robot, simulator: _Beginning(begin))
        if twins:
            world.set_physics(_drawn(simulator, *twins))
        actor, steps, seen, fell = BundleActor(policy), round(SECONDS / world.control_dt), [], torch.zeros(len(command), dtype=torch.bool)
        actor.reset(len(command))
        for t, action in enumerate(rollout(actor, world, told, SECONDS)):
            seen.append(_features(simulator, action))
            fell |= (has_fallen(simulator.signals, policy.robot) | simulator.faults).cpu()
            progress(f"matched, {engine}", (t + 1) / steps)
        return {name: np.stack([one[name] for one in seen]) for name in SIGNALS}, fell.numpy()
    finally:
        simulator.close()


def _drawn(simulator: Simulator, randomization: RandomizationSettings, seed: int) -> dict[str, Tensor]:
    """Physical parameters [N, ...] that the engine can express; those of the first N / (1 + TWINS) robots are nominal."""
    n, generator = simulator.num_envs, torch.Generator().manual_seed(seed)
    ranges = {name: limits for name, limits in randomization.parameters.items() if name in simulator.supports}
    sampler = PhysicsSampler(RandomizationSettings(parameters=ranges), simulator.robot.num_joints, torch.device("cpu"))
    severity = (torch.arange(n) >= n // (1 + TWINS)).float()[:, None]
    values = sampler.sample(torch.rand(n, sampler.draws, generator=generator), severity)
    return {name: value.to(simulator.device) for name, value in sampler.named(values).items()}


def _features(simulator: Simulator, action: Tensor) -> dict[str, Array]:
    s = simulator.signals
    values = {
        "foot_contact_force": s.foot_contact_force[..., 2], "foot_height": s.foot_pos[..., 2], "joint_torque": s.joint_torque,
        "joint_vel": s.joint_vel, "joint_pos": s.joint_pos, "base_ang_vel": s.base_ang_vel, "base_lin_vel": s.base_lin_vel,
        "tilt": s.projected_gravity[:, :2], "base_height": s.base_pos[:, 2:], "action": action,
    }  # fmt: skip
    return {name: value.detach().double().cpu().numpy().copy() for name, value in values.items()}


def _run(recorded: Recorded, row: int) -> Run:
    signals, fell = recorded
    return Run({name: value[:, row] for name, value in signals.items()}, bool(fell[row]))
