"""What a session makes of faults, cuts and steps that filters changed: whom it trusts afterwards, and where it goes on."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.states import State
from deploy.supervisor import Event
from locomotion.config import compose
from locomotion.finetuning import base as bases
from locomotion.finetuning.adapter import Adapter
from locomotion.finetuning.bounds import ActionBox
from locomotion.finetuning.gate import Passed, SimulationGate
from locomotion.finetuning.keeping import base_bundle
from locomotion.finetuning.rollback import Walked
from locomotion.finetuning.runner import Episode, Outcome
from locomotion.finetuning.session import Session
from locomotion.finetuning.settings import FinetuneSettings
from locomotion.finetuning.start import _after_a_kill, _go_on, _where
from locomotion.finetuning.walks import Walk, script_of
from locomotion.runs import checkpoint
from locomotion.schema import check
from robots.errors import InputError
from tests.locomotion.finetuning import standing
from tests.locomotion.finetuning.session_process import session, unlocked

SCRIPT = script_of([[0.0, 0.0, 0.0]], 4.0, [0.0, 0.0, 0.0])
FELL = Event(3.0, State.FAULT, "transition", "walk -> fault (tilt)")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = standing.write(tmp_path_factory.mktemp("base"))
    base_bundle(bases.load(str(path)), path.parent)
    return path


@pytest.fixture(autouse=True)
def open_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    unlocked(monkeypatch.setattr)


@pytest.fixture
def learning(source: Path, tmp_path: Path) -> Session:
    """In the middle of it, with a candidate that was kept and one beyond it."""
    shutil.copy(source.parent / "base.onnx", tmp_path)
    one = session(tmp_path, source, lambda text: None)
    size = one.base.actor.network[-1].weight.shape[1]
    one.learner.adapter = Adapter(torch.randn(50, size, generator=torch.Generator().manual_seed(0)), 12, 4)
    one.stage, one.accepted, one.box = "learn", torch.full((12, 5), 0.1), ActionBox.around(0.5, 0.3, 0.01)
    one.learner.go_back(one.accepted + 0.1)
    return one


def episode(who: str = "candidate", ended: str = "time", changed: int = 0, steps: int = 100, reach: float = 0.2) -> Episode:
    asked = np.full((steps, 12), reach)
    sent = asked.copy()
    sent[:changed] -= 0.01
    none = torch.zeros(steps, 1)
    walk = Walk(who, SCRIPT, 4.0, 0)
    return Episode(walk, ended, {"asked_joint_pos_target": asked, "joint_pos_target": sent}, none, none, none, none)


def outcome(*episodes: Episode, events: tuple[Event, ...] = (), stopped: bool = False, cut: str = "", walked: bool = True) -> Outcome:
    started = ("base", "candidate") if walked else ()
    return Outcome(list(episodes), 10.0, list(events), np.full(12, 30.0), stopped, False, Counter(), cut=cut, started=started)


def ran(one: Session, monkeypatch: pytest.MonkeyPatch, what: Outcome) -> str:
    monkeypatch.setattr(one.runner, "run", lambda *args: what)
    monkeypatch.setattr("locomotion.finetuning.session.told", lambda *args: {"reward": {}, "findings": 0, "torque_share": 0.0})
    return one.run()


def test_a_fault_drops_the_candidate_and_another_one_the_policy_that_was_kept(learning: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = learning.accepted.clone()
    assert ran(learning, monkeypatch, outcome(events=(FELL,))) == "latched"
    assert torch.equal(learning.learner.policy, kept)
    assert ran(learning, monkeypatch, outcome(events=(FELL,))) == "latched"
    assert not learning.learner.moved
    assert all(torch.equal(a, b) for a, b in zip(learning.learner.candidate().parameters(), learning.base.actor.parameters(), strict=True))


def test_the_best_that_was_kept_is_not_the_best_any_more_once_it_was_dropped(learning: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    learning.best, learning.best_difference = learning.accepted.clone(), 0.3
    assert ran(learning, monkeypatch, outcome(events=(FELL,))) == "latched"
    assert learning.best_difference == 0.3  # it was another one, beyond it, that walked
    assert ran(learning, monkeypatch, outcome(events=(FELL,))) == "latched"
    assert learning.best_difference == 0.0
    assert not len(learning.best)


def test_a_fault_before_the_candidate_has_walked_is_not_its_doing(learning: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    before = learning.learner.policy
    assert ran(learning, monkeypatch, outcome(events=(FELL,), walked=False)) == "latched"
    assert torch.equal(learning.learner.policy, before)
    assert learning.failures == 0


def test_an_empty_battery_is_no_candidates_doing(learning: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    before = learning.learner.policy
    empty = Event(3.0, State.WALK, "empty_battery", "settle: 1.1 is above empty_voltage 1")
    assert ran(learning, monkeypatch, outcome(events=(empty,))) == "latched"
    assert torch.equal(learning.learner.policy, before)
    assert learning.failures == 0
    tipped = Event(4.0, State.FAULT, "transition", "settle -> fault (tilt)")
    assert ran(learning, monkeypatch, outcome(events=(empty, tipped))) == "latched"  # but that it fell over as it lay down may be
    assert torch.equal(learning.learner.policy, learning.accepted)
    assert learning.failures == 1


def test_a_fault_counts_though_a_person_stopped_the_run_as_well(learning: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = learning.accepted.clone()
    assert ran(learning, monkeypatch, outcome(events=(FELL,), stopped=True)) == "latched"
    assert torch.equal(learning.learner.policy, kept)


@pytest.mark.parametrize(("cut", "dropped"), [("candidate", True), ("base", False), ("", False)])
def test_a_candidate_that_a_person_cut_while_it_walked_does_not_walk_again(
    learning: Session, monkeypatch: pytest.MonkeyPatch, cut: str, dropped: bool
) -> None:
    there, kept = learning.learner.policy, learning.accepted.clone()
    assert ran(learning, monkeypatch, outcome(episode(), stopped=True, cut=cut)) == "stopped"
    assert torch.equal(learning.learner.policy, kept if dropped else there)
    assert learning.failures == int(dropped)
    state = checkpoint.unpack(learning.folder / "state.pt")[0]
    assert torch.equal(state["learner"]["adapter"]["weight"], learning.learner.policy)


def test_the_box_widens_by_steps_that_no_filter_changed_and_not_by_a_candidate_that_went(learning: Session) -> None:
    assert learning.box is not None
    start = learning.box.size
    learning._box(outcome(episode(changed=40)), {})
    assert learning.box.size == pytest.approx(start + 0.01 * 60 * 0.02)
    learning._box(outcome(episode()), {"rolled_back": True})
    assert learning.box.size == start


def test_the_box_is_about_what_the_base_does_where_it_walks_well(learning: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning.learner, "warm_up", dict)
    monkeypatch.setattr(learning, "_improve", dict)
    pose = learning.base.robot.default_joint_pos
    walks = [episode("base"), episode("base"), episode("base", "tilt", reach=9.0)]
    for one in walks:
        one.columns["asked_joint_pos_target"] += pose
    assert learning._warm_up(walks)["reach"] == pytest.approx(0.2)
    assert learning.stage == "learn"
    assert learning._warm_up([walks[0], walks[2], walks[2]]) == {"short": True}
    assert learning.stage == "done"  # a base that falls is none to learn from


def test_a_last_test_of_the_base_against_itself_is_left_out(learning: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    learning.stage = "final"
    learning.learner.go_back(torch.zeros(12, 5))
    assert ran(learning, monkeypatch, outcome()) == "done"
    assert (learning.folder / "policy.onnx").exists()


def settings_of(*words: str) -> FinetuneSettings:
    return check(FinetuneSettings, compose("finetune", ["policy=p", "output=o", *words]))


@pytest.mark.parametrize("words", [("interface=unitree_dds",), ("plant={payload: 3.0}",)])
def test_what_was_kept_on_one_robot_does_not_walk_on_another(learning: Session, source: Path, words: tuple[str, ...]) -> None:
    learning.where = _where(settings_of("plant={payload: 1.0}"))
    checkpoint.save(learning.folder / "state.pt", learning.state_dict())
    again = session(learning.folder, source, lambda text: None)
    again.where = _where(settings_of(*words))
    with pytest.raises(InputError, match=r"interface|plant"):
        _go_on(again, learning.folder, lambda text: None)
    again.where = learning.where
    _go_on(again, learning.folder, lambda text: None)
    assert torch.equal(again.learner.policy, learning.learner.policy)


def walked_by(one: Session, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The last layers of the candidates that came to walk in a run that a person stopped."""
    walked: list[torch.Tensor] = []

    def run(plan, actors, *args):
        walked.append(actors["candidate"].network[-1].weight.detach().clone())
        return outcome(stopped=True)

    monkeypatch.setattr(one.runner, "run", run)
    return walked


