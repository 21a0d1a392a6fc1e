"""What a dataset holds, for people: a table, and a page with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from locomotion.data.dataset import Dataset
from locomotion.evaluation import page
from locomotion.evaluation.plots import subplots

MOST_PICTURES = 24
COVERED = 10  # bins of a range, of which data should have every one


@dataclass(frozen=True)
class Summary:
    """Figures of all episodes. [S] is steps, [E] episodes."""

    returns: np.ndarray  # [E]
    lengths: np.ndarray  # [E] steps
    terminated: int
    seen: np.ndarray  # [S, D] what the actor sees
    action: np.ndarray  # [S, A]
    command: np.ndarray | None  # [S, C]
    missing: dict[str, float]  # share of a signal that was not measured, where that is any

    @property
    def steps(self) -> int:
        return int(self.lengths.sum())


def summarize(dataset: Dataset) -> Summary:
    """Read all of it. Raises InputError where an episode is not whole."""
    rows: list[tuple[float, int, bool]] = []
    seen, actions, commands = [], [], []
    absent: dict[str, list[float]] = {}
    for episode in dataset.episodes():
        rows.append((float(episode.reward.sum(dtype=np.float64)), len(episode), bool(episode.terminated[-1])))
        seen.append(episode.observations["actor"][:-1])
        actions.append(episode.action)
        if "command" in episode.steps:
            commands.append(episode.steps["command"])
        for name, value in episode.signals.items():
            absent.setdefault(name, []).append(float(np.isnan(value).mean()) * len(episode))
    returns, lengths, fell = (np.array(column) for column in zip(*rows, strict=True))
    missing = {name: sum(parts) / float(lengths.sum()) for name, parts in absent.items() if sum(parts) > 0.0}
    command = np.concatenate(commands) if len(commands) == len(rows) else None
    return Summary(returns, lengths, int(fell.sum()), np.concatenate(seen), np.concatenate(actions), command, missing)


def lines(dataset: Dataset, summary: Summary) -> list[tuple[str, str]]:
    """Name and figure of what matters."""
    about, seconds = dataset.about, dataset.about.get("step_seconds")
    r, n, fell, spread = summary.returns, summary.lengths, summary.terminated, summary.action.std(axis=0)
    where = about.get("robot_name") or (about.get("config") or {}).get("env") or dataset.metadata.get("env_spec", "unknown")
    low, high = np.quantile(r, (0.25, 0.75))
    every = f", one in {summary.steps * seconds / fell:.0f} s" if seconds and fell else ""
    rows = [
        ("recorded in", str(where)[:80]),
        ("episodes", f"{len(r)}"),
        ("steps", f"{summary.steps:,}" + (f" ({summary.steps * seconds / 60:.1f} minutes)" if seconds else "")),
        ("length of an episode", f"{n.mean():.0f} steps, {n.min()} to {n.max()}"),
        ("return of an episode", f"{r.mean():.3f}, {r.min():.3f} to {r.max():.3f}, quartiles {low:.3f} and {high:.3f}"),
        ("reward a step", f"{r.sum() / summary.steps:.4f}"),
        ("ended by a fall or the like", f"{fell} of {len(r)}{every}"),
        ("actions", f"{len(spread)}, standard deviation {spread.min():.3f} to {spread.max():.3f}"),
        ("observation groups", ", ".join(f"{name} {width}" for name, width in dataset.groups.items())),
        *[(f"missing: {name}", f"{100 * share:.1f} %") for name, share in summary.missing.items()],
    ]
    rows += [(f"logs: {name}", f"{count:,}") for name, count in about.get("counts", {}).items() if count]
    if about.get("rewards_left_out"):
        rows.append(("rewards left out", f"{', '.join(about['rewards_left_out'])}: no robot measures what they look at"))
    return rows + coverage(dataset, summary)


def coverage(dataset: Dataset, summary: Summary) -> list[tuple[str, str]]:
    """How much of each channel of the command was asked for."""
    if summary.command is None:
        return []
    names = dataset.about.get("command_names") or [f"command {i}" for i in range(summary.command.shape[1])]
    limits = dataset.about.get("command_range") or [[float(c.min()), float(c.max())] for c in summary.command.T]
    rows = []
    for name, (low, high), values in zip(names, limits, summary.command.T, strict=True):
        count, _ = np.histogram(values, COVERED, (low, high if high > low else low + 1.0))
        text = f"{values.min():.2f} to {values.max():.2f} of {low:.2f} to {high:.2f}, {np.count_nonzero(count)} of {COVERED} parts"
        rows.append((f"command {name}", text))
    return rows


def write(dataset: Dataset, summary: Summary, path: Path) -> Path:
    """A page of it. Raises InputError where it cannot be written."""
    body = page.table(["", ""], [(name, (figure, "text")) for name, figure in lines(dataset, summary)])
    ends = [("return of an episode", summary.returns), ("steps of an episode", summary.lengths)]
    body += page.section("Episodes", page.picture(_histograms(ends), "returns and lengths"))
    if summary.command is not None:
        names = dataset.about.get("command_names") or [str(i) for i in range(summary.command.shape[1])]
        figures = [(f"command {name}", values) for name, values in zip(names, summary.command.T, strict=True)]
        body += page.section("Commands", page.picture(_histograms(figures), "what was asked for"))
    joints = dataset.about.get("joint_names") or [str(i) for i in range(summary.action.shape[1])]
    actions = [(f"action {name}", values) for name, values in zip(joints, summary.action.T, strict=True)]
    body += page.section("Actions", page.picture(_histograms(actions), "actions"))
    states = [(f"observation {i}", values) for i, values in enumerate(summary.seen.T)]
    body += page.section("What the policy sees", page.picture(_histograms(states), "observations"))
    if len(states) > MOST_PICTURES:
        body += page.note(f"The first {MOST_PICTURES} of {len(states)}.")
    return page.write(path, f"Dataset {dataset.path.name}", body, "output")


def _histograms(columns: Sequence[tuple[str, np.ndarray]]) -> Any:
    columns = columns[:MOST_PICTURES]
    across = min(4, len(columns))
    rows = -(-len(columns) // across)
    figure, axes = subplots(rows, across, 1.8 * rows)
    for axis, (name, values) in zip(np.asarray(axes).flat, columns, strict=False):
        axis.hist(values, 40)
        axis.set_title(name, fontsize=8)
        axis.set_yticks([])
    for axis in list(np.asarray(axes).flat)[len(columns) :]:
        axis.set_visible(False)
    return figure
