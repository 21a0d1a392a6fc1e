"""What the policy and the critic see, and how each of it looks in a mirror.

The encoder is the single place where robot signals become a policy observation. Training calls it and the exported graph
contains it, so no second implementation exists that could differ. State carried from step to step is ``memory`` [N, M]:
the previous action [J], then the gait clock's phase [1] in cycles where there is a clock. Zeros start an episode.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from robots import Robot
from sim import Signals

STANDING_COMMAND = 0.1  # a command shorter than this (m/s, rad/s) means: stand

MirrorMap = tuple[np.ndarray, np.ndarray]  # index and sign: mirrored = sign * x[index]


def is_moving(command: Tensor) -> Tensor:
    """[N, 1] float: 1 where the command asks for motion, 0 where it asks to stand."""
    return (command.square().sum(dim=-1, keepdim=True) > STANDING_COMMAND**2).to(command.dtype)


def concatenate_mirrors(*parts: MirrorMap) -> MirrorMap:
    """The mirror map of concatenated vectors."""
    offsets = np.cumsum([0, *(len(index) for index, _ in parts[:-1])])
    index = np.concatenate([index + offset for (index, _), offset in zip(parts, offsets, strict=True)])
    return index, np.concatenate([sign for _, sign in parts])


def fixed(*signs: float) -> MirrorMap:
    """A vector whose entries stay in place and change sign."""
    return np.arange(len(signs)), np.array(signs)


POLAR, AXIAL, COMMAND = fixed(1, -1, 1), fixed(-1, 1, -1), fixed(1, -1, -1)  # velocity-like, rotation-like, (vx, vy, yaw rate)


class ObservationEncoder(nn.Module):
    """Policy observation: gyro 3, gravity 3, command 3, joint positions J, velocities J, last action J, gait clock 2."""

    default_joint_pos: Tensor

    def __init__(self, robot: Robot, gait_frequency: float | None, control_dt: float) -> None:
        super().__init__()
        self.num_joints = robot.num_joints
        self.has_clock = gait_frequency is not None
        self.phase_step = (gait_frequency or 0.0) * control_dt  # cycles a control step
        self.memory_size = self.num_joints + self.has_clock
        self.register_buffer("default_joint_pos", torch.tensor(robot.default_joint_pos, dtype=torch.float32), persistent=False)
        joint = (robot.mirror.joint_index, robot.mirror.joint_sign)
        # The mirror image of a trot is the trot half a cycle later: sine and cosine of the phase change sign.
        clock = (fixed(-1, -1),) if self.has_clock else ()
        self.mirror: MirrorMap = concatenate_mirrors(AXIAL, POLAR, COMMAND, joint, joint, joint, *clock)
        self.size = len(self.mirror[0])

    def forward(
        self, base_ang_vel: Tensor, projected_gravity: Tensor, joint_pos: Tensor, joint_vel: Tensor, command: Tensor, memory: Tensor
    ) -> Tensor:
        """The observation, [N, size]."""
        parts = [base_ang_vel, projected_gravity, command, joint_pos - self.default_joint_pos, joint_vel]
        parts.append(memory[:, : self.num_joints])
        if self.has_clock:
            angle = (2 * math.pi) * memory[:, self.num_joints :]
            moving = is_moving(command)
            parts += [torch.sin(angle) * moving, torch.cos(angle) * moving]
        return torch.cat(parts, dim=-1)

    def next_memory(self, action: Tensor, command: Tensor, memory: Tensor) -> Tensor:
        """The memory for the next step, [N, M]: this action, and the clock advanced or, when standing, at zero."""
        if not self.has_clock:
            return action
        phase = (memory[:, self.num_joints :] + self.phase_step) * is_moving(command)
        return torch.cat([action, phase - torch.floor(phase)], dim=-1)


class CriticObservation:
    """What only a simulator knows, added to a noise-free policy observation; used in training alone."""

    def __init__(self, robot: Robot, encoder: ObservationEncoder) -> None:
        foot = (robot.mirror.foot_index, np.ones(len(robot.feet)))
        scalar = fixed(1)
        privileged = (POLAR, scalar, foot, foot, scalar, scalar, POLAR, scalar, fixed(1, -1))
        self.mirror: MirrorMap = concatenate_mirrors(encoder.mirror, *privileged)
        self.size = len(self.mirror[0])
        self._encoder = encoder

    def __call__(self, signals: Signals, command: Tensor, memory: Tensor, physics: Tensor) -> Tensor:
        """The observation, [N, size]; ``physics`` [N, 8] as drawn by :class:`~locomotion.task.randomization.Randomization`."""
        s = signals
        encode = self._encoder.forward  # no hooks here: the module call's own cost would show
        policy = encode(s.base_ang_vel, s.projected_gravity, s.joint_pos, s.joint_vel, command, memory)
        contact = (s.foot_contact_force[..., 2] > 1.0).float()
        return torch.cat([policy, s.base_lin_vel, s.base_pos[:, 2:], contact, s.foot_pos[..., 2], physics], dim=-1)
