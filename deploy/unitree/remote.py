"""The hand-held remote: the 40 bytes ``wireless_remote`` of a LowState, by name."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from robots.errors import InputError, nearest

BUTTONS = ("R1", "L1", "start", "select", "R2", "L2", "F1", "F2", "A", "B", "X", "Y", "up", "right", "down", "left")  # bit 0 to 15
STICKS = ("lx", "rx", "ry", "ly")  # left and right stick, to the right and up, -1 to 1
TREMOR = 0.01  # of what a stick says
_LAYOUT = struct.Struct("<2xH3f4xf16x")  # lx, rx, ry, a trigger that no remote uses, ly


@dataclass(frozen=True)
class Remote:
    """What is pressed, and where the sticks are."""

    buttons: frozenset[str] = frozenset()
    lx: float = 0.0
    rx: float = 0.0
    ry: float = 0.0
    ly: float = 0.0
    came: float = field(default=math.inf, compare=False)  # s on the monotonic clock, when the state that bore it did; infinity: now

    @property
    def walk(self) -> tuple[float, float, float]:
        """Shares of forward, left and yaw, as the vendor's examples read the sticks."""
        return self.ly, -self.lx, -self.rx

    @classmethod
    def from_bytes(cls, data: bytes, came: float = math.inf) -> Remote:
        bits, *sticks = _LAYOUT.unpack(data)
        lx, rx, ry, ly = sticks
        return cls(frozenset(name for i, name in enumerate(BUTTONS) if bits >> i & 1), lx, rx, ry, ly, came)

    def trembling(self, random: np.random.Generator) -> Remote:
        """As a thumb holds it: the sticks that are off their middle move a little."""
        held = {name: value for name in STICKS if (value := getattr(self, name))}
        return replace(self, **{name: float(np.clip(value - TREMOR * random.random() * value, -1.0, 1.0)) for name, value in held.items()})

    def to_bytes(self) -> bytes:
        return _LAYOUT.pack(sum(1 << BUTTONS.index(name) for name in self.buttons), self.lx, self.rx, self.ry, self.ly)

    @classmethod
    def parse(cls, words: Iterable[str]) -> Remote:
        """From words such as ``L2+B`` and ``ly=0.5``. Raises InputError for others."""
        buttons: set[str] = set()
        sticks: dict[str, float] = {}
        for word in words:
            name, equals, value = word.partition("=")
            if not equals:
                buttons.update(word.split("+"))
                continue
            try:
                sticks[name] = float(value)
            except ValueError:
                raise InputError("remote", word, "a number behind =", "For example ly=0.5.") from None
            if name not in STICKS or not -1.0 <= sticks[name] <= 1.0:
                raise InputError("remote", word, f"one of {', '.join(STICKS)} from -1 to 1", nearest(name, STICKS))
        for name in buttons:
            if name not in BUTTONS:
                raise InputError("remote", name, "the name of a button", nearest(name, BUTTONS))
        return cls(frozenset(buttons), **sticks)
