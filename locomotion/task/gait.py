"""A gait: which feet swing together, how often, how long and how high. Its clock runs in the policy's memory."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from locomotion.environment import MirrorMap, fixed
from locomotion.schema import NotNegative, Positive, Settings, Share, Text
from locomotion.task.commands import Commands, length, velocity_of
from robots import Robot
from robots.errors import InputError, nearest


class GaitSettings(Settings):
    name: Text | None  # one of the robot's gaits; null: its first
    stance: Share  # of the cycle that a foot stands
    swing_height: Positive | None  # m, clearance of the sole at mid swing; null: the robot's
    frequency: tuple[Positive, Positive] | None  # Hz at a standing start and at 1 m/s; null: the robot's
    swing_power: Annotated[float, Field(ge=1, le=4)]  # of the sine that a swing rises by: 2 meets the ground without speed
    # lengths in swing heights
    tolerance: Positive  # how far below the reference a swinging foot may be
    excess: NotNegative  # above the reference that is free
    excess_tolerance: Positive  # how far above that it may be
    soft: bool  # a standing foot that hovers near the ground counts as one that follows: no reward for slamming it down
    reach: Positive | None  # how far from its place over ground a foot may be, in standing heights; null: anywhere
    gate: Share  # of the tracking reward that depends on the gait


class GaitCommand(NamedTuple):
    """What is asked of a gait: numbers for all, or tensors with leading dimensions [...]."""

    velocity: Tensor  # [..., 3]
    frequency: Tensor | float  # Hz, [..., 1]
    swing_height: Tensor | float  # m, [..., 1]
    offsets: Tensor  # [F] or [..., F] cycles


class Gait:
    """A gait of one robot, or several among which a command chooses."""

    def __init__(self, settings: GaitSettings, robot: Robot, control_dt: float, device: torch.device, commands: Commands) -> None:
        names = commands.gaits or (settings.name or next(iter(robot.gaits)),)
        for name in names:
            if name not in robot.gaits:
                field = "task.commands.gait.choices" if commands.gaits else "task.gait.name"
                raise InputError(field, name, f"a gait of {robot.name}", nearest(name, robot.gaits))
        if not 0.0 < settings.stance < 1.0:
            raise InputError(
                "task.gait.stance", settings.stance, "a share between 0 and 1, so that feet stand and swing", "0.5 is a trot's."
            )
        self.settings, self.names, self.control_dt, self._channels = settings, names, control_dt, commands.channels
        self.swing_height = settings.swing_height or robot.swing_height
        self.reach = None if settings.reach is None else settings.reach * robot.standing_height  # m
        self.frequencies = settings.frequency or robot.stride_frequency
        self.offsets = torch.tensor(np.array([robot.gaits[name] for name in names]), dtype=torch.float32, device=device)  # [G, F]
        mirrors = [clock_mirror(robot.gaits[name], robot.mirror.foot_index) for name in names]
        self.is_mirrored = all(mirror is not None for mirror in mirrors)  # the mirror image of each gait is itself, at some phase
        self.clock_mirror = mirrors[0] if len(names) == 1 else None

    def asked(self, command: Tensor) -> GaitCommand:
        """What a command [..., C] asks of the gait: by the channels that the task has, and the robot's own figures for the others."""
        velocity = self.velocity(command)
        frequency, height = self._channel(command, "frequency"), self._channel(command, "swing_height")
        offsets, chosen = self.offsets[0], self._channel(command, "gait")
        if chosen is not None:
            offsets = self.offsets[chosen[..., 0].round().clamp(0, len(self.names) - 1).long()]
        return GaitCommand(
            velocity,
            self.frequency(velocity) if frequency is None else frequency,
            self.swing_height if height is None else height,
            offsets,
        )

    def velocity(self, command: Tensor) -> Tensor:
        """That a command [..., C] asks for, [..., 3]."""
        return velocity_of(command, self._channels)

    def _channel(self, command: Tensor, name: str) -> Tensor | None:
        """One channel of the command, [..., 1]; None where the task has none of that name."""
        if name not in self._channels:
            return None
        i = self._channels.index(name)
        return command[..., i : i + 1]

    def frequency(self, velocity: Tensor) -> Tensor | float:
        """Of the clock, Hz: it grows with the speed that is asked for, [..., 1], or is one number for all."""
        slow, fast = self.frequencies
        return slow if slow == fast else slow + (fast - slow) * length(velocity[..., :2], keepdim=True)


