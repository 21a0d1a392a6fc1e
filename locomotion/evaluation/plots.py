"""The pictures of a report: plain functions from figures to matplotlib figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from locomotion.evaluation.documents import Trace, column, is_number
from robots import Robot

Array = np.ndarray
FEET_SECONDS = 3.0  # of a log, for the contact bars
WIDTH = 10.5  # inches
CONTACT_FORCE = 1.0  # N
MOST_CURVES = 60


def subplots(rows: int, columns: int, height: float, font: int = 8) -> tuple[Any, Array]:
    """A figure without a screen, and its axes [rows, columns]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = np.array(figure.subplots(rows, columns, squeeze=False))
    for axis in axes.flat:
        axis.tick_params(labelsize=font)
        axis.grid(alpha=0.25)
        axis.title.set_fontsize(font + 1)
    return figure, axes


def label(name: object) -> str:
    """A name from a file as matplotlib can draw it: no formulas, no halves of characters, not endless."""
    clean = "".join(c if c.isprintable() else "?" for c in str(name)[:40])
    return clean.encode(errors="replace").decode().replace("$", r"\$").lstrip("_") or "?"


def series(metrics: Sequence[Mapping[str, Any]], name: str) -> tuple[Array, Array]:
    """Seconds and values of the rows that hold a finite figure ``name``."""
    pairs = [(row.get("seconds"), row.get(name)) for row in metrics]
    good = [pair for pair in pairs if all(is_number(value) for value in pair)]
    return tuple(np.array(good, dtype=float).reshape(-1, 2).T)  # type: ignore[return-value]


