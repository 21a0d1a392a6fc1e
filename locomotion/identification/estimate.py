"""Least squares over many short simulations: Gauss-Newton steps, how sure they are, and what the log does not show.

The estimate minimises the squared residuals over their noise, plus the squared distance from what is believed beforehand over its
deviation (maximum a posteriori). Steps are Levenberg-Marquardt's, with forward differences, all columns in one batch. What is wrong
with a window's initial state stays wrong for the whole window, so windows, and not samples, are what is independent (Liang and Zeger
1986); intervals are a jackknife's, that leaves out one window at a time (MacKinnon and White 1985; Bell and McCaffrey 2002).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from locomotion.identification.recording import MEASURED, NOISE, Recording, Windows
from locomotion.identification.shooting import Shooting
from locomotion.identification.unknowns import Unknown
from robots.actuator import torque_bounds
from robots.errors import InputError

COARSE, STEPS = 4, (6, 6)  # first every fourth window, then all; steps at most
SETTLING = 5  # steps of central differences at most
ENOUGH = (0.003, 0.0)  # of the cost that a step must take off for another to follow
ROUGH, SETTLED = 1.0, 0.2  # standard deviations: a step that moves no parameter further is the last, of forward and of central ones
TRIALS = (4.0, 2.0, 1.0, 0.3)  # shares of a step that are tried together: jumps of contacts make steps too short
FAR = 4.0  # standard deviations beyond which a residual counts linearly (Huber 1964)
UNSEEN = 0.5  # of its deviation beforehand that a parameter keeps, and is called not seen
FACTORS = ("motor_strength", "kp_scale", "kd_scale")
NEAR, LIMITED = 0.9, 0.005  # of a motor's limit, and of the samples there, from which on the limit shows
BOUND_TOGETHER = 0.3  # component of a direction that is worth naming
LARGE = 100.0  # deviations that count for one that is further off
LEVEL = 0.95  # of the intervals


@dataclass(frozen=True)
class Estimate:
    """P parameters."""

    sought: list[Unknown]
    value: np.ndarray  # [P]
    deviation: np.ndarray  # [P] standard deviations
    interval: np.ndarray  # [P, 2] of LEVEL
    seen: np.ndarray  # [P] bool: the log says more of it than was believed before
    together: list[str]  # combinations that the log does not tell apart, in words
    sigma: np.ndarray  # [D] deviation of each signal's residuals
    fit: dict[str, float]  # root mean square residual over noise, of the windows fitted and held out, before and after
    measured: np.ndarray  # [W, K, D] of the windows held out
    before: np.ndarray  # [W, K, D] as the robot is described
    after: np.ndarray  # [W, K, D] as it was identified


@dataclass
class _Problem:
    """Residuals of some windows."""

    many: Shooting  # one candidate more than parameters
    few: Shooting  # as many as TRIALS
    measured: np.ndarray  # [W, K, D]
    fitted: np.ndarray  # [W] bool
    sigma: np.ndarray  # [D]
    start: np.ndarray  # [P]
    prior: np.ndarray  # [P] deviation beforehand

    @classmethod
    def of(cls, recording: Recording, windows: Windows, sought: Sequence[Unknown], sigma: np.ndarray, threads: int) -> _Problem:
        many, few = (Shooting(recording, windows, sought, count, threads) for count in (len(sought) + 1, len(TRIALS)))
        start, prior = np.array([(unknown.start, unknown.belief.deviation) for unknown in sought]).T
        return cls(many, few, many.measured(), ~windows.judge, sigma, start, prior)

    def residuals(self, shooting: Shooting, theta: np.ndarray) -> np.ndarray:
        """Over their noise, [C, W, K * D], of ``theta`` [C, P]; where a simulation diverged they are far."""
        residual = (shooting.run(theta) - self.measured) / self.sigma
        return np.where(np.isfinite(residual), residual, LARGE).reshape(*residual.shape[:2], -1)

    def cost(self, residual: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """[C]"""
        far = np.abs(residual[:, self.fitted])
        huber = np.where(far < FAR, 0.5 * far**2, FAR * (far - 0.5 * FAR)).sum(axis=(1, 2))
        return huber + 0.5 * np.square((theta - self.start) / self.prior).sum(axis=1)


def estimate(
    recording: Recording, windows: Windows, sought: Sequence[Unknown], threads: int = 0, progress: Callable[[str], None] = print
) -> Estimate:
    """The parameters ``sought`` of the robot in ``recording``. Raises InputError where no simulation follows the log."""
    theta = np.array([unknown.start for unknown in sought])
    sigma = np.concatenate([np.full(recording.measured[name].shape[1], NOISE[name]) for name in MEASURED])
    coarse = _Problem.of(recording, windows.some(COARSE), sought, sigma, threads)
    theta = _descend(coarse, theta, sought, STEPS[0], ENOUGH[0], progress)
    problem = _Problem.of(recording, windows, sought, coarse.sigma, threads)
    theta = _descend(problem, theta, sought, STEPS[1], ENOUGH[1], progress)
    nominal = problem.residuals(problem.few, np.repeat(problem.start[None], len(TRIALS), axis=0))[0]
    theta, residual, jacobian = _settle(problem, theta, sought, progress)
    if np.median(np.abs(residual)) > 0.5 * LARGE:
        raise InputError("log", "its commands", "a log that a simulation follows", "Is the robot on level ground, its description right?")
    return _result(problem, windows, sought, theta, residual, jacobian, nominal)


def _descend(
    problem: _Problem, theta: np.ndarray, sought: Sequence[Unknown], iterations: int, enough: float, progress: Callable[[str], None]
) -> np.ndarray:
    """Gauss-Newton steps from ``theta``, each as far as it helps, until they help little."""
    for iteration in range(iterations):
        residual, jacobian = _linearised(problem, theta, sought)
        problem.sigma, scale = _noise(residual[problem.fitted], problem.sigma)
        residual, jacobian = residual / scale, jacobian / scale[:, None]
        informations, scores = _by_window(problem, residual, jacobian)
        belief = np.diag(problem.prior**-2.0)
        step = -np.linalg.solve(informations.sum(axis=0) + belief, scores.sum(axis=0) + belief @ (theta - problem.start))
        trials = _within(theta + np.array(TRIALS)[:, None] * step, sought)
        costs, here = problem.cost(problem.residuals(problem.few, trials), trials), problem.cost(residual[None], theta[None])[0]
        best = int(costs.argmin())
        far = float((np.abs(trials[best] - theta) / _deviation(informations, scores, problem.prior)).max())
        progress(f"{problem.fitted.sum()} windows, step {iteration + 1}: cost {here:.0f} -> {costs[best]:.0f}, {far:.2f} deviations")
        if costs[best] < here:
            theta = trials[best]
        if costs[best] >= (1.0 - enough) * here or far < ROUGH:
            break
    return theta


def _settle(
    problem: _Problem, theta: np.ndarray, sought: Sequence[Unknown], progress: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From ``theta`` to where no Gauss-Newton step of central differences leads away; it, residuals and derivatives there.

    Forward differences bend: where their step is zero the gradient is not, by several deviations. And the cost jumps as contacts come and
    go, so that its least value is some jump's; a root of the gradient over differences this wide is that of the whole.
    """
    best, least = None, np.inf
    for iteration in range(SETTLING):
        residual, jacobian = _linearised(problem, theta, sought, central=True)
        informations, scores = _by_window(problem, residual, jacobian)
        belief = np.diag(problem.prior**-2.0)
        step = -np.linalg.solve(informations.sum(axis=0) + belief, scores.sum(axis=0) + belief @ (theta - problem.start))
        further = _within(theta + step, sought)
        far = float((np.abs(further - theta) / _deviation(informations, scores, problem.prior)).max())
        progress(f"{problem.fitted.sum()} windows, central step {iteration + 1}: {far:.2f} deviations")
        if best is None or far < least:
            best, least = (theta, residual, jacobian), far
        if least < SETTLED:
            break
        theta = further
    assert best is not None
    return best


