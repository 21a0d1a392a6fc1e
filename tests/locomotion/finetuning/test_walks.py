"""Walks through the deployment's runtime: whose word starts them, what ends them, and what is kept of them."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.dry_run import Observer
from deploy.hil.simulated_robot import Conditions
from deploy.hil.unsupervised import Unsupervised
from deploy.interface import RobotState
from deploy.limits import Limits
from deploy.log_reader import read_log
from deploy.policy import load
from deploy.states import State
from deploy.supervisor import Event
from locomotion.data.kinematics import Kinematics
from locomotion.finetuning.area import Area
from locomotion.finetuning.batch import Measure
from locomotion.finetuning.exploring import Noise
from locomotion.finetuning.keeping import base_bundle
from locomotion.finetuning.runner import Connected, EpisodeRunner, Outcome, simulated
from locomotion.finetuning.walks import Ends, Walk, script_of
from locomotion.finetuning.word import Auto, Enter
from robots.errors import InputError
from tests.locomotion.data.trotting import MEASURED, trot
from tests.locomotion.finetuning.standing import recipe, standing_base

LIMITS = Limits()
SCRIPT = script_of([[0.0, 0.0, 0.0]], 2.5, [0.0, 0.0, 0.0])
WALK = Walk("base", SCRIPT, 2.5, seed=3)
NOISE = Noise(0.05, 0.1, 0.02)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("home")
    base = standing_base(folder)
    return base, load(base_bundle(base, folder), base.robot).contract, folder


def runner_of(home, conditions=Conditions(noise=1.0), word=None, ends=Ends(0.3, 70.0), connection=None) -> EpisodeRunner:  # noqa: B008
    base, contract, _ = home
    area = Area(Kinematics(base.robot), 3.0, 0.02)
    return EpisodeRunner(base, contract, connection or simulated(conditions), NOISE, ends, word or Auto(), area)


def run(home, *walks: Walk, limits: Limits = LIMITS, log: Path | None = None, **changes) -> Outcome:
    base = home[0]
    return runner_of(home, **changes).run(walks or (WALK,), {"base": base.actor, "candidate": base.actor}, limits, 0, log)


def test_a_run_stands_up_walks_its_plan_lies_down_and_keeps_all_of_it(home) -> None:
    base, _, folder = home
    log = folder / "run.mcap"
    other = replace(WALK, who="candidate", seed=4, quiet=True)
    outcome = run(home, WALK, other, log=log)
    assert [episode.walk for episode in outcome.episodes] == [WALK, other]
    assert [episode.ended for episode in outcome.episodes] == ["time", "time"]
    assert not outcome.latched
    assert not outcome.stopped
    columns = read_log(log).columns
    assert columns["state"][-1] == "fault"  # settled, lying, damped
    assert float(np.median(columns["base_pos"][-20:, 2])) < 0.6 * base.robot.standing_height
    first, second = outcome.episodes
    for episode in outcome.episodes:
        steps = len(episode)
        assert steps == pytest.approx(125, abs=2)
        assert {len(value) - steps for name, value in episode.columns.items() if name in MEASURED} == {1}
        assert episode.changed.sum() == 0
        # what was asked is what the recorded action decodes to, step by step
        free = base.robot.default_joint_pos + base.robot.action_scale * episode.action.numpy()
        assert np.abs(free - episode.columns["asked_joint_pos_target"]).max() < 1e-5
    assert torch.allclose(first.action - first.mean, NOISE.sequence(126, 12, 3)[: len(first)])
    assert torch.equal(second.action, second.mean)


def test_what_a_walk_needs_to_come_to_rest_after_its_time_is_no_part_of_it(home) -> None:
    def restless(policy, limits: Limits, number: int):
        connected = simulated(Conditions(noise=1.0))(policy, limits, number)
        connected.supervisor.rested = lambda now: False  # type: ignore[method-assign]
        return connected

    outcome = run(home, connection=restless)
    assert [(len(one), one.ended) for one in outcome.episodes] == [(126, "time")]
    ready = [event.detail for event in outcome.events if "walk -> ready" in event.detail]
    assert ready == ["walk -> ready (still moves)"]


def test_what_the_box_takes_away_is_counted_and_marked(home) -> None:
    outcome = run(home, limits=replace(LIMITS, action_box=0.05, box_growth=0.0))
    (episode,) = outcome.episodes
    off = np.abs(episode.columns["asked_joint_pos_target"] - home[0].robot.default_joint_pos).max(axis=-1)
    assert np.array_equal(episode.changed, off > 0.05 + 1e-5)
    assert 0 < episode.changed.sum() == outcome.interventions["box"]


class Silent:
    """Nobody says anything; then somebody leaves."""

    def __init__(self, patience: int) -> None:
        self.asked, self.patience = list[str](), patience

    def given(self, question: str, pressed: bool = False) -> bool:
        self.asked.append(question)
        return False

    def stopped(self) -> bool:
        return len(self.asked) > self.patience


def test_without_a_persons_word_no_motor_moves(home) -> None:
    word = Silent(50)
    outcome = run(home, word=word)
    assert outcome.episodes == []
    assert outcome.stopped
    assert not any("-> stand_up" in event.detail for event in outcome.events)
    assert "Stand up" in word.asked[0]


class Slow(Auto):
    """Thinks for two seconds about each word."""

    def __init__(self) -> None:
        self.thinking = 0

    def given(self, question: str, pressed: bool = False) -> bool:
        self.thinking = (self.thinking + 1) % 101
        return self.thinking == 0


def test_what_a_person_takes_to_say_yes_is_not_the_robots_time(home, tmp_path) -> None:
    quick, slow = (run(home, WALK, WALK, word=word, log=tmp_path / f"{name}.mcap") for name, word in (("a", Auto()), ("b", Slow())))
    taken = [np.ptp(read_log(tmp_path / f"{name}.mcap").columns["time"]) for name in "ab"]
    assert taken[1] - taken[0] == pytest.approx(6.0, abs=0.5)  # one stands up, two walks
    assert slow.seconds == pytest.approx(quick.seconds, abs=0.5)
    assert 15.0 < quick.seconds < taken[0] + 0.1


class FirstOnly(Auto):
    """Lets it stand up, and start one walk; then asks for an end."""

    def __init__(self) -> None:
        self.words = 0

    def given(self, question: str, pressed: bool = False) -> bool:
        self.words += 1
        return self.words <= 2

    def stopped(self) -> bool:
        return self.words > 2


def test_each_walk_needs_a_word_of_its_own_and_a_person_who_leaves_ends_the_run_lying(home) -> None:
    outcome = run(home, WALK, WALK, word=FirstOnly())
    assert len(outcome.episodes) == 1
    assert outcome.stopped
    assert not outcome.latched
    assert any("settled" in event.detail for event in outcome.events)


@pytest.fixture
def terminal():
    """A word, and where a person types."""
    ours, theirs = os.pipe()
    yield Enter(ours), theirs
    for end in (ours, theirs):
        with contextlib.suppress(OSError):
            os.close(end)


def test_what_was_typed_before_the_question_is_no_answer(terminal) -> None:
    word, keys = terminal
    os.write(keys, b"\n\n")
    assert not word.given("Walk?")  # the two from before are gone
    assert not word.given("Walk?")
    os.write(keys, b"\n")
    assert word.given("Walk?")
    assert not word.stopped()
    os.write(keys, b"\n")  # Enter while it walks
    assert word.stopped()
    assert not word.given("Walk?")  # and it stays so


def test_q_or_a_terminal_that_is_gone_ends_it_and_half_a_line_says_nothing(terminal) -> None:
    word, keys = terminal
    assert not word.given("Walk?")
    os.write(keys, b"q")
    assert not word.given("Walk?")
    assert not word.stopped()
    os.write(keys, b"\n")
    assert not word.given("Walk?")
    assert word.stopped()
    other, keys = os.pipe()
    word = Enter(other)
    os.close(keys)
    assert word.stopped()
    os.close(other)


@pytest.mark.parametrize("answer", [b"no\n", b"wait\n", b"y\n", b"\nno\n", b"quit\n", b"q \n", b"\nQ\n", b"\xff\n"])
def test_only_enter_starts_and_whatever_begins_with_q_ends(terminal, answer) -> None:
    word, keys = terminal
    assert not word.given("Walk?")
    os.write(keys, answer)
    assert not word.given("Walk?")
    assert word.stopped() is (b"q" in answer.lower())
    assert not word.given("Walk?")  # asked again
    os.write(keys, b"\n")
    assert word.given("Walk?") is (b"q" not in answer.lower())


def test_a_button_that_was_held_before_the_question_is_no_word_and_enter_after_it_stops(terminal) -> None:
    word, keys = terminal
    assert not word.given("Walk?", pressed=True)  # it was down before it was asked
    assert word.given("Walk?", pressed=True)
    os.write(keys, b"\n")  # while it walks, which a button has started
    assert word.stopped()


def test_warm_motors_rest(home) -> None:
    outcome = run(home, ends=Ends(0.3, 25.1), conditions=Conditions(payload=2.0))
    assert outcome.episodes == []
    assert not outcome.stopped
    assert not outcome.latched
    warm = runner_of(home)
    warm.temperature = np.full(12, 69.9)
    again = warm.run([WALK], {"base": home[0].actor}, LIMITS, 0)
    assert again.temperature.min() > 60.0  # they do not forget between runs


def test_a_robot_that_is_pushed_over_is_the_supervisors_and_that_is_said(home) -> None:
    walk = replace(WALK, seconds=12.0, script=script_of([[0.0, 0.0, 0.0]], 12.0, [0.0, 0.0, 0.0]))
    outcome = run(home, walk, conditions=Conditions(push=4.0))
    assert outcome.latched or outcome.episodes[0].ended in ("tilt", "supervisor")


def test_without_a_supervisor_nothing_moves(home) -> None:
    for kind in (lambda *a: None, Observer, Unsupervised):

        def connection(policy, limits, number, kind=kind) -> Connected:
            good = simulated(Conditions())(policy, limits, number)
            return good._replace(supervisor=kind(policy.robot, 0.02, limits))

        with pytest.raises(InputError, match="supervisor"):
            run(home, connection=connection)
    with pytest.raises(InputError, match=r"deploy\.limits\.max_tilt"):
        run(home, limits=replace(LIMITS, max_tilt=1.0))


def test_nothing_that_a_simulated_robot_alone_knows_is_looked_at(home, monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.hil.simulated_robot import SimulatedRobot

    measure = Measure(home[0], recipe().rewards)
    seen = measure.batch(run(home).episodes)
    read_ = SimulatedRobot.read
    monkeypatch.setattr(SimulatedRobot, "read", lambda self: replace(read_(self), truth={}))
    blind = measure.batch(run(home).episodes)
    assert all(torch.equal(a, b) for a, b in zip(vars(seen).values(), vars(blind).values(), strict=True))


def test_a_reward_that_no_robot_can_measure_is_refused_by_name(home) -> None:
    measure = Measure(home[0], {"body_contact": {"weight": -1.0}, "tilt": {"weight": -1.0}})
    with pytest.raises(InputError, match="body_contact"):
        measure.rewards(run(home).episodes[0])
    with pytest.raises(InputError, match="tilted"):
        Measure(home[0], {"tilted": {"weight": 1.0}})


def sample_of(measured: dict[str, np.ndarray], t: int) -> RobotState:
    return RobotState(0.02 * t, t, **{name: measured[name][t] for name in MEASURED})


def test_the_area_is_integrated_odometry_and_leads_back(go2) -> None:
    measured, truth = trot(go2, 5.0)
    area = Area(Kinematics(go2), 0.6, 0.02)
    for t in range(250):
        area.look(sample_of(measured, t))
    went = truth["base_pos"][-1, :2] - truth["base_pos"][0, :2]
    assert float(np.hypot(*went)) > 0.8
    assert area.place == pytest.approx(went, abs=0.2 * float(np.hypot(*went)))
    assert area.returning
    assert area.outside == (area.distance > 0.9)
    area.put_down()
    assert area.distance == 0.0
    assert not area.returning


@pytest.mark.parametrize(
    ("place", "yaw", "forward", "turn"),
    [((2.0, 0.0), math.pi, 1, 0), ((2.0, 0.0), 0.0, 0, None), ((0.0, 2.0), math.pi, 0, 1), ((0.0, -2.0), math.pi, 0, -1)],
)
def test_home_is_ahead_or_turned_to(go2, place, yaw, forward, turn) -> None:
    area = Area(Kinematics(go2), 1.0, 0.02)
    area.place, area.yaw = np.array(place), yaw
    ahead, left, rate = area.home()
    assert left == 0.0
    assert ahead == pytest.approx(0.5 * forward, abs=1e-9)
    assert turn is None or np.sign(round(rate, 9)) == turn


@pytest.mark.parametrize("place", [2.0, math.nan])
def test_what_is_out_of_its_area_lies_down_to_be_carried_back(home, place) -> None:
    runner, asked = runner_of(home), list[str]()
    runner.area.place, runner.area.radius = np.array([place, 0.0]), 1.0
    assert runner.area.outside

    class Noting(Auto):
        def given(self, question: str, pressed: bool = False) -> bool:
            asked.append(question)
            if question.startswith("Walk"):
                runner.area.place = np.array([place, 0.0])  # it slipped
            return True

    runner._word = Noting()
    outcome = runner.run([WALK, WALK], {"base": home[0].actor}, LIMITS, 0)
    assert [episode.ended for episode in outcome.episodes] == ["area"]
    assert "carry it back" in asked[0]  # it lies, limp
    assert not any("carry" in question for question in asked[1:])
    assert "settled" in outcome.events[-1].detail
    assert not outcome.latched


def test_a_run_that_has_no_time_left_for_a_walk_lies_down_and_is_not_cut_in_it(home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"walks.LONGEST": 40.0, "runner.LONGEST": 40.0, "walks.LAST": 12.0}.items():
        monkeypatch.setattr(f"locomotion.finetuning.{name}", value)
    outcome = run(home, *[WALK] * 6)
    assert 0 < len(outcome.episodes) < 6
    assert {episode.ended for episode in outcome.episodes} == {"time"}
    assert any("settled" in event.detail for event in outcome.events)


def test_a_walk_that_is_refused_at_first_is_told_from_the_one_that_follows(home, monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.supervisor import Supervisor

    refusals = iter(["far away", "far away"])
    monkeypatch.setattr(Supervisor, "_jump", lambda self, asked: next(refusals, ""))
    outcome = run(home, WALK, replace(WALK, seed=4))
    assert [len(episode) for episode in outcome.episodes] == pytest.approx([125, 125], abs=2)
    for episode, seed in zip(outcome.episodes, (3, 4), strict=True):
        assert torch.allclose(episode.action - episode.mean, NOISE.sequence(126, 12, seed)[: len(episode)])
        free = home[0].robot.default_joint_pos + home[0].robot.action_scale * episode.action.numpy()
        assert np.abs(free - episode.columns["asked_joint_pos_target"]).max() < 1e-5


def test_what_a_monitor_lays_down_wants_a_person() -> None:
    def outcome(*events: Event) -> Outcome:
        return Outcome([], 1.0, list(events), np.zeros(12), stopped=False, warm=False)

    end = Event(9.0, State.SETTLE, "transition", "settle -> fault (settled)")
    assert not outcome(Event(5.0, State.READY, "stop", "settle: settle"), end).latched
    for kind in ("blocked", "empty_battery"):
        assert outcome(Event(5.0, State.WALK, kind, "settle: 2 is above 1"), end).latched == kind
    assert not outcome(Event(5.0, State.WALK, "warm_motor", "derate: 2 is above 1"), end).latched


def test_a_reward_that_is_no_number_is_an_error_and_a_fall_is_no_gain_under_penalties_alone(home, monkeypatch) -> None:
    measure, episode = Measure(home[0], {"tilt": {"weight": -1.0}, "effort": {"weight": -1.0}}), run(home).episodes[0]
    whole = measure.walked(episode).reward
    assert whole < 0.0
    missing = len(episode) - 60
    half = replace(
        episode, ended="tilt", columns={name: value[:-missing] for name, value in episode.columns.items()},
        **{name: getattr(episode, name)[:60] for name in ("observation", "mean", "action", "memory")},
    )  # fmt: skip
    rewards = measure.rewards(half)
    assert measure.walked(half).reward == pytest.approx(float(rewards.mean()) / 0.02, rel=1e-5)  # not half of it
    monkeypatch.setattr("locomotion.finetuning.batch.recomputed", lambda steps, task: np.array([1.0, np.nan, 1.0]))
    with pytest.raises(InputError, match="nan at step 1"):
        measure.rewards(episode)