@pytest.mark.parametrize("refused", ["candidate", "both"])
def test_what_a_file_says_was_passed_walks_only_behind_this_processs_gate(
    learning: Session, source: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    checkpoint.save(learning.folder / "state.pt", learning.state_dict())  # whoever wrote it
    again = session(learning.folder, source, lambda text: None)
    _go_on(again, learning.folder, lambda text: None)
    ours, kept = again.learner.policy, again.accepted.clone()
    judged: list[torch.Tensor] = []

    def judge(gate, actor):
        judged.append(again.learner.policy)
        return Passed({}, "falls" if refused == "both" or torch.equal(again.learner.policy, ours) else "")

    monkeypatch.setattr(SimulationGate, "judge", judge)
    walked = walked_by(again, monkeypatch)
    assert again.run() == "stopped"
    there = torch.zeros_like(kept) if refused == "both" else kept
    assert torch.equal(again.learner.policy, there)
    assert len(walked) == 1
    assert torch.equal(walked[0], again.learner.candidate().network[-1].weight)
    assert len(judged) == 2
    assert again.run() == "stopped"
    assert len(judged) == 2  # what was passed once is


def test_a_finished_state_that_names_a_policy_does_not_leave_one_that_the_gate_refuses(
    learning: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning.stage, learning.final = "done", {"better": True}
    monkeypatch.setattr(SimulationGate, "judge", lambda gate, actor: Passed({}, "falls"))
    assert learning.run() == "done"
    left = checkpoint.load(learning.folder / "best.pt")["learner"]["actor"]
    assert torch.equal(left["network.4.weight"], learning.base.actor.state_dict()["network.4.weight"])


def test_a_candidate_that_never_comes_to_be_compared_is_rolled_back(learning: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = learning.accepted.clone()
    monkeypatch.setattr(learning.learner, "take", lambda batch: None)
    monkeypatch.setattr(learning.measure, "batch", lambda episodes: None)
    for runs in (1, 2, 3):
        assert not torch.equal(learning.learner.policy, kept)
        told = learning._learned([], [episode(ended="area"), episode("base", "warm")])
        assert ("rolled_back" in told) == (runs == 3)
    assert torch.equal(learning.learner.policy, kept)
    assert (learning.failures, learning.tried, learning.pairs) == (1, 0, [])


def test_a_walk_that_the_base_does_not_walk_counts_where_it_ends_early(learning: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning.measure, "walked", lambda one: Walked(2.0, 0.0, one.ended == "tilt"))
    walks = [replace(episode(who, "time"), walk=replace(episode(who).walk, pair=pair)) for pair in (0, 1) for who in ("base", "candidate")]
    fourth = replace(episode("candidate", "tilt"), walk=replace(episode().walk, pair=2))
    for extra, why in (([], ""), ([fourth], "1 of its walks ended early, 0 of the base's")):
        learning.pairs, learning.alone = learning._paired([*walks, *extra])
        assert len(learning.pairs) == 2
        assert learning._verdict().worse == why


@pytest.mark.parametrize("killed", [True, False])
def test_a_killed_run_leaves_warm_motors_and_a_robot_that_somebody_may_have_carried(learning: Session, source: Path, killed: bool) -> None:
    checkpoint.save(learning.folder / "state.pt", learning.state_dict())
    log = learning.folder / "logs" / "run_000.mcap"
    log.write_bytes(b"")
    ends, now = learning.settings.ends, time.time()
    os.utime(log, (now - 300.0, now - 300.0))
    saved = now - (400.0 if killed else 200.0)
    os.utime(learning.folder / "state.pt", (saved, saved))
    again = session(learning.folder, source, lambda text: None)
    again.runner.area.place = np.array([2.0, 0.0])
    said: list[str] = []
    _go_on(again, learning.folder, said.append)
    _after_a_kill(again, learning.folder, said.append)
    assert again.runner.area.carried
    assert "logs/run_000.1.mcap" in said[-1]
    warmth = 25.0 + (ends.temperature - 25.0) * np.exp(-1.0)  # a time constant ago
    assert again.runner.temperature == pytest.approx(np.full(12, warmth if killed else 25.0), abs=0.5)
    if killed:  # the first run: there was no state yet
        (learning.folder / "state.pt").unlink()
        first = session(learning.folder, source, lambda text: None)
        _after_a_kill(first, learning.folder, said.append)
        assert first.runner.temperature == pytest.approx(np.full(12, warmth), abs=0.5)
    pauses: list[float] = []
    again._wait = pauses.append
    again._cool()
    assert pauses == []  # cool enough after five minutes
    again.was_warm(0.0)
    again._cool()
    assert pauses == [pytest.approx(300.0 * np.log((ends.temperature - 25.0) / (ends.cool - 25.0)))]


def test_a_candidate_that_fell_alone_does_not_walk_until_there_are_pairs(learning: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning.learner, "take", lambda batch: None)
    monkeypatch.setattr(learning.measure, "batch", lambda episodes: None)
    monkeypatch.setattr(learning.measure, "walked", lambda one: Walked(2.0, 0.0, one.ended == "tilt"))
    kept = learning.accepted.clone()
    assert "rolled_back" not in learning._learned([], [episode("base", "time")])
    assert "rolled_back" in learning._learned([], [episode("candidate", "tilt"), episode("base", "warm")])
    assert torch.equal(learning.learner.policy, kept)