def _linearised(problem: _Problem, theta: np.ndarray, sought: Sequence[Unknown], central: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Residuals [W, R] and their derivatives [W, R, P] by forward differences, into the bounds; or by central ones, in twice the time."""
    steps = np.array([unknown.belief.step for unknown in sought])
    low, high = np.array([unknown.bounds for unknown in sought]).T
    steps = np.where(theta + steps > high, -steps, steps)
    found = problem.residuals(problem.many, np.concatenate([theta[None], theta + np.diag(steps)]))
    here, beyond = found[0], found[0]
    if central:
        other = np.clip(theta - steps, low, high)
        beyond = problem.residuals(problem.many, np.concatenate([theta[None], theta + np.diag(other - theta)]))[1:]
        steps = theta + steps - other
    return here, np.moveaxis((found[1:] - beyond) / steps[:, None, None], 0, -1)


def _noise(residual: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The noise that the residuals [W, K * D] show: their median size, of each kind of signal; and its ratio to before [K * D]."""
    by_signal = np.abs(residual.reshape(len(residual), -1, len(sigma)))
    ratio, j = np.empty(len(sigma)), (len(sigma) - 6) // 2
    for part in (slice(0, j), slice(j, 2 * j), slice(2 * j, 2 * j + 3), slice(2 * j + 3, None)):
        ratio[part] = max(1.0 / np.sqrt(len(sigma)), 1.4826 * float(np.median(by_signal[..., part])))
    return sigma * ratio, np.tile(ratio, by_signal.shape[1])


def _by_window(problem: _Problem, residual: np.ndarray, jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Information [W, P, P] and gradient [W, P] of each window that is fitted, without the belief."""
    r, j = residual[problem.fitted], jacobian[problem.fitted]
    weight = np.minimum(1.0, FAR / np.maximum(np.abs(r), 1e-12))  # of Huber's cost
    return np.einsum("wr,wrp,wrq->wpq", weight, j, j, optimize=True), np.einsum("wr,wr,wrp->wp", weight, r, j)


def _within(theta: np.ndarray, sought: Sequence[Unknown]) -> np.ndarray:
    low, high = np.array([unknown.bounds for unknown in sought]).T
    return theta.clip(low, high)


def _result(
    problem: _Problem, windows: Windows, sought: Sequence[Unknown], theta: np.ndarray, residual: np.ndarray, jacobian: np.ndarray,
    nominal: np.ndarray,
) -> Estimate:  # fmt: skip
    informations, scores = _by_window(problem, residual, jacobian)
    information = informations.sum(axis=0) + np.diag(problem.prior**-2.0)
    deviation = _deviation(informations, scores, problem.prior)
    reach = _student(LEVEL, max(len(scores) - 1, 1)) * deviation
    seen = deviation < UNSEEN * problem.prior
    one, named = _one_torque(problem.many.recording, sought)
    together, seen = _together(problem, information, sought) + named, seen & ~one
    held, shown = windows.judge, problem.measured[windows.judge]
    before, after = (shown + r[held].reshape(shown.shape) * problem.sigma for r in (nominal, residual))
    return Estimate(
        list(sought), theta, deviation, np.stack([_within(theta - reach, sought), _within(theta + reach, sought)], axis=1), seen, together,
        problem.sigma,
        {"fitted before": _size(nominal[~held]), "fitted": _size(residual[~held]), "held out before": _size(nominal[held]),
         "held out": _size(residual[held])},
        shown, before, after,
    )  # fmt: skip


def _deviation(informations: np.ndarray, scores: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """[P] standard deviations: of one Gauss-Newton step's results without each of the windows, beside what the belief leaves open; or as
    independent residuals would have them where that is more."""
    belief = np.diag(prior**-2.0)
    information, windows = informations.sum(axis=0) + belief, len(scores)
    without = np.linalg.solve(information - informations, (scores - scores.mean(axis=0))[..., None])[..., 0]  # [W, P]
    inverse = np.linalg.inv(information)
    spread = np.square(without).sum(axis=0) * (windows - 1) / windows + np.square(inverse) @ prior**-2.0
    return np.sqrt(np.maximum(spread, np.diag(inverse)))


def _size(residual: np.ndarray) -> float:
    """Root mean square; a simulation that diverged does not hide all others."""
    return float(np.sqrt(np.mean(np.minimum(np.square(residual), LARGE**2))))


def _together(problem: _Problem, information: np.ndarray, sought: Sequence[Unknown]) -> list[str]:
    """Directions in which the log says less than was believed before."""
    values, vectors = np.linalg.eigh(information * problem.prior * problem.prior[:, None])
    said = []
    for value, vector in zip(values, vectors.T, strict=True):
        if value < UNSEEN**-2:
            named = [unknown.name for unknown, part in zip(sought, np.abs(vector), strict=True) if part > BOUND_TOGETHER]
            said.append(("Only seen together: " if len(named) > 1 else "Not seen: ") + ", ".join(named))
    return said


def _one_torque(recording: Recording, sought: Sequence[Unknown]) -> tuple[np.ndarray, list[str]]:
    """[P] which factors of one torque are sought that no log tells apart: below its limit a motor gives strength kp (target - q) - strength
    kd dq, so that only two products show. And that in words."""
    robot, measured = recording.robot, recording.measured
    position, speed = measured["joint_pos"][1:], measured["joint_vel"][1:]
    wanted = robot.kp * (recording.target[:-1] - position) - robot.kd * speed
    low, high = torque_bounds(speed, robot.effort_limit, robot.torque_speed)
    limited = ((wanted < NEAR * low) | (wanted > NEAR * high)).mean(axis=0) > LIMITED  # [J]
    one, said = np.zeros(len(sought), bool), []
    for part, columns in {unknown.part: unknown.columns for unknown in sought if unknown.parameter in FACTORS}.items():
        same = [p for p, unknown in enumerate(sought) if unknown.part == part and unknown.parameter in FACTORS]
        if len(same) == len(FACTORS) and not limited[list(columns)].any():
            one[same] = True
            said.append(f"Only seen together, since no motor came to its limit: {', '.join(sought[p].name for p in same)}")
    return one, said


def _student(level: float, freedom: int) -> float:
    """Quantile of Student's t for a two-sided interval (Abramowitz and Stegun 1964, 26.7.5)."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf(0.5 + 0.5 * level)
    g1, g2 = (z**3 + z) / 4.0, (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    return z + g1 / freedom + g2 / freedom**2
