"""locomotion hil run"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deploy.hil import suite
from deploy.policy import RobotPolicy
from locomotion.config import search_path
from locomotion.evaluation import fault_page
from locomotion.evaluation.rollout import load_policy
from locomotion.files import make_folder, write_atomically, write_json, writing
from locomotion.schema import check
from locomotion.settings import FaultsSettings
from locomotion.view import LiveView
from robots.errors import InputError

KEEP_EVERY = 10.0  # s: what is known by then outlives a run that is ended


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """A policy through the faults of a suite."""
    settings = check(FaultsSettings, config)
    path = Path(settings.policy)
    policy = load_policy(path)
    if settings.mode == "realtime" and settings.supervisor is not True:
        raise InputError("supervisor", settings.supervisor, "true in real time", "Lockstep shows what a fault does without it.")
    chosen = settings.suite or {"lockstep": "default"}.get(settings.mode, settings.mode)
    file = suite.find(chosen, [folder / "suites" for folder in search_path()])
    cases = suite.read(file, len(policy.contract.command_names), policy.robot.num_joints, settings.mode)
    names = {case.name for case in cases}
    for name in settings.cases or ():
        if name not in names:
            raise InputError("cases", name, f"cases of {file}", f"It has {', '.join(sorted(names))}.")
    cases = [case for case in cases if case.phase in settings.phases and case.name in (settings.cases or names)]
    if not cases:
        raise InputError("phases", settings.phases, "a phase that the cases have", "Leave phases out.")
    output = Path(settings.output) if settings.output else None
    if output:
        make_folder(output, "output")
    reports: dict[str, Any] = {"policy": str(path), "suite": str(file), "robot": policy.robot.name, "mode": settings.mode}
    kept = [time.monotonic()]
    ways = {"supervised": settings.supervisor is not False, "unsupervised": settings.supervisor is not True}
    for name in (name for name, wanted in ways.items() if wanted):
        with LiveView(f"locomotion hil run  {path}") as view:
            words = "with a supervisor" if name == "supervised" else "without"
            outcomes = _real_time(cases, path, policy) if settings.mode == "realtime" else None
            outcomes = outcomes or suite.run(cases, path, policy.robot, name == "supervised", min(settings.jobs, len(cases)))

            def done(share: float, what: str, so_far: list[suite.Outcome], words: str = words, name: str = name) -> None:
                view.phase(words, share, what)
                if output and time.monotonic() - kept[0] > KEEP_EVERY:
                    kept[0] = time.monotonic()
                    write_json(output / "faults.json", reports | {name: suite.report(so_far)}, "output")

            reports[name] = _gather(outcomes, done, len(cases))
        _print(name, reports[name])
    if output:
        write_json(output / "faults.json", reports, "output")
        fault_page.write(output / "faults.html", reports)
        with writing("output", output / "faults.md"):
            write_atomically(output / "faults.md", lambda stream: stream.write(fault_page.markdown(reports).encode()))
    main = reports["supervised" if ways["supervised"] else "unsupervised"]
    return 1 if main["failed"] else 3 if main["not_judged"] else 0


def few(path: Path, output: Path, progress: Callable[[float], None]) -> bool:
    """The faults of the suite ``demo``, with and without a supervisor, as ``output/faults.json``; whether all went as it must."""
    policy = load_policy(path)
    file = suite.find("demo", [folder / "suites" for folder in search_path()])
    cases = suite.read(file, len(policy.contract.command_names), policy.robot.num_joints)
    reports: dict[str, Any] = {"policy": str(path), "suite": str(file), "robot": policy.robot.name, "mode": "lockstep"}
    for done, name in enumerate(("supervised", "unsupervised")):
        outcomes = suite.run(cases, path, policy.robot, name == "supervised", 2)
        reports[name] = _gather(outcomes, lambda share, what, so_far, done=done: progress((done + share) / 2), len(cases))
    write_json(output / "faults.json", reports, "run")
    return reports["supervised"]["passed"]


def _real_time(cases: list[suite.Case], path: Path, policy: RobotPolicy) -> Iterator[suite.Outcome]:
    from deploy.hil import realtime  # needs DDS

    return realtime.run(cases, path, policy.robot)


def _gather(outcomes: Iterator[suite.Outcome], progress: Callable[[float, str, list[suite.Outcome]], None], count: int) -> dict[str, Any]:
    done: list[suite.Outcome] = []
    for outcome in outcomes:
        done.append(outcome)
        progress(len(done) / count, f"{outcome.case} {outcome.phase}{': ' if outcome.failures else ''}{'; '.join(outcome.failures)}", done)
    return suite.report(done)


def _print(name: str, report: dict[str, Any]) -> None:
    for outcome in report["outcomes"]:
        if outcome["failures"] and name == "supervised":
            slow = f"not judged, {outcome['slow']}: " if outcome["slow"] else ""
            print(f"{outcome['case']}, {outcome['phase']}: {slow}{'; '.join(outcome['failures'])}")
    print(fault_page.summary(name, report))
