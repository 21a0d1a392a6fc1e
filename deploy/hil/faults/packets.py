"""Packets of the state."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from deploy.hil.faults.fault import NOTHING, Hooks, Side, Signals, changed, fault, on
from deploy.interface import RobotState
from deploy.monitors import SHAPES

if TYPE_CHECKING:
    from deploy.hil.bench import Bench


@fault
def nothing(bench: Bench) -> Hooks:
    """Nothing fails."""
    return NOTHING


@fault
def stale(bench: Bench) -> Hooks:
    """No more packets arrive: the newest one again and again."""
    kept: list[RobotState] = []

    def sample(now: RobotState) -> RobotState:
        kept.append(now) if not kept else None
        return kept[0]

    return Hooks(sample=sample)


@fault
def lost(bench: Bench, share: float = 0.5) -> Hooks:
    """So many of the packets get lost."""
    last: list[RobotState] = []

    def sample(now: RobotState) -> RobotState:
        if not last or bench.random.random() >= share:
            last[:] = [now]
        return last[0]

    return Hooks(sample=sample)


@fault
def delayed(bench: Bench, seconds: float = 0.04, stamped: int = 1) -> Hooks:
    """Packets arrive so late; with stamped 0, they say that they are new."""
    way: deque[RobotState] = deque()

    def sample(now: RobotState) -> RobotState:
        way.append(now)
        while len(way) > 1 and way[1].time <= now.time - seconds + 1e-9:
            way.popleft()
        return way[0] if stamped else replace(way[0], time=now.time, tick=now.tick)

    return Hooks(sample=sample)


@fault
def reordered(bench: Bench, share: float = 0.3, seconds: float = 0.02) -> Hooks:
    """So many of the packets come after newer ones."""
    past: deque[RobotState] = deque(maxlen=64)

    def sample(now: RobotState) -> RobotState:
        past.append(now)
        old = [s for s in past if s.time <= now.time - seconds]
        return old[-1] if old and bench.random.random() < share else now

    return Hooks(sample=sample)


@fault
def replayed(bench: Bench, seconds: float = 0.5) -> Hooks:
    """The robot's last so many seconds come again and again, under new ticks and times."""
    record: list[RobotState] = []
    turns = iter(range(10**9))

    def sample(now: RobotState) -> RobotState:
        if not record or now.time - record[0].time < seconds:
            record.append(now)
            return now
        return replace(record[next(turns) % len(record)], time=now.time, tick=now.tick)

    return Hooks(sample=sample)


@fault
def bit_flips(bench: Bench, share: float = 1.0, signals: Signals = tuple(SHAPES)) -> Hooks:
    """One random bit in one number of so many of the packets is wrong, with no checksum to tell."""

    def sample(now: RobotState) -> RobotState:
        if bench.random.random() >= share:
            return now
        name = str(bench.random.choice(np.array(signals)))
        value = getattr(now, name).copy()
        value.view(np.uint64)[bench.random.integers(len(value))] ^= np.uint64(1) << np.uint64(bench.random.integers(64))
        return replace(now, **{name: value})

    return Hooks(sample=sample)


@fault
def not_a_number(bench: Bench, signal: str = "joint_pos", element: int = 3) -> Hooks:
    """One number of a signal is NaN."""
    return Hooks(sample=lambda now: changed(now, (signal,), lambda value: np.where(np.arange(len(value)) == element, np.nan, value)))


@on(Side.LOCKSTEP)
def misshapen(bench: Bench, signal: str = "joint_pos") -> Hooks:
    """A signal comes as a column."""
    return Hooks(sample=lambda now: changed(now, (signal,), lambda value: value[:, None]))


@fault
def no_sample(bench: Bench) -> Hooks:
    """The driver returns nothing."""
    return Hooks(sample=lambda now: None)


@on(Side.LOCKSTEP)
def robot_clock(bench: Bench, seconds: float = 1.0) -> Hooks:
    """The robot's clock jumps."""
    return Hooks(sample=lambda now: replace(now, time=now.time + seconds))


@on(Side.WIRE)
def packets_flipped(bench: Bench, share: float = 0.5) -> Hooks:
    """One random bit of so many of the packets is wrong on the wire."""

    def packet(data: bytes) -> Iterable[bytes]:
        flipped = bytearray(data)
        if bench.random.random() < share:
            flipped[bench.random.integers(4, len(flipped))] ^= 1 << int(bench.random.integers(8))
        return (bytes(flipped),)

    return Hooks(packet=packet)


@on(Side.WIRE)
def packets_doubled(bench: Bench) -> Hooks:
    """Each packet of the state arrives twice."""
    return Hooks(packet=lambda data: (data, data))
