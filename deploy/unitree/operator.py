"""An operator with the robot's hand-held remote: start stands it up, A walks, X stands still, L2+B damps; the sticks command."""

from __future__ import annotations

import time as clocks
from collections.abc import Callable

import numpy as np

from deploy.contract import Contract
from deploy.operator import Intent
from deploy.states import State
from deploy.unitree.remote import Remote

REQUESTS: dict[frozenset[str], State] = {
    frozenset(["L2", "B"]): State.DAMPING,  # the first that is held counts
    frozenset(["start"]): State.STAND_UP,
    frozenset(["A"]): State.WALK,
    frozenset(["X"]): State.READY,
    frozenset(["select"]): State.IDLE,
}
WALK_CHANNELS = ("forward", "left", "yaw")
STEADY = 5.0  # s that a stick between middle and end may say the same, bit for bit: a thumb trembles, a remote that is gone does not
AT_THE_END = 30.0  # s that sticks may which are all at an end: there no thumb is seen to tremble


def requested(remote: Remote) -> State | None:
    """What the buttons ask for that are held."""
    return next((wanted for buttons, wanted in REQUESTS.items() if buttons <= remote.buttons), None)


class Buttons:
    """What is asked for, once a press."""

    def __init__(self) -> None:
        self._held: State | None = None

    def pressed(self, remote: Remote) -> State | None:
        held, before = requested(remote), self._held
        self._held = held
        return held if held is not before else None


class RemoteOperator:
    """``remote`` gives the remote as it is now. A stick at its end commands the end of the trained range, in the middle the rest.

    Who steers was last heard when the state came that bore the remote, or where the sticks have been still for longer than STEADY (or
    AT_THE_END), so much later than they moved.
    """

    def __init__(self, remote: Callable[[], Remote], contract: Contract, now: Callable[[], float] = clocks.monotonic) -> None:
        self._now, self._moved, self._sticks = now, now(), b""
        self._remote, self._rest = remote, contract.command_rest
        self._low, self._high = contract.command_range.T
        self._channels = [contract.command_names.index(name) if name in contract.command_names else None for name in WALK_CHANNELS]
        self._buttons = Buttons()

    def __call__(self, time: float, state: State) -> Intent:
        """What to ask for, once a press, and the command [C]."""
        remote, now = self._remote(), self._now()
        if (sticks := remote.to_bytes()) != self._sticks:
            self._sticks, self._moved = sticks, now
        between = any(0.0 < abs(share) < 1.0 for share in remote.walk)
        still = now - self._moved - (STEADY if between else AT_THE_END) if any(remote.walk) else 0.0
        wanted = self._buttons.pressed(remote)
        command = self._rest.copy()
        for channel, share in zip(self._channels, remote.walk, strict=True):
            if channel is not None and np.isfinite(share):
                share = float(np.clip(share, -1.0, 1.0))
                end = self._high[channel] if share > 0 else self._low[channel]
                command[channel] += abs(share) * (end - command[channel])
        return Intent(wanted, command, max(now - remote.came, still, 0.0))
