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
from locomotion.task.frame import CONTACT_FORCE, is_moving
from locomotion.task.resets import anywhere
from robots.errors import InputError, nearest
from sim import Simulator

VELOCITY = "velocity"
VELOCITIES = ("forward", "left", "yaw")
GAITS = ("trot", "pace", "bound", "pronk")  # as the command's numbers, 0 to 3
MIDDLE = 0.04  # cycles about the middle of a swing
Values = dict[str, Tensor]


@dataclass(frozen=True)
class Protocol:
    """Commands by channel, a row a robot, held for ``seconds``; channels that a row does not name rest.

    ``measure`` gives figures [N] of a control step and of the time since the start, s; they are averaged over robots and steps, without
    those that are no number. Those of a fallen robot count as zero, but errors, which do not count.
    """

    rows: tuple[Mapping[str, float], ...]
    measure: Callable[[Simulator, Values, float], Values]
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
    asked = {name: command[:, i] for i, name in enumerate(names)}
    sums, counts = dict[str, Tensor](), dict[str, Tensor]()
    actor.reset(simulator.num_envs)
    for t, action in enumerate(rollout(actor, world, command, protocol.seconds)):
        fallen |= simulator.faults | ~torch.isfinite(action.to(simulator.device)).all(dim=-1)
        if not protocol.lying:
            fallen |= has_fallen(simulator.signals, simulator.robot)
        if t >= round(protocol.unscored / world.control_dt):
            for name, value in protocol.measure(simulator, asked, (t + 1) * world.control_dt).items():
                value = torch.where(fallen, math.nan if name.endswith("_error") else 0.0, value.double())
                sums[name] = sums.get(name, 0.0) + value.nan_to_num()
                counts[name] = counts.get(name, 0) + (~value.isnan()).sum()
        progress((t + 1) / steps)
    scores = {name: float(total.sum() / counts[name].clamp(min=1)) for name, total in sums.items()}
    scores["fall_rate"] = float(fallen.float().mean())
    return scores | {"selection": protocol.select(scores)}


def tracks(simulator: Simulator, asked: Values, seconds: float) -> Values:
    """As in the velocity protocol: exp(-|error|^2 / 0.25) of the velocity and of the yaw rate; and the velocity itself, m/s."""
    s = simulator.signals
    forward, left, yaw = (asked[name] for name in VELOCITIES)
    off = (s.base_lin_vel[:, 0] - forward).square() + (s.base_lin_vel[:, 1] - left).square()
    turn = torch.exp(-4.0 * (s.base_ang_vel[:, 2] - yaw).square())
    return {"tracking_score": torch.exp(-4.0 * off), "yaw_score": turn, "forward_velocity": s.base_lin_vel[:, 0]}


def walks(simulator: Simulator, asked: Values, seconds: float) -> Values:
    """Tracking, and how what else is told is kept: contacts by the clock, height of the base (m), its pitch (rad), height of swings (m).

    ``timing`` is the share of feet that stand in the first half of their cycle and swing in the second; told to stand, all should stand.
    A swing is as high as its sole in the middle; that is no number while no foot is there.
    """
    s, robot = simulator.signals, simulator.robot
    pitch = torch.atan2(s.projected_gravity[:, 0], s.projected_gravity[:, 1:].norm(dim=-1))
    height = (s.base_pos[:, 2] - robot.standing_height - asked["body_height"]).abs()
    offsets = torch.tensor([list(robot.gaits.get(name, [math.nan] * len(robot.feet))) for name in GAITS]).to(pitch)  # [G, F]
    phase = torch.remainder((asked["frequency"] * seconds)[:, None] + offsets[asked["gait"].round().long()], 1.0)  # [N, F]
    moving = is_moving(torch.stack([asked[name] for name in VELOCITIES], dim=-1))  # [N, 1]
    contact = (s.foot_contact_force[..., 2] > CONTACT_FORCE).float()
    clearance = s.foot_pos[..., 2] - simulator.foot_radius
    middle = ((phase - 0.75).abs() < MIDDLE) & (moving > 0.0)
    off = torch.where(middle, (clearance - asked["swing_height"][:, None]).abs(), math.nan)
    return tracks(simulator, asked, seconds) | {
        "timing": (contact + (phase >= 0.5) * moving == 1.0).float().mean(dim=-1),
        "height_error": height,
        "pitch_error": (pitch - asked["pitch"]).abs(),
        "swing_error": off.nanmean(dim=-1),
    }


