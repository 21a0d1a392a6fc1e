"""A person breaks a run off, by the e-stop or the robot's remote: damped at once, nothing is learned of it, and it goes on later."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.hil.simulated_robot import Conditions
from deploy.interface import RobotInterface
from deploy.limits import Limits
from deploy.log_reader import read_log
from deploy.operator import Stop
from deploy.states import State
from deploy.supervisor import Supervisor
from deploy.unitree.remote import Remote
from locomotion.cli import main
from locomotion.finetuning.adapter import Adapter
from locomotion.finetuning.bounds import ActionBox
from locomotion.finetuning.runner import Connected, simulated
from locomotion.finetuning.session import Session
from locomotion.finetuning.start import _after_a_kill, _go_on
from tests.locomotion.finetuning import standing
from tests.locomotion.finetuning.session_process import session, unlocked

QUICK = {"walks": 2, "pairs": 2, "walk_seconds": 4.0}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standing.write(tmp_path_factory.mktemp("base"))


class Watching:
    """Answers at each poll; asks for ``level`` a second into the robot's walk ``number``."""

    def __init__(self, supervisor: Supervisor, number: int, level: Stop, silent_from: float = math.inf) -> None:
        self.supervisor, self.number, self.level, self.silent_from = supervisor, number, level, silent_from
        self.heard, self.pressed, self.walks, self.steps, self.before = -math.inf, math.nan, -1, 0, State.IDLE

    def poll(self, now: float, stopped: Stop = Stop.NONE) -> Stop:
        state, before, self.before = self.supervisor.state, self.before, self.supervisor.state
        self.walks += state is State.WALK is not before
        self.steps = self.steps + 1 if state is State.WALK else 0
        if self.silent_from > now:
            self.heard = now
        if self.walks == self.number and self.steps == 50:
            self.pressed = now
            return self.level
        return Stop.NONE

    def close(self) -> None:
        self.closed = True


class WithRemote:
    """A simulated robot that has a remote, on which ``buttons`` are held a second into a walk."""

    def __init__(self, interface: RobotInterface, supervisor: Supervisor, buttons: str) -> None:
        self._interface, self._supervisor, self._buttons, self._steps = interface, supervisor, buttons, 0

    def __getattr__(self, name: str):
        return getattr(self._interface, name)

    @property
    def remote(self) -> Remote:
        self._steps += self._supervisor.state is State.WALK
        return Remote.parse([self._buttons] if self._steps > 50 else [])


def learning(folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch, change) -> Session:
    """About to let a candidate walk beside the base; ``change`` is made of what it is connected to."""
    unlocked(monkeypatch.setattr)
    one = session(folder, source, lambda text: None, **QUICK)
    opened = simulated(Conditions(noise=1.0))
    one.runner._connection = lambda policy, limits, number: change(opened(policy, limits, number))
    size = one.base.actor.network[-1].weight.shape[1]
    one.learner.adapter = Adapter(torch.randn(50, size, generator=torch.Generator().manual_seed(0)), 12, 4)
    one.stage, one.accepted, one.box = "learn", torch.full((12, 5), 0.001), ActionBox.around(0.5, 0.3, 0.01)
    one.learner.go_back(one.accepted + 0.001)
    return one


@pytest.mark.parametrize(("walk", "dropped"), [(0, False), (1, True)], ids=["base", "candidate"])
def test_an_estop_in_the_middle_of_a_walk_damps_at_once_and_ends_the_round(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, walk: int, dropped: bool
) -> None:
    switches: list[Watching] = []

    def pressed(robot: Connected) -> Connected:
        switches.append(Watching(robot.supervisor, walk, Stop.CUT))
        return robot._replace(estop=switches[-1])

    one = learning(tmp_path, source, monkeypatch, pressed)
    there, kept, box = one.learner.policy, one.accepted.clone(), one.box
    assert one.run() == "pressed"
    (switch,) = switches
    assert switch.closed
    columns = read_log(tmp_path / "logs" / "run_000.mcap").columns
    first = int(np.argmax(columns["state"] == "fault"))
    assert columns["state"][first - 1] == "walk"
    assert columns["time"][first] == pytest.approx(switch.pressed, abs=1e-6)  # in the very step that heard it
    assert columns["kp"][first:].max() == 0.0
    assert columns["kd"][first:].min() == Limits().damping_kd
    assert (one.stage, one.number, one.pairs, one.learner.batches) == ("learn", 0, [], [])
    assert torch.equal(one.learner.policy, kept if dropped else there)
    assert one.failures == int(dropped)
    assert one.box == box
    assert not (tmp_path / "metrics.jsonl").exists()
    again = session(tmp_path, source, lambda text: None, **QUICK)
    said: list[str] = []
    _go_on(again, tmp_path, said.append)
    _after_a_kill(again, tmp_path, said.append)
    assert torch.equal(again.learner.policy, one.learner.policy)
    assert "run 0 was cut short" in said[-1]