def learning(metrics: Sequence[Mapping[str, Any]]) -> Any:
    """Learning curves over the seconds of training."""
    figure, axes = subplots(3, 2, height=8.4)
    (scores, card), (terms, falls), (speed, learner) = axes
    names = list(dict.fromkeys(name for row in metrics for name in row if isinstance(name, str)))

    def draw(axis: Any, chosen: Sequence[str], prefix: str = "", **style: Any) -> None:
        for i, name in enumerate(chosen[:MOST_CURVES]):
            x, y = series(metrics, name)
            if len(x):  # the colours repeat after ten; a single iteration is a dot
                line = {"ls": ("-", "--", ":", "-.")[i // 10 % 4], "lw": 1.2, "marker": "." if len(x) < 3 else None}
                axis.plot(x, y, label=label(name.removeprefix(prefix)), **line | style)

    def group(prefix: str) -> list[str]:
        return [name for name in names if name.startswith(prefix)]

    draw(scores, [*group("metric/"), "smoothed_score"], "metric/")
    scores.set(title="in training (noise, pushes and exploration on)")
    draw(card, group("scorecard/"), "scorecard/", marker="o", ms=3)
    card.set(title="scorecard, nominal, without exploration")
    if group("metric/"):  # a robot's, which are shares of 1; returns of other environments have no bounds
        scores.set_ylim(0, 1)
        card.set_ylim(min(0.0, card.get_ylim()[0]), 1.02)  # falls may pull the selection below 0
    draw(terms, group("reward/"), "reward/")
    terms.set(title="reward a step, by term")
    for name in ("falls", "timeouts", "faults"):
        x, y = per_thousand_steps(metrics, name)
        falls.plot(x, y, lw=1.2, label=name, marker="." if len(x) < 3 else None)
    falls.set(title="ends of episodes in 1000 steps")
    falls.set_ylim(bottom=0)
    draw(speed, ["steps_per_second"])
    speed.set(title="control steps a second")
    speed.set_ylim(bottom=0)
    draw(learner, [*group("loss/"), *group("policy/"), *group("estimate/")])
    learner.set(title="learner", yscale="symlog")
    for axis in axes.flat:
        axis.set_xlabel("s of training")
        axis.set_visible(bool(axis.lines))
        if axis.lines and axis is not speed:
            many = axis in (terms, learner)
            place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if many else {"loc": "best"}
            axis.legend(fontsize=6 if many else 7, **place)
    return figure


def per_thousand_steps(metrics: Sequence[Mapping[str, Any]], name: str) -> tuple[Array, Array]:
    """Seconds, and how often ``name`` happened in 1000 control steps, of each iteration."""
    rows = [row for row in metrics if all(is_number(row.get(key)) for key in ("seconds", "steps", "iteration", name))]
    rows = [row for row in rows if row["steps"] > 0 and row["iteration"] > 0]
    rate = [1e3 * row[name] * row["iteration"] / row["steps"] for row in rows]
    return np.array([row["seconds"] for row in rows]), np.array(rate)


def feet(trace: Trace, names: Sequence[str]) -> Any:
    """Height of each sole over a few strides with bars where it carries load, and the base's height."""
    count = len(trace.sole_height)
    figure, axes = subplots(count + 1, 1, height=1.0 * count + 1.3)
    time = np.arange(len(trace.base_height)) * trace.dt
    heights = 100.0 * np.array(trace.sole_height).reshape(count, -1)
    top = max(6.0, float(heights.max(initial=0.0)) + 1.0)
    for axis, height, contact, name in zip(axes[:-1, 0], heights, trace.contact, names, strict=True):
        axis.plot(time, height, lw=1.2)
        axis.fill_between(time, -2.4, -1.4, where=np.array(contact) > 0, color="k", lw=0, step="mid")
        axis.axhspan(5.0, 9.0, color="g", alpha=0.08, lw=0)  # where the top of a swing should be
        axis.set(ylabel=f"{label(name)}\ncm", ylim=(-2.8, top))
    base = axes[-1, 0]
    base.plot(time, 100.0 * np.array(trace.base_height), lw=1.2, color="C1")
    base.set(ylabel="base\ncm", xlabel="s")
    middle = 100.0 * float(np.mean(trace.base_height))
    base.set_ylim(middle - 2.5, middle + 2.5)
    for axis in axes[:, 0]:
        axis.set_xlim(0, time[-1] if len(time) else 1)
    return figure


def commands(log: Mapping[str, Array]) -> Any:
    """Command against velocity."""
    figure, axes = subplots(3, 1, height=4.6)
    time, command = column(dict(log), "time"), column(dict(log), "command", None)
    yaw = column(dict(log), "base_ang_vel", 3)[:, 2]
    velocity = [*column(dict(log), "base_lin_vel", 3)[:, :2].T, yaw] if "base_lin_vel" in log else [None, None, yaw]
    for i, (axis, name) in enumerate(zip(axes[:, 0], ("forward m/s", "left m/s", "yaw rad/s"), strict=True)):
        if velocity[i] is not None:
            axis.plot(time, velocity[i], lw=0.8, label="robot")
        if i < command.shape[1]:
            axis.plot(time, command[:, i], "k--", lw=1, label="command")
        axis.set_ylabel(name)
    axes[0, 0].legend(fontsize=8, loc="upper right")
    axes[-1, 0].set_xlabel("s")
    return figure


def contacts(log: Mapping[str, Array], robot: Robot) -> Any:
    """Feet on the ground in a few seconds of walking."""
    figure, axes = subplots(1, 1, height=0.9 + 0.25 * len(robot.feet))
    axis, time = axes.item(), column(dict(log), "time")
    walking = np.flatnonzero(column(dict(log), "state") == "walk")
    if "foot_contact_force" in log and len(walking) > 1:
        dt = float(np.median(np.diff(time)))
        middle = walking[len(walking) // 8 :][: max(1, round(FEET_SECONDS / max(dt, 1e-3)))]
        contact = column(dict(log), "foot_contact_force", len(robot.feet), 3)[middle, :, 2] > CONTACT_FORCE
        for i in range(len(robot.feet)):
            axis.broken_barh([(time[k], dt) for k, on in zip(middle, contact[:, i], strict=True) if on], (i - 0.35, 0.7))
        axis.set_yticks(range(len(robot.feet)), [label(foot) for foot in robot.feet])
        axis.invert_yaxis()
    axis.set(title=f"feet on the ground, {FEET_SECONDS:.0f} s of walking", xlabel="s")
    return figure


def joints(log: Mapping[str, Array], robot: Robot) -> Any:
    """Position and torque of every joint against its limits."""
    rows = math.ceil(robot.num_joints / 3)
    figure, axes = subplots(rows, 6, height=1.35 * rows, font=6)
    time = column(dict(log), "time")
    position, torque = (column(dict(log), name, robot.num_joints) for name in ("joint_pos", "joint_torque"))
    for axis in axes.flat[2 * robot.num_joints :]:
        axis.set_visible(False)
    for j, name in enumerate(robot.joint_names):
        left, right = axes[j // 3, 2 * (j % 3)], axes[j // 3, 2 * (j % 3) + 1]
        left.plot(time, position[:, j], lw=0.5)
        right.plot(time, torque[:, j], lw=0.5, color="C1")
        for limit in robot.joint_pos_limit[j]:
            left.axhline(limit, color="r", lw=0.7)
        for sign in (-1, 1):
            right.axhline(sign * robot.effort_limit[j], color="r", lw=0.7)
        left.set_title(f"{label(name)} rad", fontsize=6)
        right.set_title("N m", fontsize=6)
    return figure


def robustness(sweeps: Mapping[str, Mapping[str, Any]]) -> Any:
    """A panel an axis: tracking (lines) and falls (dotted) of each of ``sweeps`` by name, the range of the first one's training shaded."""
    first = next(iter(sweeps.values()))["axes"]
    columns = 4
    rows = math.ceil(len(first) / columns)
    figure, axes = subplots(rows, columns, height=2.3 * rows + 0.4)
    for axis in axes.flat[len(first) :]:
        axis.set_visible(False)
    for axis, (name, panel) in zip(axes.flat, first.items(), strict=False):
        if panel["trained"]:
            axis.axvspan(*panel["trained"], color="k", alpha=0.08, lw=0)
        axis.axvline(panel["nominal"], color="k", lw=0.6, alpha=0.5)
        for i, (policy, sweep) in enumerate(sweeps.items()):
            curve = sweep["axes"][name]
            axis.plot(curve["values"], curve["tracking"], color=f"C{i}", lw=1.4, marker=".", ms=4, label=f"{label(policy)}: tracking")
            axis.plot(curve["values"], curve["falls"], color=f"C{i}", lw=1.0, ls=":", marker="x", ms=3, label=f"{label(policy)}: falls")
        axis.set(title=label(name), ylim=(-0.03, 1.03), xlabel="" if panel["unit"] == "1" else panel["unit"])
    figure.legend(*axes.flat[0].get_legend_handles_labels(), fontsize=8, loc="outside upper center", ncols=4)
    return figure
