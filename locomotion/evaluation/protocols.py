"""What a policy is asked to do when it is scored, by the kind of its task; the bundle's contract says which.

A plugin adds one with ``protocols.PROTOCOLS["mine"] = Protocol(...)``. The velocity protocol is the scorecard's own grid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from locomotion.evaluation.rollout import Actor, World, has_fallen, rollout
from locomotion.task.resets import anywhere
from robots import Robot
from robots.errors import InputError, nearest
from sim import Signals

VELOCITY = "velocity"
Values = dict[str, Tensor]


@dataclass(frozen=True)
class Protocol:
    """Commands by channel, a row a robot, held for ``seconds``; channels that a row does not name rest.

    ``measure`` gives figures [N] of a control step, averaged over robots and steps; those of a fallen robot count as zero.
    """

    rows: tuple[Mapping[str, float], ...]
    measure: Callable[[Signals, Values, Robot], Values]
    select: Callable[[dict[str, float]], float]  # what chooses best.pt, the larger the better
    seconds: float = 10.0
    unscored: float = 2.0
    lying: bool = False  # begin in any pose, the robot's shapes meeting each other; then to lie is no fall


def find(name: str) -> Protocol:
    """Raises InputError where there is none of that name."""
    if name not in PROTOCOLS:
        known = [VELOCITY, *PROTOCOLS]
        raise InputError("task.protocol", name, f"one of {known}", f"{nearest(name, known)} One of your own needs plugins=[FILE.py].")
    return PROTOCOLS[name]


def command_of(protocol: Protocol, episodes: int, names: tuple[str, ...], rest: Tensor) -> Tensor:
    """Commands [episodes, C] of the rows, repeated. Raises InputError where the policy has no channel that a row names."""
    command = rest.repeat(episodes, 1)
    for i in range(episodes):
        for name, value in protocol.rows[i % len(protocol.rows)].items():
            if name not in names:
                raise InputError("command_names", list(names), f"the channel {name}", "Choose another task.protocol.")
            command[i, names.index(name)] = value
    return command


def run(
    protocol: Protocol,
    actor: Actor,
    world: World,
    command: Tensor,
    names: tuple[str, ...],
    progress: Callable[[float], object] = lambda share: None,
) -> dict[str, float]:
    """Mean figures over the scored steps, ``fall_rate``, and ``selection``."""
    simulator, steps = world.simulator, round(protocol.seconds / world.control_dt)
    fallen = torch.zeros(simulator.num_envs, dtype=torch.bool, device=simulator.device)
    asked, sums, count = {name: command[:, i] for i, name in enumerate(names)}, dict[str, Tensor](), 0
    actor.reset(simulator.num_envs)
    for t, action in enumerate(rollout(actor, world, command, protocol.seconds)):
        fallen |= simulator.faults | ~torch.isfinite(action.to(simulator.device)).all(dim=-1)
        if not protocol.lying:
            fallen |= has_fallen(simulator.signals, simulator.robot)
        if t >= round(protocol.unscored / world.control_dt):
            for name, value in protocol.measure(simulator.signals, asked, simulator.robot).items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + torch.where(fallen, 0.0, value)
            count += 1
        progress((t + 1) / steps)
    scores = {name: float(total.double().mean()) / count for name, total in sums.items()} | {"fall_rate": float(fallen.float().mean())}
    return scores | {"selection": protocol.select(scores)}


def tracks(s: Signals, asked: Values, robot: Robot) -> Values:
    """As in the velocity protocol: exp(-|error|^2 / 0.25) of the velocity and of the yaw rate; and the velocity itself, m/s."""
    forward, left, yaw = (asked[name] for name in ("forward", "left", "yaw"))
    off = (s.base_lin_vel[:, 0] - forward).square() + (s.base_lin_vel[:, 1] - left).square()
    turn = torch.exp(-4.0 * (s.base_ang_vel[:, 2] - yaw).square())
    return {"tracking_score": torch.exp(-4.0 * off), "yaw_score": turn, "forward_velocity": s.base_lin_vel[:, 0]}


def poses(s: Signals, asked: Values, robot: Robot) -> Values:
    """Tracking, and errors of the base's height (m) and pitch (rad)."""
    pitch = torch.atan2(s.projected_gravity[:, 0], s.projected_gravity[:, 1:].norm(dim=-1))
    height = (s.base_pos[:, 2] - robot.standing_height - asked["body_height"]).abs()
    return tracks(s, asked, robot) | {"height_error": height, "pitch_error": (pitch - asked["pitch"]).abs()}


def stands(s: Signals, asked: Values, robot: Robot) -> Values:
    """Whether it is within 30 degrees of upright and above 0.8 of its height; speed of base (m/s) and of joints (rad/s)."""
    stood = (s.projected_gravity[:, 2] < -math.cos(math.radians(30.0))) & (s.base_pos[:, 2] > 0.8 * robot.standing_height)
    speed = s.base_lin_vel[:, :2].norm(dim=-1)
    return {"stood": stood.float(), "speed": speed, "joint_speed": s.joint_vel.square().mean(dim=-1).sqrt()}


def goes(s: Signals, asked: Values, robot: Robot) -> Values:
    """Forward velocity of the base, m/s."""
    return {"forward_velocity": s.base_lin_vel[:, 0]}


def start_of(name: str) -> Callable | None:
    """The reset term that a :class:`World` begins with; None: standing."""
    return anywhere if lies(name) else None


def lies(name: str) -> bool:
    """Whether the protocol of this name begins lying; one that is not known does not."""
    return name in PROTOCOLS and PROTOCOLS[name].lying


def _walks(scores: dict[str, float]) -> float:
    return min(scores["tracking_score"], scores["yaw_score"]) - scores["fall_rate"]


PROTOCOLS: dict[str, Protocol] = {
    "gait": Protocol(
        tuple({"gait": float(g), "forward": v, "yaw": w} for g, v, w in itertools.product(range(4), (0.0, 0.3, 0.6), (-0.4, 0.0, 0.4))),
        poses,
        _walks,
    ),
    "stand": Protocol(({},) * 36, stands, lambda scores: scores["stood"] - scores["speed"]),
    "forward": Protocol(({},) * 36, goes, lambda scores: scores["forward_velocity"] - scores["fall_rate"]),
    "fast": Protocol(tuple({"forward": v, "yaw": w} for v, w in itertools.product((1.0, 2.0, 3.0, 4.0), (-0.3, 0.0, 0.3))), tracks, _walks),
    # stood over the last two of eight seconds
    "recovery": Protocol(({},) * 36, stands, lambda scores: scores["stood"], seconds=8.0, unscored=6.0, lying=True),
}
