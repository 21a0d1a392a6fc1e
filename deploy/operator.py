"""An operator who follows a script: stand up, walk, and change the velocity command at given times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deploy.supervisor import State
from robots import InputError


class ScriptedOperator:
    """``script`` holds ``[start, [forward, left, yaw]]`` rows; ``start`` in seconds of walking, in growing order."""

    def __init__(self, script: Sequence[Sequence]) -> None:
        starts = [float(row[0]) for row in script]
        if not starts or starts[0] != 0.0 or starts != sorted(starts):
            raise InputError("commands", list(script), "rows [start, [forward, left, yaw]] from start 0 upwards", "Sort the rows.")
        self._starts = np.array(starts)
        self._commands = np.array([row[1] for row in script], dtype=np.float64)
        if self._commands.shape != (len(starts), 3) or not np.isfinite(self._commands).all():
            raise InputError("commands", list(script), "three finite numbers a row", "For example [[0, [0.5, 0, 0]]].")
        self._walking_since: float | None = None

    def __call__(self, time: float, state: State) -> tuple[State | None, np.ndarray]:
        wanted = {State.IDLE: State.STAND_UP, State.READY: State.WALK}.get(state)
        if state is not State.WALK:
            self._walking_since = None
            return wanted, np.zeros(3)
        if self._walking_since is None:
            self._walking_since = time
        row = np.searchsorted(self._starts, time - self._walking_since, side="right") - 1
        return None, self._commands[row]
