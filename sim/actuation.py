"""Which actuator moves the joints: the ideal PD loop, the same on a DC motor, or a network learned from a robot's logs.

"pd" and "dc_motor" are :func:`robots.actuator.motor_torque`, without and with the robot's torque-speed curve. A network is a file that
'locomotion actuator fit' wrote (:mod:`sim.actuator_network`), or an object that a plugin puts into :data:`NETWORKS` under a name of its
own; ``sim.actuator`` takes the path or the name.

A network says what torque a motor is asked for. The engine's own motor delivers it: the target is moved to where the PD law asks for
just that torque, so that limits, strength, gains that are drawn, and damping within a physics step act on it as on the law.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from robots import InputError, Robot
from robots.errors import nearest
from sim.actuator_network import load
from sim.parameters import MAX_ACTION_DELAY

PD, DC_MOTOR = "pd", "dc_motor"
FILE = ".json"
EARLY = 1e-6  # s off a delay, or one of whole physics steps would by rounding take one more


class Network(Protocol):
    """A learned actuator, called at every physics step for all N robots at once (Hwangbo et al. 2019, Science Robotics 4(26))."""

    history: int  # H, moments that it sees
    spacing: float  # s between two of them

    def __call__(self, error: Tensor, joint_vel: Tensor) -> Tensor:
        """Torque before the motor's limits, N m [N, J], of target less position (rad) and velocity (rad/s) [N, H, J], the newest last."""
        ...


NETWORKS: dict[str, Network] = {}


def choose(robot: Robot, actuator: str | None) -> tuple[str, Network | None]:
    """The engine's motor, and the network that speaks to it, of the actuator asked for.

    The motor is the one asked for; else the DC motor where the robot's figures are known, or the ideal PD loop.
    """
    default = PD if robot.torque_speed is None else DC_MOTOR
    if actuator is None:
        return default, None
    if actuator in NETWORKS:
        return default, NETWORKS[actuator]
    if actuator.endswith(FILE):
        return default, load(Path(actuator), robot)
    known = (PD, DC_MOTOR, *NETWORKS)
    if actuator not in known:
        remedy = f"{nearest(actuator, known)} A network of your own needs its plugin."
        raise InputError("sim.actuator", actuator, f"one of {', '.join(known)}, or a file of 'locomotion actuator fit'", remedy)
    if actuator == DC_MOTOR and robot.torque_speed is None:
        remedy = f"Add speed_at_full_effort and no_load_speed to {robot.name}'s robot.yaml."
        raise InputError("sim.actuator", actuator, "pd for a robot without a torque-speed curve", remedy)
    return actuator, None


def fingerprint(actuator: str | None) -> str | None:
    """A hash of the network's file; None for an actuator that is none, or not there."""
    path = Path(actuator or "")
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.suffix == FILE and path.is_file() else None


class LearnedActuator:
    """A network, the commands under way to it, and what it remembers, of N robots."""

    def __init__(self, network: Network, robot: Robot, num_envs: int, physics_dt: float) -> None:
        self._every = round(network.spacing / physics_dt)  # physics steps between two moments
        if self._every < 1 or abs(self._every * physics_dt - network.spacing) > EARLY:
            allowed = f"{network.spacing:g} s, of which the actuator network remembers moments, or a whole part of it"
            raise InputError("sim.physics_dt", physics_dt, allowed, f"For example {network.spacing:g} or {network.spacing / 2:g}.")
        self._network, self._dt = network, physics_dt
        self._kp, self._damping = (torch.tensor(x, dtype=torch.float32) for x in (robot.kp, robot.kd / robot.kp))
        j, self._moments = robot.num_joints, torch.arange(1 - network.history, 1) * self._every
        self._past = torch.zeros((network.history - 1) * self._every + 1, 2, j, num_envs)  # errors and velocities; a ring, as the next is
        self._targets = torch.zeros(round(MAX_ACTION_DELAY / physics_dt + 0.5) + 1, num_envs, j)
        self._rows, self._step = torch.arange(num_envs), 0
        self._late = torch.zeros(num_envs, dtype=torch.int64)  # physics steps from a target to its effect

    def reset(self, rows: Tensor, joint_pos: Tensor, joint_vel: Tensor) -> None:
        """Robots ``rows`` [K] begin on target, at ``joint_pos`` and ``joint_vel`` [K, J]."""
        self._targets[:, rows] = joint_pos
        self._past[:, 0, :, rows] = 0.0
        self._past[:, 1, :, rows] = joint_vel.T

    def delay(self, rows: Tensor, seconds: Tensor) -> None:
        """Let targets of robots ``rows`` [K] take ``seconds`` [K] to the motors, rounded up to physics steps."""
        self._late[rows] = torch.ceil((seconds - EARLY) / self._dt).clip(0, len(self._targets) - 1).long()

    @torch.inference_mode()
    def target(self, target: Tensor, joint_pos: Tensor, joint_vel: Tensor) -> Tensor:
        """Where the PD law asks for the network's torque in this physics step, rad [N, J]. ``joint_pos`` is as the encoders have it."""
        step = self._step = self._step + 1
        self._targets[step % len(self._targets)] = target
        arrived = self._targets[(step - self._late) % len(self._targets), self._rows]
        newest = self._past[step % len(self._past)]
        newest[0], newest[1] = (arrived - joint_pos).T, joint_vel.T
        seen = self._past[(step + self._moments) % len(self._past)].permute(1, 3, 0, 2)  # [2, N, H, J]
        torque = self._network(seen[0], seen[1])
        return joint_pos + torque / self._kp + self._damping * joint_vel

    def state_dict(self) -> dict[str, Any]:
        return {**{name: getattr(self, f"_{name}").clone() for name in ("past", "targets", "late")}, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("past", "targets", "late"):
            getattr(self, f"_{name}").copy_(state[name])
        self._step = state["step"]
