"""A gait: which feet swing together, how often, how long and how high. Its clock runs in the policy's memory."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from locomotion.environment import MirrorMap, fixed
from locomotion.schema import Positive, Settings, Share, Text
from robots import Robot
from robots.errors import InputError, nearest


class GaitSettings(Settings):
    name: Text  # one of the robot's gaits
    stance: Share  # of the cycle that a foot stands
    swing_height: Positive | None  # m, clearance of the sole at mid swing; null: the robot's
    frequency: tuple[Positive, Positive] | None  # Hz at a standing start and at 1 m/s; null: the robot's
    tolerance: Positive  # m, how far below the reference a swinging foot may be
    excess: Positive  # m above the reference that is free, and again as tolerance beyond
    gate: Share  # of the tracking reward that depends on the gait


class Gait:
    """A gait of one robot."""

    def __init__(self, settings: GaitSettings, robot: Robot, control_dt: float, device: torch.device) -> None:
        if settings.name not in robot.gaits:
            raise InputError("task.gait.name", settings.name, f"a gait of {robot.name}", nearest(settings.name, robot.gaits))
        if settings.stance >= 1.0:
            raise InputError("task.gait.stance", settings.stance, "a share below 1, so that feet swing", "0.5 is a trot's.")
        self.settings, self.name = settings, settings.name
        self.swing_height = settings.swing_height or robot.swing_height
        slow, fast = settings.frequency or robot.stride_frequency
        self.cycles = slow * control_dt, (fast - slow) * control_dt  # a control step, and per m/s
        self.offsets = torch.tensor(robot.gaits[settings.name], dtype=torch.float32, device=device)
        self.clock_mirror = clock_mirror(robot.gaits[settings.name], robot.mirror.foot_index)


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


def gait_score(sole_height: Tensor, contact: Tensor, phase: Tensor, moving: Tensor, gait: Gait) -> Tensor:
    """How well the feet follow the clock, [...] in 0..1: clearance in swing, contact in stance; all feet down when standing.

    ``sole_height`` [..., F] in m, ``contact`` [..., F] 0 or 1, ``phase`` [..., 1] in cycles, ``moving`` [...] 0 or 1.
    """
    settings = gait.settings
    foot_phase = torch.remainder(phase + gait.offsets, 1.0)  # [..., F]: stance, then swing
    swing = (foot_phase - settings.stance) / (1.0 - settings.stance)
    swinging = (swing > 0.0).float() * moving[..., None]
    reference = gait.swing_height * torch.sin(math.pi * swing)
    below = (sole_height - reference).clamp(max=0.0) / settings.tolerance
    above = (sole_height - reference - settings.excess).clamp(min=0.0) / settings.excess
    follows = torch.exp(-below.square() - above.square())
    return torch.lerp(contact, follows, swinging).mean(dim=-1)
