"""Whole messages between two of our processes, over a pair of sockets, without waiting for ever.

A process that works, however slowly, is waited for. One that stands still is not: a signal has stopped it, or it sleeps and will not
wake. The kernel tells which (``/proc/PID/stat``: its state, and the CPU time of all its threads), not the clock: a machine may be busy.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

LOOK = 1.0  # s without a word, after which one looks at the other process
STOPPED, ASLEEP = 30, 600  # looks in a row that find it stopped, or asleep without any CPU time between two of them: then it is given up
HEAD = struct.Struct("!Q")  # bytes of a message
PIECE = 1 << 20  # bytes that are read at once


class StandstillError(RuntimeError):
    """The other process stands still."""


class Watch:
    """Looks at a process from which nothing has come. It counts looks and not seconds: those in which nobody could look do not count."""

    def __init__(self, pid: int) -> None:
        self._pid, self._stopped, self._asleep, self._spent = pid, 0, 0, -1

    def look(self) -> None:
        """One look, :data:`LOOK` after the last. Raises StandstillError where there is nothing to wait for."""
        try:
            fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it is gone, which its socket tells
            return
        state, spent = fields[0], int(fields[11]) + int(fields[12])
        self._stopped = self._stopped + 1 if state in "Tt" else 0
        self._asleep = self._asleep + 1 if state in "SDI" and spent == self._spent else 0
        self._spent = spent
        if self._stopped >= STOPPED:
            raise StandstillError(f"stopped by a signal, for {self._stopped * LOOK:.0f} s by now")
        if self._asleep >= ASLEEP:
            raise StandstillError(f"no answer, and no CPU time taken in {self._asleep * LOOK:.0f} s")


class Channel:
    """One side. ``pid`` is the other side's process where it is watched; None: it is waited for as long as it lives."""

    def __init__(self, end: socket.socket, pid: int | None = None) -> None:
        self._end, self._pid = end, pid
        end.settimeout(None if pid is None else LOOK)

    def send(self, message: bytes) -> None:
        """Raises OSError where the other side is gone, StandstillError where it stands still with its socket full."""
        left, watch = memoryview(HEAD.pack(len(message)) + message), self._watch()
        while left:
            try:
                left = left[self._end.send(left) :]
            except TimeoutError:
                watch.look()

    def receive(self) -> bytes:
        """Raises EOFError or OSError where the other side is gone, StandstillError where it stands still."""
        watch = self._watch()
        return self._read(HEAD.unpack(self._read(HEAD.size, watch))[0], watch)

    def close(self) -> None:
        self._end.close()

    def _watch(self) -> Watch:
        return Watch(self._pid or 0)

    def _read(self, size: int, watch: Watch) -> bytes:
        read = bytearray()
        while len(read) < size:
            try:
                piece = self._end.recv(min(size - len(read), PIECE))
            except TimeoutError:
                watch.look()
                continue
            if not piece:
                raise EOFError
            read += piece
        return bytes(read)
