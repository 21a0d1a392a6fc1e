"""An actuator network fitted to the torque that drives report, and the judge: torque that was held out, against the law's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import smooth_l1_loss

from locomotion.identification.drives import DELAYS, Samples, sample
from locomotion.identification.recording import Recording
from locomotion.identification.unknowns import parts_of
from robots.errors import InputError
from sim.actuator_network import Rest

WINDOW = 1.0  # s of a log that are fitted, held out or watched as one
WATCH = 4  # every so manyth window of those that are fitted says when to stop
BATCH, RATE, DECAY, LOOK_EVERY = 1024, 3e-3, 1e-4, 100
RIDGE = 1e-4  # share of an input's own spread below which a direction of the history counts as seen
INSIDE = 0.999  # share of the fitted inputs within the reach
BEYOND = 1.5  # times what that share of the torques is off the law by, which bounds the network
MOST = 1_000_000  # moments that a quantile is taken of
FREE = 0.95  # share of its limit below which a torque shows the law's gains
ALIKE = 1.01  # delays whose squared error is within this factor of the least are not told apart
SEEN = 0.98  # a delay that lowers the squared error less than to this share is not seen
DULL = 0.2  # share of a motor's torque, and of its speed, below which a log shows little
FRESH = 0.05  # share of the moments that should come soon after a new target


@dataclass(frozen=True)
class How:
    """What is learned of a log, and how long."""

    joints: str = "group"  # a network for "all" joints, each "group", or each "joint"
    history: int = 3  # moments
    spacing: float = 0.01  # s between two
    hidden: tuple[int, ...] = (16, 16)
    steps: int = 2000
    judge: int = 5  # every so manyth window is held out
    seed: int = 0


class Moments(NamedTuple):
    """K moments of the joints of one part, as learning has them."""

    x: torch.Tensor  # [1, I, K] inputs
    law: torch.Tensor  # [1, K] N m, as are the others
    low: torch.Tensor
    high: torch.Tensor
    torque: torch.Tensor


@dataclass(frozen=True)
class Part:
    """One network and its joints."""

    joints: tuple[int, ...]
    rest: Rest
    gains: tuple[float, float]  # the factors on kp and kd with which the law explains the log best, at its best delay


@dataclass(frozen=True)
class Fit:
    """A network for each part of a robot, by the part's name."""

    samples: Samples  # under the delay
    judge: np.ndarray  # [M] bool: held out
    parts: dict[str, Part]
    history: int
    spacing: float  # s
    delay: float  # s from a command to its effect
    delays: tuple[float, float] | None  # s, those that the log does not tell apart; None: it does not show a delay
    measured: np.ndarray  # [K, J] N m of the K moments held out
    laws: dict[str, np.ndarray]  # [K, J] N m of "law", "best law" and "network"
    trust: np.ndarray  # [K, J]
    poor: list[str]  # what the log shows too little of


def fit(recordings: Sequence[Recording], how: How, say: Callable[[str], None] = lambda words: None) -> Fit:
    """A network for each part of the robot.

    Raises InputError where the logs are too short, or their drives report no torque to learn from.
    """
    history, spacing = how.history, how.spacing
    told = sample(recordings, history, spacing, 0.0, WINDOW)
    groups = {name or "all": own for name, own in parts_of(told.robot, how.joints).items()}
    fitted, watched, judged = _split(told, how.judge)
    gains, costs = _at_each_delay(recordings, groups, history, spacing, fitted | watched)
    law = int(np.argmin(costs["law"]))
    seen = costs["history"].min() < SEEN * costs["history"][0]
    near = DELAYS[costs["history"] < ALIKE * costs["history"].min()]  # all that the steps of the log do not tell apart
    delay = float(0.5 * (near.min() + near.max())) if seen else 0.0
    samples = sample(recordings, history, spacing, delay, WINDOW)
    parts = {}
    for name, own in groups.items():
        say(f"{name}: {len(own)} joints, {int((fitted | watched).sum()) * len(own)} moments")
        parts[name] = Part(own, _train(samples, own, fitted, watched, how), gains[law][name])
    late = sample(recordings, history, spacing, float(DELAYS[law]), WINDOW)
    laws, trust = _predict(told, late, samples, parts, judged)
    delays = (float(near.min()), float(near.max())) if seen else None
    poor = _poor(told, groups, spacing)
    return Fit(samples, judged, parts, history, spacing, delay, delays, samples.torque[judged], laws, trust, poor)


