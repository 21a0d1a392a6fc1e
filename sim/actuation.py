"""Which actuator moves the joints: the ideal PD loop, the same on a DC motor, or a law learned from a robot's logs.

"pd" and "dc_motor" are :func:`robots.actuator.motor_torque`, without and with the robot's torque-speed curve. A learned law is a
callable that a plugin puts into :data:`NETWORKS` under a name of its own; ``sim.actuator`` takes that name.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from robots import InputError, Robot
from robots.errors import nearest

PD, DC_MOTOR = "pd", "dc_motor"


class Network(Protocol):
    """A learned actuator, called at every physics step for all N robots at once (Hwangbo et al. 2019, Science Robotics 4(26))."""

    history: int  # H, physics steps of targets that it sees

    def __call__(self, joint_pos_target: Tensor, joint_pos: Tensor, joint_vel: Tensor) -> Tensor:
        """Torque [N, J] (N m) of the last targets [N, H, J] (rad, the newest last) and the joints' state [N, J]."""
        ...


NETWORKS: dict[str, Network] = {}


def choose(robot: Robot, actuator: str | None) -> str:
    """The actuator asked for; None: the DC motor where the robot's figures are known, else the ideal PD loop."""
    if actuator is None:
        return PD if robot.torque_speed is None else DC_MOTOR
    if actuator not in (PD, DC_MOTOR, *NETWORKS):
        known = (PD, DC_MOTOR, *NETWORKS)
        raise InputError("sim.actuator", actuator, f"one of {', '.join(known)}", f"{nearest(actuator, known)} A network needs its plugin.")
    if actuator == DC_MOTOR and robot.torque_speed is None:
        remedy = f"Add speed_at_full_effort and no_load_speed to {robot.name}'s robot.yaml."
        raise InputError("sim.actuator", actuator, "pd for a robot without a torque-speed curve", remedy)
    return actuator


class LearnedActuator:
    """A network with the targets that it remembers, of N robots."""

    def __init__(self, network: Network, num_envs: int, num_joints: int) -> None:
        self._network = network
        self.targets = torch.zeros(num_envs, network.history, num_joints)

    def reset(self, rows: Tensor, joint_pos: Tensor) -> None:
        """Robots ``rows`` [K] begin at rest on target, at ``joint_pos`` [K, J]."""
        self.targets[rows] = joint_pos[:, None]

    @torch.inference_mode()
    def torque(self, target: Tensor, joint_pos: Tensor, joint_vel: Tensor) -> Tensor:
        """N m [N, J] of one physics step."""
        self.targets.copy_(torch.cat([self.targets[:, 1:], target[:, None]], dim=1))
        return self._network(self.targets, joint_pos, joint_vel)
