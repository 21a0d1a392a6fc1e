"""How far a policy carries: what it does as each physical parameter leaves the range that it was trained for.

An axis is one number of the world: a parameter of :data:`sim.PARAMETERS`, a component of one, or a push. Its distance from nominal is
counted in units of a randomization, so that 1 is the edge of that range on either side; what no randomization names is counted in
units of its span. Slopes and pushes are in the frame of the robot's heading (forward, left), so a start's heading does not matter.
A push comes every 2 s. All else is a robot's (its sensors err, its commands arrive late), or a simulator's (:func:`world_of`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deploy.policy import RobotPolicy
from locomotion.evaluation import rollout
from locomotion.evaluation.rollout import FALLEN_HEIGHT, FALLEN_TILT, BundleActor, World, channels, has_fallen, make_simulator
from locomotion.evaluation.scorecard import velocities
from locomotion.schema import Range
from locomotion.task.randomization import NOMINAL, RandomizationSettings
from sim import PARAMETERS, Simulator
from sim.parameters import nominal_values

SPANS: dict[str, Range] = {"friction": (0.1, 2.0), "action_delay": (0.0, 0.06), "motor_strength": (0.6, 1.2)}
PAYLOAD: Range = (-0.1, 0.4)  # share of the robot's mass that base_mass_offset goes to
PUSH: Range = (-1.5, 1.5)  # m/s
REACH = 3.0  # units that every other axis goes to
PUSH_EVERY = 2.0  # s
COMMANDS = ((0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.8, 0.0, 0.0), (-0.5, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, -0.3, 0.0), (0.5, 0.0, 0.6),
            (0.0, 0.0, -0.6))  # fmt: skip
VALUES = 9  # of an axis in a sweep, the nominal one among them
REPEATS = 4  # of every command at every value: starts, headings and sensor errors of their own
SURE = 0.99  # of the interval that tells a value where two policies differ from one where they may not
SECONDS, UNSCORED_SECONDS = 8.0, 1.0
TIE = 0.02  # of tracking: less is no difference

NOTHING: Mapping[str, float] = MappingProxyType({})

Progress = Callable[[str, float], object]


@dataclass(frozen=True)
class Axis:
    """One number of the world."""

    name: str
    parameter: str  # of PARAMETERS, or "push"
    column: int | None  # of the parameter's components; None: all of them alike
    unit: str
    nominal: float
    edges: Range  # where its distance from nominal is 1
    span: Range  # how far a sweep or a search goes

    @property
    def sides(self) -> Range:
        """What a distance of 1 is below and above nominal, in ``unit``; 0 where there is nothing to go to."""
        below = self.nominal - (self.edges[0] if self.edges[0] < self.nominal else self.span[0])
        above = (self.edges[1] if self.edges[1] > self.nominal else self.span[1]) - self.nominal
        return max(below, 0.0), max(above, 0.0)

    @property
    def reach(self) -> Range:
        """The span as signed distances, [<= 0, >= 0]."""
        below, above = self.sides
        return (self.span[0] - self.nominal) / (below or 1.0), (self.span[1] - self.nominal) / (above or 1.0)

    def grid(self) -> list[float]:
        """The values of a sweep, ascending: nominal and steps to both ends of the span, or all of them to the one end there is."""
        (low, high), n = self.span, VALUES - 1
        down = n // 2 if high > self.nominal else n
        up = n - down if low < self.nominal else n
        below = np.linspace(low, self.nominal, down + 1)[:-1] if low < self.nominal else []
        return [*map(float, below), self.nominal, *map(float, np.linspace(self.nominal, high, up + 1)[1:] if high > self.nominal else [])]


def world_of(others: str, randomization: RandomizationSettings) -> tuple[RandomizationSettings, dict[str, float]]:
    """What is not gone through: conditions, and the parameters whose value is not the simulator's nominal one.

    "robot": the sensor errors of ``randomization`` in full, packets lost, and a command that takes the middle of its delay's range to
    arrive. "simulator": none of these, which no robot has.
    """
    if others == "simulator":
        return NOMINAL, {}
    errors = {name: getattr(randomization, name) for name in ("noise", "bias", "delay", "imu_tilt", "dropped")}
    low, high = randomization.parameters.get("action_delay", (0.0, 0.0))
    return NOMINAL.model_copy(update=errors), {"action_delay": 0.5 * (low + high)}


def axes(simulator: Simulator, randomization: RandomizationSettings, usual: Mapping[str, float] = NOTHING) -> list[Axis]:
    """Every axis that the engine can express and that has a span or a range in ``randomization``, which sets the units.

    ``usual`` has the values from which an axis begins that are not the simulator's nominal ones.
    """
    found: list[Axis] = []
    for name, p in PARAMETERS.items():
        nominal = usual.get(name, p.nominal)
        edges, span = randomization.parameters.get(name), SPANS.get(name)
        if name == "base_mass_offset":
            span = (PAYLOAD[0] * simulator.total_mass, PAYLOAD[1] * simulator.total_mass)
        if name not in simulator.supports or (edges is None and span is None):
            continue
        if edges is not None and edges[0] == edges[1] == nominal and span is None:
            continue  # nowhere to go
        if span is None:
            assert edges is not None
            span = tuple(nominal + REACH * (edge - nominal) for edge in edges)
        within = (min(max(span[0], p.bounds[0]), nominal), max(min(span[1], p.bounds[1]), nominal))
        count = p.shape[0] if p.shape and isinstance(p.shape[0], int) else None
        for column in range(count) if count else (None,):
            label = name if column is None else f"{name}.{'xyz'[column]}"
            found.append(Axis(label, name, column, p.unit, nominal, edges or within, within))
    edges = tuple(randomization.events.get("push", {}).get("velocity", PUSH))
    return found + [Axis(f"push.{'xy'[i]}", "push", i, "m/s", 0.0, (edges[0], edges[1]), PUSH) for i in range(2)]


def to_values(chosen: Sequence[Axis], distances: Tensor) -> Tensor:
    """Values [n, D] in each axis' unit of signed distances [n, D] from nominal."""
    below, above = torch.tensor([axis.sides for axis in chosen], dtype=torch.float64).T
    nominal = torch.tensor([axis.nominal for axis in chosen], dtype=torch.float64)
    return nominal + distances * torch.where(distances < 0, below, above)