def _split(samples: Samples, every: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[M] bool each: to fit, to watch, to judge."""
    block = samples.block
    count = int(block.max(initial=-1)) + 1
    if count < 2 * every:
        allowed = f"at least {2 * every * WINDOW:g} s under the robot's own gains, without gaps; they have {count * WINDOW:g} s"
        raise InputError("logs", f"{len(block)} moments", allowed, "Record a longer one: locomotion identify excite.")
    judged = block % every == every - 1
    watched = ~judged & ((block - block // every) % WATCH == WATCH - 1)
    return (block >= 0) & ~judged & ~watched, (block >= 0) & watched, (block >= 0) & judged


def _at_each_delay(
    recordings: Sequence[Recording], groups: dict[str, tuple[int, ...]], history: int, spacing: float, rows: np.ndarray
) -> tuple[list[dict[str, tuple[float, float]]], dict[str, np.ndarray]]:
    """Factors on kp and kd of each part at each of D delays, by least squares, and the squared errors [D] of that law and of what is
    linear in the history. The second tells a delay from a lag, which the history sees."""
    gains: list[dict[str, tuple[float, float]]] = []
    costs = {name: np.zeros(len(DELAYS)) for name in ("law", "history")}
    for d, delay in enumerate(DELAYS):
        samples, found = sample(recordings, history, spacing, float(delay), WINDOW), {}
        low, high = samples.bounds
        for name, joints in groups.items():
            past = samples.inputs(joints, rows)  # [2 H, K]
            own = list(joints)
            torque, least, most = (value[rows][:, own].T.ravel() for value in (samples.torque, low, high))
            kp, kd = (np.repeat(gain[own], rows.sum()) for gain in (samples.robot.kp, samples.robot.kd))
            free = (torque > FREE * least) & (torque < FREE * most)
            law = np.stack([kp * past[history - 1], -kd * past[-1]])
            for kind, design in (("law", law), ("history", past)):
                scale = np.linalg.lstsq(design[:, free].T, torque[free], rcond=None)[0]
                costs[kind][d] += np.square((scale @ design).clip(least, most) - torque).sum()
                if kind == "law":
                    found[name] = (float(scale[0]), float(scale[1]))
        gains.append(found)
    return gains, costs


def _train(samples: Samples, joints: tuple[int, ...], fitted: np.ndarray, watched: np.ndarray, how: How) -> Rest:
    """The network of one part: AdamW under Huber's loss, as it was when it predicted the watched windows best."""
    generator = torch.Generator().manual_seed(how.seed)
    data, watch = _moments(samples, joints, fitted), _moments(samples, joints, watched)
    rest = _prepare(data, how.hidden, generator)

    def now() -> tuple[float, dict[str, torch.Tensor]]:
        with torch.no_grad():
            return _loss(rest, watch).item(), {name: value.clone() for name, value in rest.state_dict().items()}

    best = now()
    optimizer = torch.optim.AdamW(rest.parameters(), lr=RATE, weight_decay=DECAY)
    for step in range(how.steps):
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1.0 + math.cos(math.pi * step / how.steps))
        rows = torch.randint(data.x.shape[-1], (BATCH,), generator=generator)
        optimizer.zero_grad()
        _loss(rest, Moments(*(value[..., rows] for value in data))).backward()
        optimizer.step()
        if (step + 1) % LOOK_EVERY == 0 or step + 1 == how.steps:
            best = min(best, now(), key=lambda one: one[0])
    rest.load_state_dict(best[1])
    return rest


def _moments(samples: Samples, joints: tuple[int, ...], rows: np.ndarray) -> Moments:
    own = list(joints)
    columns = [value[rows][:, own].T.ravel() for value in (samples.law(), *samples.bounds, samples.torque)]
    return Moments(*(torch.from_numpy(value).float()[None] for value in (samples.inputs(joints, rows), *columns)))


def _loss(rest: Rest, data: Moments) -> torch.Tensor:
    asked = torch.minimum(torch.maximum(data.law + rest(data.x), data.low), data.high)
    return smooth_l1_loss(asked / rest.unit[:, None], data.torque / rest.unit[:, None])


