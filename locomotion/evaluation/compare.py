"""Tell runs apart: at equal steps, in the end and by the time to walk, over seeds where runs share all other settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from locomotion.evaluation import page, plots
from locomotion.evaluation.documents import read_scorecard
from locomotion.runs.folder import read_config, read_metrics
from robots.errors import InputError

APART = ("seed", "run", "resume", "init", "threads", "snapshot_every", "score_every", "iterations")  # of a config: not what is compared
WALKS = 0.8  # tracking and yaw of the scorecard
LEVEL, SAMPLES = 0.95, 10_000  # of the bootstrap interval
ENOUGH = 5  # seeds, below which such an interval is too narrow
FIGURES = {
    "at equal steps": "smoothed training score at the steps that every run has",
    "in the end": "smoothed training score of the last iteration",
    "unexploring": "without exploration, the last score taken: a robot's min(tracking, yaw) - falls, any other environment's mean return",
    "tracking": "scorecard, nominal, in the end",
    "yaw": "scorecard, nominal, in the end",
    "s to 0.8/0.8": "s of training until the scorecard's tracking and yaw were both at least 0.8",
}


@dataclass(frozen=True)
class Record:
    """One run: what was asked, and its rows."""

    folder: Path
    config: dict[str, Any]
    metrics: list[dict[str, Any]]

    @property
    def settings(self) -> dict[str, Any]:
        return {key: value for key, value in self.config.items() if key not in APART}

    def steps(self) -> float:
        return max((row["steps"] for row in self.metrics if plots.is_number(row.get("steps"))), default=0.0)


def table(folders: Sequence[Path], output: Path | None = None) -> str:
    """A comparison of run folders as text; ``output`` also gets it as a page with learning curves.

    Raises:
        InputError: fewer than two runs, the same one twice, or a folder that holds none.
    """
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("runs", [str(folder) for folder in folders], "at least two different run folders", "See runs/.")
    records = [Record(folder, read_config(folder), read_metrics(folder)) for folder in folders]
    for one in records:
        if not one.metrics:
            raise InputError("runs", str(one.folder), "a run of at least one iteration", "Leave it out.")
    groups = grouped(records)
    equal = min(one.steps() for one in records)
    values = {name: [figures(one, equal) for one in group] for name, group in groups.items()}
    known = [figure for figure in FIGURES if any(math.isfinite(run[figure]) for runs in values.values() for run in runs)]
    rows = [[name, str(len(runs)), *(_cell([run[figure] for run in runs]) for figure in known)] for name, runs in values.items()]
    head = ["", "seeds", *known]
    told = "unexploring" if all(math.isfinite(run["unexploring"]) for runs in values.values() for run in runs) else "at equal steps"
    words = [f"Equal steps: {equal:,.0f}.", *verdicts(values, told)]
    if output:
        said = "".join(page.note(f"{name}: {text}") for name, text in FIGURES.items() if name in known) + "".join(
            page.note(word) for word in words
        )
        body = page.table(head, rows) + said + page.picture(curves(groups), "learning curves")
        page.write(output, "Runs compared", body, "output")
    return "\n".join([*_columns([head, *rows]), "", *words])


def grouped(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Runs that differ in their seed alone, by what sets each group apart from the others."""
    groups: dict[str, list[Record]] = {}
    for one in records:
        groups.setdefault(json.dumps(one.settings, sort_keys=True, default=str), []).append(one)
    flat = [dict(_flatten(group[0].settings)) for group in groups.values()]
    different = [key for key in dict.fromkeys(key for one in flat for key in one) if len({repr(one.get(key)) for one in flat}) > 1]
    named = {key.removesuffix(".name") for key in different if key.endswith(".name")}  # what has a name is told by it alone
    different = [key for key in different if key.endswith(".name") or key.partition(".")[0] not in named]
    different.sort(key=lambda key: key not in ("env", "robot") and not key.endswith(".name"))  # they tell more than one of many numbers
    result: dict[str, list[Record]] = {}
    for one, group in zip(flat, groups.values(), strict=True):
        apart = ", ".join(f"{key}={one[key]}" if key in one else f"no {key}" for key in different[:3]) + (
            ", ..." if len(different) > 3 else ""
        )
        name = f"{', '.join(record.folder.name for record in group)}{f' ({apart})' if apart else ''}"
        result[name if name not in result else f"{name} {len(result)}"] = group
    return result


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in settings.items():
        pairs += _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return pairs