@dataclass(frozen=True)
class Outcome:
    """Of n points under M commands each."""

    tracking: Tensor  # [n, M] mean of exp(-|v_xy - command|^2 / 0.25), 0 once fallen
    fallen: Tensor  # [n, M] bool
    closeness: Tensor  # [n, M] 0..1: how near to a fall it came, 1 is one
    motion: np.ndarray | None  # [T, n, M, 7 + J] base position, quaternion and joint positions, where asked for


def trial(
    policy: RobotPolicy,
    simulator: Simulator,
    chosen: Sequence[Axis],
    values: Tensor,
    commands: Sequence[Sequence[float]],
    seconds: float,
    seed: int,
    record: bool = False,
    conditions: RandomizationSettings = NOMINAL,
    usual: Mapping[str, float] = NOTHING,
) -> Outcome:
    """Robots at the points ``values`` [n, D], each under every one of M ``commands``, all as one batch of n * M environments.

    What no axis goes through is as ``usual`` says, else nominal; sensors err as ``conditions`` say.
    """
    contract, device, n, m = policy.contract, simulator.device, len(values), len(commands)
    command = channels([tuple(row) for row in commands], contract.command_names, contract.command_rest)
    command = torch.from_numpy(policy.clip_command(command.numpy())).to(device).repeat(n, 1)  # [n * M, C]
    asked = velocities(command, contract.command_names)
    world, every = World(simulator, conditions, contract.control_dt, seed), torch.ones(n * m, dtype=torch.bool, device=device)
    physics, push = _physics(simulator, chosen, values.to(device).float().repeat_interleave(m, dim=0), usual)
    world.set_physics(physics)
    actor = BundleActor(policy)
    actor.reset(n * m)
    steps, unscored, between = (round(t / contract.control_dt) for t in (seconds, UNSCORED_SECONDS, PUSH_EVERY))
    fallen, tracking, closeness = ~every, torch.zeros(n * m, device=device), torch.zeros(n * m, device=device)
    motion: list[Tensor] = []
    for t, action in enumerate(rollout.rollout(actor, world, command, seconds), 1):
        s = simulator.signals
        fallen |= has_fallen(s, simulator.robot) | simulator.faults | ~torch.isfinite(action).all(dim=-1).to(device)
        tilt = torch.acos(torch.clamp(-s.projected_gravity[:, 2], -1.0, 1.0)) / FALLEN_TILT
        drop = (1.0 - s.base_pos[:, 2] / simulator.robot.standing_height) / (1.0 - FALLEN_HEIGHT)
        closeness = torch.maximum(closeness, torch.maximum(tilt, drop).nan_to_num(1.0))
        if t > unscored:
            error = (s.base_lin_vel[:, :2] - asked[:, :2]).square().sum(dim=-1)
            tracking += torch.where(fallen, 0.0, torch.exp(-4.0 * error))
        if record:
            motion.append(torch.cat([s.base_pos, s.base_quat, s.joint_pos], dim=-1))
        if t % between == 0 and t < steps:
            simulator.push(every, _turn(push, _heading(s.base_quat)).nan_to_num(0.0))
    closeness = torch.where(fallen, 1.0, closeness.clamp(0.0, 1.0))
    score = tracking / (steps - unscored) * ~fallen
    recorded = torch.stack(motion).view(len(motion), n, m, -1).numpy(force=True) if record else None
    return Outcome(score.view(n, m).cpu(), fallen.view(n, m).cpu(), closeness.view(n, m).cpu(), recorded)


