"""The scorecard: one protocol for every policy, engine and condition, run on the bundle with onnxruntime.

Every command of the grid forward {-0.5, 0, 0.5, 0.8} x left {-0.3, 0, 0.3} x yaw {-0.6, 0, 0.6} is held for 10 s, the first
2 s unscored. Physics steps by 2 ms with the motors' PD law at every step, whatever the training used. Standing still scores
about 0.40: anything under 0.5 does not walk.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import robots
import sim
from deploy import contract
from locomotion.task.randomization import Noise, Randomization
from locomotion.task.ranges import Range
from robots import Robot
from robots.errors import InputError
from sim import InitialState, Signals, Simulator

GRID = list(itertools.product((-0.5, 0.0, 0.5, 0.8), (-0.3, 0.0, 0.3), (-0.6, 0.0, 0.6)))
PHYSICS_DT = 0.002  # s
SECONDS, UNSCORED_SECONDS = 10.0, 2.0
FALLEN_TILT, FALLEN_HEIGHT = 1.05, 0.5  # rad; share of the standing height
CONTACT_FORCE = 1.0  # N
SATURATED = 0.999  # share of the effort limit
GRAVITY = 9.81  # m/s^2

_ONE, _ZERO = Range(1.0, 1.0), Range(0.0, 0.0)
NOMINAL = Randomization(
    friction=Range(0.8, 0.8), base_mass_offset=_ZERO, base_com_offset=_ZERO, kp_scale=_ONE, kd_scale=_ONE, motor_strength=_ONE,
    action_delay=_ZERO, ground_slope=_ZERO, push_velocity=_ZERO, push_interval=Range(1e6, 1e6),
    noise=Noise(base_ang_vel=0.0, projected_gravity=0.0, joint_pos=0.0, joint_vel=0.0, joint_pos_bias=0.0),
)  # fmt: skip


def commands(episodes: int) -> Tensor:
    """The grid, repeated to ``episodes`` rows [episodes, 3]."""
    if episodes < 1:
        raise InputError("episodes", episodes, "an integer of at least 1", f"{len(GRID)} is each command of the grid once.")
    return torch.tensor([GRID[i % len(GRID)] for i in range(episodes)], dtype=torch.float32)


def evaluate(
    policy: contract.LoadedPolicy,
    robot: Robot,
    engine: str,
    condition: Randomization,
    episodes: int,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, float]:
    """Scores of ``policy`` in one engine under one condition. Velocities in m/s and rad/s; see the module for the protocol."""
    grid = commands(episodes)
    simulator = sim.make(engine, robot, episodes, PHYSICS_DT)
    try:
        return _run(policy, simulator, condition, grid, torch.Generator().manual_seed(seed), progress)
    finally:
        simulator.close()


def score_file(
    path: Path, engines: dict[str, dict[str, Randomization]], episodes: int, seed: int, progress: Callable[[str, float], None]
) -> dict[str, Any]:
    """``{engine: {condition: scores}}`` of a bundle; ``engines`` names the conditions of each engine."""
    policy = contract.load(path)
    robot = robots.load(policy.contract.robot)
    policy.contract.check_robot(robot)
    return {
        engine: {
            name: evaluate(
                policy, robot, engine, condition, episodes, seed, lambda share, label=f"{engine}, {name}": progress(label, share)
            )
            for name, condition in conditions.items()
        }
        for engine, conditions in engines.items()
    }


def _run(
    policy: contract.LoadedPolicy,
    simulator: Simulator,
    condition: Randomization,
    command: Tensor,
    generator: torch.Generator,
    progress: Callable[[float], None],
) -> dict[str, float]:
    robot, n, dt = simulator.robot, simulator.num_envs, policy.contract.control_dt
    ids, steps, unscored = torch.arange(n), round(SECONDS / dt), round(UNSCORED_SECONDS / dt)
    condition.apply(simulator, ids, generator)
    simulator.reset(ids, _standing(robot, n, generator))
    bias = condition.noise.joint_pos_bias * _uniform((n, robot.num_joints), generator)
    push_steps = _push_steps(condition, n, dt, generator)
    policy.reset(n)
    fallen, tally = torch.zeros(n, dtype=torch.bool), _Tally(robot, dt)
    previous_action = torch.zeros(n, robot.num_joints)
    for t in range(steps):
        due = (push_steps == t).nonzero().squeeze(-1)
        if len(due):
            simulator.push(due, condition.push_velocity.sample((len(due), 2), generator))
            push_steps[due] = t + _push_steps(condition, len(due), dt, generator)
        measured = _measure(simulator.signals, condition.noise, bias, generator) | {"command": command}
        target, action = (torch.from_numpy(x) for x in policy.step({name: value.numpy() for name, value in measured.items()}))
        simulator.step(target, round(dt / simulator.physics_dt))
        fallen |= (
            (simulator.signals.projected_gravity[:, 2] > -math.cos(FALLEN_TILT))
            | (simulator.signals.base_pos[:, 2] < FALLEN_HEIGHT * robot.standing_height)
            | simulator.faults
        )
        if t >= unscored:
            tally.add(simulator.signals, command, (action - previous_action).square().sum(dim=-1), ~fallen)
        previous_action = action
        progress((t + 1) / steps)
    return tally.scores() | {"fall_rate": float(fallen.float().mean()), "episodes": n}


def _measure(signals: Signals, noise: Noise, bias: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """What the robot's sensors say."""
    s, joints = signals, signals.joint_pos.shape
    vector = (joints[0], 3)
    return {
        "base_ang_vel": s.base_ang_vel + noise.base_ang_vel * _uniform(vector, generator),
        "projected_gravity": s.projected_gravity + noise.projected_gravity * _uniform(vector, generator),
        "joint_pos": s.joint_pos + bias + noise.joint_pos * _uniform(joints, generator),
        "joint_vel": s.joint_vel + noise.joint_vel * _uniform(joints, generator),
    }


