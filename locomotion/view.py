"""What a person sees while the toolkit works: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

PLAIN_EVERY = 10.0  # s between lines where there is no terminal
LIVE_EVERY = 0.25  # s between redraws, by the working thread: nothing else may run beside a real-time loop
BAR = 24  # characters


class LiveView:
    """Phase, progress with time left, speed, scores, falls and reward by term."""

    def __init__(self, title: str, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet)
        self.title = title
        self._figures: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(40), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), console=self.console,
        )  # fmt: skip
        self._task = self._progress.add_task("starting", total=1.0)
        self._phase = "starting"
        self._said = 0.0
        self._live = Live(self._render(), console=self.console, auto_refresh=False) if self.console.is_terminal and not quiet else None

    def __enter__(self) -> LiveView:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.update(self._render(), refresh=True)
            self._live.stop()

    def phase(self, name: str, share: float = 0.0, detail: str = "") -> None:
        """Enter a phase of the work, or go on in it: ``share`` of it is done."""
        if name != self._phase:
            self._phase = name
            self._progress.reset(self._task, description=name)
            self._said = 0.0
            if not self._live:
                self.console.print(f"[{name}]", markup=False, highlight=False)
        self._progress.update(self._task, completed=share)
        self._show(f"{name} {100 * share:3.0f} % {detail}")

    def iteration(self, iteration: int, iterations: int, figures: dict[str, float]) -> None:
        """After each iteration of training."""
        card = {name: value for name, value in self._figures.items() if name.startswith("scorecard/")}  # the newest there is
        figures = self._figures = card | figures
        rate = figures["steps_per_second"]
        self.phase(
            "train",
            iteration / iterations,
            "  ".join([f"{figures['seconds']:5.0f} s", f"{figures['steps']:>9,.0f} steps", f"{rate:6,.0f} steps/s", *_summary(figures)]),
        )

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _show(self, line: str) -> None:
        if time.monotonic() - self._said < (LIVE_EVERY if self._live else PLAIN_EVERY):
            return
        self._said = time.monotonic()
        if self._live:
            self._live.update(self._render(), refresh=True)
        else:
            self.say(line)

    def _render(self) -> Panel:
        f = self._figures
        if not f:
            return Panel(self._progress, title=self.title)
        head = Table.grid(padding=(0, 3))
        head.add_row(
            f"iteration {f['iteration']:.0f}", f"{f['steps']:,.0f} steps", f"{f['steps_per_second']:,.0f} steps/s",
            *_summary(f),
        )  # fmt: skip
        if not any(name.startswith("reward/") for name in f):
            return Panel(Group(self._progress, head), title=self.title)
        terms = Table(title="reward a step, by term", title_justify="left", box=None, padding=(0, 1), show_header=False)
        rewards = {name.removeprefix("reward/"): value for name, value in f.items() if name.startswith("reward/")}
        largest = max(abs(value) for value in rewards.values()) or 1.0
        for name, value in rewards.items():
            bar = "█" * round(BAR * abs(value) / largest)
            terms.add_row(name, f"{value:+.3f}", f"[{'green' if value >= 0 else 'red'}]{bar}")
        return Panel(Group(self._progress, head, terms), title=self.title)


def _summary(figures: dict[str, float]) -> list[str]:
    metrics = {name.removeprefix("metric/"): value for name, value in figures.items() if name.startswith("metric/")}
    if "falls" not in figures:  # a Gymnasium environment, or data
        named = {"score": figures.get("score"), "without exploration": figures.get("scorecard/selection")}
        return [f"{name} {value:.4g}" for name, value in named.items() if value is not None] or ["no episode has ended yet"]
    overflows = [f"overflows {figures['overflows']:.0f}"] if figures.get("overflows") else []
    return [*(f"{name} {value:.2f}" for name, value in metrics.items()), f"falls {figures['falls']:.0f}", *overflows]


def print_scores(scores: dict[str, dict[str, dict[str, float]]]) -> None:
    """A scorecard, ``{engine: {condition: figures}}``, as a table."""
    columns = {f"{engine}, {name}": values for engine, conditions in scores.items() for name, values in conditions.items()}
    table = Table(title="scorecard", title_justify="left")
    table.add_column("", no_wrap=True, min_width=max(map(len, next(iter(columns.values())))))
    for name in columns:
        table.add_column(name, justify="right")
    for key in next(iter(columns.values())):
        table.add_row(key, *(f"{values[key]:.3f}" if key != "episodes" else str(values[key]) for values in columns.values()))
    Console().print(table)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Words in columns, the first to the left and the others to the right."""
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