def sweep(
    policy: RobotPolicy,
    engine: str,
    randomization: RandomizationSettings,
    seed: int,
    progress: Progress = lambda label, share: None,
    actuator: str | None = None,
    device: str | None = None,
    others: str = "robot",
) -> dict[str, Any]:
    """``{"others": ..., "axes": {name: {unit, nominal, values, trained, tracking, falls, trials}}}``: each axis alone, a batch an axis.

    ``tracking`` and ``falls`` (share of the robots) are lists over ``values``, ``trials`` their parts, {tracking, fallen} of lists
    [values, robots]; ``trained`` is the range in the policy's contract, None where it was not randomized.
    """
    conditions, usual = world_of(others, randomization)
    commands = COMMANDS * REPEATS
    simulator = make_simulator(policy.robot, VALUES * len(commands), policy.contract.control_dt, actuator, engine, device=device)
    result: dict[str, Any] = {}
    try:
        usual = {name: value for name, value in usual.items() if name in simulator.supports}
        chosen = axes(simulator, randomization, usual)
        for i, axis in enumerate(chosen):
            grid = axis.grid()
            points = torch.tensor(grid).view(-1, 1)
            outcome = trial(policy, simulator, [axis], points, commands, SECONDS, seed, conditions=conditions, usual=usual)
            result[axis.name] = {
                "unit": axis.unit,
                "nominal": axis.nominal,
                "values": grid,
                "trained": trained_range(policy, axis),
                "tracking": outcome.tracking.mean(dim=1).tolist(),
                "falls": outcome.fallen.float().mean(dim=1).tolist(),
                "trials": {"tracking": outcome.tracking.tolist(), "fallen": outcome.fallen.int().tolist()},
            }
            progress(axis.name, (i + 1) / len(chosen))
    finally:
        simulator.close()
    return {"others": others, "axes": result}


