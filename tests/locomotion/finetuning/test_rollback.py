"""The paired test, the leash and the gate's verdict: exact values."""

from __future__ import annotations

import math

import pytest
import torch

from locomotion.finetuning import leash
from locomotion.finetuning.gate import objection
from locomotion.finetuning.rollback import T_95, Margins, Walked, interval, judge


def walks(
    *rewards: float, changed: float = 0.0, early: bool = False, tilt: float = 0.0, height: float = 1.0, findings: int = 0
) -> list[Walked]:
    return [Walked(reward, changed, early, tilt, height, findings) for reward in rewards]


def test_the_interval_is_students() -> None:
    """Of 1, 2, 3: mean 2, standard error 1 / sqrt(3), t(0.95, 2) = 2.920."""
    low, high = interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2.0 - 2.920 / math.sqrt(3.0), 2.0 + 2.920 / math.sqrt(3.0)))
    assert interval([1.0]) == (-math.inf, math.inf)
    assert list(T_95) == sorted(T_95, reverse=True)
    covered, generator = 0, torch.Generator().manual_seed(0)
    for _ in range(2000):
        low, high = interval(torch.randn(5, generator=generator).tolist())
        covered += low <= 0.0 <= high
    assert covered / 2000 == pytest.approx(0.9, abs=0.02)


def test_a_candidate_is_better_only_where_the_pairs_show_it() -> None:
    base = walks(2.0, 1.0, 3.0, 2.0)
    assert judge(walks(2.1, 1.1, 3.2, 2.1), base, Margins()).better
    unclear = judge(walks(2.5, 0.6, 3.5, 1.9), base, Margins())
    assert not unclear.better
    assert not unclear.worse
    # pairing counts: the same walks in another order show nothing
    assert not judge(walks(3.2, 2.1, 2.1, 1.1), base, Margins()).better


@pytest.mark.parametrize(
    ("candidate", "word"),
    [
        (walks(1.95, 0.96, 2.94, 1.95), "reward is lower"),
        (walks(1.5, 1.0, 3.0, 1.9), "of the base's"),  # not shown, but too much below
        (walks(2.1, 1.1, 3.1, 2.1, changed=0.1), "filters"),
        (walks(2.1, 1.1, 3.1, 2.1, early=True), "early"),
        (walks(2.1, 1.1, 3.1, 2.1, tilt=0.11), "tilts"),
        (walks(2.1, 1.1, 3.1, 2.1, height=0.89), "sinks"),
        (walks(2.1, 1.1, 3.1, 2.1, findings=1), "found"),
        (walks(math.nan, 1.1, 3.1, 2.1), "reward"),
    ],
)
def test_what_is_worse_goes(candidate, word) -> None:
    verdict = judge(candidate, walks(2.0, 1.0, 3.0, 2.0), Margins())
    assert word in verdict.worse
    assert not verdict.better


def test_the_leash_is_what_kl_says_and_shortening_keeps_to_it() -> None:
    base, std = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), torch.full((4,), 0.1)
    way = 0.3 * torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    far = float(leash.distance(base + way, base, std))
    assert far == pytest.approx(float((way.square().sum(dim=-1) / (2 * 0.1**2)).mean()), rel=1e-5)
    share = leash.shortened(far, 2.0)
    assert float(leash.distance(base + share * way, base, std)) == pytest.approx(2.0, rel=1e-4)
    assert leash.shortened(1.9, 2.0) == 1.0


GOOD = {
    "nominal": {"fall_rate": 0.0, "tracking_score": 0.95, "yaw_score": 0.9},
    "randomized": {"fall_rate": 0.1, "tracking_score": 0.8, "yaw_score": 0.8},
}


@pytest.mark.parametrize(
    ("condition", "change", "word"),
    [
        ("nominal", {"fall_rate": 0.03}, "fall"),
        ("randomized", {"fall_rate": 0.2}, "fall"),
        ("nominal", {"tracking_score": 0.88}, "tracking_score"),
        ("randomized", {"yaw_score": 0.7}, "yaw_score"),
        ("nominal", {"tracking_score": math.nan}, "tracking_score"),
        ("nominal", {"fall_rate": math.nan}, "fall"),
    ],
)
def test_the_gate_names_what_a_candidate_lacks(condition, change, word) -> None:
    assert objection(GOOD, GOOD, 0.05) == ""
    found = GOOD | {condition: GOOD[condition] | change}
    said = objection(found, GOOD, 0.05)
    assert condition in said
    assert word in said
    assert objection(GOOD | {"randomized": GOOD["randomized"] | {"fall_rate": 0.05, "tracking_score": 0.76}}, GOOD, 0.05) == ""
