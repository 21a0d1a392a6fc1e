"""LowCmd out, LowState back, between two processes on loopback: our codec on raw bytes, and cyclonedds' own objects beside it.

The other process answers each command at once, with the command's number as its tick. Needs the extra ``unitree``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np

from deploy.interface import real_time_priority
from deploy.unitree.messages import GO, HG, Family
from deploy.unitree.transport import Bus, Publisher, Subscriber, checked_codec, deserialize, serialize

DOMAIN, COUNT, PERIOD, PRIORITY = 11, 3000, 0.002, 40
FAMILIES = {family.name: family for family in (GO, HG)}


def main() -> None:
    print(f"LowCmd -> LowState, {COUNT} at {1 / PERIOD:.0f} Hz, two processes on loopback, {os.cpu_count()} CPUs")
    for family in (GO, HG):
        for raw in (True, False):
            times, lost = round_trip(family, raw)
            p50, p99, p999 = 1e6 * np.quantile(times, [0.5, 0.99, 0.999])
            way = "codec on raw bytes" if raw else "cyclonedds objects"
            print(f"  {family.name}  {way}: p50 {p50:.0f}  p99 {p99:.0f}  p99.9 {p999:.0f} us, {lost} lost")


def round_trip(family: Family, raw: bool) -> tuple[np.ndarray, int]:
    """As :func:`measure`, and the process that answers. Both before all others, where they may."""
    echo = subprocess.Popen([sys.executable, "-m", "benchmarks.dds_round_trip", family.name, *(["raw"] if raw else [])])
    try:
        with real_time_priority(PRIORITY):
            return measure(family, raw)
    finally:
        echo.terminate()
        echo.wait()


def measure(family: Family, raw: bool) -> tuple[np.ndarray, int]:
    """Seconds of each round trip, and how many commands were not answered within 0.1 s."""
    bus, codec = Bus("lo", DOMAIN), checked_codec(family.low_cmd)
    publisher, subscriber = bus.publisher("rt/lowcmd", family.low_cmd), bus.subscriber("rt/lowstate", family.low_state)
    command, times, lost = codec.blank(), [], 0
    while not (publisher.readers and subscriber.writers):
        time.sleep(0.05)
    time.sleep(1.0)
    deadline = time.perf_counter()
    for i in range(COUNT):
        began = time.perf_counter()
        command["reserve"] = i
        publisher.write(codec.encode(command) if raw else serialize(family.low_cmd, command))
        tick = -1
        while tick != i and subscriber.wait(0.1):
            for data in subscriber.take():
                tick = _tick(family, data, raw)
        if tick == i:
            times.append(time.perf_counter() - began)
        else:
            lost += 1
        deadline += PERIOD
        time.sleep(max(0.0, deadline - time.perf_counter()))
    return np.array(times), lost


def _tick(family: Family, data: bytes, raw: bool) -> int:
    if not raw:
        return deserialize(family.low_state, data).tick
    codec = checked_codec(family.low_state)
    message = codec.decode(data)
    assert codec.intact(message)
    return int(message["tick"])


def answer(family: Family, raw: bool) -> None:
    """Answer commands until killed."""
    bus = Bus("lo", DOMAIN)
    publisher: Publisher = bus.publisher("rt/lowstate", family.low_state)
    subscriber: Subscriber = bus.subscriber("rt/lowcmd", family.low_cmd)
    commands, states = checked_codec(family.low_cmd), checked_codec(family.low_state)
    state = states.blank()
    while True:
        if not subscriber.wait(1.0):
            continue
        for data in subscriber.take():
            number = commands.decode(data)["reserve"] if raw else deserialize(family.low_cmd, data).reserve
            state["tick"] = np.ravel(number)[0]
            publisher.write(states.encode(state) if raw else serialize(family.low_state, state))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with real_time_priority(PRIORITY):
            answer(FAMILIES[sys.argv[1]], "raw" in sys.argv)
    else:
        main()