def _prepare(data: Moments, hidden: Sequence[int], generator: torch.Generator) -> Rest:
    """A network whose linear part explains what it can by least squares, and whose layers begin at zero."""
    inputs, count = data.x.shape[1:]
    rest, some = Rest(inputs, hidden), slice(None, None, max(1, count // MOST))
    left = (data.torque - torch.minimum(torch.maximum(data.law, data.low), data.high))[0]
    rest.scale[:] = data.x.square().mean(dim=2).sqrt().clip(min=1e-6)
    z = (data.x[0] / rest.scale[0, :, None]).T.double()  # [K, I]
    ridge = RIDGE * torch.eye(inputs, dtype=torch.float64)
    rest.metric[0] = torch.linalg.cholesky(torch.linalg.inv(z.T @ z / count + ridge)).T.float()
    rest.reach[0] = torch.quantile((z[some].float() @ rest.metric[0].T).norm(dim=-1), INSIDE)
    rest.unit[0] = left.square().mean().sqrt().clip(min=1e-3)
    rest.bound[0] = BEYOND * torch.quantile(left[some].abs(), INSIDE) / rest.unit[0]
    free = ((data.law > data.low) & (data.law < data.high))[0]
    inner, wanted = z[free], (left[free] / rest.unit[0]).double()
    with torch.no_grad():
        rest.linear[0] = torch.linalg.solve(inner.T @ inner + len(inner) * ridge, inner.T @ wanted).float()
        for weight in list(rest.weights)[:-1]:
            weight.copy_(torch.randn(weight.shape, generator=generator) / weight.shape[2] ** 0.5)
    return rest


def _predict(
    told: Samples, late: Samples, samples: Samples, parts: dict[str, Part], rows: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The torques [K, J] of the law as it is described, with its best gains and delay, and of the network; how far that is trusted."""
    low, high = (bound[rows] for bound in told.bounds)
    robot, law = told.robot, samples.law()[rows]
    laws = {"law": told.law()[rows].clip(low, high), "best law": np.zeros_like(law), "network": np.zeros_like(law)}
    trust = np.zeros_like(law)
    for part in parts.values():
        for j in part.joints:
            kp, kd = part.gains
            best = kp * robot.kp[j] * late.errors[rows, -1, j] - kd * robot.kd[j] * late.speeds[rows, -1, j]
            with torch.no_grad():
                rest, sure = (value[0].numpy() for value in part.rest.trusted(torch.from_numpy(samples.inputs((j,), rows)).float()[None]))
            laws["best law"][:, j] = best.clip(low[:, j], high[:, j])
            laws["network"][:, j] = (law[:, j] + rest).clip(low[:, j], high[:, j])
            trust[:, j] = sure
    return laws, trust


def _poor(samples: Samples, groups: dict[str, tuple[int, ...]], spacing: float) -> list[str]:
    """What the logs show too little of, in words."""
    robot, words = samples.robot, []
    fastest = robot.joint_vel_limit if robot.torque_speed is None else robot.torque_speed[1]
    for name, joints in groups.items():
        own = list(joints)
        for what, values, limits, unit in (
            ("torques", samples.torque, robot.effort_limit, "N m"),
            ("speeds", samples.speeds[:, -1], fastest, "rad/s"),
        ):
            share = np.quantile(np.abs(values[:, own]) / limits[own], 0.99)
            if share < DULL:
                limit = float(limits[own].max())
                words.append(f"{name}: {what} reach {share * limit:.2g} of {limit:.3g} {unit}; beyond that the law alone speaks")
    if (samples.age < spacing).mean() < FRESH:
        youngest, oldest = 1e3 * np.quantile(samples.age, (0.05, 0.95))
        words.append(
            f"moments come {youngest:.0f} to {oldest:.0f} ms after a new target: how motors answer within {1e3 * spacing:.0f} ms does not "
            "show (identify excite control_dt=0.005 hold=0.02)"
        )
    return words


def errors(found: Fit, joints: Sequence[int]) -> dict[str, float]:
    """Root mean square error of each law's torque, held out, N m."""
    own = list(joints)
    return {name: float(np.sqrt(np.square(law - found.measured)[:, own].mean())) for name, law in found.laws.items()}