def trained_range(policy: RobotPolicy, axis: Axis) -> list[float] | None:
    """The range of ``axis`` that the policy's contract records; None where it was not randomized, or the contract does not say."""
    trained = policy.contract.training.get("randomization") or {}
    if axis.parameter == "push":
        return trained.get("events", {}).get("push", {}).get("velocity")
    return trained.get("parameters", {}).get(axis.parameter)


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Off nominal: at how many values the first of two sweeps tracks better, as well or worse, and falls less or more.

    Robots of both met the same world, command, start and errors, so that differences are of pairs: a value is better or worse where the
    mean difference is more than ``TIE`` (of falls: more than none), and its ``SURE`` interval (normal) leaves out zero. Means of both
    over these values go with it. The first dominates where it is somewhere better, and nowhere worse in either.
    """
    counts = dict.fromkeys(("better", "equal", "worse", "fewer_falls", "more_falls"), 0)
    worse: list[str] = []
    figures: list[tuple[float, float, float, float]] = []
    for name, a in ours["axes"].items():
        b = theirs["axes"][name]
        for i, value in enumerate(a["values"]):
            if value == a["nominal"]:
                continue
            figures.append((a["tracking"][i], b["tracking"][i], a["falls"][i], b["falls"][i]))
            tracks = _sign(a["trials"]["tracking"][i], b["trials"]["tracking"][i], TIE)
            falls = _sign(a["trials"]["fallen"][i], b["trials"]["fallen"][i], 0.0)
            counts[("equal", "better", "worse")[tracks]] += 1
            counts["fewer_falls"] += falls < 0
            counts["more_falls"] += falls > 0
            if tracks < 0 or falls > 0:
                worse.append(f"{name} = {value:.3g}{'' if a['unit'] == '1' else ' ' + a['unit']}")
    mean = np.mean(figures, axis=0).tolist()
    return {
        "values": len(figures), **counts, "mean_tracking": mean[:2], "mean_falls": mean[2:],
        "dominates": counts["better"] > 0 and not worse, "worse_at": worse,
    }  # fmt: skip


def _sign(ours: Sequence[float], theirs: Sequence[float], tie: float) -> int:
    """1 or -1 where the mean of the pairs' differences is surely above or below zero and beyond ``tie``, else 0."""
    difference = np.subtract(ours, theirs)
    mean, n = float(difference.mean()), len(difference)
    half = NormalDist().inv_cdf(0.5 + 0.5 * SURE) * float(difference.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return int(np.sign(mean)) if abs(mean) > max(tie, half) else 0


def _physics(simulator: Simulator, chosen: Sequence[Axis], values: Tensor, usual: Mapping[str, float]) -> tuple[dict[str, Tensor], Tensor]:
    """Parameters [N, ...] and pushes [N, 2] of ``values`` [N, D]; slopes turned from the robots' heading to the world's axes."""
    n, device = len(values), simulator.device
    table = nominal_values(n, simulator.robot.num_joints, device) | {"push": torch.zeros(n, 2, device=device)}
    for name, value in usual.items():
        table[name].fill_(value)
    for axis, value in zip(chosen, values.T, strict=True):
        target = table[axis.parameter]
        if axis.column is None:
            target.copy_(value.view(n, *[1] * (target.dim() - 1)).expand_as(target))
        else:
            target[:, axis.column] = value
    push, slope = table.pop("push"), table["ground_slope"]
    table["ground_slope"] = torch.atan(_turn(torch.tan(slope), _heading(simulator.signals.base_quat)))
    return {name: value for name, value in table.items() if name in simulator.supports}, push


def _heading(quat: Tensor) -> Tensor:
    """Yaw of unit quaternions w, x, y, z [N, 4], rad [N]."""
    w, x, y, z = quat.unbind(dim=-1)
    return torch.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def _turn(vector: Tensor, angle: Tensor) -> Tensor:
    """``vector`` [N, 2] turned by ``angle`` [N] (rad) to the left."""
    x, y, c, s = *vector.unbind(dim=-1), torch.cos(angle), torch.sin(angle)
    return torch.stack([c * x - s * y, s * x + c * y], dim=-1)


def distance(point: Tensor) -> Tensor:
    """Euclidean distance from nominal [...] of signed distances [..., D]."""
    return torch.linalg.vector_norm(point, dim=-1)


def describe(axis: Axis, value: float) -> str:
    """An axis and its value in words: ``friction = 0.21 (nominal 0.8)``."""
    unit = "" if axis.unit == "1" else f" {axis.unit}"
    return f"{axis.name} = {value:.3g}{unit} (nominal {axis.nominal:g})" if math.isfinite(value) else axis.name
