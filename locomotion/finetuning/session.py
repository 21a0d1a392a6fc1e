"""The recipe: walk, learn, pass the gate, walk beside the base, be kept or rolled back; until the robot's time is used.

Read :meth:`Session.run`. Whatever is decided is in ``state.pt`` before the next thing happens: a kill costs the run that it falls into.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deploy.policy import load as load_bundle
from locomotion.export import export_checkpoint
from locomotion.files import write_atomically, write_json
from locomotion.finetuning.area import Area
from locomotion.finetuning.base import Base
from locomotion.finetuning.batch import EARLY, Measure
from locomotion.finetuning.bounds import ActionBox, reach_of, refuse_wider, widest
from locomotion.finetuning.exploring import Noise
from locomotion.finetuning.gate import SimulationGate
from locomotion.finetuning.keeping import base_bundle, counted, mark, read_rows, told
from locomotion.finetuning.learners import learner_of
from locomotion.finetuning.plans import Plans
from locomotion.finetuning.rollback import Margins, Verdict, Walked, judge
from locomotion.finetuning.runner import Connection, Episode, EpisodeRunner, Outcome
from locomotion.finetuning.settings import RecipeSettings
from locomotion.finetuning.walks import Ends, Walk
from locomotion.finetuning.word import Word
from locomotion.runs import checkpoint
from locomotion.runs.folder import append_line
from locomotion.schema import plain
from robots.errors import InputError
from robots.heat import AMBIENT, TIME_CONSTANT

SHORTEN = 0.5  # of a candidate's way, after it failed the gate
TRIES = 3  # at the gate
LEAST_PAIRS = 2  # for a verdict on a candidate
MOST_RUNS = 3  # of a candidate, to come to these
PROGRESS = (
    "stage", "number", "rounds", "failures", "seconds", "steps", "resting", "accepted", "best", "best_difference", "pairs", "final",
    "tried", "alone",
)  # fmt: skip
NOT_ITS_DOING = frozenset({"empty_battery", "estop_silent", "estop_lost", "odd_reading"})  # reasons for a person to look, whoever walked

Say = Callable[[str], None]


class Session:
    """One fine-tuning in ``folder``, which the caller has locked. Raises InputError for settings that do not fit the policy."""

    def __init__(
        self, base: Base, settings: RecipeSettings, connection: Connection, word: Word, folder: Path, seed: int, limits: Any,
        wait: Callable[[float], None] = lambda seconds: None, say: Say = print, where: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.where = dict(where or {})  # what the robot is reached by, and what else another start must leave as it is
        self.base, self.settings, self.folder, self.seed, self._wait, self._say = base, settings, folder, seed, wait, say
        self.contract = load_bundle(base_bundle(base, folder), base.robot).contract
        refuse_wider(limits, widest(self.contract))
        self.limits, s = limits, settings
        channels = len(self.contract.command_names)
        for command in s.commands:
            if len(command) != channels:
                raise InputError("commands", list(command), f"{channels} numbers: {', '.join(self.contract.command_names)}", "Mend it.")
        dt = base.settings.task.control_dt
        self.measure, self.noise = Measure(base, s.rewards), Noise(s.std, s.correlation, dt)
        self.runner = EpisodeRunner(
            base, self.contract, connection, self.noise, Ends(s.ends.tilt, s.ends.temperature), word,
            Area(self.measure.kinematics, s.ends.radius, dt),
        )  # fmt: skip
        self.plans = Plans(s, self.contract, base.robot.num_joints, seed)
        self.learner = learner_of(s.learner, self.measure, self.noise, seed)
        self.gate: SimulationGate | None = None
        self._passed = {mark(base.actor)}  # those that may walk, by this very process's gate
        self.box: ActionBox | None = None  # none while the base alone walks
        self.stage, self.number, self.rounds, self.failures = "warm_up", 0, 0, 0
        self.seconds, self.steps, self.resting = 0.0, 0, False
        self.accepted = torch.zeros(0)  # where the policy was when it was last kept; nowhere before the base has walked
        self.tried = 0  # runs of the present candidate
        self.pairs: list[list[dict[str, Any]]] = []  # what the present candidate and the base came to in the same walks
        self.alone: list[dict[str, Any]] = []  # ... and what it came to in walks that the base did not walk
        self.best, self.best_difference = torch.zeros(0), 0.0  # of those that were kept, by the pairs that kept them
        self.final: dict[str, Any] | None = None

    def refuse_too_short(self) -> None:
        """Raises InputError where nothing could come of it: the base would walk in vain, and the last test after its time."""
        least = self.plans.seconds(self._plan("warm_up"), self._plan("learn"), *self.plans.tests()) / 60.0
        if self.settings.minutes < least:
            allowed = f"at least {math.ceil(10.0 * least) / 10.0:g}: a warm-up, one round, and the last test"
            raise InputError("minutes", self.settings.minutes, allowed, "Raise it, or lower final_pairs, warm_up_walks or walk_seconds.")

    def run(self) -> str:
        """To the end. Returns how it ended: ``done``; ``stopped`` by the person, in order or by a signal; ``pressed``, by the e-stop or the
        remote; ``latched``, where the supervisor wants a person to look. All but the first go on from ``state.pt``."""
        if self.stage != "done":
            self._open_gate()
        while self.stage != "done":
            if self.stage == "final" and not self.learner.moved:
                break
            if self.stage == "learn" and (self._given_up or not self._time_for(self._plan("learn"), *self.plans.tests())):
                self.stage, self.pairs, self.alone, self.resting = "done", [], [], True
                if len(self.best):  # the last test is of the best of those that walked
                    self.learner.go_back(self.best)
                    self.stage = "final"
                continue
            if self.stage != "warm_up" and not self._may_walk():
                continue
            self._cool()
            plan = self._plan(self.stage)
            actors = {"base": self.base.actor, "candidate": self.learner.candidate()}
            limits = self.box.limits(self.limits) if self.box else self.limits
            outcome = self.runner.run(plan, actors, limits, self.number, self.folder / "logs" / f"run_{self.number:03d}.mcap")
            self.seconds += outcome.seconds
            self.steps += sum(map(len, outcome.episodes))
            self.resting, self.runner.temperature = outcome.warm, outcome.temperature
            if outcome.stopped and not outcome.latched:
                self._cut(outcome)
                checkpoint.save(self.folder / "state.pt", self.state_dict())
                return "pressed" if outcome.pressed else "stopped"
            figures = {"run": self.number, "stage": self.stage, "robot_seconds": self.seconds, **told(outcome, self.measure)}
            figures |= self._fault(outcome) if outcome.latched else self._learned(plan, outcome.episodes)
            self._box(outcome, figures)
            self.number += 1
            self._keep(figures)
            if outcome.latched and self.stage != "done":
                return "latched"
        self._leave()
        return "done"

    def _learned(self, plan: Sequence[Walk], episodes: Sequence[Episode]) -> dict[str, Any]:
        """What follows from a run's episodes. Of one that was cut short nothing does but another: all that walked is learned from."""
        if episodes and self.stage != "final":
            for who in sorted({one.walk.who for one in episodes}):
                self.learner.take(self.measure.batch([one for one in episodes if one.walk.who == who]))
        if self.stage == "warm_up":
            if 2 * len(episodes) >= len(plan):
                return self._warm_up(episodes)
            self.failures += not episodes
            self.stage = "done" if self._given_up or not self._time_for(plan) else "warm_up"
            return {"short": True}
        pairs, alone = self._paired(episodes)
        self.pairs, self.alone = self.pairs + pairs, self.alone + alone
        verdict = self._verdict()
        figures = {"pairs": len(self.pairs), "verdict": verdict.plain()}
        if self.stage == "learn":
            self.tried += 1
            if len(self.pairs) >= LEAST_PAIRS or self.tried >= MOST_RUNS or self._fell_alone:
                return figures | self._learn(verdict)
            self._say(f"{len(self.pairs)} pairs so far: once more")
            self.failures += not episodes
            return figures
        if not (remaining := self._plan("final")) or not self._time_for(remaining):
            self.stage, self.final = "done", verdict.plain()
        return figures

    # stages: what is made of a run's episodes, and what comes next ------------------------------------------------------

    def _warm_up(self, episodes: Sequence[Episode]) -> dict[str, Any]:
        """The base alone: what it earns, how far it reaches where it walks well, and the first candidate."""
        good = [one for one in episodes if one.ended not in EARLY]
        if 2 * len(good) < len(episodes):
            why = f"{len(episodes) - len(good)} of the base's {len(episodes)} walks ended early: it is none to learn from"
            self._say(why)
            self.stage, self.final = "done", {"better": False, "worse": why, "look": True}
            return {"short": True}
        figures = self.learner.warm_up()
        reach = max(reach_of(one.columns["asked_joint_pos_target"], self.base.robot.default_joint_pos) for one in good)
        self.box = ActionBox.around(reach, self.settings.box.margin, self.settings.box.growth)
        self.stage, self.accepted = "learn", self.learner.policy
        return figures | {"reach": reach} | self._improve()

    def _learn(self, verdict: Verdict) -> dict[str, Any]:
        """The candidate has walked beside the base: kept or rolled back; and where it is kept, the next one."""
        self.rounds, self.tried = self.rounds + 1, 0
        cut = "a walk of its own ended early" if self._fell_alone else f"{MOST_RUNS} runs were cut short"
        worse = cut if len(self.pairs) < LEAST_PAIRS else verdict.worse
        if worse:
            self._say(f"rolled back: {worse}")
            self.learner.go_back(self.accepted)
            self.failures, self.pairs, self.alone = self.failures + 1, [], []
            return {"rolled_back": True}
        self.accepted, self.failures, self.pairs, self.alone = self.learner.policy, 0, [], []
        if verdict.difference > self.best_difference:
            self.best_difference, self.best = verdict.difference, self.accepted
        return self._improve()

    def _improve(self) -> dict[str, Any]:
        """A candidate that passes the gate; the accepted one again where none does."""
        figures, gate = self.learner.update(), self._open_gate()
        for attempt in range(TRIES):
            passed = gate.judge(candidate := self.learner.candidate())
            figures |= {"gate": passed.figures, "gate_why": passed.why, "gate_tries": attempt + 1}
            if not passed.why:
                self._passed.add(mark(candidate))
                return figures
            self._say(f"the gate refuses a candidate: {passed.why}")
            self.learner.go_back(self.accepted, SHORTEN)
        self.learner.go_back(self.accepted)
        self.failures += 1
        return figures

    def _open_gate(self) -> SimulationGate:
        """Raises InputError where the base itself does not pass."""
        s, randomization = self.settings.gate, self.base.settings.randomization
        self.gate = self.gate or SimulationGate(self.base, self.contract, randomization, self.noise, s.episodes, s.margin)
        return self.gate

    def _may_walk(self) -> bool:
        """Whether this process's gate has passed what is to walk: of what was gone on from, ``state.pt`` is not believed. Else it is
        dropped. Raises InputError where not even the base is left."""
        if mark(candidate := self.learner.candidate()) in self._passed:
            return True
        if why := self._open_gate().judge(candidate).why:
            if not self.learner.moved:
                raise InputError("output", str(self.folder), "an undamaged state.pt", f"{why}. Choose another output.")
            self._say(f"the gate refuses what {self.folder}/state.pt holds: {why}")
            self._drop()
            self.failures += 1
            return False
        self._passed.add(mark(candidate))
        return True

    def _fault(self, outcome: Outcome) -> dict[str, Any]:
        """A person must look; whoever walked is not trusted any more."""
        words = [event.detail for event in outcome.events if event.kind in outcome.reasons]
        self._say(f"the supervisor wants a person: {outcome.latched}: {'; '.join(dict.fromkeys(words))}")
        its_doing = not NOT_ITS_DOING.issuperset(outcome.reasons)
        self.failures += its_doing
        if self.stage != "warm_up" and its_doing:
            self._drop()
        if self.stage == "final" and its_doing:
            self.stage, self.final = "done", {"better": False, "worse": outcome.latched, "look": True}
        return {"latched": outcome.latched}

    def _drop(self) -> None:
        """Back to the policy that was last kept; to the base where that one itself walked."""
        self.pairs, self.alone, self.tried = [], [], 0
        if torch.equal(self.learner.policy, self.best):
            self.best, self.best_difference = torch.zeros(0), 0.0
        if torch.equal(self.learner.policy, self.accepted):
            self.accepted = torch.zeros_like(self.accepted)
        self.learner.go_back(self.accepted)

    def _cut(self, outcome: Outcome) -> None:
        """A person ended the run, of which nothing is learned. A candidate that was cut while it walked does not get another walk."""
        if outcome.pressed:
            self._say(f"pressed: {outcome.pressed}")
        if outcome.cut == "candidate":
            self._say("a candidate was cut while it walked: it is dropped")
            self._drop()
            self.failures += 1
            if self.box is not None:
                self.box = self.box.after(False, 0.0)

    # beside them -------------------------------------------------------------------------------------------------------

    def _plan(self, stage: str) -> list[Walk]:
        return self.plans.of(stage, self.number, len(self.pairs) if self.stage == "final" else 0)

    def _time_for(self, *plans: Sequence[Walk]) -> bool:
        """Whether there is, a run each."""
        return self.seconds + self.plans.seconds(*plans) <= 60.0 * self.settings.minutes

    @property
    def _given_up(self) -> bool:
        return self.failures >= self.settings.ends.failures

    def _paired(self, episodes: Sequence[Episode]) -> tuple[list[list[dict[str, Any]]], list[dict[str, Any]]]:
        """Candidate and base of each pair that is whole, and the candidate's other walks. What ended for another reason than time or the
        robot cannot be compared."""
        found: dict[int, dict[str, dict[str, Any]]] = {}
        for one in episodes:
            if one.ended == "time" or one.ended in EARLY:
                found.setdefault(one.walk.pair, {})[one.walk.who] = asdict(self.measure.walked(one))
        pairs = [[pair["candidate"], pair["base"]] for pair in found.values() if len(pair) == 2]
        return pairs, [pair["candidate"] for pair in found.values() if list(pair) == ["candidate"]]

    @property
    def _fell_alone(self) -> bool:
        """Whether a walk of the candidate ended early that the base did not walk, or walked to its end."""
        return any(one["early"] for one in self.alone) or any(ours["early"] and not theirs["early"] for ours, theirs in self.pairs)

    def _verdict(self) -> Verdict:
        """Of all pairs of the present candidate."""
        s = self.settings
        ours, theirs = ([Walked(**pair[i]) for pair in self.pairs] for i in (0, 1))
        margins = Margins(s.margin, s.intervention_margin, s.posture_margin, s.load_margin)
        return judge(ours, theirs, margins, [Walked(**one) for one in self.alone])

    def _box(self, outcome: Outcome, figures: dict[str, Any]) -> None:
        """A step that a filter changed is not clean walking, nor is a run after which the candidate went."""
        if self.box is not None:
            early = any(one.ended in EARLY for one in outcome.episodes)
            clean = not (outcome.latched or outcome.findings or early or figures.get("rolled_back"))
            walked = sum(int((~one.changed).sum()) for one in outcome.episodes) * self.noise.control_dt
            self.box = self.box.after(clean, walked)

    def _cool(self) -> None:
        """Motors that were warm rest, lying, until they are not."""
        cool, warm = self.settings.ends.cool - AMBIENT, self.runner.temperature - AMBIENT
        if self.resting and warm.max() > cool:
            pause = TIME_CONSTANT * math.log(warm.max() / cool)
            self._say(f"a motor is {AMBIENT + warm.max():.0f} degrees C warm: {pause:.0f} s of rest")
            self._wait(pause)
            self.runner.temperature = AMBIENT + warm * math.exp(-pause / TIME_CONSTANT)
        self.resting = False

    def was_warm(self, seconds: float) -> None:
        """A run of which nothing is known ended ``seconds`` ago: motors are as warm as any may have been."""
        left = (self.settings.ends.temperature - AMBIENT) * math.exp(-seconds / TIME_CONSTANT)
        self.resting, self.runner.temperature = True, np.maximum(self.runner.temperature, AMBIENT + left)

    # what is kept ------------------------------------------------------------------------------------------------------

    def _keep(self, figures: dict[str, Any]) -> None:
        with (self.folder / "metrics.jsonl").open("a") as stream:
            append_line(stream, figures)
        checkpoint.save(self.folder / "state.pt", self.state_dict())
        reward = ", ".join(f"{who} {value:.3f}" for who, value in figures["reward"].items())
        self._say(f"run {figures['run']}, {self.seconds / 60:.1f} min: {figures['stage']}; reward a second: {reward}")

    def _leave(self) -> None:
        """best.pt, policy.onnx and summary.json: of the candidate where it is shown to be better, else of the base."""
        better = bool(self.final and self.final["better"]) and self._may_walk()
        actor = self.learner.candidate() if better else self.base.actor
        state = self.base.checkpoint(actor, self.learner.critic, self.steps)
        checkpoint.save(self.folder / "best.pt", state)
        export_checkpoint(self.folder / "best.pt", self.folder / "policy.onnx")
        result = {
            "result": "candidate" if better else "base", "last_test": self.final, "robot_minutes": self.seconds / 60.0,
            "steps": self.steps, "runs": self.number, "rounds": self.rounds, **counted(self.folder),
        }  # fmt: skip
        write_json(self.folder / "summary.json", result, "output")

    def state_dict(self) -> dict[str, Any]:
        """All that the next run depends on."""
        area = self.runner.area
        return {
            **{name: getattr(self, name) for name in PROGRESS}, "learner": self.learner.state_dict(),
            "policy": self.base.digest, "seed": self.seed, "settings": plain(self.settings), "where": self.where,
            "box": None if self.box is None else asdict(self.box),
            "temperature": self.runner.temperature.tolist(),
            "area": [*area.place.tolist(), area.yaw, float(area.returning)],
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in PROGRESS:
            setattr(self, name, state[name])
        self.learner.load_state_dict(state["learner"])
        self.box = None if state["box"] is None else ActionBox(**state["box"])
        self.runner.temperature = np.array(state["temperature"])
        x, y, yaw, returning = state["area"]
        area = self.runner.area
        lines = [json.dumps(row) + "\n" for row in read_rows(self.folder) if row["run"] < self.number]  # a kill may leave one too many
        write_atomically(self.folder / "metrics.jsonl", lambda stream: stream.write("".join(lines).encode()))
        area.place, area.yaw, area.returning = np.array([x, y]), yaw, bool(returning)
