"""locomotion conformance"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import robots
import sim
from locomotion.files import output_file, write_atomically, write_json, writing
from locomotion.schema import check, refuse_unused
from locomotion.settings import ConformanceSettings
from locomotion.view import LiveView, print_table
from robots.errors import InputError
from sim import conformance


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """A table of differences from known answers; exit status 1 where one is too large."""
    settings = check(ConformanceSettings, config)
    refuse_unused(given, dict.fromkeys(("sim.physics_dt", "sim.threads", "sim.contacts", "sim.actuator"), "Each check has its own"))
    output = output_file(Path(settings.output), "output") if settings.output else None
    if output and output.suffix not in (".json", ".md"):
        raise InputError("output", str(output), "the name of a .json or .md file", "A .md file gets the table alone.")
    robot = robots.load(settings.robot)
    devices = {one.engine: one.device for one in settings.sim} if "sim" in given else dict.fromkeys(_installed(robot))
    results: list[conformance.Result] = []
    with LiveView(f"locomotion conformance  {robot.name}") as view:
        benches = [conformance.Bench(engine, robot, partial(sim.make, device=device)) for engine, device in devices.items()]
        total = len(conformance.CHECKS) * len(benches)
        for result in conformance.run(benches):
            results.append(result)
            view.phase("checks", len(results) / total, f"{result.check.name}, {result.engine}")
    head, rows, notes = conformance.table(results)
    print_table(f"{robot.name}: largest difference from the answer", head, rows)
    print("\n".join(notes))
    failed = [result for result in results if not result.passed]
    for result in failed:
        print(f"failed: {result.check.name} in {result.engine}: {result.measured:.3g} {result.check.unit}. {result.check.text}")
    if output and output.suffix == ".md":
        text = conformance.markdown(results)
        with writing("output", output):
            write_atomically(output, lambda stream: stream.write(text.encode()))
    elif output:
        write_json(output, {"robot": robot.name, "passed": not failed, "results": [result.plain() for result in results]}, "output")
    return 1 if failed else 0


def _installed(robot: robots.Robot) -> list[str]:
    """The engines that can be made here; the others are said."""
    able = []
    for engine in sim.ENGINES:
        try:
            simulator = sim.make(engine, robot, 1, 0.002)
            slow = engine == "mujoco_warp" and simulator.device.type == "cpu"
            simulator.close()
            if slow:
                print(f"left out: {engine}, which takes ten minutes and more without a GPU; name it to have it, sim={engine}")
            else:
                able.append(engine)
        except InputError as error:
            print(f"left out: {error}")
    return able
