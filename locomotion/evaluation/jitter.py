"""Does a policy shake, and what do its motors bear: the same walks with perfect sensors and with those of a harsh robot.

Harsh: encoders of 12 bits a turn, joint velocities with noise of 1 rad/s (standard deviation), a delay drawn anew from 5 to 20 ms for
every command, and 50 % more damping than the policy knows of. Shaking is the share of the action's energy (its mean over time apart)
above 10 Hz, and the root mean square joint acceleration; a gait has its own energy at a few strides a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deploy.policy import RobotPolicy
from locomotion.evaluation import heat
from locomotion.evaluation.rollout import BundleActor, World, channels, has_fallen, make_simulator, rollout
from locomotion.task.randomization import NOMINAL
from sim import Simulator

WALKS = {
    "forward 0.5": (0.5, 0.0, 0.0),
    "forward 0.8": (0.8, 0.0, 0.0),
    "left 0.3": (0.0, 0.3, 0.0),
    "yaw 0.6": (0.0, 0.0, 0.6),
    "stand": (0.0, 0.0, 0.0),
}  # m/s, m/s, rad/s
SECONDS, UNSCORED_SECONDS, SEED = 8.0, 2.0, 0
SHAKING = 10.0  # Hz
ENCODER = 2.0 * math.pi / 4096  # rad
VELOCITY_NOISE = 1.0  # rad/s
DELAY = (0.005, 0.020)  # s
DAMPING = 1.5  # of kd

Progress = Callable[[float], object]


class HarshWorld(World):
    """A world whose sensors and motors are worse than any that the policy was promised."""

    def __init__(self, simulator: Simulator, control_dt: float, seed: int) -> None:
        super().__init__(simulator, NOMINAL, control_dt, seed)
        self._every = torch.ones(simulator.num_envs, dtype=torch.bool, device=simulator.device)
        kd_scale = torch.full((simulator.num_envs, simulator.robot.num_joints), DAMPING, device=simulator.device)
        simulator.set_parameters(self._every, {"kd_scale": kd_scale})

    def measure(self, inputs: Sequence[str]) -> dict[str, Tensor]:
        seen = super().measure(inputs)
        if "joint_pos" in seen:
            seen["joint_pos"] = torch.round(seen["joint_pos"] / ENCODER) * ENCODER
        if "joint_vel" in seen:
            velocity = seen["joint_vel"]
            seen["joint_vel"] = velocity + VELOCITY_NOISE * torch.randn(velocity.shape, device=velocity.device, generator=self._generator)
        return seen

    def disturb(self) -> None:
        low, high = DELAY
        self.simulator.set_parameters(self._every, {"action_delay": low + (high - low) * self._uniform(1)[:, 0]})
        super().disturb()


def measure(policy: RobotPolicy, progress: Progress = lambda share: None, actuator: str | None = None) -> dict[str, Any]:
    """Figures of a bundle bound to its robot, in MuJoCo, as plain numbers; None where no robot stayed up, or a motor stays cool."""
    robot = policy.robot
    nominal, torque, up = _run(policy, False, lambda share: progress(0.5 * share), actuator)
    harsh, _, _ = _run(policy, True, lambda share: progress(0.5 + 0.5 * share), actuator)
    figures: dict[str, Any] = {"joints": list(robot.joint_names), "nominal": nominal, "harsh": harsh}
    for name, walk in (("standing", "stand"), ("walking", "forward 0.8")):
        row = list(WALKS).index(walk)
        rms = np.sqrt(np.square(torque[:, row]).mean(axis=0))
        minutes = [float(value) if np.isfinite(value) else None for value in heat.minutes_to_limit(robot, rms)]
        figures[name] = {"torque": rms.tolist(), "minutes": minutes} if up[row] else None
    return figures


def shaking(action: np.ndarray, dt: float) -> float:
    """Share of the energy of ``action`` [T, ...] about its mean that lies above 10 Hz, under a Hann window; 0 where it never moves."""
    moving = (action - action.mean(axis=0)) * np.hanning(len(action)).reshape(-1, *[1] * (action.ndim - 1))
    energy = np.square(np.abs(np.fft.rfft(moving, axis=0))).reshape(len(action) // 2 + 1, -1).sum(axis=1)
    total = energy.sum()
    return float(energy[np.fft.rfftfreq(len(action), dt) > SHAKING].sum() / total) if total > 1e-12 else 0.0


def _run(policy: RobotPolicy, harsh: bool, progress: Progress, actuator: str | None) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Figures, torques [T, N, J] (N m) at every physics step, and which robots [N] never fell."""
    contract, robot = policy.contract, policy.robot
    simulator = make_simulator(robot, len(WALKS), contract.control_dt, actuator)
    world = HarshWorld(simulator, contract.control_dt, SEED) if harsh else World(simulator, NOMINAL, contract.control_dt, SEED)
    actor, command = BundleActor(policy), channels(list(WALKS.values()), contract.command_names, contract.command_rest)
    actor.reset(len(WALKS))
    actions, velocities, torques = [], [], []
    up, dt = torch.ones(len(WALKS), dtype=torch.bool), simulator.physics_dt
    for action in rollout(actor, world, command, SECONDS, 1):
        s = simulator.signals
        actions.append(action.clone())
        velocities.append(s.joint_vel.clone())
        torques.append(s.joint_torque.clone())
        up &= ~has_fallen(s, robot) & ~simulator.faults
        progress(len(actions) * dt / SECONDS)
    simulator.close()
    scored = slice(round(UNSCORED_SECONDS / dt), None)
    velocity, torque, standing = torch.stack(velocities)[scored].double().numpy(), torch.stack(torques)[scored].double().numpy(), up.numpy()
    own = torch.stack(actions)[scored][:: round(contract.control_dt / dt)].double().numpy()
    figures: dict[str, Any] = {"fell": float(1.0 - standing.mean()), "shaking": None, "joint_acceleration": None, "peak_speed": None}
    if standing.any():
        figures |= {
            "shaking": shaking(own[:, standing], contract.control_dt),
            "joint_acceleration": float(np.sqrt(np.square(np.diff(velocity[:, standing], axis=0) / dt).mean())),  # rad/s^2
            "peak_speed": float((np.abs(velocity[:, standing]) / robot.joint_vel_limit).max()),  # of the joint's limit
        }
    return figures, torque, standing
