"""An operator at the keyboard of a terminal: keys ask for states and, held down, steer; who loses the terminal is gone."""

from __future__ import annotations

import os
import select
import termios
import time as clocks
import tty
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np

from deploy.contract import Contract
from deploy.operator import Intent, Stop
from deploy.states import State
from robots import InputError

REQUESTS = {b" ": State.DAMPING, b"u": State.STAND_UP, b"g": State.WALK, b"x": State.READY, b"i": State.IDLE}
STEERING = {
    b"w": ("forward", 1.0), b"s": ("forward", -1.0), b"a": ("left", 1.0), b"d": ("left", -1.0), b"q": ("yaw", 1.0), b"e": ("yaw", -1.0),
}  # fmt: skip
STOPS = {b"z": Stop.SETTLE, b"c": Stop.CUT}
HELP = (
    "space damping  u stand up  g go  x stand  i idle  z lie down and stop  c stop at once  w s a d q e held: steer  1-9 speed  ctrl-c end"
)
HOLD = 0.8  # s that a key steers for: longer than a keyboard takes before it repeats
SPEED = 0.5  # share of the trained range, at first; 1 to 9 set tenths


class KeyboardOperator:
    """A context: the terminal gives keys at once while it is entered, and is as it was afterwards. Costs a system call a step.

    Raises InputError where ``terminal``, a file descriptor, is none.
    """

    def __init__(self, contract: Contract, terminal: int = 0, now: Callable[[], float] = clocks.monotonic) -> None:
        self._terminal = terminal
        if not os.isatty(self._terminal):
            raise InputError(
                "commands", "keyboard", "a terminal at the standard input", "Run it in a terminal, or give a script of commands."
            )
        self._names, self._rest = contract.command_names, contract.command_rest
        self._low, self._high = contract.command_range.T
        self._now, self._alive = now, now()  # the terminal was there
        self._speed, self._held = SPEED, dict[str, tuple[float, float]]()  # by channel: direction, until when
        self._poll = select.poll()
        self._poll.register(self._terminal, select.POLLIN)

    def __enter__(self) -> KeyboardOperator:
        self._before: list[Any] = termios.tcgetattr(self._terminal)
        tty.setcbreak(self._terminal)  # not raw: Ctrl-C still ends the run
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            termios.tcsetattr(self._terminal, termios.TCSANOW, self._before)
        except termios.error:
            return  # the terminal is gone, and with it what there was to restore

    def __call__(self, time: float, state: State) -> Intent:
        """What the keys since the last call ask for; damping wins, and the harder stop. The age is since the terminal was there."""
        now, wanted = self._now(), None
        keys = self._read()
        if keys is None:
            self._held.clear()
            return Intent(None, self._rest.copy(), now - self._alive)
        self._alive, stop = now, Stop.NONE
        for key in (keys[i : i + 1] for i in range(len(keys))):
            if key in REQUESTS:
                wanted = wanted if wanted is State.DAMPING else REQUESTS[key]
                self._held.clear()
            elif key in STOPS:
                stop = max(stop, STOPS[key])
            elif key in STEERING:
                channel, direction = STEERING[key]
                self._held[channel] = direction, now + HOLD
            elif key in b"123456789":
                self._speed = 0.1 * int(key)
        return Intent(wanted, self._command(now), stop=stop)

    def _command(self, now: float) -> np.ndarray:
        """[C] in the trained range: a channel whose key was let go rests."""
        command = self._rest.copy()
        for channel, (direction, until) in self._held.items():
            if now < until and channel in self._names:
                i = self._names.index(channel)
                end = self._high[i] if direction > 0 else self._low[i]
                command[i] += self._speed * (end - command[i])
        return command

    def _read(self) -> bytes | None:
        """The keys that wait; None where the terminal is gone, or not ours to read."""
        try:
            if os.tcgetpgrp(self._terminal) != os.getpgrp():  # in the background, a read would stop the process
                return None
            if not (events := self._poll.poll(0)):
                return b""
            if events[0][1] & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                return None
            return os.read(self._terminal, 1024) or None
        except OSError:
            return None
