"""Walking over DDS at 500 Hz: the real runtime, guard and server in processes of their own on loopback, and the vendor's loop beside it.

    python -m benchmarks.dds_walk policy=runs/demo/policy.onnx minutes=10 output=runs/dds_walk.json

Prints lost messages, overruns and times by stage, and writes them. For the vendor's loop: pip install --no-deps unitree-sdk2py-dimos
rich-click. An idle machine, and a user who may take SCHED_FIFO, are what the figures are meant for.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import dds_parts
from benchmarks.dds_round_trip import FAMILIES, round_trip
from deploy.unitree.transport import BYTE, UINT8
from robots import InputError

DOMAIN = 20  # of DDS
SHORT = 120.0  # s at most, of the parts beside the walk
DEFAULTS = {"policy": "runs/demo/policy.onnx", "minutes": "10", "output": "runs/dds_walk.json"}
PERCENTILES = ("p50", "p99", "p99.9", "max")


def main() -> None:
    given = dict(word.partition("=")[::2] for word in sys.argv[1:])
    if unknown := given.keys() - DEFAULTS.keys():
        raise InputError("settings", sorted(unknown), ", ".join(DEFAULTS), "For example minutes=10.")
    settings = DEFAULTS | given
    bundle, seconds, output = Path(settings["policy"]).absolute(), 60.0 * float(settings["minutes"]), Path(settings["output"])
    result: dict[str, Any] = {"seconds": seconds, "load": os.getloadavg(), "cpus": os.cpu_count()}
    print(f"walking over DDS for {seconds:.0f} s, policy {bundle}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} before it began")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "guard.npz"
        result["go2"] = _on_server("unitree_go2", DOMAIN, BYTE, dds_parts.walk, bundle, DOMAIN, seconds, file) | {"guard": _guard(file)}
        _say("Go2, ours", result["go2"])
        file = Path(folder) / "g1.npz"
        short = min(seconds, SHORT)
        held = _on_server("unitree_g1", DOMAIN + 1, BYTE, dds_parts.hold, "unitree_g1", DOMAIN + 1, short, file)
        result["g1"] = held | {"guard": _guard(file)}
        _say(f"G1, 29 joints led to its default pose and held, {short:.0f} s", result["g1"])
        result["vendor"] = _on_server("unitree_go2", DOMAIN + 2, UINT8, dds_parts.vendor, bundle, DOMAIN + 2, short)
        _say(f"Go2, the vendor's Python client, the same policy, {short:.0f} s", result["vendor"])
    result["round_trip_us"] = {}
    for name, raw in ((name, raw) for name in FAMILIES for raw in (True, False)):
        times, lost = round_trip(FAMILIES[name], raw)
        way = f"{name}, {'our codec' if raw else 'cyclonedds objects, as the vendor does'}"
        values = dict(zip(PERCENTILES, (1e6 * np.quantile(times, [0.5, 0.99, 0.999, 1.0])).tolist(), strict=True))
        result["round_trip_us"][way] = values | {"lost": lost}
        print(f"round trip LowCmd -> LowState, {way}: {_times(values)}, {lost} lost")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2))
    print(f"load {os.getloadavg()[0]:.1f} at the end; all figures: {output}")


def _guard(file: Path) -> dict[str, Any]:
    return dds_parts.guard_times(file) if file.exists() else {}


def _on_server(robot: str, domain: int, octet: str, part: Callable[..., None], *arguments: Any) -> dict[str, Any]:
    """What the server and the ``part`` that drives it came to."""
    server, says = _start(dds_parts.serve, robot, domain, octet)
    assert says.recv() == "up"
    driver, told = _start(part, *arguments)
    try:
        result = told.recv()
    except EOFError:
        result = {"error": f"ended with status {driver.exitcode}"}
    driver.join(30.0)
    says.send("stop")
    summary = says.recv()
    server.join(10.0)
    return {"driver": result, "server": summary}


def _start(target: Callable[..., None], *arguments: Any) -> tuple[Any, Connection]:
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=target, args=(*arguments, theirs))
    process.start()
    theirs.close()
    return process, ours


def _say(title: str, result: dict[str, Any]) -> None:
    driver, server, guard = result["driver"], result["server"], result.get("guard", {})
    print(f"\n{title}: {driver['error'] or 'done'}")
    if guard:
        lost = f"{guard['lost_states']} of {guard['states']} states, {server['lost_commands']} of {guard['commands']} commands"
        print(f"  lost                   {lost}")
    elif server["lost_commands"] is not None:
        print(f"  lost                   {server['lost_commands']} commands")
    loop = driver.get("loop", driver)
    counts = {"loop": loop.get("overruns"), "guard": guard.get("overruns"), "server": server["overruns"]}
    print(f"  late by more than 2 ms {', '.join(f'{name} {count}' for name, count in counts.items() if count is not None)}")
    print(f"  server                 real-time factor {server['real_time_factor']:.4f}, {server['skipped_seconds']:.3f} s skipped")
    if "cpu_share" in driver:
        print(f"  the loop takes         {100 * driver['cpu_share']:.0f} % of a CPU")
    for name, values in (("loop", loop), ("guard", guard), ("server", server)):
        for stage, times in values.items():
            if stage.endswith("_us") and times:
                print(f"  {f'{name} {stage[:-3]}'.replace('_', ' '):22} {_times(times)}")
    for event in driver.get("events", ()):
        print(f"  event                  {event['time']:.2f} s {event['kind']}: {event['detail']}")


def _times(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {values[name]:.0f}" for name in PERCENTILES) + " us"


if __name__ == "__main__":
    main()
