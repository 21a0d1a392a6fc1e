"""Try a foreign policy's description, and every single change of it, on the plant: under which does the policy stand and walk?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor

import sim
from locomotion.adapters.foreign_file import load_network
from locomotion.adapters.foreign_graph import ForeignGraph
from locomotion.adapters.foreign_import import GraphRunner
from locomotion.adapters.foreign_policy import Description, ForeignPolicy, describe
from locomotion.adapters.foreign_variations import Variation, variations
from locomotion.evaluation.rollout import World, divide, has_fallen, rollout
from locomotion.task.randomization import NOMINAL
from robots.errors import InputError
from sim import Simulator

SECONDS = 4.0  # of every trial
TRIALS = ((0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.0, 0.5))  # forward, left, yaw
# A change that only makes a policy quicker, such as a shorter gait cycle, gains up to 0.05: less than that says nothing.
MARGIN = 0.08  # of the score by which a change must be better to be named
ALIKE = 0.05  # of the score, between changes that the plant does not tell apart
ROUNDS = 3  # changes that are looked for, one upon the other
ROUGH = 0.1  # score lost to targets that change by 1 rad a step, root mean square


@dataclass(frozen=True)
class Outcome:
    """How the policy did under a description, over :data:`TRIALS`."""

    variation: Variation
    upright: float  # share of the time
    tracking: float  # mean of exp(-4 |velocity error|^2) and of the yaw rate's, 0 once fallen
    roughness: float  # root mean square of the target's change a step, rad
    given_up: bool = False  # no longer able to be among the best: the rest of the time counts as fallen

    @property
    def score(self) -> float:
        return self.tracking - ROUGH * min(self.roughness, 1.0)

    @property
    def stands(self) -> bool:
        return self.upright == 1.0


@dataclass(frozen=True)
class Round:
    """All outcomes of one search, the best first; ``described`` is that of the description it began with."""

    described: Outcome
    outcomes: tuple[Outcome, ...]

    @property
    def better(self) -> tuple[Outcome, ...]:
        """The best change and those that the plant does not tell from it; none where the description is as good."""
        best = self.outcomes[0]
        if best.score < self.described.score + MARGIN:
            return ()
        return tuple(outcome for outcome in self.outcomes if outcome.score > best.score - ALIKE)


class Plant:
    """Robots, one a trial, that a description's policy drives; the network's file is read once."""

    def __init__(self, found: Description) -> None:
        self.network, _ = load_network(found)
        self._folder = found.file.parent
        self._simulators: dict[bytes, Simulator] = {}

    def attempt(self, variation: Variation, enough: float = -1.0) -> Outcome | None:
        """None where the description with this change cannot be built, such as gains beyond the robot's.

        It is given up as soon as its score must stay below ``enough``.
        """
        try:
            found = describe(variation.settings, self._folder)
            runner = GraphRunner(ForeignGraph(found, self.network))
        except (InputError, onnx.checker.ValidationError):
            return None
        simulator = self._simulator(found)
        world = World(simulator, NOMINAL, found.settings.control_dt, seed=0)
        command = _commands(found.settings)
        actor = _Actor(runner)
        actor.reset(len(TRIALS))
        fallen = torch.zeros(len(TRIALS), dtype=torch.bool)
        upright, tracking, roughness, steps = 0.0, 0.0, 0.0, 0
        total, given_up = round(SECONDS / found.settings.control_dt), False
        for _ in rollout(actor, world, command, SECONDS):
            signals, steps = simulator.signals, steps + 1
            fallen |= simulator.faults | ~torch.isfinite(actor.target).all(dim=-1)
            fallen |= has_fallen(signals, found.own)
            alive = (~fallen).double()
            asked = torch.tensor(TRIALS)
            off = (signals.base_lin_vel[:, :2] - asked[:, :2]).square().sum(-1)
            turn = (signals.base_ang_vel[:, 2] - asked[:, 2]).square()
            upright += float(alive.mean())
            tracking += float((alive * 0.5 * (torch.exp(-4.0 * off) + torch.exp(-4.0 * turn))).mean())
            roughness += float((alive * actor.change.nan_to_num(1e3).square().mean(-1)).mean())
            most = tracking + (total - steps) * float(alive.mean())
            if most / total < enough or bool(fallen.all()):
                given_up = not bool(fallen.all())
                break
        return Outcome(variation, upright / total, tracking / total, (roughness / steps) ** 0.5, given_up)

    def _simulator(self, found: Description) -> Simulator:
        """Of robots that stand in their own default pose, under the policy's gains: as a deployment begins."""
        robot = dataclasses.replace(found.own, kp=found.robot.kp, kd=found.robot.kd)
        key = robot.kp.tobytes() + robot.kd.tobytes()
        if key not in self._simulators:
            self._simulators[key] = sim.make("mujoco", robot, len(TRIALS), divide(found.settings.control_dt)[1])
        return self._simulators[key]


class _Actor:
    """The policy as a rollout drives it; keeps the last target and how much it changed."""

    def __init__(self, runner: GraphRunner) -> None:
        self._runner, self.inputs = runner, runner.inputs

    def reset(self, batch: int) -> None:
        self._runner.reset(batch)
        self.target, self.change = torch.zeros(batch, 0), torch.zeros(batch, 1)

    def act(self, signals: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        target, action = (torch.from_numpy(value) for value in self._runner.step({name: signals[name].numpy() for name in self.inputs}))
        if self.target.shape == target.shape:
            self.change = target - self.target
        self.target = target
        return target, action


def _commands(settings: ForeignPolicy) -> Tensor:
    """:data:`TRIALS` by the policy's channels, those that are no velocity at rest, within its ranges [trials, C]."""
    columns = {"forward": 0, "left": 1, "yaw": 2}
    rows = np.array([[trial[columns[name]] if name in columns else 0.0 for name in settings.commands] for trial in TRIALS])
    low, high = np.array(list(settings.commands.values())).reshape(-1, 2).T
    return torch.tensor(rows.reshape(len(TRIALS), -1).clip(low, high), dtype=torch.float32)


def search(found: Description, progress: Callable[[float], object] = lambda share: None) -> Iterator[Round]:
    """Try every single change; while the policy falls, every further change of the best one.

    Raises:
        InputError: the description or its file cannot be used.
    """
    plant = Plant(found)
    ForeignGraph(found, plant.network)  # what does not fit is an error of the description itself
    for _ in range(ROUNDS):
        tried = list(variations(found))
        kept: list[Outcome] = []
        for i, variation in enumerate(tried):
            enough = max((outcome.score for outcome in kept), default=-1.0) - ALIKE
            if outcome := plant.attempt(variation, enough):
                kept.append(outcome)
            progress((i + 1) / len(tried))
        described = kept[0]
        ranked = Round(described, tuple(sorted(kept, key=lambda outcome: -outcome.score)))
        yield ranked
        if not ranked.better or ranked.outcomes[0].stands:
            return
        found = describe(ranked.outcomes[0].variation.settings, found.file.parent)
