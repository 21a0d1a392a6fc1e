"""What many seeds say together: the interquartile mean of their scores, with a bootstrap interval, for each set of settings.

Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (2021): a mean is moved by one lucky or broken
seed, a median throws most of them away; the mean of the middle half does neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from locomotion.evaluation import page, plots
from locomotion.evaluation.compare import ENOUGH, LEVEL, SAMPLES, Record, figures, grouped
from locomotion.runs.folder import read_config, read_metrics

HEAD = ("", "seeds", "score", f"{LEVEL:.0%} interval", "least", "largest", "Msteps", "s")
SAID = (
    "Score: the last one of the policy without exploration (scorecard: min(tracking, yaw) - falls; elsewhere the mean return), and where "
    "none was taken, the smoothed score of training. Over seeds: interquartile mean, with a percentile bootstrap interval "
    f"({SAMPLES:,} resamples). Fewer than {ENOUGH} seeds make the interval narrower than it should be."
)


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without its lowest and highest quarter (of n values, floor(n / 4) at each end)."""
    cut, n = values.shape[-1] // 4, values.shape[-1]
    return np.sort(values, axis=-1)[..., cut : n - cut].mean(axis=-1)


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the interquartile mean of ``values`` [n], resampling seeds."""
    rng = np.random.default_rng(seed)
    means = interquartile_mean(values[rng.integers(len(values), size=(SAMPLES, len(values)))])
    low, high = np.quantile(means, [0.5 - 0.5 * LEVEL, 0.5 + 0.5 * LEVEL])
    return float(low), float(high)


def score(record: Record) -> float:
    """The last score of the policy without exploration, else the smoothed score of training; NaN without either."""
    cards = plots.series(record.metrics, "scorecard/selection")[1]
    return float(cards[-1]) if len(cards) else figures(record, math.inf)["in the end"]


def write(folders: Sequence[Path], output: Path) -> list[tuple[str, ...]]:
    """The page of runs at ``output``, and its table: a row for each set of settings, best first. Runs without an iteration are left out."""
    records = [Record(folder, read_config(folder), metrics) for folder in folders if (metrics := read_metrics(folder))]
    groups = {_short(name): records for name, records in grouped(records).items()}
    scores = {name: np.array([value for value in map(score, group) if math.isfinite(value)]) for name, group in groups.items()}
    order = sorted((name for name in groups if len(scores[name])), key=lambda name: -interquartile_mean(scores[name]))
    rows = [_row(name, scores[name], groups[name]) for name in order]
    body = page.table(HEAD, rows) + page.note(SAID)
    if order:
        body += page.picture(_curves({name: groups[name] for name in order}), "scores over the steps of training")
    page.write(output, f"Sweep {output.parent}", body, "output")
    return rows


def _short(name: str) -> str:
    """Of a group's name what sets it apart: the settings in brackets, where there are any."""
    _, bracket, told = name.partition(" (")
    return told.rstrip(")") if bracket else "all"


def _row(name: str, values: np.ndarray, group: Sequence[Record]) -> tuple[str, ...]:
    low, high = interval(values)
    digits = 3 if max(map(abs, values)) < 10 else 1
    numbers = [f"{value:.{digits}f}" for value in (interquartile_mean(values), low, high, values.min(), values.max())]
    mean, between = numbers[0], f"[{numbers[1]}, {numbers[2]}]" if len(values) > 1 else "–"
    seconds = [plots.series(record.metrics, "seconds")[1][-1] for record in group]
    steps = np.mean([record.steps() for record in group])
    return (name, str(len(values)), mean, between, *numbers[3:], f"{steps / 1e6:.2f}", f"{np.mean(seconds):.0f}")


def _curves(groups: Mapping[str, Sequence[Record]]) -> object:
    """Smoothed training scores over the steps of training, a colour a set of settings."""
    figure, axes = plots.subplots(1, 1, height=3.8)
    for i, (name, group) in enumerate(groups.items()):
        for k, record in enumerate(group):
            rows = [row for row in record.metrics if plots.is_number(row.get("smoothed_score")) and plots.is_number(row.get("steps"))]
            style = {
                "color": f"C{i % 10}",
                "lw": 1.0,
                "marker": "." if len(rows) < 3 else None,
                "label": plots.label(name) if k == 0 else None,
            }
            axes[0, 0].plot([row["steps"] for row in rows], [row["smoothed_score"] for row in rows], **style)
    axes[0, 0].set(title="smoothed score of training", xlabel="steps")
    axes[0, 0].legend(fontsize=7)
    return figure
