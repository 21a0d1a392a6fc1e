"""What the task sees of a physics engine: named signals of all robots at once, and six calls.

Every engine presents the same robot on the same ground, follows the same actuator law, and returns float32 torch tensors on
its ``device`` in the robot's canonical joint order. ``N`` is the number of environments, ``J`` of joints, ``F`` of feet.

Calls that concern some environments take a mask [N] and values for all N, so that nothing has to wait for a device: an engine
on the CPU picks the rows, one on a GPU writes where the mask is true.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from robots import InputError, Robot
from sim.signals import InitialState, Signals
from sim.terrain import Terrain

Tensor = torch.Tensor


class LostWorkerError(InputError):
    """A process of the engine's has died, and the robots in it are gone."""


class Simulator(Protocol):
    """A batch of N robots."""

    engine: str  # its name
    robot: Robot
    num_envs: int
    physics_dt: float  # s
    device: torch.device  # where every tensor lives; the only source of it
    terrain: Terrain
    supports: frozenset[str]  # parameters (sim.parameters.PARAMETERS) and features ("terrain", "resume") by name
    foot_radius: Tensor  # [F] m, height of a foot's centre above its sole
    hip_pos: Tensor  # [F, 3] m, base frame: where each leg swings from
    total_mass: float  # kg, nominal
    faults: Tensor  # [N] bool: the last step() failed for these; their state is not to be trusted until reset

    @property
    def signals(self) -> Signals:
        """Of the present. Its tensors change in place with step(), and with reset() and push() once this is read again."""
        ...

    def reset(self, mask: Tensor, state: InitialState) -> None:
        """Put the environments where ``mask`` [N] is true into their rows of ``state``; motors hold ``state.joint_pos``."""
        ...

    def step(self, joint_pos_target: Tensor, substeps: int) -> None:
        """Advance all by ``substeps`` physics steps with motors following ``joint_pos_target`` [N, J] (rad)."""
        ...

    def push(self, mask: Tensor, velocity: Tensor) -> None:
        """Add ``velocity`` [N, 2] (m/s, world) to the horizontal velocity of the bases where ``mask`` [N] is true."""
        ...

    def wrench(self, mask: Tensor, force_torque: Tensor) -> None:
        """Press on bases where ``mask`` [N] is true with ``force_torque`` [N, 6] (N, N m, world, at the centre of mass).

        It goes on until it is set again, or until reset.
        """
        ...

    def set_parameters(self, mask: Tensor, values: dict[str, Tensor]) -> None:
        """Set physical parameters [N, ...] where ``mask`` [N] is true. What is not named keeps its last value."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...
