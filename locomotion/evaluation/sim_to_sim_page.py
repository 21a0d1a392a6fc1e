"""The page of a sim-to-sim gate: scores side by side, what parts first and when, and the signals of matched runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from locomotion.evaluation import page, plots
from locomotion.evaluation.page import Cell
from locomotion.evaluation.sim_to_sim import BEYOND, HELD, SECONDS, SIGNALS, TWINS, Divergence, Matched, components
from robots import Robot

UNITS = {"foot_contact_force": "N", "foot_height": "m", "joint_torque": "N m", "joint_vel": "rad/s", "joint_pos": "rad",
         "base_ang_vel": "rad/s", "base_lin_vel": "m/s", "tilt": "1", "base_height": "m", "action": "1"}  # fmt: skip
ALWAYS = (("base_lin_vel", "x"), ("base_lin_vel", "y"), ("base_ang_vel", "z"), ("base_height", ""), ("tilt", "x"))
PANELS = 8
EXPLAINED = (
    f"Runs of {SECONDS:g} s that begin in the same state, hear the same command and meet no noise. The shaded band is {BEYOND:g} spreads "
    "about the first engine: a spread is how far that engine's own robots go from the nominal one when masses, friction, gains and delay "
    f"are drawn as in randomized training (root mean square over {TWINS} robots and the whole run). A signal has diverged where it stays "
    f"out of the band for {HELD} control steps. In brackets: the share of those drawn robots that leave the band in the same signal, too; "
    "where it is large, the engine differs by no more than robots do."
)


def name_of(one: Divergence) -> str:
    return f"{one.signal} {one.component}".strip()


def write(
    path: Path,
    policy: str,
    robot: Robot,
    rows: Sequence[Mapping[str, Any]],
    failed: Sequence[str] | None,
    matched: Sequence[Matched],
    command_names: Sequence[str],
) -> Path:
    """``rows``: the matrix; ``failed``: what the gate found (None: nothing was asked).

    Raises:
        InputError: ``path`` cannot be written.
    """
    engines = [row["engine"] for row in rows]
    verdict = ("bad", "The gate is not passed.") if failed else ("good", "The gate is passed.")
    body = [
        "" if failed is None else "<p class={}>{}</p>".format(*verdict),
        *(f"<p class=bad>{page.text(line)}</p>" for line in failed or ()),
        page.note(f"Policy {policy}, {robot.name}. Nominal scores; shares are of {engines[0]}'s."),
        page.table(*table(rows)),
        page.section("What parts first", page.note(EXPLAINED), *(_firsts(matched, engine, command_names) for engine in engines[1:])),
        *(page.section("Told " + told(one, command_names), *_of_command(one, robot, engines)) for one in matched),
    ]
    return page.write(path, f"Sim to sim: {', '.join(engines)}", "".join(body), "output")


def table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the matrix."""
    figures = [name for name in rows[0] if name != "engine"]
    return ["engine", *(name.replace("_ratio", ", share") for name in figures)], [
        [row["engine"], *(page.number(row[name], 3) for name in figures)] for row in rows
    ]


def told(one: Matched, names: Sequence[str]) -> str:
    """A command in words."""
    said = [f"{name} {value:g}" for name, value in zip(names, np.round(one.command, 3), strict=True) if value]
    return ", ".join(said) or "to stand"


def first(one: Matched, engine: str) -> str:
    """What parts first, in words."""
    best = one.divergences[engine][0]
    fell = ", and it falls" if one.runs[engine].fell else ""
    if best.seconds is None:
        furthest = max(one.divergences[engine], key=lambda other: other.ratio)
        return f"nothing; {name_of(furthest)} goes {furthest.ratio:.1f} spreads at most{fell}"
    return f"{name_of(best)} after {best.seconds:.2f} s, {best.ratio:.1f} spreads at most (drawn robots: {100 * best.drawn:.0f} %){fell}"


def _firsts(matched: Sequence[Matched], engine: str, names: Sequence[str]) -> str:
    """A row a signal and a column a command: when it parts, in s."""
    by = [{found.signal: found for found in one.divergences[engine]} for one in matched]
    rows: list[list[Cell]] = []
    for signal in SIGNALS:
        cells: list[Cell] = [signal]
        for found, one in zip(by, matched, strict=True):
            it = found[signal]
            words = "–" if it.seconds is None else f"{it.seconds:.2f} s {it.component} ({100 * it.drawn:.0f} %)"
            cells.append((words, "bad" if it is one.divergences[engine][0] and it.seconds is not None else "text"))
        rows.append(cells)
    return f"<h3>{page.text(engine)}</h3>" + page.table(["", *(told(one, names) for one in matched)], rows)


def _of_command(one: Matched, robot: Robot, engines: Sequence[str]) -> list[str]:
    words = [f"{engine}: {first(one, engine)}." for engine in engines[1:]]
    return [*(page.note(line) for line in words), page.picture(figure(one, robot), "signals of matched runs")]


def figure(one: Matched, robot: Robot) -> Any:
    """Panels of the base's motion, and of what parts first."""
    names = components(robot)
    parted = [(found.signal, found.component) for engine in one.divergences for found in one.divergences[engine][: PANELS - len(ALWAYS)]]
    chosen = list(dict.fromkeys([*ALWAYS, *parted]))[: max(PANELS, len(ALWAYS) + len(one.divergences))]
    figure, axes = plots.subplots((len(chosen) + 1) // 2, 2, height=1.9 * ((len(chosen) + 1) // 2))
    for axis in axes.flat[len(chosen) :]:
        axis.set_visible(False)
    for axis, (signal, component) in zip(axes.flat, chosen, strict=False):
        at = names[signal].index(component)
        for i, (engine, run) in enumerate(one.runs.items()):
            value = run.signals[signal][:, at]
            time = SECONDS * (1.0 + np.arange(len(value))) / len(value)
            axis.plot(time, value, lw=1.2 if i == 0 else 0.9, color=f"C{i}", label=engine)
            if i == 0:
                reach = BEYOND * one.spread[signal][at]
                axis.fill_between(time, value - reach, value + reach, color="C0", alpha=0.12, lw=0)
        for i, found in enumerate(one.divergences.values()):
            for it in found:
                if (it.signal, it.component) == (signal, component) and it.seconds is not None:
                    axis.axvline(it.seconds, color=f"C{i + 1}", lw=0.8, ls="--")
        of = f" {plots.label(component)}" if component else ""
        axis.set(title=f"{signal}{of}, {UNITS[signal]}", xlabel="s", xlim=(0, SECONDS))
    figure.legend(*axes.flat[0].get_legend_handles_labels(), fontsize=8, loc="outside upper center", ncols=len(one.runs))
    return figure
