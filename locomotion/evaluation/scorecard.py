"""The scorecard: one protocol for every policy, engine and condition, run on what the policy's contract says.

Every command of the grid forward {-0.5, 0, 0.5, 0.8} x left {-0.3, 0, 0.3} x yaw {-0.6, 0, 0.6} is held for 10 s, the first
2 s unscored. Physics steps by 2 ms (or the next shorter step that divides the control step) with the motors' PD law at every
step, whatever the training used. A command outside the range that a policy was trained for is clipped to it, as on the robot, and
scored as clipped; ``outside`` counts such commands. Standing still scores about 0.40: anything under 0.5 does not walk.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deploy.policy import RobotPolicy
from locomotion.evaluation import gait_trial, jitter, protocols
from locomotion.evaluation.rollout import (
    Actor,
    BundleActor,
    ModuleActor,
    World,
    channels,
    has_fallen,
    load_policy,
    make_simulator,
    rollout,
)
from locomotion.models.policy import Policy
from locomotion.task.commands import Commands
from locomotion.task.frame import CONTACT_FORCE
from locomotion.task.randomization import NOMINAL, RandomizationSettings
from robots import Robot
from robots.errors import InputError
from robots.robot import GRAVITY
from sim import Signals, Simulator

GRID = list(itertools.product((-0.5, 0.0, 0.5, 0.8), (-0.3, 0.0, 0.3), (-0.6, 0.0, 0.6)))
SECONDS, UNSCORED_SECONDS = 10.0, 2.0
QUICK_SECONDS = 6.0  # the figures of a trained policy agree with those of 10 s to 0.001
SATURATED = 0.999  # share of the effort limit

Progress = Callable[[float], object]


def grid(episodes: int) -> list[tuple[float, float, float]]:
    """The grid's commands, repeated to ``episodes`` rows."""
    if episodes < 1:
        raise InputError("episodes", episodes, "an integer of at least 1", f"{len(GRID)} is each command of the grid once.")
    return [GRID[i % len(GRID)] for i in range(episodes)]


def evaluate(
    policy: RobotPolicy,
    robot: Robot,
    engine: str,
    condition: RandomizationSettings,
    episodes: int,
    seed: int,
    progress: Progress = lambda share: None,
    actuator: str | None = None,
) -> dict[str, float]:
    """Scores of a policy bundle bound to its robot in one engine under one condition. ``robot`` has the contract's gains."""
    rows = grid(episodes)
    meeting = protocols.lies(policy.contract.protocol)
    simulator = make_simulator(robot, episodes, policy.contract.control_dt, actuator, engine, self_collision=meeting)
    try:
        return _evaluate(policy, simulator, condition, rows, seed, progress)
    finally:
        simulator.close()


