"""Figures of a gait that an expert looks at: pure functions of signals [T, N, ...] sampled every ``dt`` seconds.

``T`` is the number of samples, ``N`` of robots, ``F`` of feet; ``contact`` [T, N, F] is true where a foot carries load. All signals
of a row are of one instant (:func:`locomotion.evaluation.gait_trial.align` sees to that). What a robot gave no sample of is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

Array = np.ndarray
MIN_AIR = 0.03  # s without contact that make a swing: shorter ones are bounces
STEP_AIR = 0.04  # s without contact that make a step of a robot told to stand
BEFORE_TOUCHDOWN = 0.01  # s in which the fastest fall is looked for
WINDOW = 1.0  # s in which a peak to peak is taken: slow drifts are another figure


def swings(contact: Array, dt: float, min_air: float = MIN_AIR) -> list[tuple[int, int]]:
    """Swings of one foot, ``contact`` [T]: first sample in the air and first on the ground again, where the record holds both."""
    change = np.diff(np.asarray(contact, dtype=np.int8))
    lift, land = np.flatnonzero(change == -1) + 1, np.flatnonzero(change == 1) + 1
    ends = [(start, land[land > start][:1]) for start in lift]
    return [(int(start), int(end[0])) for start, end in ends if len(end) and (end[0] - start) * dt >= min_air - 1e-9]


def _each_foot(contact: Array, figure: Callable[[int, int], float]) -> Array:
    """``figure(n, f)`` of every foot, [N, F]."""
    _, robots, feet = contact.shape
    return np.array([[figure(n, f) for f in range(feet)] for n in range(robots)]).reshape(robots, feet)


def _median(values: list[float]) -> float:
    return float(np.median(values)) if len(values) else np.nan


def swing_apex(sole_height: Array, contact: Array, dt: float) -> Array:
    """Highest clearance of the sole in a swing, median over swings, m [N, F]. ``sole_height`` [T, N, F] m above the ground."""
    return _each_foot(contact, lambda n, f: _median([sole_height[a:b, n, f].max() for a, b in swings(contact[:, n, f], dt)]))


def touchdown_fall(foot_vel: Array, contact: Array, dt: float) -> Array:
    """Fastest fall in the last 10 ms before contact, median over landings, m/s [N, F]. ``foot_vel`` [T, N, F, 3] m/s, world.

    The first sample of contact counts too: no force has acted on the foot before it.
    """
    back = round(BEFORE_TOUCHDOWN / dt)
    return _each_foot(
        contact,
        lambda n, f: _median([-foot_vel[max(b - back, 0) : b + 1, n, f, 2].min() for _, b in swings(contact[:, n, f], dt)]),
    )


def touchdown_slide(foot_vel: Array, contact: Array, dt: float) -> Array:
    """Horizontal speed of the foot's centre as it lands, median over landings, m/s [N, F]."""
    return _each_foot(
        contact, lambda n, f: _median([float(np.linalg.norm(foot_vel[b, n, f, :2])) for _, b in swings(contact[:, n, f], dt)])
    )


def peak_force(force: Array, contact: Array, weight: Array, dt: float) -> Array:
    """Largest vertical force of a stance, median over stances, in body weights [N, F]. ``force`` [T, N, F] N; ``weight`` [N] N.

    A foot that never swings has one stance, the whole record.
    """

    def figure(n: int, f: int) -> float:
        air = swings(contact[:, n, f], dt)
        stances = [(b, c) for (_, b), (c, _) in pairwise(air)] if air else [(0, len(contact))]
        return _median([force[a:b, n, f].max() for a, b in stances])

    return _each_foot(contact, figure) / np.asarray(weight)[:, None]


def duty_factor(contact: Array) -> Array:
    """Share of the time that a foot is on the ground, [N, F]."""
    return np.asarray(contact, dtype=float).mean(axis=0)


def stride_frequency(contact: Array, dt: float) -> Array:
    """Landings of one foot a second, from the median time between them over all feet, Hz [N]; 0 where no foot lands twice."""
    result = []
    for n in range(contact.shape[1]):
        gaps = [np.diff([b for _, b in swings(contact[:, n, f], dt)]) for f in range(contact.shape[2])]
        gap = _median(list(np.concatenate(gaps)))
        result.append(0.0 if np.isnan(gap) else 1.0 / (gap * dt))
    return np.array(result)


