"""Checkpoints: complete, atomic, checked against damage, and readable without running code of theirs.

A file is one line, ``locomotion checkpoint <format> <sha256 of the rest>``, and what torch saves.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

from locomotion.files import write_atomically
from robots.errors import InputError

FORMAT = 4
KEYS = ("config", "provenance", "iteration", "steps", "learner")
_MAGIC = b"locomotion checkpoint "


def to_bytes(state: dict[str, Any]) -> bytes:
    """The contents of a checkpoint file."""
    stream = io.BytesIO()
    torch.save(state, stream)
    body = stream.getbuffer()
    return b"%s%d %s\n" % (_MAGIC, FORMAT, hashlib.sha256(body).hexdigest().encode()) + body


def write(path: Path, data: bytes) -> None:
    """Put ``data`` of :func:`to_bytes` in place of ``path``. Raises OSError where the disk is full; the older file then stays."""
    write_atomically(path, lambda stream: stream.write(data))


def save(path: Path, state: dict[str, Any]) -> None:
    write(path, to_bytes(state))


def digest(data: bytes) -> str:
    """Of the contents, as :func:`to_bytes` has written it in front of them."""
    return data.partition(b"\n")[0].split()[-1].decode()


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Raises InputError where it is missing, damaged or of another format."""
    state, _ = unpack(path)
    missing = [key for key in KEYS if key not in state]
    if missing:
        raise InputError("checkpoint", str(path), f"a checkpoint with {', '.join(missing)}", "It was written by another program.")
    return state


def unpack(path: Path) -> tuple[dict[str, Any], str]:
    """What :func:`to_bytes` has packed into a file, and its digest. Raises InputError as :func:`load` does."""
    head, body = read(path)
    words = head.removeprefix(_MAGIC).split()
    if len(words) != 2:
        raise InputError("checkpoint", str(path), "a checkpoint of this toolkit", "It is damaged.")
    if words[0] != b"%d" % FORMAT:
        remedy = "It was written by another version of the toolkit: use that one, or train anew."
        raise InputError("checkpoint", str(path), f"format {FORMAT}: this is {words[0].decode(errors='replace')[:20]}", remedy)
    if hashlib.sha256(body).hexdigest().encode() != words[1]:
        raise InputError("checkpoint", str(path), "an undamaged checkpoint", "Use another one, such as the run's best.pt.")
    try:
        return dict(torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)), words[1].decode()
    except Exception as error:  # zipfile, pickle and torch raise types of their own
        raise InputError("checkpoint", str(path), "a checkpoint of this toolkit", f"{type(error).__name__}: {error}") from error


def read(path: Path, whole: bool = True) -> tuple[bytes, bytes]:
    """The line in front and, of the ``whole``, what is behind it. Raises InputError where ``path`` is no checkpoint of this toolkit."""
    if not path.is_file():
        raise InputError("checkpoint", str(path), "the path of a checkpoint (last.pt or best.pt of a run)", _what_is_there(path))
    try:
        with path.open("rb") as stream:
            head = stream.readline(200)
            if not head.startswith(_MAGIC):
                remedy = "It was written by another program, or is damaged."
                raise InputError("checkpoint", str(path), "a checkpoint of this toolkit", remedy)
            return head.rstrip(b"\n"), stream.read() if whole else b""
    except OSError as error:
        raise InputError("checkpoint", str(path), "a file that can be read", str(error.strerror)) from error


def find(path: str | os.PathLike[str], field: str) -> Path:
    """The checkpoint that a run folder or a path means: ``last.pt`` of a folder. Raises InputError where there is none."""
    found = Path(path)
    if found.is_dir():  # a run that was killed in its first iteration may have the best one only
        found = next((found / name for name in ("last.pt", "best.pt") if (found / name).is_file()), found / "last.pt")
    if not found.is_file():
        raise InputError(field, str(path), "a run folder, or the path of a checkpoint", _what_is_there(found))
    return found


def _what_is_there(path: Path) -> str:
    near = sorted(file.name for file in path.parent.glob("*.pt")) if path.parent.is_dir() else []
    return f"There are {', '.join(near)} beside it." if near else f"There is no checkpoint in {path.parent}."