def figures(record: Record, equal_steps: float) -> dict[str, float]:
    """:data:`FIGURES` of a run; NaN where it has none."""
    scored = [row for row in record.metrics if plots.is_number(row.get("smoothed_score"))]
    before = [row for row in scored if plots.is_number(row.get("steps")) and row["steps"] <= equal_steps]
    cards = [row for row in record.metrics if all(plots.is_number(row.get(f"scorecard/{name}")) for name in ("tracking", "yaw"))]
    walking = [
        row for row in cards if min(row["scorecard/tracking"], row["scorecard/yaw"]) >= WALKS and plots.is_number(row.get("seconds"))
    ]
    last = {name: cards[-1][f"scorecard/{name}"] if cards else math.nan for name in ("tracking", "yaw")}
    path = record.folder / "scorecard.json"
    if path.exists():
        nominal = read_scorecard(path).scores.get("mujoco", {}).get("nominal", {})
        last |= {name: nominal[f"{name}_score"] for name in last if plots.is_number(nominal.get(f"{name}_score"))}
    return {
        "at equal steps": before[-1]["smoothed_score"] if before else math.nan,
        "in the end": scored[-1]["smoothed_score"] if scored else math.nan,
        "unexploring": next(
            (row["scorecard/selection"] for row in reversed(record.metrics) if plots.is_number(row.get("scorecard/selection"))), math.nan
        ),
        **last,
        "s to 0.8/0.8": walking[0]["seconds"] if walking else math.nan,
    }


def verdicts(values: Mapping[str, Sequence[Mapping[str, float]]], figure: str = "at equal steps") -> list[str]:
    """In words, for every pair of groups: does the difference in ``figure`` mean something, or how many seeds would tell."""
    said = []
    for (first, a), (second, b) in combinations(values.items(), 2):
        x, y = (np.array([run[figure] for run in runs if math.isfinite(run[figure])]) for runs in (a, b))
        said.append(f"{first} against {second}, {figure}: {_verdict(x, y)}")
    return said


def _verdict(x: np.ndarray, y: np.ndarray) -> str:
    if min(len(x), len(y)) == 0:
        return "nothing to compare."
    difference = float(x.mean() - y.mean())
    if min(len(x), len(y)) < 2:
        return f"{difference:+.3f}. One seed says nothing about the next: run at least 3 seeds of each, better {ENOUGH}."
    low, high = bootstrap_interval(x, y)
    spread = math.sqrt(0.5 * (x.var(ddof=1) + y.var(ddof=1)))
    words = f"{difference:+.3f}, {LEVEL:.0%} interval [{low:+.3f}, {high:+.3f}]. "
    words += "The interval excludes 0" if low > 0 or high < 0 else "That may be chance: the interval includes 0"
    needed = seeds_needed(difference, spread)
    if needed > min(len(x), len(y)):
        words += f"; a difference of this size at this spread ({spread:.3f}) takes about {needed} seeds of each"
    elif min(len(x), len(y)) < ENOUGH:
        words += f"; with fewer than {ENOUGH} seeds of each it is narrower than it should be"
    return words + "."


def bootstrap_interval(x: np.ndarray, y: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of mean(x) - mean(y) under resampling of the seeds (Efron and Tibshirani 1993, chapter 13)."""
    rng = np.random.default_rng(seed)
    means = [sample[rng.integers(len(sample), size=(SAMPLES, len(sample)))].mean(axis=1) for sample in (x, y)]
    low, high = np.quantile(means[0] - means[1], [0.5 - 0.5 * LEVEL, 0.5 + 0.5 * LEVEL])
    return float(low), float(high)


def seeds_needed(difference: float, spread: float) -> int:
    """Seeds of each group that find ``difference`` four times in five at the 5 % level: 16 (spread / difference)^2 (Lehr 1992)."""
    if difference == 0:
        return 1000
    return int(min(1000, max(2, math.ceil(16.0 * (spread / difference) ** 2))))


def curves(groups: Mapping[str, Sequence[Record]]) -> Any:
    """Smoothed training score and scorecards over the seconds of training; a colour a group."""
    figure, axes = plots.subplots(1, 2, height=3.6)
    for i, (name, group) in enumerate(groups.items()):
        for k, one in enumerate(group):
            style = {"color": f"C{i % 10}", "lw": 1.0, "label": plots.label(name) if k == 0 else None}
            axes[0, 0].plot(*plots.series(one.metrics, "smoothed_score"), **style)
            axes[0, 1].plot(*plots.series(one.metrics, "scorecard/selection"), marker="o", ms=3, **style)
    axes[0, 0].set(
        title="smoothed training score",
        xlabel="s of training",
    )
    axes[0, 1].set(title="without exploration (a robot: min(tracking, yaw) - falls)", xlabel="s of training")
    if all("metric/tracking" in one.metrics[-1] for group in groups.values() for one in group):
        axes[0, 0].set_ylim(0, 1)
    axes[0, 0].legend(fontsize=7)
    return figure


def _cell(numbers: Sequence[float]) -> str:
    """Mean and spread over seeds."""
    good = [value for value in numbers if math.isfinite(value)]
    if not good:
        return "–"
    digits = 0 if max(map(abs, good)) >= 10 else 3
    text = f"{np.mean(good):.{digits}f}" + (f" ± {np.std(good, ddof=1):.{digits}f}" if len(good) > 1 else "")
    return text + (f" ({len(good)} of {len(numbers)})" if len(good) < len(numbers) else "")


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))) for row in rows
    ]