def score_file(
    path: Path,
    engines: dict[str, int],
    randomization: RandomizationSettings,
    seed: int,
    progress: Callable[[str, float], object] = lambda label, share: None,
    with_gait: bool = True,
    actuator: str | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """``{"scores": {engine: {condition: figures}}, "gait": figures, "motors": figures}`` of a bundle, ``engines`` with their episodes.

    Conditions are "nominal" and, where the engine can express it, "randomized". Gait and motor figures come from MuJoCo alone.
    """
    policy = load_policy(path)
    meeting = protocols.lies(policy.contract.protocol)
    scores: dict[str, dict[str, dict[str, float]]] = {}

    def simulator_of(engine: str, count: int) -> Simulator:
        return make_simulator(policy.robot, count, policy.contract.control_dt, actuator, engine, self_collision=meeting, device=device)

    for engine in list(engines)[1:]:  # that one is missing is said before the first one's scores, which would be for nothing
        simulator_of(engine, 1).close()
    for engine, episodes in engines.items():
        rows, scores[engine] = grid(episodes), {}
        simulator = simulator_of(engine, episodes)
        try:
            for name, condition in _conditions(simulator, randomization).items():
                label = f"{engine}, {name}"
                scores[engine][name] = _evaluate(
                    policy, simulator, condition, rows, seed, lambda share, label=label: progress(label, share)
                )
        finally:
            simulator.close()
    if not (policy.contract.protocol == protocols.VELOCITY and with_gait and "mujoco" in engines):
        return {"scores": scores, "gait": None, "motors": None}
    gait = gait_trial.measure(policy, randomization, lambda share: progress("gait", share), actuator)
    return {"scores": scores, "gait": gait, "motors": jitter.measure(policy, lambda share: progress("motors", share), actuator)}


def quick(
    policy: Policy,
    robot: Robot,
    control_dt: float,
    commands: Commands | None = None,
    protocol: str = protocols.VELOCITY,
    actuator: str | None = None,
    engine: str = "mujoco",
    device: str | None = None,
) -> dict[str, float]:
    """The nominal grid once, 6 s each, with the torch module itself: what chooses ``best.pt`` in training.

    ``commands`` are the task's (None: forward, left and yaw alone, with no range to clip to). ``selection`` is
    min(tracking, yaw) - falls, at most 1.
    """
    names, rest = (commands.channels, commands.rest) if commands else (("forward", "left", "yaw"), (0.0, 0.0, 0.0))
    if protocol != protocols.VELOCITY:
        return _quick(policy, robot, control_dt, commands, protocol, actuator, engine, device)
    asked = channels(GRID, names, rest)
    command = asked.clip(*torch.tensor(commands.limits).T) if commands else asked
    simulator = make_simulator(robot, len(GRID), control_dt, actuator, engine, device=device)
    training = policy.training
    policy.eval()
    try:
        world = World(simulator, NOMINAL, control_dt, seed=0)
        command = command.to(simulator.device)
        scores = _run(ModuleActor(policy), world, command, velocities(command, names), QUICK_SECONDS)
    finally:
        policy.train(training)
        simulator.close()
    tracking, yaw, falls = (scores[name] for name in ("tracking_score", "yaw_score", "fall_rate"))
    return {"tracking": tracking, "yaw": yaw, "falls": falls, "selection": min(tracking, yaw) - falls}


def _quick(
    policy: Policy, robot: Robot, control_dt: float, commands: Commands | None, name: str, actuator: str | None, engine: str,
    device: str | None,
) -> dict[str, float]:  # fmt: skip
    """Another protocol's figures, nominal, of the torch module itself."""
    protocol = protocols.find(name)
    names, rest = (commands.channels, commands.rest) if commands else ((), ())
    command = protocols.command_of(protocol, len(protocol.rows), names, torch.tensor(rest))
    if commands and names:
        command = command.clip(*torch.tensor(commands.limits).T)
    simulator = make_simulator(robot, len(command), control_dt, actuator, engine, self_collision=protocol.lying, device=device)
    training = policy.training
    policy.eval()
    try:
        world = World(simulator, NOMINAL, control_dt, 0, protocols.start_of(name))
        return protocols.run(protocol, ModuleActor(policy), world, command.to(simulator.device), names)
    finally:
        policy.train(training)
        simulator.close()


def velocities(command: Tensor, names: Sequence[str]) -> Tensor:
    """Forward, left and yaw [N, 3] of commands [N, C] with channels ``names``; zero where a channel does not exist."""
    zero = torch.zeros_like(command[:, 0])
    return torch.stack([command[:, names.index(name)] if name in names else zero for name in ("forward", "left", "yaw")], dim=-1)


def _conditions(simulator: Simulator, randomization: RandomizationSettings) -> dict[str, RandomizationSettings]:
    able = set(randomization.parameters) <= simulator.supports and randomization != NOMINAL
    return {"nominal": NOMINAL} | ({"randomized": randomization} if able else {})


def _evaluate(
    policy: RobotPolicy,
    simulator: Simulator,
    condition: RandomizationSettings,
    rows: list[tuple[float, float, float]],
    seed: int,
    progress: Progress,
) -> dict[str, float]:
    contract = policy.contract
    if contract.protocol != protocols.VELOCITY:
        protocol = protocols.find(contract.protocol)
        asked = protocols.command_of(protocol, len(rows), contract.command_names, torch.tensor(contract.command_rest).float())
        clipped = torch.from_numpy(policy.clip_command(asked.numpy())).to(simulator.device)
        world = World(simulator, condition, contract.control_dt, seed, protocols.start_of(contract.protocol))
        scores = protocols.run(protocol, BundleActor(policy), world, clipped, contract.command_names, progress)
        return scores | {"episodes": len(rows), "outside": int((clipped.cpu() != asked).any(dim=-1).sum())}
    world = World(simulator, condition, contract.control_dt, seed)
    command = channels(rows, contract.command_names, contract.command_rest).to(simulator.device)
    clipped = torch.from_numpy(policy.clip_command(command.cpu().numpy())).to(simulator.device)
    scores = _run(BundleActor(policy), world, clipped, velocities(clipped, contract.command_names), SECONDS, progress)
    return scores | {"episodes": len(rows), "outside": int((clipped != command).any(dim=-1).sum())}


def _run(
    actor: Actor, world: World, command: Tensor, asked: Tensor, seconds: float, progress: Progress = lambda share: None
) -> dict[str, float]:
    """Scores against the velocities ``asked`` [N, 3] of robots that are told ``command`` [N, C]."""
    simulator, dt = world.simulator, world.control_dt
    steps, unscored = round(seconds / dt), round(UNSCORED_SECONDS / dt)
    fallen = torch.zeros(simulator.num_envs, dtype=torch.bool, device=simulator.device)
    tally = Tally(world.effort_limit, GRAVITY * world.mass, dt)
    actor.reset(simulator.num_envs)
    previous: Tensor | None = None
    for t, action in enumerate(rollout(actor, world, command, seconds)):
        action = action.to(simulator.device)
        fallen |= has_fallen(simulator.signals, simulator.robot) | simulator.faults | ~torch.isfinite(action).all(dim=-1)
        if t >= unscored:
            change = action - (previous if previous is not None else torch.zeros_like(action))
            tally.add(simulator.signals, asked, change.square().sum(dim=-1), ~fallen)
        previous = action
        progress((t + 1) / steps)
    return tally.scores() | {"fall_rate": float(fallen.float().mean())}


class Tally:
    """Sums over the scored steps. Fallen robots count as zero in the scores and not at all in the other figures.

    ``effort_limit`` [N, J] N m and ``weight`` [N] N are those of each robot, ``dt`` (s) the control step.
    """

    NAMES = ("tracking", "yaw", "lin_error", "ang_error", "action_change", "energy", "work", "saturated", "slip", "contacts", "up")

    def __init__(self, effort_limit: Tensor, weight: Tensor, dt: float) -> None:
        self._limit, self._weight, self._dt = SATURATED * effort_limit, weight, dt
        self._sums = torch.zeros(len(self.NAMES), dtype=torch.float64, device=weight.device)
        self._count = 0

    def add(self, s: Signals, asked: Tensor, action_change: Tensor, up: Tensor) -> None:
        """One control step: velocities ``asked`` [N, 3], squared change of the action [N], and who is ``up`` [N]."""
        lin = (s.base_lin_vel[:, :2] - asked[:, :2]).square().sum(dim=-1)
        yaw = s.base_ang_vel[:, 2] - asked[:, 2]
        contact = (s.foot_contact_force[..., 2] > CONTACT_FORCE).float()
        values = torch.stack([
            torch.exp(-4.0 * lin),
            torch.exp(-4.0 * yaw.square()),
            lin.sqrt(),
            yaw.abs(),
            action_change,
            (s.joint_torque * s.joint_vel).abs().sum(dim=-1) * self._dt,  # J
            self._weight * s.base_lin_vel[:, :2].norm(dim=-1) * self._dt,  # J, to compare with
            (s.joint_torque.abs() >= self._limit).float().mean(dim=-1),
            (s.foot_vel[..., :2].norm(dim=-1) * contact).sum(dim=-1),
            contact.sum(dim=-1),
            torch.ones_like(lin),
        ])  # fmt: skip
        # a fallen robot's numbers may be no numbers at all
        self._sums += torch.where(up, values, 0.0).sum(dim=-1, dtype=torch.float64)
        self._count += len(up)

    def scores(self) -> dict[str, float]:
        s = dict(zip(self.NAMES, self._sums.tolist(), strict=True))
        up = max(s["up"], 1.0)
        return {
            "tracking_score": s["tracking"] / self._count,
            "yaw_score": s["yaw"] / self._count,
            "lin_vel_error": s["lin_error"] / up,
            "ang_vel_error": s["ang_error"] / up,
            "cost_of_transport": s["energy"] / max(s["work"], 1e-6),
            "torque_saturation": s["saturated"] / up,
            "action_rate": s["action_change"] / up,
            "foot_slip": s["slip"] / max(s["contacts"], 1.0),
        }
