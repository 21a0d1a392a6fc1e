"""Processes that step Bullet's robots side by side.

Robots lie in one block of memory that all processes share and that has no name: whatever ends them, nothing of it is left. A command
and its answer are a few bytes on a pair of sockets, and either side sees at once when the other one is gone: a worker without its
parent ends, and a parent without one of its workers, or with one that stands still, raises :class:`LostWorkerError`.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import pickle
import socket
import subprocess
import sys
import time
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np

from robots import InputError
from sim.channel import Channel, StandstillError
from sim.pybullet_batch import Arrays, Batch, Setup
from sim.simulator import LostWorkerError

BOOT = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from sim.pybullet_workers import main; main()"
DONE, FAILED = b"+", b"-"
ENDING = 2.0  # s that a worker has to end by itself
LARGEST = 1000  # robots of a process: Bullet has room for 1024
MEGABYTES = 33  # of memory that a robot's world takes


class Crew:
    """``count`` processes with about as many robots each. In the arrays, commands and answers of all are those of one :class:`Batch`."""

    def __init__(self, setup: Setup, rows: int, count: int) -> None:
        layout = setup.layout(rows)
        file, size = make_memory(layout)
        self.arrays = over_memory(file, size, layout)
        edges = np.linspace(0, rows, count + 1).round().astype(int).tolist()
        self._rows = list(pairwise(edges))
        self._workers: list[tuple[subprocess.Popen[bytes], Channel]] = []
        try:
            for part in self._rows:
                self._workers.append(_start(file))
                self._send(len(self._workers) - 1, pickle.dumps((setup, rows, part, file, size)))
        finally:
            os.close(file)

    def do(self, command: str, *given: int) -> None:
        """Run a command of :class:`Batch` in all workers; the first one makes the robots. Raises LostWorkerError."""
        if not self._workers:
            raise LostWorkerError("sim", "pybullet", "its worker processes: none is left", "Make another simulator.")
        text = " ".join([command, *map(str, given)]).encode()
        for worker in range(len(self._workers)):
            self._send(worker, text)
        for worker in range(len(self._workers)):
            self._receive(worker)

    def save(self) -> list[bytes]:
        """See :meth:`Batch.save`."""
        for worker in range(len(self._workers)):
            self._send(worker, b"save")
        return [one for worker in range(len(self._workers)) for one in pickle.loads(self._receive(worker))]

    def restore(self, snapshots: list[bytes]) -> None:
        """See :meth:`Batch.restore`."""
        for worker, (low, high) in enumerate(self._rows):
            self._send(worker, b"restore")
            self._send(worker, pickle.dumps(snapshots[low:high]))
        for worker in range(len(self._workers)):
            self._receive(worker)

    def close(self) -> None:
        for _, channel in self._workers:
            channel.close()
        until = time.monotonic() + ENDING
        for process, _ in self._workers:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._workers = []

    def _send(self, worker: int, data: bytes) -> None:
        try:
            self._workers[worker][1].send(data)
        except (OSError, StandstillError) as error:
            self._lose(worker, error)

    def _receive(self, worker: int) -> bytes:
        try:
            answer = self._workers[worker][1].receive()
        except (EOFError, OSError, StandstillError) as error:
            self._lose(worker, error)
        if answer[:1] == FAILED:
            self._lose(worker, RuntimeError(answer[1:].decode()))
        return answer[1:]

    def _lose(self, worker: int, error: Exception) -> NoReturn:
        process = self._workers[worker][0]
        if isinstance(error, RuntimeError):
            said = str(error)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDING)
            code = process.returncode
            said = f"ended by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
        count = len(self._workers)
        self.close()
        memory = f"Too little memory ends processes: a robot takes {MEGABYTES} MB, so lower algorithm.num_envs."
        remedy = "It was ended; look for what stopped it." if isinstance(error, StandstillError) else memory
        raise LostWorkerError(
            "sim", f"pybullet, worker {worker + 1} of {count} (process {process.pid}): {said}", "all workers", remedy
        ) from error


def _start(memory: int) -> tuple[subprocess.Popen[bytes], Channel]:
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", BOOT], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[memory, theirs.fileno()],
            process_group=0,  # Ctrl-C in a terminal is the parent's
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:  # one that dies here is found dead
            stdin.write(pickle.dumps(sys.path) + pickle.dumps(theirs.fileno()))
    finally:
        theirs.close()
    return process, Channel(ours, process.pid)


def make_memory(layout: dict[str, tuple[str, tuple[int, ...]]]) -> tuple[int, int]:
    """A file without a name that holds all arrays, and its size."""
    size = sum(_bytes(*one) for one in layout.values())
    file = os.memfd_create("pybullet")
    os.ftruncate(file, size)
    return file, size


def over_memory(file: int, size: int, layout: dict[str, tuple[str, tuple[int, ...]]]) -> Arrays:
    """The arrays in it, for as long as one of them is held."""
    memory, arrays, start = mmap.mmap(file, size), {}, 0
    for name, (kind, shape) in layout.items():
        arrays[name] = np.ndarray(shape, kind, memory, start)
        start += _bytes(kind, shape)
    return arrays


def _bytes(kind: str, shape: tuple[int, ...]) -> int:
    return -(-int(np.prod(shape)) * np.dtype(kind).itemsize // 64) * 64  # of cache lines, whole


def check_size(rows: int, workers: int) -> None:
    """Raises InputError where a process would have more robots than Bullet has room for, or all would have more than the memory has."""
    if rows > LARGEST * workers:
        raise InputError("num_envs", rows, f"at most {LARGEST} robots a process in engine pybullet", "Lower it, or raise sim.threads.")
    free = _free_megabytes()
    if rows * MEGABYTES > free:
        allowed = f"at most {int(free / MEGABYTES)} robots in engine pybullet: each takes {MEGABYTES} MB, and {free:.0f} MB are free"
        raise InputError("num_envs", rows, allowed, "For example algorithm.num_envs=64 (docs/pybullet.md).")


def _free_megabytes() -> float:
    with contextlib.suppress(OSError), open("/proc/meminfo") as lines:
        return float(next((line.split()[1] for line in lines if line.startswith("MemAvailable")), "inf")) / 1e3
    return math.inf


def main() -> None:
    """A worker: what it is to do comes on its connection, and when that ends it ends at once."""
    with contextlib.suppress(EOFError, OSError):  # the parent is gone, or has closed
        _serve()
    os._exit(0)  # taking all worlds apart would take seconds


def _serve() -> None:
    channel = Channel(socket.socket(fileno=pickle.load(sys.stdin.buffer)))
    setup, rows, (low, high), file, size = pickle.loads(channel.receive())
    arrays = over_memory(file, size, setup.layout(rows))
    batch: Any = None
    while True:
        command, *given = channel.receive().decode().split()
        try:
            if batch is None:
                batch = Batch(setup, {name: array[low:high] for name, array in arrays.items()})
            own = [pickle.loads(channel.receive())] if command == "restore" else map(int, given)
            answer = getattr(batch, command)(*own)
        except (Exception, SystemExit) as error:
            channel.send(FAILED + f"{type(error).__name__}: {error}".encode())
            return
        channel.send(DONE if answer is None else DONE + pickle.dumps(answer))
