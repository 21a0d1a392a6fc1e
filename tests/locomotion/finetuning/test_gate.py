"""What the gate looks at, and that nothing walks that it has not passed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deploy.policy import load
from locomotion.evaluation import scorecard
from locomotion.finetuning.exploring import Noise
from locomotion.finetuning.gate import SimulationGate
from locomotion.finetuning.keeping import base_bundle
from locomotion.finetuning.start import refuse_lax
from locomotion.task.randomization import NOMINAL
from robots.errors import InputError
from tests.locomotion.finetuning.standing import recipe, standing_base

NOISE = Noise(0.1, 0.2, 0.02)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list:
    """What was scored: the condition, and the noise [T, N, A] that the policy walked with."""
    found: list = []

    def evaluate(policy, robot, engine, condition, episodes, seed):
        found.append((condition, policy._policy._noise))
        falls = 0.5 if condition == NOMINAL and float(found[-1][1].std()) > found_limit[0] else 0.0
        return {"fall_rate": falls, "tracking_score": 0.9, "yaw_score": 0.9}

    found_limit = [1.0]
    found.append(found_limit)
    monkeypatch.setattr(scorecard, "evaluate", evaluate)
    return found


def gate_of(folder: Path, noise: Noise = NOISE) -> SimulationGate:
    base = standing_base(folder)
    return SimulationGate(base, load(base_bundle(base, folder)).contract, base.settings.randomization, noise, episodes=5, margin=0.05)


def test_a_candidate_is_scored_as_it_may_be_left_behind_and_as_it_will_walk(tmp_path: Path, seen: list) -> None:
    gate = gate_of(tmp_path)
    seen[1:] = []
    assert not gate.judge(standing_base(tmp_path).actor).why
    (_, quiet), (nominal, loud), (randomized, other) = seen[1:]
    assert nominal == NOMINAL != randomized
    assert quiet.abs().max() == 0.0
    assert loud.shape == (scorecard.SECONDS / 0.02 + 1, 5, 12)
    assert float(loud[50:].std()) == pytest.approx(0.1, rel=0.1)
    assert torch.equal(loud, other)
    assert abs(float(torch.corrcoef(loud[50:, :2, 0].T)[0, 1])) < 0.5  # each robot explores by itself


def test_a_base_that_falls_where_it_explores_is_refused_before_anything_moves(tmp_path: Path, seen: list) -> None:
    seen[0][0] = 0.05
    with pytest.raises(InputError, match=r"std: got 0\.1.*nominal, exploring"):
        gate_of(tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"gate": {"episodes": 4, "margin": 0.05}}, "gate.episodes"), ({"gate": {"episodes": 36, "margin": 0.5}}, "gate.margin"),
        ({"posture_margin": 0.9}, "posture_margin"), ({"margin": 1.0}, "margin"), ({"load_margin": 9.0}, "load_margin"),
        ({"learner": {"kl_limit": 200.0}}, "learner.kl_limit"), ({"box": {"margin": 3.0}}, "box.margin"),
    ],
)  # fmt: skip
def test_on_a_robot_no_margin_lets_everything_pass(changes: dict, named: str) -> None:
    good = {"gate": {"episodes": 36, "margin": 0.05}}
    refuse_lax(recipe(**good))
    with pytest.raises(InputError, match=named):
        refuse_lax(recipe(**(good | changes)))
