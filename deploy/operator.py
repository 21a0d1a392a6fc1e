"""What an operator says, and one who follows a script: stand up, walk, and change the command at given times."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from deploy.contract import Contract
from deploy.states import State
from robots import InputError


class Stop(enum.IntEnum):
    """How an operator, or an e-stop, ends a run; none goes back to a milder one until a person resets."""

    NONE = 0
    SETTLE = 1  # come to rest, lie down, then damping
    CUT = 2  # damping at once


class Intent(NamedTuple):
    """What the operator wants."""

    state: State | None  # to go to
    command: np.ndarray  # [C] by the contract's names
    age: float = 0.0  # s since the operator was last heard: a person at a device that has gone silent wants nothing
    stop: Stop = Stop.NONE


Operator = Callable[[float, State], Intent]
"""From the time since the start (s) and the present state."""


class ScriptedOperator:
    """``script`` holds rows ``[start, command]``: seconds of walking, growing from 0, and a number for each of the contract's
    ``command_names``, such as ``[[0, [0.5, 0, 0]]]``. Until it walks, the command is the contract's ``command_rest``.
    """

    def __init__(self, script: Sequence[Sequence[Any]], contract: Contract) -> None:
        names = contract.command_names
        allowed = f"rows [start, [{', '.join(names)}]] of finite numbers, from start 0 upwards"
        remedy = f"For example [[0, {contract.command_rest.tolist()}]]."
        if not _is_list(script) or not script or not all(_is_row(row, len(names)) for row in script):
            raise InputError("commands", script, allowed, remedy)
        starts = [float(row[0]) for row in script]
        if starts[0] != 0.0 or starts != sorted(starts):
            raise InputError("commands", script, allowed, "Sort the rows, the first at 0.")
        self._starts = np.array(starts)
        self._commands = np.array([row[1] for row in script], dtype=np.float64)
        self._rest = contract.command_rest
        self._walking_since: float | None = None

    def __call__(self, time: float, state: State) -> Intent:
        """What to ask for, and the command [C], at ``time`` (s since the start of the run)."""
        wanted = {State.IDLE: State.STAND_UP, State.READY: State.WALK}.get(state)
        if state is not State.WALK:
            self._walking_since = None
            return Intent(wanted, self._rest)
        if self._walking_since is None:
            self._walking_since = time
        row = np.searchsorted(self._starts, time - self._walking_since, side="right") - 1
        return Intent(None, self._commands[row])


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_row(row: Any, channels: int) -> bool:
    return (
        _is_list(row) and len(row) == 2 and _is_list(row[1]) and len(row[1]) == channels
        and all(isinstance(x, int | float) and not isinstance(x, bool) and abs(x) <= sys.float_info.max for x in (row[0], *row[1]))
    )  # fmt: skip