class _Tally:
    """Sums over the scored steps. Fallen robots count as zero in the scores and not at all in the other figures."""

    def __init__(self, robot: Robot, dt: float) -> None:
        self._limit = torch.tensor(robot.effort_limit, dtype=torch.float32)
        self._weight, self._dt = _weight(robot), dt
        self._sums: defaultdict[str, float] = defaultdict(float)

    def add(self, s: Signals, command: Tensor, action_change: Tensor, up: Tensor) -> None:
        lin = (s.base_lin_vel[up, :2] - command[up, :2]).square().sum(dim=-1)
        yaw = s.base_ang_vel[up, 2] - command[up, 2]
        contact = (s.foot_contact_force[up, :, 2] > CONTACT_FORCE).float()
        values = {
            "tracking": torch.exp(-lin / 0.25),
            "yaw": torch.exp(-yaw.square() / 0.25),
            "lin_error": lin.sqrt(),
            "ang_error": yaw.abs(),
            "action_change": action_change[up],
            "energy": (s.joint_torque * s.joint_vel)[up].abs() * self._dt,
            "distance": s.base_lin_vel[up, :2].norm(dim=-1) * self._dt,
            "saturated": s.joint_torque[up].abs() >= SATURATED * self._limit,
            "slip": s.foot_vel[up, :, :2].norm(dim=-1) * contact,
            "contacts": contact,
        }
        for name, value in values.items():
            self._sums[name] += float(value.sum())
        self._sums["robots"] += len(up)
        self._sums["up"] += int(up.sum())

    def scores(self) -> dict[str, float]:
        s, up = self._sums, max(self._sums["up"], 1)
        return {
            "tracking_score": s["tracking"] / s["robots"],
            "yaw_score": s["yaw"] / s["robots"],
            "lin_vel_error": s["lin_error"] / up,
            "ang_vel_error": s["ang_error"] / up,
            "cost_of_transport": s["energy"] / (self._weight * max(s["distance"], 1e-6)),
            "torque_saturation": s["saturated"] / (up * len(self._limit)),
            "action_rate": s["action_change"] / up,
            "foot_slip": s["slip"] / max(s["contacts"], 1.0),
        }


def _standing(robot: Robot, n: int, generator: torch.Generator) -> InitialState:
    """At rest in the default pose, any heading."""
    yaw = math.pi * _uniform((n,), generator)
    base_pos, base_quat = torch.zeros(n, 3), torch.zeros(n, 4)
    base_pos[:, 2] = robot.standing_height + 0.01
    base_quat[:, 0], base_quat[:, 3] = torch.cos(yaw / 2), torch.sin(yaw / 2)
    pose = torch.tensor(robot.default_joint_pos, dtype=torch.float32).repeat(n, 1)
    return InitialState(base_pos, base_quat, torch.zeros(n, 3), torch.zeros(n, 3), pose, torch.zeros_like(pose))


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2.0 * torch.rand(shape, generator=generator) - 1.0


def _push_steps(condition: Randomization, n: int, dt: float, generator: torch.Generator) -> Tensor:
    return (condition.push_interval.sample((n,), generator) / dt).to(torch.int64)


def _weight(robot: Robot) -> float:
    """Newtons."""
    import mujoco

    return GRAVITY * float(mujoco.MjModel.from_xml_path(str(robot.model)).body_mass.sum())
