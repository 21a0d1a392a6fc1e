"""What a robot with the physics that was found would have measured in the same windows: how far an estimate is off by its own making.

A parametric bootstrap (Efron and Tibshirani 1993, chapters 6 and 10): each replica is the log's commands simulated from a while before
every window, measured with noise drawn anew, and begun again from what was measured. What is then wrong (noise in where a simulation
begins, a trunk that nobody measures, contacts that jump) is wrong alike in the log, but of a replica the truth is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from locomotion.identification.recording import MEASURED, Recording, Windows, beginnings
from locomotion.identification.shooting import EARLIER, Shooting
from locomotion.identification.unknowns import Unknown

BEFORE = 25  # control steps that a replica is simulated before its window begins


def replicas(
    recording: Recording, windows: Windows, sought: Sequence[Unknown], theta: np.ndarray, sigma: np.ndarray, count: int, threads: int
) -> tuple[Recording, Windows]:
    """``count`` replicas of the windows that are fitted and have room before them, one after the other: a recording of robots with the
    physics ``theta`` [P] whose sensors have the deviations ``sigma`` [D], and its windows."""
    room = np.array([any(a + EARLIER <= first - BEFORE and first < b for a, b in recording.stretches) for first in windows.first])
    chosen = windows.first[~windows.judge & room]
    none = np.zeros(len(chosen), bool)
    if not len(chosen):
        return recording, replace(windows, first=chosen)
    begin = beginnings(recording, chosen - BEFORE)
    sooner = Windows(chosen - BEFORE, BEFORE + windows.steps, BEFORE - EARLIER - 1, begin, none)
    shooting = Shooting(recording, sooner, sought, 1, threads)
    clean, rows = shooting.run(theta[None])[0], shooting.rows  # [W, K, D], [W, K]
    good = np.isfinite(clean).all(axis=(1, 2))
    clean, rows = clean[good], np.tile(rows[good], (count, 1))
    random = np.random.default_rng(0)
    seen = np.tile(clean, (count, 1, 1)) + sigma * random.standard_normal((count * len(clean), *clean.shape[1:]))
    j, length = recording.robot.num_joints, rows.shape[1]
    parts = np.split(seen.reshape(-1, seen.shape[-1]), [j, 2 * j, 2 * j + 3], axis=1)
    flat, first = rows.ravel(), EARLIER + length * np.arange(len(rows))
    copy = replace(
        recording, sampled=recording.sampled[flat], heard=recording.heard[flat], target=recording.target[flat],
        measured=dict(zip(MEASURED, parts, strict=True)), stretches=[],
    )  # fmt: skip
    return copy, Windows(first, windows.steps, windows.lead, beginnings(copy, first), np.zeros(len(first), bool))
