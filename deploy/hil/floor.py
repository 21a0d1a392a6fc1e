"""When the machine itself stood still: a sleeper on each CPU, before all others where that is permitted, that only looks at the clock.

What real-time programs find late while a sleeper was late too is the machine's doing, a host's that took its CPUs away for example.
What they find late while it was not is their own.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple

PERIOD = 0.001  # s
PRIORITY = 80  # of SCHED_FIFO: before the guard, too
LEAST = 0.002  # s late that count as a stall
NEAR = 0.003  # s before and after a stall in which it may be what something was late for
AWAKE = 30.0  # s for the sleepers to begin


class Stall(NamedTuple):
    """A CPU stood still from ``begin``, when its sleeper should have woken, for so many ``seconds``. Times by ``time.monotonic``."""

    begin: float
    seconds: float
    cpu: int

    @property
    def end(self) -> float:
        return self.begin + self.seconds


class Floor:
    """A context in which the sleepers run. ``real_time`` says whether all go before others; else the load of the machine counts, too."""

    def __enter__(self) -> Floor:
        self._file = tempfile.TemporaryFile("a+")  # its end is where each of the sleepers writes
        cpus = sorted(os.sched_getaffinity(0))
        code = f"import sys; sys.path[:] = {sys.path!r}; from deploy.hil.floor import sleep; sleep(int(sys.argv[1]))"
        command = [sys.executable, "-c", code]
        self._sleepers = [subprocess.Popen([*command, str(cpu)], stdin=subprocess.PIPE, stdout=self._file) for cpu in cpus]
        until = time.monotonic() + AWAKE
        while len(words := [line for line in self._lines() if len(line) == 2]) < len(cpus) and time.monotonic() < until:
            if any(sleeper.poll() is not None for sleeper in self._sleepers):
                self.__exit__(None, None, None)
                raise RuntimeError("a sleeper of deploy/hil/floor.py ended before it began; what it said is above")
            time.sleep(0.02)
        self.real_time = len(words) == len(cpus) and all(granted == "1" for _, granted in words)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for sleeper in self._sleepers:
            sleeper.kill()
            sleeper.wait()
            assert sleeper.stdin is not None
            sleeper.stdin.close()
        self._file.close()

    def stalls(self, since: float = 0.0, until: float = float("inf"), least: float = LEAST) -> list[Stall]:
        """Those that end after ``since`` and begin before ``until``, by time."""
        rows = (Stall(float(begin), float(late), int(cpu)) for cpu, begin, late in (line for line in self._lines() if len(line) == 3))
        return sorted(stall for stall in rows if stall.end > since and stall.begin < until and stall.seconds >= least)

    def _lines(self) -> list[list[str]]:
        """Whole ones alone."""
        text = os.pread(self._file.fileno(), os.fstat(self._file.fileno()).st_size, 0).decode()
        return [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]


def fell_in(time: float, late: float, stalls: Iterable[Stall]) -> bool:
    """Whether what began at ``time`` and ``late`` s too late was held up in one of ``stalls``."""
    return any(stall.begin - NEAR < time and stall.end + NEAR > time - late for stall in stalls)


def sleep(cpu: int) -> None:
    """Of a sleeper's process: a line for each time that it woke late, until it is killed or its parent is gone."""
    parent, granted = os.getppid(), 0
    os.sched_setaffinity(0, {cpu})
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        granted = 1
    gc.disable()
    os.write(1, f"{cpu} {granted}\n".encode())
    while os.getppid() == parent:
        due = time.monotonic() + PERIOD
        time.sleep(PERIOD)
        late = time.monotonic() - due
        if late > LEAST / 2:
            os.write(1, f"{cpu} {due!r} {late!r}\n".encode())
