"""A run's replay buffer on disk: pieces beside the checkpoint that names them.

A piece is written once, under a name that says what is in it; those that changed are written before the checkpoint, those that no
checkpoint names any more are removed after it stands. A kill at any instant leaves the last checkpoint with all of its pieces, and
an iteration costs what it lived through and one piece, however large the buffer is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locomotion.algorithms.replay import Replay
from locomotion.files import write_atomically
from locomotion.runs import checkpoint
from robots.errors import InputError

PIECE = 4 * 1024**2  # bytes, about
WEIGHTS = "Begin from the run's weights with init=..."


class Pieces:
    """The pieces of ``replay`` in ``folder``/replay."""

    def __init__(self, folder: Path, replay: Replay, piece: int = PIECE) -> None:
        self.folder, self.replay = folder / "replay", replay
        self.slots = max(piece // replay.slot_bytes, 1)  # a piece
        self._names: dict[int, str] = {}
        self._saved = 0  # steps that are on disk

    def save(self) -> dict[str, Any]:
        """Write what has changed since the last call. Returns what a checkpoint says of the buffer. Raises OSError."""
        replay = self.replay
        self.folder.mkdir(exist_ok=True)
        filled = min(replay.written, replay.slots)
        first = max(self._saved, replay.written - replay.slots)
        for piece in sorted({step % replay.slots // self.slots for step in range(first, replay.written)}):
            data = checkpoint.to_bytes(replay.span(slice(piece * self.slots, min((piece + 1) * self.slots, filled))))
            name = f"{piece:06d}-{checkpoint.digest(data)[:32]}.pt"
            if not (self.folder / name).exists():
                write_atomically(self.folder / name, lambda stream, data=data: stream.write(data))
            self._names[piece] = name
        self._saved = replay.written
        return {**replay.counters(), "slots": self.slots, "pieces": [self._names[piece] for piece in sorted(self._names)]}

    def clean(self) -> None:
        """Remove what the newest checkpoint, which stands, does not name."""
        kept = set(self._names.values())
        for path in self.folder.iterdir():
            if path.suffix in (".pt", ".tmp") and path.name not in kept:
                path.unlink(missing_ok=True)

    def load(self, state: dict[str, Any]) -> None:
        """The buffer as the checkpoint with ``state`` of :meth:`save` has it. Raises InputError where a piece is missing or damaged."""
        replay, self.slots = self.replay, state["slots"]
        replay.load_counters(state)
        filled = min(replay.written, replay.slots)
        if len(state["pieces"]) != -(-filled // self.slots):
            raise InputError("resume", f"{len(state['pieces'])} pieces", f"those of {filled} steps", WEIGHTS)
        for piece, name in enumerate(state["pieces"]):
            path = self.folder / name
            if not path.is_file():
                remedy = "Bring the folder replay/ along with last.pt, or begin from its weights with init=..."
                raise InputError("resume", str(path), "a piece of the run's replay buffer", remedy)
            try:
                contents, digest = checkpoint.unpack(path)
            except InputError as error:
                raise InputError("resume", str(path), "an undamaged piece of the run's replay buffer", WEIGHTS) from error
            if not name.endswith(f"-{digest[:32]}.pt"):
                raise InputError("resume", str(path), "the piece that its name says", WEIGHTS)
            replay.load_span(slice(piece * self.slots, min((piece + 1) * self.slots, filled)), contents)
        self._names, self._saved = dict(enumerate(state["pieces"])), replay.written
