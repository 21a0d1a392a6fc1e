"""Runs are compared at equal steps, seeds are taken together, and words say what a difference means."""

import json
import math

import numpy as np
import pytest

from locomotion.evaluation import compare
from robots import InputError
from tests.conftest import tiny_config
from tests.locomotion.evaluation.conftest import metrics_row, write_run


def make_run(path, scores, cards=(), **settings):
    rows = [metrics_row(i + 1, score) for i, score in enumerate(scores)]
    for i, tracking, yaw in cards:
        rows[i] |= {"scorecard/tracking": tracking, "scorecard/yaw": yaw, "scorecard/selection": min(tracking, yaw)}
    return write_run(path, rows, **settings)


def record(folder):
    return compare.Record(folder, compare.read_config(folder), compare.read_metrics(folder))


def test_figures_of_a_run(tmp_path):
    folder = make_run(tmp_path / "a", [0.1, 0.2, 0.3, 0.4], [(1, 0.9, 0.79), (2, 0.8, 0.85), (3, 0.7, 0.9)])
    figures = compare.figures(record(folder), equal_steps=2 * 48)
    assert figures == {"at equal steps": 0.2, "in the end": 0.4, "unexploring": 0.7, "tracking": 0.7, "yaw": 0.9, "s to 0.8/0.8": 6.0}
    (folder / "scorecard.json").write_text(
        json.dumps({"scores": {"mujoco": {"nominal": {"tracking_score": 0.95, "yaw_score": 0.0}, "randomized": {"tracking_score": 0.1}}}})
    )
    figures = compare.figures(record(folder), 48)
    assert (figures["tracking"], figures["yaw"]) == (0.95, 0.0)
    nothing = compare.figures(record(make_run(tmp_path / "b", [0.1])), 1.0)
    assert math.isnan(nothing["at equal steps"])
    assert math.isnan(nothing["s to 0.8/0.8"])


def test_runs_without_a_robot_are_told_apart_by_their_returns_and_have_no_columns_of_a_robot(tmp_path):
    """Training scores say that a is better, returns without exploration that b is: these decide."""
    runs = (("a", 0.9, 0.99), ("b", 0.5, 0.9))
    folders = [make_run(tmp_path / name, [score], algorithm=tiny_config()["algorithm"] | {"gamma": gamma}) for name, score, gamma in runs]
    for folder, value in zip(folders, (100.0, 300.0), strict=True):
        row = json.loads((folder / "metrics.jsonl").read_text()) | {"scorecard/selection": value}
        (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    text = compare.table(folders)
    assert "unexploring: -200.000." in text
    assert "tracking" not in text
    assert "0.8/0.8" not in text


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path):
    folders = [make_run(tmp_path / name, [0.5], seed=seed, run=name, threads=seed) for name, seed in (("a", 1), ("b", 2))]
    folders.append(make_run(tmp_path / "c", [0.5], seed=1, algorithm=tiny_config()["algorithm"] | {"gamma": 0.9}))
    groups = compare.grouped([record(folder) for folder in folders])
    assert [[one.folder.name for one in group] for group in groups.values()] == [["a", "b"], ["c"]]
    assert list(groups)[1] == "c (algorithm.gamma=0.9)"


def test_what_has_a_name_of_its_own_is_told_by_that_name(tmp_path):
    algorithm = tiny_config()["algorithm"]
    folders = [
        make_run(tmp_path / "a", [0.5]),
        make_run(tmp_path / "b", [0.5], algorithm=algorithm | {"name": "a2c", "gamma": 0.9, "tau": 1}),
    ]
    assert list(compare.grouped([record(folder) for folder in folders])) == ["a (algorithm.name=ppo)", "b (algorithm.name=a2c)"]


def test_of_many_settings_those_with_names_are_told_first(tmp_path):
    """And a term that one of the runs lacks is no term of the value None."""
    task = tiny_config()["task"]
    task = task | {"rewards": dict(task["rewards"]) | {"mine": {"weight": 1.0, "width": 2.0}}}
    folders = [
        make_run(tmp_path / "a", [0.5]),
        make_run(tmp_path / "b", [0.5], task=task, algorithm=tiny_config()["algorithm"] | {"name": "a2c"}),
    ]
    assert list(compare.grouped([record(folder) for folder in folders])) == [
        "a (algorithm.name=ppo, no task.rewards.mine.weight, no task.rewards.mine.width)",
        "b (algorithm.name=a2c, task.rewards.mine.weight=1.0, task.rewards.mine.width=2.0)",
    ]


def test_the_table_says_means_and_spreads_at_equal_steps(tmp_path):
    folders = [
        make_run(tmp_path / "a", [0.1, 0.4, 0.9], seed=1), make_run(tmp_path / "b", [0.1, 0.6], seed=2),
        make_run(tmp_path / "c", [0.2, 0.3], [(1, 0.9, 0.9)], algorithm={"name": "sac"}),
    ]  # fmt: skip
    page = tmp_path / "compare.html"
    text = compare.table(folders, page)
    assert "0.500 ± 0.141" in text
    assert "0.750 ± 0.212" in text
    assert "Equal steps: 96" in text
    assert "One seed says nothing" in text
    assert "<img" in page.read_text()


def test_words_follow_the_numbers():
    rng = np.random.default_rng(1)
    a, b = 0.8 + 0.01 * rng.standard_normal(6), 0.7 + 0.01 * rng.standard_normal(6)
    apart = compare._verdict(a, b)
    assert "excludes 0" in apart
    assert "+0.1" in apart
    near = compare._verdict(a, a[::-1] + 0.001)
    assert "may be chance" in near
    assert "takes about" in near
    assert "nothing to compare" in compare._verdict(a, a[:0])
    assert "fewer than 5" in compare._verdict(a[:3], b[:3])


def test_the_interval_is_that_of_the_difference():
    x, y = np.full(5, 0.9), np.full(5, 0.6)
    assert compare.bootstrap_interval(x, y) == pytest.approx((0.3, 0.3))
    rng = np.random.default_rng(0)
    x, y = rng.normal(1.0, 0.1, 50), rng.normal(0.0, 0.1, 50)
    low, high = compare.bootstrap_interval(x, y)
    error = math.sqrt(x.var() / 50 + y.var() / 50)
    assert (low, high) == pytest.approx((x.mean() - y.mean() - 1.96 * error, x.mean() - y.mean() + 1.96 * error), abs=0.1 * error)


def test_seeds_needed_is_lehrs_rule():
    assert compare.seeds_needed(0.1, 0.1) == 16
    assert compare.seeds_needed(-0.05, 0.1) == 64
    assert compare.seeds_needed(1.0, 0.1) == 2
    assert compare.seeds_needed(0.0, 0.1) == 1000


def test_what_cannot_be_compared_is_an_error(tmp_path):
    a, empty = make_run(tmp_path / "a", [0.5]), write_run(tmp_path / "empty", [])
    for folders in ([a], [a, a], [a, empty], [a, tmp_path / "none"]):
        with pytest.raises(InputError):
            compare.table(folders)
