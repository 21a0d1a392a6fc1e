"""Files that are either whole or absent: a kill or a full disk at any instant leaves the last good one."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from robots.errors import InputError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call ``write`` on a new file beside ``path``, then put it in ``path``'s place.

    Raises:
        OSError: the file cannot be written; ``path`` is untouched and the new file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(field: str, path: Path) -> Iterator[None]:
    """Turn a failure to write ``path`` into one clear error: a full disk, a folder in the way, no permission."""
    try:
        yield
    except OSError as error:
        raise InputError(field, str(path), "a file that can be written", f"{error.strerror or error}: nothing was changed.") from error


def write_json(path: Path, data: Any, field: str) -> None:
    """``data`` as JSON, whole or not at all. Raises InputError where it cannot be written."""
    make_folder(path.parent, field)
    with writing(field, path):
        write_atomically(path, lambda stream: stream.write((json.dumps(data, indent=2) + "\n").encode()))


def read_json(path: Path, field: str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON object that has ``keys``. Raises InputError where the file is missing, damaged or another."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(field, str(path), "a JSON file", str(error)) from error
    if not isinstance(data, dict) or any(key not in data for key in keys):
        raise InputError(field, str(path), f"a JSON object with {', '.join(keys)}", "It was written by another program, or is damaged.")
    return data


def make_folder(path: Path, field: str) -> Path:
    """Create a folder that can be written to. Raises InputError where that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(field, str(path), "a folder that can be written to", f"{error.strerror}: choose another folder.") from error
    return path


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed process left half written. The caller holds the folder's lock."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
