"""The simulation gate: what a candidate must show in simulation before it moves the robot."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deploy.contract import Contract
from deploy.policy import RobotPolicy
from locomotion.evaluation import scorecard
from locomotion.finetuning.base import Base
from locomotion.finetuning.exploring import ExploringPolicy, Noise
from locomotion.models.actor_critic import Actor
from locomotion.task.randomization import NOMINAL, RandomizationSettings
from robots.errors import InputError

SCORES = ("tracking_score", "yaw_score")
Figures = dict[str, dict[str, float]]  # by condition: SCORES and fall_rate


@dataclass(frozen=True)
class Passed:
    """What the gate found; ``why`` is empty where the candidate may walk."""

    figures: Figures
    why: str


class SimulationGate:
    """The scorecard of a candidate against the base's own: nominal, as it may be left behind; and as it is to walk, with the
    exploration's ``noise``, nominal and under ``randomization``.

    No fall on the nominal robot; falls of randomized ones, and scores, no further than ``margin`` from the base's. Raises InputError
    where the base itself falls.
    """

    def __init__(
        self, base: Base, contract: Contract, randomization: RandomizationSettings, noise: Noise, episodes: int, margin: float,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self._base, self._contract, self._noise = base, contract, noise
        self._episodes, self._margin, self._seed = episodes, margin, seed
        self._conditions = {"nominal": (NOMINAL, 0.0), "nominal, exploring": (NOMINAL, 1.0)}
        if randomization != NOMINAL:
            self._conditions["randomized, exploring"] = (randomization, 1.0)
        self.reference = self.figures(base.actor)
        if why := objection(self.reference, self.reference, margin):
            remedy = "A smaller std explores less; a base that falls without it is none to fine-tune."
            raise InputError("std", noise.std, f"a base that stays up in simulation; {why}", remedy)

    def figures(self, actor: Actor) -> Figures:
        """Of each condition."""
        found: Figures = {}
        for name, (condition, share) in self._conditions.items():
            exploring = ExploringPolicy(self._contract, self._base.policy(actor))
            exploring.begin(actor, share * self._sequence())
            policy = RobotPolicy(exploring, self._base.robot)
            found[name] = scorecard.evaluate(policy, policy.robot, "mujoco", condition, self._episodes, self._seed)
        return found

    def _sequence(self) -> Tensor:
        """[T, N, A] of noise: every robot explores by itself, and every policy alike."""
        steps, joints = round(scorecard.SECONDS / self._noise.control_dt) + 1, self._base.robot.num_joints
        return self._noise.sequence(steps, self._episodes * joints, self._seed).view(steps, self._episodes, joints)

    def judge(self, actor: Actor) -> Passed:
        found = self.figures(actor)
        return Passed(found, objection(found, self.reference, self._margin))


def objection(found: Figures, base: Figures, margin: float) -> str:
    """Why figures do not pass, or nothing. A figure that is no number does not."""
    for name, ours in found.items():
        theirs = base[name]
        allowed = 0.0 if name.startswith("nominal") else theirs["fall_rate"] + margin
        if not ours["fall_rate"] <= allowed:
            return f"{name}: {100 * ours['fall_rate']:.0f} % of the robots fall, {100 * allowed:.0f} % may"
        for score in SCORES:
            if score in theirs and not ours[score] >= theirs[score] - margin:
                return f"{name}: {score} is {ours[score]:.3f}, the base's {theirs[score]:.3f}, and it may be {margin:g} less"
    return ""