def peak_to_peak(values: Array, dt: float) -> Array:
    """Largest less smallest within a second, median over the seconds of the record, [N]. ``values`` [T, N]."""
    window = min(round(WINDOW / dt), len(values))
    return np.median([np.ptp(values[i : i + window], axis=0) for i in range(0, len(values) - window + 1, window)], axis=0)


def sway(left_velocity: Array, dt: float) -> Array:
    """How far the base swings from side to side about its mean path, peak to peak, m [N]. ``left_velocity`` [T, N] m/s."""
    return peak_to_peak(np.cumsum(left_velocity - left_velocity.mean(axis=0), axis=0) * dt, dt)


def bias(velocity: Array, command: Array) -> Array:
    """Mean velocity less the command, [N, 3] m/s, m/s, rad/s. ``velocity`` [T, N, 3] forward, left, yaw; ``command`` [N, 3]."""
    return velocity.mean(axis=0) - command


def cost_of_transport(torque: Array, joint_vel: Array, velocity: Array, weight: Array) -> tuple[Array, Array]:
    """Energy per weight and distance, [N]: with sum |torque joint_vel|, and with regained energy, max(sum torque joint_vel, 0).

    ``torque`` and ``joint_vel`` [T, N, J], ``velocity`` [T, N, 2] m/s, ``weight`` [N] N. NaN where a robot stays in place.
    """
    power = torque * joint_vel
    distance = np.linalg.norm(velocity, axis=-1).sum(axis=0)
    scale = 1.0 / np.where(distance > 0.05 * len(velocity), distance * weight, np.nan)  # below 5 cm/s it goes nowhere
    return np.abs(power).sum(axis=(0, 2)) * scale, np.maximum(power.sum(axis=(0, 2)), 0.0) * scale


def foothold(ahead: Array, contact: Array, dt: float) -> Array:
    """Where a foot lands, ahead of its hip, median over landings, m [N, F]. ``ahead`` [T, N, F] m, foot less hip, heading frame."""
    return _each_foot(contact, lambda n, f: _median([ahead[b, n, f] for _, b in swings(contact[:, n, f], dt)]))


def heading_frame(vectors: Array, quat: Array) -> Array:
    """World ``vectors`` [..., 3] in the frame that turns with the heading alone: forward, left, up. ``quat`` [..., 4] w, x, y, z."""
    w, x, y, z = np.moveaxis(quat, -1, 0)
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    c, s = np.cos(yaw), np.sin(yaw)
    forward = c * vectors[..., 0] + s * vectors[..., 1]
    return np.stack([forward, c * vectors[..., 1] - s * vectors[..., 0], vectors[..., 2]], axis=-1)


def steps_taken(contact: Array, dt: float) -> Array:
    """Times that a foot lost the ground for at least 40 ms and found it again, [N, F]."""
    return _each_foot(contact, lambda n, f: float(len(swings(contact[:, n, f], dt, STEP_AIR))))


def drift(position: Array) -> Array:
    """Horizontal distance from first to last sample, m [N]. ``position`` [T, N, 2 or 3] m, world."""
    return np.linalg.norm(position[-1, :, :2] - position[0, :, :2], axis=-1)


def rms(values: Array) -> Array:
    """Root of the mean square over time and joints, [N]. ``values`` [T, N, J]."""
    return np.sqrt(np.square(values).mean(axis=(0, 2)))


def settling_time(speed: Array, contact: Array, dt: float, limit: float) -> Array:
    """Seconds until ``speed`` [T, N] stays below ``limit`` and all feet stay down, [N]; infinite where they never do."""
    moving = (speed >= limit) | ~np.asarray(contact, dtype=bool).all(axis=-1)  # [T, N]
    last = len(moving) - np.argmax(moving[::-1], axis=0)  # first sample after the last motion
    seconds = np.where(moving.any(axis=0), last * dt, 0.0)
    return np.where(moving[-1], np.inf, seconds)