def foot_phases(phase: Tensor, asked: GaitCommand) -> Tensor:
    """Where each foot is in its cycle, [..., F] in 0..1, stance first, from the clock's ``phase`` [..., 1]."""
    return torch.remainder(phase + asked.offsets, 1.0)


def clock_mirror(offsets: np.ndarray, foot_index: np.ndarray) -> MirrorMap | None:
    """How sine and cosine of the phase look in the mirror; None where the mirrored gait is not the gait at another phase.

    The mirror image of a gait is that gait a shift s later, offsets[mirror(f)] = offsets[f] + s for every foot. A trot, a pace and
    a walk come back half a cycle later (s = 0.5: both change sign), a bound and a pronk at once (s = 0).
    """
    shift = np.mod(np.asarray(offsets)[foot_index] - offsets, 1.0)
    turn = np.exp(2j * math.pi * shift)
    if np.abs(turn - turn[0]).max() > 1e-6 or abs(turn[0].imag) > 1e-6:
        return None
    return fixed(turn[0].real.round(), turn[0].real.round())


def contact_timing(contact: Tensor, phase: Tensor, moving: Tensor, gait: Gait, asked: GaitCommand) -> Tensor:
    """Share of feet that stand where the clock says stance and swing where it says swing, [...]; all should stand when standing.

    ``contact`` [..., F] 0 or 1, ``phase`` [..., 1] cycles, ``moving`` [...] 0 or 1.
    """
    swing = (foot_phases(phase, asked) >= gait.settings.stance).float() * moving[..., None]
    return (contact + swing == 1.0).float().mean(dim=-1)


def gait_score(
    sole_height: Tensor,
    contact: Tensor,
    phase: Tensor,
    moving: Tensor,
    gait: Gait,
    asked: GaitCommand,
    misplaced: Tensor | None = None,
) -> Tensor:
    """How well the feet follow the clock, [...] in 0..1: clearance in swing, contact in stance; all feet down when standing.

    ``sole_height`` [..., F] in m, ``contact`` [..., F] 0 or 1, ``phase`` [..., 1] in cycles, ``moving`` [...] 0 or 1, ``misplaced``
    [..., F] m^2, the squared distance of each foot from its place over ground, which counts where the gait has a reach.
    """
    settings = gait.settings
    swing = (foot_phases(phase, asked) - settings.stance) / (1.0 - settings.stance)
    swinging = (swing > 0.0).float() * moving[..., None]
    sine = torch.sin(math.pi * swing).clamp(min=0.0)
    reference = asked.swing_height * (sine if settings.swing_power == 1.0 else sine**settings.swing_power)
    off = (sole_height - reference) / asked.swing_height
    below, above = off.clamp(max=0.0) / settings.tolerance, (off - settings.excess).clamp(min=0.0) / settings.excess_tolerance
    follows = torch.exp(-below.square() - above.square())
    standing = torch.lerp(contact, torch.maximum(contact, follows), moving[..., None]) if settings.soft else contact
    score = torch.lerp(standing, follows, swinging)
    if gait.reach is not None and misplaced is not None:
        score = score * torch.exp(-misplaced * (moving[..., None] / gait.reach**2))
    return score.mean(dim=-1)


def foot_places(phase: Tensor, hips: Tensor, gait: Gait, asked: GaitCommand) -> Tensor:
    """Where the feet belong over ground, relative to the base, in the frame that turns with its heading, [..., F, 2] m.

    A standing foot goes back at the velocity that is asked for and is under its hip at mid stance: hip + v T (1/2 - s), s its share of
    the stance that takes T. A swinging foot joins the two ends by the cubic that leaves and meets the ground without sliding.
    ``phase`` [..., 1] cycles, ``hips`` [F, 2] m.
    """
    stance, foot_phase = gait.settings.stance, foot_phases(phase, asked)
    stood = (foot_phase / stance).clamp(max=1.0)
    s = ((foot_phase - stance) / (1.0 - stance)).clamp(min=0.0)
    lead = stance * (0.5 - stood + s * s * (3.0 - 2.0 * s)) - (1.0 - stance) * s * (1.0 - s) * (1.0 - 2.0 * s)  # cycles
    turn = asked.velocity[..., None, 2:3] * torch.stack([-hips[:, 1], hips[:, 0]], dim=-1)  # the hips' speed as the base turns
    velocity = asked.velocity[..., None, :2] + turn
    seconds = lead / asked.frequency
    return hips + velocity * seconds[..., None]