def outcome_of(one: Session):
    actors = {"base": one.base.actor, "candidate": one.learner.candidate()}
    return one.runner.run(one._plan("learn")[:2], actors, one.limits, 0)


def test_an_estop_that_asks_to_settle_lays_it_down_and_the_walk_is_no_fault_of_the_policys(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = learning(tmp_path, source, monkeypatch, lambda robot: robot._replace(estop=Watching(robot.supervisor, 0, Stop.SETTLE)))
    outcome = outcome_of(one)
    assert outcome.pressed == "the e-stop: settle"
    assert outcome.stopped
    assert not outcome.latched
    assert [episode.ended for episode in outcome.episodes] == ["cut"]
    assert any("settle -> fault (settled)" in event.detail for event in outcome.events)
    batch = one.measure.batch(outcome.episodes)
    assert not batch.terminated.any()  # a hook's learner that takes it nevertheless learns of no fall


def test_an_estop_that_goes_silent_is_for_a_person_and_not_the_candidates_doing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = learning(
        tmp_path, source, monkeypatch, lambda robot: robot._replace(estop=Watching(robot.supervisor, 9, Stop.NONE, silent_from=18.0))
    )
    there = one.learner.policy
    assert one.run() == "latched"
    assert torch.equal(one.learner.policy, there)
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row["latched"] == "estop_silent, estop_lost"  # laid down, and damped before it lay
    assert one.learner.batches == []


def test_before_the_estop_has_answered_nothing_stands_up_and_the_question_says_why(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = learning(
        tmp_path, source, monkeypatch, lambda robot: robot._replace(estop=Watching(robot.supervisor, 9, Stop.NONE, silent_from=-1.0))
    )
    asked: list[str] = []

    class Patient:
        def given(self, question: str, pressed: bool = False) -> bool:
            asked.append(question)
            return True

        def stopped(self) -> bool:
            return len(asked) > 5

    one.runner._word = Patient()
    outcome = outcome_of(one)
    assert outcome.episodes == []
    assert "the e-stop is silent" in asked[-1]
    assert not any("-> stand_up" in event.detail for event in outcome.events)


@pytest.mark.parametrize(("buttons", "pressed", "ended"), [("L2+B", "the remote's L2+B", "cut"), ("X", "", "asked")])
def test_the_remote_damps_at_once_or_lays_down(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buttons: str, pressed: str, ended: str
) -> None:
    one = learning(
        tmp_path, source, monkeypatch, lambda robot: robot._replace(interface=WithRemote(robot.interface, robot.supervisor, buttons))
    )
    outcome = outcome_of(one)
    assert outcome.pressed == pressed
    assert outcome.stopped
    assert not outcome.latched
    assert [episode.ended for episode in outcome.episodes] == [ended]
    how = "walk -> fault (stop)" if pressed else "settle -> fault (settled)"
    assert any(how in event.detail for event in outcome.events)


def test_settings_that_the_interface_has_not_are_refused(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["finetune", f"policy={source}", f"output={tmp_path / 'ft'}"]
    for own, named in (
        (["estop={key: estop.key}"], "interface=unitree_dds"),
        (["calibration=go2.yaml"], "interface=unitree_dds"),
        (["interface=unitree_dds", "estop={key: nowhere.key}"], "estop.key"),
        (["interface=unitree_dds", "calibration=nowhere.yaml"], "calibration"),
    ):
        assert main([*words, *own]) == 2
        assert named in capsys.readouterr().err


@pytest.mark.parametrize(("ended", "status", "word"), [("pressed", 3, "BY HAND"), ("latched", 1, "look"), ("stopped", 130, "Stopped")])
def test_each_way_to_end_has_a_status_and_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ended: str, status: int, word: str
) -> None:
    monkeypatch.setattr("locomotion.commands.finetune.start", lambda settings: (ended, None))
    assert main(["finetune", "policy=p", "output=o"]) == status
    assert word in capsys.readouterr().out


def test_a_last_test_that_the_supervisor_ended_is_no_success(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = {"better": False, "worse": "tilt", "look": True}
    monkeypatch.setattr("locomotion.commands.finetune.start", lambda settings: ("done", verdict))
    assert main(["finetune", "policy=p", "output=o"]) == 1
    assert "tilt" in capsys.readouterr().out
