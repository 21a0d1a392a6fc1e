"""Domain randomization: physics drawn at every reset, sensor noise at every step, pushes now and then."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from locomotion.task.ranges import Range
from robots import Robot
from sim import Simulator


@dataclass(frozen=True)
class Noise:
    """Half-widths of uniform sensor noise; ``joint_pos_bias`` is held for an episode, the others are drawn each step."""

    base_ang_vel: float  # rad/s
    projected_gravity: float
    joint_pos: float  # rad
    joint_vel: float  # rad/s
    joint_pos_bias: float  # rad


@dataclass(frozen=True)
class Randomization:
    """Ranges of the physical parameters (see :data:`sim.PARAMETERS`), of sensor noise and of pushes."""

    friction: Range
    base_mass_offset: Range  # kg
    base_com_offset: Range  # m, each axis
    kp_scale: Range
    kd_scale: Range
    motor_strength: Range
    action_delay: Range  # s
    ground_slope: Range  # rad, each axis
    push_velocity: Range  # m/s, each horizontal axis
    push_interval: Range  # s
    noise: Noise

    def sample_physics(self, count: int, robot: Robot, generator: torch.Generator) -> dict[str, Tensor]:
        """Values for ``count`` environments, as :meth:`sim.Simulator.randomize` takes them."""
        j = robot.num_joints

        def draw(name: str, *shape: int) -> Tensor:
            limits: Range = getattr(self, name)
            return limits.sample((count, *shape), generator)

        return {
            "friction": draw("friction"),
            "base_mass_offset": draw("base_mass_offset"),
            "base_com_offset": draw("base_com_offset", 3),
            "kp_scale": draw("kp_scale", j),
            "kd_scale": draw("kd_scale", j),
            "motor_strength": draw("motor_strength", j),
            "action_delay": draw("action_delay"),
            "ground_slope": draw("ground_slope", 2),
        }

    def apply(self, simulator: Simulator, ids: Tensor, generator: torch.Generator) -> Tensor:
        """Give the environments ``ids`` new physics; return what the critic is told of it, [n, 8]."""
        values = self.sample_physics(len(ids), simulator.robot, generator)
        simulator.randomize(ids, values)
        scalars = torch.stack([values["friction"], values["base_mass_offset"]], dim=-1)
        delay = 100.0 * values["action_delay"][:, None]
        return torch.cat([scalars, 20.0 * values["base_com_offset"], delay, 10.0 * values["ground_slope"]], dim=-1)
