"""A run's folder: who may write it, and how a line or a checkpoint gets into it whole.

``config.yaml``, ``last.pt`` (after every iteration), ``best.pt`` (best score), ``checkpoints/`` (the policy alone, now and then),
``replay/`` (of off-policy algorithms: pieces that last.pt names, and best.pt does not),
``metrics.jsonl`` (a line an iteration) and TensorBoard events.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from locomotion.files import make_folder, remove_temporaries, write_atomically
from robots import yaml_file
from robots.errors import InputError

OURS = ("last.pt", "best.pt", "metrics.jsonl", "config.yaml", "policy.onnx", "scorecard.json")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only process that writes ``folder``, which is made where it is missing. A kill releases it too.

    Raises:
        InputError: another process is at work there, or the folder cannot be written to.
    """
    make_folder(folder / "checkpoints", "run")
    with alone(folder, "run"):
        remove_temporaries(folder)
        remove_temporaries(folder / "checkpoints")
        yield


def remove_if_unused(folder: Path, there: bool) -> None:
    """Remove what :func:`locked` has made for a run that never began, and a folder that was not ``there`` before."""
    if not (folder / "config.yaml").exists():
        with contextlib.suppress(OSError):  # something is in it
            (folder / "checkpoints").rmdir()
            (folder / ".lock").unlink(missing_ok=True)
            if not there:
                folder.rmdir()


@contextlib.contextmanager
def alone(folder: Path, field: str) -> Iterator[None]:
    """Be the only process inside; ``folder`` exists. Raises InputError, for the setting ``field``, where another one is."""
    with (folder / ".lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                field, str(folder), "a folder that no other process is writing", f"Wait for it, or choose {field}=..."
            ) from error
        yield


def refuse_if_used(folder: Path) -> None:
    """Raises InputError where ``folder`` holds files of a run, or anything else that a new run would write over or among."""
    if _is(folder / "last.pt"):
        raise InputError("run", str(folder), "a folder without a run", f"Go on with resume={folder}, or choose another name.")
    there = [name for name in OURS if (folder / name).exists()]
    if there and not _never_began(folder, there):
        raise InputError("run", str(folder), f"a folder without {there[0]}", "Choose another name, or move that file away.")
    if folder.exists() and not folder.is_dir():
        raise InputError("run", str(folder), "a folder", "A file has this name: choose another.")


def _is(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError) as error:  # too long, or no name at all
        raise InputError("run", str(path.parent), "the name of a folder", str(error)) from error


def _never_began(folder: Path, there: list[str]) -> bool:
    """A run that ended before its first checkpoint leaves nothing that is worth keeping: its settings, and perhaps a line."""
    if not set(there) <= {"config.yaml", "metrics.jsonl"} or not (folder / ".lock").exists():
        return False
    return not (folder / "metrics.jsonl").exists() or len(read_metrics(folder)) <= 1


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """The configuration, under the commands that the run was started and resumed with."""
    path = folder / "config.yaml"
    earlier = [line for line in path.read_text().splitlines() if line.startswith("# ")] if path.is_file() else []
    command = "# " + shlex.join(["locomotion", *sys.argv[1:]])
    text = "\n".join([*earlier, command, yaml.safe_dump(config, sort_keys=False, allow_unicode=True)])
    write_atomically(path, lambda stream: stream.write(text.encode()))


def read_config(folder: Path) -> dict[str, Any]:
    """``config.yaml``. Raises InputError where it is missing or damaged."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise InputError("run", str(folder), "a folder that 'locomotion train' wrote", "Look in runs/.")
    try:
        config = yaml_file.load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError("run", str(path), "the configuration of a run", str(error)) from error
    if not isinstance(config, dict) or "task" not in config:
        raise InputError("run", str(path), "the configuration of a run", "It was written by another program, or is damaged.")
    return config


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The good lines of ``metrics.jsonl``, in order, the newest of each iteration. Cut and broken lines are passed over."""
    path, rows = folder / "metrics.jsonl", {}
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise InputError("run", str(folder), "a folder that 'locomotion train' wrote", "Look in runs/.") from error
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("iteration"), int):
            rows[row["iteration"]] = row
    return [rows[iteration] for iteration in sorted(rows)]


def truncate_metrics(folder: Path, iteration: int) -> None:
    """Forget lines of iterations after ``iteration``, and broken ones."""
    path = folder / "metrics.jsonl"
    if path.is_file():
        kept = [json.dumps(row) + "\n" for row in read_metrics(folder) if row["iteration"] <= iteration]
        write_atomically(path, lambda stream: stream.write("".join(kept).encode()))


def append_line(stream: Any, row: dict[str, Any]) -> None:
    """One whole line, handed to the system."""
    stream.write(json.dumps(row) + "\n")
    stream.flush()


def same_file(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and os.path.samefile(a, b)
