"""The gait protocol asks for all that a gait's command names, and each of it that is not kept shows in the figure of that name."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from locomotion.evaluation import protocols

ROWS = protocols.PROTOCOLS["gait"].rows
NAMES = ("forward", "left", "yaw", "gait", "frequency", "swing_height", "body_height", "pitch")
OFFSETS = {0.0: (0, 0.5, 0.5, 0), 1.0: (0, 0.5, 0, 0.5), 2.0: (0, 0, 0.5, 0.5), 3.0: (0, 0, 0, 0)}  # trot, pace, bound, pronk; FL FR RL RR


def obedient(go2, told, seconds, nose=0.0, up=0.0, high=0.0, faster=0.0, stands=False):
    """A robot that does as it is ``told``, but for what is named: rad, m, m, Hz."""
    pitch, velocity = told["pitch"] + nose, torch.tensor([told["forward"], told.get("left", 0.0), told["yaw"]])
    feet, force = torch.zeros(1, 4, 3), torch.zeros(1, 4, 3)
    for foot, offset in enumerate(OFFSETS[told["gait"]]):
        phase = ((told["frequency"] + faster) * seconds + offset) % 1.0
        swings = phase >= 0.5 and bool(velocity.norm() > 0.1)
        force[0, foot, 2] = 0.0 if swings and not stands else 30.0
        feet[0, foot, 2] = 0.022 + (swings * (told["swing_height"] + high) * math.sin(2 * math.pi * (phase - 0.5)) ** 2)
    signals = SimpleNamespace(
        base_lin_vel=torch.tensor([[velocity[0], velocity[1], 0.0]]),
        base_ang_vel=torch.tensor([[0.0, 0.0, velocity[2]]]),
        base_pos=torch.tensor([[0.0, 0.0, 0.31 + told["body_height"] + up]]),
        projected_gravity=torch.tensor([[math.sin(pitch), 0.0, -math.cos(pitch)]]),  # gravity toward the nose: nose down
        foot_pos=feet,
        foot_contact_force=force,
    )
    return SimpleNamespace(signals=signals, robot=go2, foot_radius=torch.full((4,), 0.022))


def score(go2, rows=ROWS, **off):
    """Mean figures of the rows over two seconds, as a run takes them."""
    found = {}
    for told in rows:
        asked = {name: torch.tensor([told.get(name, 0.0)]) for name in NAMES}
        for step in range(1, 101):
            for name, value in protocols.walks(obedient(go2, told, 0.02 * step, **off), asked, 0.02 * step).items():
                found.setdefault(name, []).append(value)
    return {name: torch.cat(values).nanmean().item() for name, values in found.items()}


def test_who_does_as_told_has_no_error(go2):
    kept = score(go2)
    assert kept["tracking_score"] == kept["yaw_score"] == pytest.approx(1.0)
    assert kept["timing"] > 0.97  # a foot at the very edge of its stance is either
    assert [kept[name] for name in ("height_error", "pitch_error")] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert kept["swing_error"] < 0.002  # near the middle of a swing, not in it


@pytest.mark.parametrize(
    ("off", "figure", "least"),
    [
        ({"nose": 0.1}, "pitch_error", 0.099),
        ({"nose": -0.1}, "pitch_error", 0.099),
        ({"up": 0.02}, "height_error", 0.0199),
        ({"high": 0.03}, "swing_error", 0.027),
        ({"high": -0.03}, "swing_error", 0.027),
    ],
)
def test_what_is_not_kept_shows_in_its_own_figure(go2, off, figure, least):
    kept, broken = score(go2), score(go2, **off)
    assert broken[figure] > least
    assert {name: value for name, value in broken.items() if name != figure} == {
        name: value for name, value in kept.items() if name != figure
    }


def test_feet_that_keep_another_time_or_never_rise_are_late(go2):
    assert score(go2, faster=0.6)["timing"] < 0.75
    assert score(go2, stands=True)["timing"] == pytest.approx((4 + 32 * 0.5) / 36, abs=0.02)  # told to stand it does, in 4 rows


def test_the_best_policy_heeds_its_pose_too(go2):
    """Of two that track alike, the one whose pitch, height or swing is nearer to what is told."""
    select, kept = protocols.PROTOCOLS["gait"].select, score(go2, ROWS[5:8]) | {"fall_rate": 0.0}
    for off in ({"nose": 0.1}, {"up": 0.05}, {"high": -0.03}):
        assert select(score(go2, ROWS[5:8], **off) | {"fall_rate": 0.0}) < select(kept) - 0.02
    assert select(kept | {"fall_rate": 0.1}) < select(kept) - 0.09


def test_rows_ask_for_each_figure_in_every_gait_and_no_two_together():
    assert len(ROWS) == 36
    for gait in range(4):
        rows = [row for row in ROWS if row["gait"] == gait]
        for one, other in itertools.combinations(("frequency", "swing_height", "body_height", "pitch"), 2):
            assert len({(row[one], row[other]) for row in rows}) == 9
    assert {row["pitch"] for row in ROWS} == {-0.2, 0.0, 0.2}
    assert {row["body_height"] for row in ROWS} == {-0.06, 0.0, 0.03}


def test_errors_are_those_of_robots_that_stand_and_scores_of_the_fallen_are_zero(go2, monkeypatch):
    """Of four robots one lies from the start: its error counts for nothing, its score for zero; nor does what is no number count."""
    signals = SimpleNamespace(projected_gravity=torch.tensor([[0.0, 0.0, -1.0]] * 3 + [[1.0, 0.0, 0.0]]), base_pos=torch.full((4, 3), 0.31))
    simulator = SimpleNamespace(num_envs=4, device=torch.device("cpu"), robot=go2, signals=signals, faults=torch.zeros(4, dtype=torch.bool))

    def measure(simulator, asked, seconds):
        seen = torch.tensor([1.0, math.nan if seconds < 0.05 else 4.0, 1.0, 9.0])
        return {"score": torch.ones(4), "some_error": seen}

    monkeypatch.setattr(protocols, "rollout", lambda actor, world, command, seconds: (torch.zeros(4, 12) for _ in range(5)))
    protocol = protocols.Protocol(({},), measure, lambda scores: scores["score"], seconds=0.1, unscored=0.0)
    world = SimpleNamespace(simulator=simulator, control_dt=0.02)
    scores = protocols.run(protocol, SimpleNamespace(reset=lambda batch: None), world, torch.zeros(4, 0), ())
    assert scores["score"] == scores["selection"] == pytest.approx(0.75)
    assert scores["fall_rate"] == 0.25
    assert scores["some_error"] == pytest.approx((2 * 5 + 3 * 4.0) / 13)
