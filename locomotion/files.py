"""Files that are either whole or absent: a kill or a full disk at any instant leaves the last good one."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from robots.errors import InputError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call ``write`` on a new file beside ``path``, then put it in ``path``'s place.

    Raises:
        OSError: the file cannot be written; ``path`` is untouched and the new file is removed.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no file")  # a folder, or a device that must not be replaced
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # a full disk does not say which one
        raise
    finally:
        temporary.unlink(missing_ok=True)


TEMPORARY = re.compile(r"\.[^/]+\.(pt|yaml|jsonl)\.\d+\.tmp")  # names that write_atomically() gives in a run's folder


@contextlib.contextmanager
def writing(field: str, path: Path) -> Iterator[None]:
    """Turn a failure to write ``path`` into one clear error: a full disk, a folder in the way, no permission."""
    try:
        yield
    except OSError as error:
        first = error.args[0][0][-1] if isinstance(error, shutil.Error) else error  # which lists all files that it could not copy
        said = getattr(first, "strerror", None) or first
        raise InputError(field, str(path), "a file that can be written", f"{said}: nothing was changed.") from error


def write_json(path: Path, data: Any, field: str) -> None:
    """``data`` as JSON, whole or not at all. Raises InputError where it cannot be written."""
    make_folder(path.parent, field)
    with writing(field, path):
        write_atomically(path, lambda stream: stream.write((json.dumps(data, indent=2) + "\n").encode()))


def read_json(path: Path, field: str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON object that has ``keys``. Raises InputError where the file is missing, damaged or another."""
    try:
        if not path.is_file():
            raise OSError("there is no such file")
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
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(field, str(path), "a folder that can be written to", f"{reason}: choose another folder.") from error
    return path


def output_file(path: Path, field: str, *sources: str | Path | None) -> Path:
    """A file that will be written later: its folder is made now, before the work. Raises InputError where it cannot be, or where it is one
    of the ``sources`` that it is made of."""
    if not path.name or path.is_dir():
        raise InputError(field, str(path), "the name of a file", "Add one to the folder.")
    if any(source and path.exists() and Path(source).exists() and path.samefile(source) for source in sources):
        raise InputError(field, str(path), "another file than what is read", "It would be written over: choose another name.")
    make_folder(path.parent, field)
    return path


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed process left half written. The caller holds the folder's lock."""
    for path in folder.glob(".*.tmp"):
        if TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)
