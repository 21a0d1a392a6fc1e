"""The file of a log: chunks soon after they happen, nothing overwritten, and never larger than it may be."""

from __future__ import annotations

import json
import os
import time as clocks
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deploy.log_layout import ENCODING, Layout
from deploy.mcap import McapWriter, Schema
from robots import InputError

CHUNK_SECONDS = 0.25  # what a kill may cost
CHUNK_BYTES = 2**16
SYNC_SECONDS = 1.0  # what a power cut may cost


class LogFile:
    """One .mcap file, and the previous one once it is full."""

    def __init__(self, path: Path, max_bytes: int, describe: Callable[[McapWriter], None]) -> None:
        self.path, self.previous, self.rotated = path, path.with_name(f"{path.stem}.previous{path.suffix}"), False
        self._max_bytes, self._describe = max_bytes, describe
        if path.suffix != ".mcap" or path.is_dir():  # what is there already is renamed: no folder, and no policy
            raise InputError("log", str(path), "a file whose name ends in .mcap", "For example log: run.mcap.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                path.rename(next(p for n in range(1, 10**6) if not (p := path.with_name(f"{path.stem}.{n}{path.suffix}")).exists()))
            self._open()
        except OSError as error:
            raise InputError("log", str(path), "a file that can be written", f"{error.strerror or error}.") from error

    def rows(self, layout: Layout, row: np.ndarray, step: int, time: int) -> None:
        if not self._laid_out:
            self._laid_out = True
            self._writer.metadata("signals", {"signals": json.dumps(layout.described())})
        for topic in layout.topics:
            self._channel(topic.name, ENCODING, topic.schema)
            self._writer.message(topic.name, time, step, topic.encode(row, time))
        if self._writer.pending >= CHUNK_BYTES:
            self._writer.flush()

    def message(self, topic: str, schema: Schema, time: int, data: bytes, urgent: bool = False) -> None:
        self._channel(topic, ENCODING if schema.encoding else "application/octet-stream", schema)
        self._sequence += 1
        self._writer.message(topic, time, self._sequence, data)
        self._urgent = self._urgent or urgent

    def tick(self) -> None:
        """Hand over what is due."""
        now = clocks.monotonic()
        if self._writer.pending and (self._urgent or now - self._flushed >= CHUNK_SECONDS):
            self._writer.flush()
            self._flushed, self._urgent = now, False
        if self._writer.size > self._synced_size and now - self._synced >= SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced, self._synced_size = now, self._writer.size
        if self._writer.size + self._writer.pending >= self._max_bytes:
            self.close()
            self.path.replace(self.previous)
            self.rotated = True
            self._open()

    def close(self) -> None:
        self._writer.finish()
        os.fsync(self._file.fileno())
        self._file.close()

    def give_up(self) -> None:
        """Leave the file at its last whole record."""
        if self._file.closed:
            return
        try:
            os.ftruncate(self._file.fileno(), self._writer.size)
        finally:
            self._file.close()

    def _open(self) -> None:
        self._file = self.path.open("wb", buffering=0)
        self._writer = McapWriter(self._file)
        self._channels: set[str] = set()
        self._laid_out = self._urgent = False
        self._sequence = 0
        self._describe(self._writer)
        os.fsync(self._file.fileno())
        folder = os.open(self.path.parent, os.O_RDONLY)  # so that the name, too, outlives a power cut
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._flushed = self._synced = clocks.monotonic()
        self._synced_size = self._writer.size

    def _channel(self, topic: str, encoding: str, schema: Schema) -> None:
        if topic not in self._channels:
            self._channels.add(topic)
            self._writer.add_channel(topic, encoding, schema)