def stands(simulator: Simulator, asked: Values, seconds: float) -> Values:
    """Whether it is within 30 degrees of upright and above 0.8 of its height; speed of base (m/s) and of joints (rad/s)."""
    s = simulator.signals
    stood = (s.projected_gravity[:, 2] < -math.cos(math.radians(30.0))) & (s.base_pos[:, 2] > 0.8 * simulator.robot.standing_height)
    speed = s.base_lin_vel[:, :2].norm(dim=-1)
    return {"stood": stood.float(), "speed": speed, "joint_speed": s.joint_vel.square().mean(dim=-1).sqrt()}


def goes(simulator: Simulator, asked: Values, seconds: float) -> Values:
    """Forward velocity of the base, m/s."""
    return {"forward_velocity": simulator.signals.base_lin_vel[:, 0]}


def start_of(name: str) -> Callable | None:
    """The reset term that a :class:`World` begins with; None: standing."""
    return anywhere if lies(name) else None


def lies(name: str) -> bool:
    """Whether the protocol of this name begins lying; one that is not known does not."""
    return name in PROTOCOLS and PROTOCOLS[name].lying


def _walks(scores: dict[str, float]) -> float:
    return min(scores["tracking_score"], scores["yaw_score"]) - scores["fall_rate"]


def _walks_as_told(scores: dict[str, float]) -> float:
    """An error of 0.1 rad, or of 0.1 m, counts as much as a tenth of the tracking: a policy that ignores its pose is not the best."""
    return _walks(scores) - scores["pitch_error"] - scores["height_error"] - scores["swing_error"]


def _gait_rows() -> tuple[Mapping[str, float], ...]:
    """Every gait at {0, 0.3, 0.6} m/s x {-0.4, 0, 0.4} rad/s, and what else it is told.

    Each of that takes its three values equally often in every gait, in Latin squares: no two of them go together.
    """
    rows = []
    for gait, (i, v), (j, w) in itertools.product(range(4), enumerate((0.0, 0.3, 0.6)), enumerate((-0.4, 0.0, 0.4))):
        pitch, height = (-0.2, 0.0, 0.2)[(i + j) % 3], (-0.06, 0.0, 0.03)[(i + 2 * j) % 3]
        frequency, swing = (1.8, 2.4, 3.0)[(i + gait) % 3], (0.04, 0.07, 0.1)[(j + gait) % 3]
        told = {"gait": float(gait), "frequency": frequency, "swing_height": swing, "body_height": height, "pitch": pitch}
        rows.append(told | {"forward": v, "yaw": w})
    return tuple(rows)


PROTOCOLS: dict[str, Protocol] = {
    "gait": Protocol(_gait_rows(), walks, _walks_as_told),
    "stand": Protocol(({},) * 36, stands, lambda scores: scores["stood"] - scores["speed"]),
    "forward": Protocol(({},) * 36, goes, lambda scores: scores["forward_velocity"] - scores["fall_rate"]),
    "fast": Protocol(tuple({"forward": v, "yaw": w} for v, w in itertools.product((1.0, 2.0, 3.0, 4.0), (-0.3, 0.0, 0.3))), tracks, _walks),
    # stood over the last two of eight seconds
    "recovery": Protocol(({},) * 36, stands, lambda scores: scores["stood"], seconds=8.0, unscored=6.0, lying=True),
}
