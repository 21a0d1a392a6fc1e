"""Datasets from and to other programs: a folder of Minari's with one file, and .npz with D4RL's names."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from locomotion.data.dataset import Dataset, Writer
from locomotion.data.episode import Episode
from locomotion.files import make_folder, write_atomically, writing
from robots.errors import InputError, nearest

REQUIRED = ("observations", "actions", "rewards", "terminals")
GROUPED = ("observations", "next_observations")
"""Tables that several observation groups have, each under its name: observations.critic."""
WIDTHS = {"observations": 2, "next_observations": 2, "actions": 2, "rewards": 1, "terminals": 1, "timeouts": 1}
"""Dimensions of each table that is read, the first of which are steps; one action may be a column."""


def whole(
    output: Path,
    groups: Mapping[str, int],
    bounds: np.ndarray,
    about: Mapping[str, Any],
    episodes: Iterable[Episode],
    env_spec: str | None = None,
    one_file: bool = False,
) -> Dataset:
    """A new dataset that a :class:`Writer` makes beside ``output``: there is all of it or none, whatever happens on the way.

    With ``one_file`` all episodes are in main_data.hdf5 itself, to be handed on. Raises InputError where an episode is not whole, or where
    ``output`` is in use or cannot be written.
    """
    Writer.refuse_if_used(output)
    there = output.is_dir()  # an empty one, which may be where somebody stands, or a disk's
    with tempfile.TemporaryDirectory(prefix=".dataset-", dir=make_folder(output if there else output.parent, "output")) as work:
        try:
            writer = Writer(Path(work) / output.resolve().name, groups, bounds, about, env_spec)
            for episode in episodes:
                writer.add(episode)
            writer.flush()
            if not writer.total_episodes:
                raise InputError("dataset", "nothing", "at least one episode", "There is not one step in it.")
            if one_file:
                writer.merge()
        except InputError as error:
            if error.field != "output":
                raise
            raise InputError("output", str(output), error.allowed, f"Nothing was written: {error.remedy.partition(':')[0]}.") from error
        with writing("output", output):
            made, place = (writer.folder / "data", output / "data") if there else (writer.folder, output)
            made.replace(place)
    return Dataset(output, "output")


def copied(
    source: Dataset, folder: Path, about: Mapping[str, Any] | None = None, env_spec: str | None = None, one_file: bool = False
) -> Dataset:
    """All of ``source`` in a new folder, which says ``about`` of it, or what ``source`` says. See :func:`whole`."""
    own = {key: value for key, value in source.about.items() if key != "format"} if about is None else about
    return whole(folder, source.groups, _bounds(source), own, source.episodes(), env_spec or source.metadata.get("env_spec"), one_file)


def to_npz(source: Dataset, path: Path) -> None:
    """Steps end to end; with several observation groups ``observations.GROUP``. Raises InputError where ``path`` cannot be written."""
    steps = source.steps()
    one = list(source.groups) == ["actor"]
    tables = {
        f"{name}{'' if one else f'.{group}'}": table[group]
        for name, table in (("observations", steps.observations), ("next_observations", steps.following))
        for group in source.groups
    }
    tables |= {"actions": steps.action, "rewards": steps.reward, "terminals": steps.terminated, "timeouts": steps.truncated}
    text = np.frombuffer(json.dumps({**source.about, "action_space": source.metadata.get("action_space")}).encode(), dtype=np.uint8)
    with writing("output", path):
        write_atomically(path, lambda stream: np.savez(stream, **tables, about=text))  # type: ignore[arg-type]


def from_npz(path: Path, folder: Path, bounds: np.ndarray, about: Mapping[str, Any], env_spec: str | None = None) -> Dataset:
    """A new dataset of a file with ``observations``, ``actions``, ``rewards``, ``terminals`` and, if there are any, ``timeouts`` and
    ``next_observations``. Without the latter the last step of a truncated episode is lost: nobody knows where it led.

    Raises:
        InputError: a file that is missing or damaged, or without one of these; or what is in it is not whole.
    """
    tables = _load(path)
    groups = {
        name.partition(".")[2] or "actor": value.shape[1] for name, value in tables.items() if name.partition(".")[0] == "observations"
    }
    return whole(folder, groups, bounds, about, _episodes(tables, groups), env_spec)


def about_of_npz(path: Path) -> dict[str, Any]:
    """What :func:`to_npz` wrote beside the steps, ``action_space`` as bounds [2, A]; {} of a file of another program."""
    text = _load(path).get("about")
    try:
        told = json.loads(text.tobytes()) if text is not None else {}
        space = json.loads(told.get("action_space") or "{}")
        return told | ({"action_space": np.array([space["low"], space["high"]], np.float32)} if space else {})
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise InputError("dataset.about", str(path), "what 'locomotion dataset export' wrote, or nothing", str(error)) from error


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            tables = {name: file[name] for name in file.files}
    except Exception as error:  # zipfile and numpy raise types of their own
        raise InputError("dataset", str(path), "an .npz file of arrays", f"{type(error).__name__}: {error}") from error
    plain = {kind if (kind := name.partition(".")[0]) in GROUPED else name for name in tables}
    for name in REQUIRED:
        if name not in plain:
            raise InputError(f"dataset.{name}", "nothing", f"a file with {', '.join(REQUIRED)}", nearest(name, plain) or "Add it.")
    ours = {name: value for name, value in tables.items() if name in WIDTHS or name.partition(".")[0] in GROUPED}
    _check_tables(ours)
    _check_groups({name: value for name, value in ours.items() if name.partition(".")[0] in GROUPED})
    return ours | ({"about": tables["about"]} if "about" in tables else {})


def _check_tables(tables: Mapping[str, np.ndarray]) -> None:
    """Raises InputError where one is not of numbers, of the dimensions that it should have, as long as the others."""
    length = len(tables["rewards"]) if tables["rewards"].ndim else 0
    for name, value in tables.items():
        kind = name.partition(".")[0]
        if value.dtype.kind not in "biuf":
            raise InputError(f"dataset.{name}", str(value.dtype), "numbers", "The file is damaged, or of another format.")
        if value.ndim != WIDTHS[kind] and not (kind == "actions" and value.ndim == 1):
            wanted = ("one dimension", "two dimensions")[WIDTHS[kind] - 1]
            raise InputError(f"dataset.{name}", list(value.shape), wanted, "The first of them is steps.")
        if kind in ("terminals", "timeouts") and not np.isin(value, (0, 1)).all():
            raise InputError(f"dataset.{name}", "other numbers", "0 and 1", "1 is where an episode ends.")
    for name, value in tables.items():
        if len(value) != length:
            raise InputError(f"dataset.{name}", len(value), f"{length} rows, as many as rewards", "The file is damaged.")
    if not length:
        raise InputError("dataset", "nothing", "at least one episode", "There is not one step in it.")


def _check_groups(tables: Mapping[str, np.ndarray]) -> None:
    """Raises InputError where not every observation group has its observations, or some lack where their steps led to."""
    names = sorted({name.removeprefix("next_") for name in tables})
    if "observations" in names and len(names) > 1:
        raise InputError("dataset.observations", names, "observations alone, or each with its group", "Name its group.")
    led = any(name.startswith("next_") for name in tables)
    for name in names:
        before, after = tables.get(name), tables.get(f"next_{name}")
        if before is None:
            raise InputError(f"dataset.{name}", "nothing", "the observations before each step", f"next_{name} is where it led to.")
        if led and after is None:
            raise InputError(f"dataset.next_{name}", "nothing", "where each step led to, of every group or of none", "Add it.")
        if after is not None and after.shape != before.shape:
            raise InputError(f"dataset.next_{name}", list(after.shape), f"{list(before.shape)}", "It is where each step led to.")


def _episodes(tables: Mapping[str, np.ndarray], groups: Mapping[str, int]) -> Iterator[Episode]:
    length, terminal = len(tables["rewards"]), tables["terminals"].astype(bool)
    timeout = tables.get("timeouts", np.zeros(length)).astype(bool) & ~terminal
    ends = [int(end) for end in np.flatnonzero(terminal | timeout)]
    if not ends or ends[-1] != length - 1:
        ends.append(length - 1)
    begin = 0
    for end in ends:
        stop, seen = end + 1, {}
        known = any(name.startswith("next_observations") for name in tables)
        if not known and not terminal[end]:
            stop -= 1  # its last state serves as the one that the step before it led to
        for group in groups:
            suffix = "" if f"observations.{group}" not in tables else f".{group}"
            rows = tables[f"observations{suffix}"][begin : stop + (0 if known or terminal[end] else 1)]
            last = tables[f"next_observations{suffix}"][end] if known else rows[-1]  # of a terminated episode nobody asks
            seen[group] = np.concatenate([rows, last[None]]) if known or terminal[end] else rows
        part = slice(begin, stop)
        if stop > begin:
            truncated = np.zeros(stop - begin, dtype=bool)
            truncated[-1] = not terminal[end]
            yield Episode(seen, tables["actions"][part].reshape(stop - begin, -1), tables["rewards"][part], terminal[part], truncated)
        begin = end + 1


def _bounds(source: Dataset) -> np.ndarray:
    """[2, A] of the action space that a dataset tells of, or of all its actions."""
    try:
        space = json.loads(source.metadata["action_space"])
        return np.array([space["low"], space["high"]], dtype=np.float32)
    except (KeyError, TypeError, ValueError):
        actions = np.concatenate([episode.action for episode in source.episodes(signals=False)])
        return np.stack([actions.min(axis=0), actions.max(axis=0)])
