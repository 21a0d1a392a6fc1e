"""The simulation gate: what a candidate must show in simulation before it moves the robot."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.contract import Contract
from deploy.policy import RobotPolicy
from locomotion.evaluation import scorecard
from locomotion.finetuning.base import Base
from locomotion.finetuning.exploring import ExploringPolicy
from locomotion.models.actor_critic import Actor
from locomotion.task.randomization import NOMINAL, RandomizationSettings

SCORES = ("tracking_score", "yaw_score")
Figures = dict[str, dict[str, float]]  # by condition: SCORES and fall_rate


@dataclass(frozen=True)
class Passed:
    """What the gate found; ``why`` is empty where the candidate may walk."""

    figures: Figures
    why: str


class SimulationGate:
    """The scorecard, nominal and under ``randomization``, of a candidate against the base's own.

    No fall on the nominal robot; falls of randomized ones, and scores, no further than ``margin`` from the base's.
    """

    def __init__(
        self, base: Base, contract: Contract, randomization: RandomizationSettings, episodes: int, margin: float, seed: int = 0
    ) -> None:  # fmt: skip
        self._base, self._contract, self._episodes, self._margin, self._seed = base, contract, episodes, margin, seed
        self._conditions = {"nominal": NOMINAL} | ({} if randomization == NOMINAL else {"randomized": randomization})
        self.reference = self.figures(base.actor)

    def figures(self, actor: Actor) -> Figures:
        policy = RobotPolicy(ExploringPolicy(self._contract, self._base.policy(actor)), self._base.robot)
        return {
            name: scorecard.evaluate(policy, policy.robot, "mujoco", condition, self._episodes, self._seed)
            for name, condition in self._conditions.items()
        }

    def judge(self, actor: Actor) -> Passed:
        found = self.figures(actor)
        return Passed(found, objection(found, self.reference, self._margin))


def objection(found: Figures, base: Figures, margin: float) -> str:
    """Why figures do not pass, or nothing. A figure that is no number does not."""
    for name, ours in found.items():
        theirs = base[name]
        allowed = 0.0 if name == "nominal" else theirs["fall_rate"] + margin
        if not ours["fall_rate"] <= allowed:
            return f"{name}: {100 * ours['fall_rate']:.0f} % of the robots fall, {100 * allowed:.0f} % may"
        for score in SCORES:
            if score in theirs and not ours[score] >= theirs[score] - margin:
                return f"{name}: {score} is {ours[score]:.3f}, the base's {theirs[score]:.3f}, and it may be {margin:g} less"
    return ""
