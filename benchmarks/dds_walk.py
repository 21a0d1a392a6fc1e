"""Walking over DDS at 500 Hz: the real runtime, guard and server in processes of their own on loopback, and the vendor's loop beside it.

    python -m benchmarks.dds_walk policy=runs/demo/policy.onnx minutes=10 output=runs/dds_walk.json

Prints lost messages, overruns and times by stage, and writes them. Beside all of it a sleeper on each CPU tells when the machine itself
stood still (deploy/hil/floor.py): an overrun then is the machine's, any other is ours. A walk that the guard or the supervisor ends, as it
must when the machine stands still for long, is followed by another one, on a new server, until the minutes are walked. For the vendor's
loop: pip install --no-deps unitree-sdk2py-dimos rich-click. An idle machine, and a user who may take SCHED_FIFO, are what the figures are
meant for.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import dds_parts
from benchmarks.dds_round_trip import FAMILIES, round_trip
from deploy.hil.floor import LEAST, Floor, fell_in
from deploy.summary import quantiles
from deploy.unitree.transport import BYTE, UINT8
from robots import InputError

DOMAIN = 20  # of DDS
SHORT = 120.0  # s at most, of the parts beside the walk
MOST_WALKS = 30
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
    short = min(seconds, SHORT)
    with TemporaryDirectory() as folder, Floor() as floor:
        result["go2"] = _walks(bundle, seconds, Path(folder), floor)
        _say("Go2, ours", result["go2"])
        file = Path(folder) / "g1.npz"
        held = _on_server("unitree_g1", DOMAIN + 1, BYTE, dds_parts.hold, "unitree_g1", DOMAIN + 1, short, file)
        result["g1"] = _merged([held | {"guard": _guard(file)}], floor)
        _say(f"G1, 29 joints led to its default pose and held, {short:.0f} s", result["g1"])
        vendor = _on_server("unitree_go2", DOMAIN + 2, UINT8, dds_parts.vendor, bundle, DOMAIN + 2, short)
        result["vendor"] = _merged([vendor], floor)
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


def _walks(bundle: Path, seconds: float, folder: Path, floor: Floor) -> dict[str, Any]:
    """Walks, each on a server of its own, until so many ``seconds`` are walked."""
    walks: list[dict[str, Any]] = []
    left = seconds
    while left > 1.0 and len(walks) < MOST_WALKS:
        file = folder / f"guard{len(walks)}.npz"
        walk = _on_server("unitree_go2", DOMAIN, BYTE, dds_parts.walk, bundle, DOMAIN, left, file) | {"guard": _guard(file)}
        walks.append(walk)
        driver = walk["driver"]
        left -= driver.get("walked", 0.0)
        print(f"  walk {len(walks)}: {driver.get('walked', 0.0):.0f} s, {driver['error'] or _last(driver)}")
    return _merged(walks, floor)


def _last(driver: dict[str, Any]) -> str:
    return "done" if driver["passed"] else "ended by " + driver["events"][-1]["detail"]


def _guard(file: Path) -> dict[str, Any]:
    return dds_parts.guard_times(file) if file.exists() else {}


def _merged(runs: list[dict[str, Any]], floor: Floor) -> dict[str, Any]:
    """One table of several runs: their arrays together, their counts summed, and which overruns fell in a stall of the machine."""
    drivers = [run["driver"] for run in runs]
    stalls = [stall for run in runs for stall in floor.stalls(run["began"], run["ended"])]
    result: dict[str, Any] = {
        "runs": len(runs),
        "ended_early": [driver["error"] or _last(driver) for driver in drivers if driver["error"] or not driver.get("passed", True)],
        "walked": sum(run["driver"].get("walked", 0.0) for run in runs),
        "real_time_sleepers": floor.real_time,
        "stalls": [{"after": stall.begin - runs[0]["began"], "ms": 1e3 * stall.seconds, "cpu": stall.cpu} for stall in stalls],
    }
    for name in ("driver", "guard", "server"):
        parts = [run[name] for run in runs if run.get(name)]
        raw = [part["raw"] for part in parts if "raw" in part]
        result[name] = {key: value for key, value in (parts[-1] if parts else {}).items() if key != "raw"}
        if not raw:
            continue
        for stage in raw[0].keys() - {"over"}:
            result[name][f"{stage}_us"] = quantiles(np.concatenate([table[stage] for table in raw]).tolist())
        over = np.concatenate([table["over"] for table in raw])
        in_stalls = sum(fell_in(moment, late, stalls) for moment, late in over)
        result[name] |= {"overruns": len(over), "overruns_in_stalls": in_stalls}
        for count in ("lost_commands", "lost_states", "states", "commands", "skipped_seconds"):
            if any(part.get(count) is not None for part in parts):
                result[name][count] = sum(part.get(count) or 0 for part in parts)
    return result


def _on_server(robot: str, domain: int, octet: str, part: Callable[..., None], *arguments: Any) -> dict[str, Any]:
    """What the server and the ``part`` that drives it came to, and when."""
    began = time.monotonic()
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
    return {"driver": result, "server": summary, "began": began, "ended": time.monotonic()}


def _start(target: Callable[..., None], *arguments: Any) -> tuple[Any, Connection]:
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=target, args=(*arguments, theirs))
    process.start()
    theirs.close()
    return process, ours


def _say(title: str, result: dict[str, Any]) -> None:
    driver, server, guard, stalls = (result[name] for name in ("driver", "server", "guard", "stalls"))
    walked = f", {result['walked']:.0f} s in {result['runs']} walks" if result["walked"] else ""
    print(f"\n{title}{walked}: {driver['error'] or 'done'}")
    for reason in result["ended_early"]:
        print(f"  ended early            {reason}")
    longest = max((stall["ms"] for stall in stalls), default=0.0)
    words = "" if result["real_time_sleepers"] else ", by sleepers without a real-time priority"
    print(f"  the machine            stood still for more than {1e3 * LEAST:.0f} ms {len(stalls)} times, {longest:.1f} ms at most{words}")
    if guard:
        lost = f"{guard['lost_states']} of {guard['states']} states, {server['lost_commands']} of {guard['commands']} commands"
        print(f"  lost                   {lost}")
    elif server.get("lost_commands") is not None:
        print(f"  lost                   {server['lost_commands']} commands")
    counts = {name: part for name, part in (("loop", driver), ("guard", guard), ("server", server)) if "overruns" in part}
    late = (f"{name} {part['overruns']}" + _of_stalls(part) for name, part in counts.items())
    print(f"  late by more than 2 ms {', '.join(late)}")
    print(f"  server                 real-time factor {server['real_time_factor']:.4f}, {server['skipped_seconds']:.3f} s skipped")
    if "cpu_share" in driver:
        print(f"  the loop takes         {100 * driver['cpu_share']:.0f} % of a CPU")
    for name, values in (("loop", driver), ("guard", guard), ("server", server)):
        for stage, times in values.items():
            if stage.endswith("_us") and times:
                print(f"  {f'{name} {stage[:-3]}'.replace('_', ' '):22} {_times(times)}")
    for stall in stalls:
        print(f"  stood still            {stall['after']:.3f} s: CPU {stall['cpu']}, {stall['ms']:.1f} ms")
    for event in driver.get("events", ()):
        print(f"  event                  {event['time']:.2f} s {event['kind']}: {event['detail']}")


def _of_stalls(part: dict[str, Any]) -> str:
    return f" ({part['overruns_in_stalls']} while the machine stood still)" if part.get("overruns_in_stalls") else ""


def _times(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {values[name]:.0f}" for name in PERCENTILES) + " us"


if __name__ == "__main__":
    main()
