"""locomotion logs show FILE | plot FILE [output=page.html] | repair FILE [output=whole.mcap] | replay FILE policy=policy.onnx"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deploy import mcap
from deploy.log_reader import RunLog, read_log
from locomotion.files import output_file, write_atomically, writing
from robots.errors import InputError, nearest

MOST_DIFFERENCES = 20


def run(words: list[str]) -> int:
    """Exit status 0: done; 1: a replay decided otherwise."""
    action, *rest = words or [""]
    if action not in ACTIONS:
        raise InputError("logs", action, f"one of {', '.join(ACTIONS)}", nearest(action, ACTIONS))
    return ACTIONS[action](rest)


def _arguments(action: str, words: list[str], key: str | None = None) -> tuple[Path, str | None]:
    """The file, and the value of ``key`` where it is given."""
    values = [word.partition("=")[2] for word in words if key and word.startswith(f"{key}=")]
    files = [word for word in words if not (key and word.startswith(f"{key}="))]
    if len(files) != 1 or len(values) > 1 or "" in values:
        also = f", and at most one {key}=" if key else " alone"
        raise InputError(f"logs {action}", " ".join(words), f"an .mcap file{also}", "See 'locomotion logs --help'.")
    return Path(files[0]), values[0] if values else None


def _show(words: list[str]) -> int:
    """What a log holds."""
    from locomotion.evaluation import log_figures

    file, _ = _arguments("show", words)
    log = read_log(file)
    for line in [str(file), *log_figures.lines(log)]:
        print(line)
    if log.damage:
        print(f"rerun wants the summary that a whole file ends with: locomotion logs repair {file}")
    return 0


def _plot(words: list[str]) -> int:
    """A page of a log's states, commands, joints, torques and latencies."""
    from locomotion.evaluation import log_figures, page

    file, output = _arguments("plot", words, "output")
    path, log = output_file(Path(output or file.with_suffix(".html")), "output", file), read_log(file)
    _with_steps(log, file)
    body = "<pre>" + page.text("\n".join(log_figures.lines(log))) + "</pre>"
    body += page.section("The run", page.picture(log_figures.overview(log), "states, commands, tilt, torque and latencies"))
    body += page.section("Joints", page.picture(log_figures.joints(log), "joints: asked, heard, measured, and torque"))
    body += page.section("Events", page.table(["", "state", "", ""], log_figures.event_rows(log)))
    print(page.write(path, f"{log.about['robot']}, {log.about['created']}", body, "output"))
    return 0


def _repair(words: list[str]) -> int:
    """A whole file of one that a crash cut."""
    file, output = _arguments("repair", words, "output")
    log = read_log(file)
    if not log.damage:
        print(f"{file} is whole: nothing was changed")
        return 0
    path = output_file(Path(output or file.with_name(f"{file.stem}.whole{file.suffix}")), "output", file)
    contents = mcap.read(file.read_bytes())
    with writing("output", path):
        write_atomically(path, lambda stream: mcap.write(contents, stream))
    print(f"{path}: {len(log.steps)} steps, whole ({file} ends early: {log.damage})")
    return 0


def _replay(words: list[str]) -> int:
    """The present software and a policy on what the robot measured then; nothing is sent. 1 where they decide otherwise."""
    import json

    from deploy.limits import Limits
    from deploy.operator import Stop
    from deploy.policy import RobotPolicy
    from deploy.replay import ReplayInterface
    from locomotion.evaluation.rollout import load_policy

    file, bundle = _arguments("replay", words, "policy")
    if bundle is None:
        raise InputError("logs replay", " ".join(words), "an .mcap file and policy=", "Name the policy.onnx that ran, or another.")
    log = _with_steps(read_log(file), file)
    policy: RobotPolicy = load_policy(Path(bundle))
    replay, limits = ReplayInterface(log), Limits(**json.loads(log.about["limits"]))
    replay.runtime(policy, limits).run(replay.duration, replay, Stop.NONE)
    if policy.contract.graph_sha256 != log.about["graph_sha256"]:
        print("another policy than the one that ran")
    for difference in replay.differences[:MOST_DIFFERENCES]:
        print(f"  {difference.time:8.2f} s  {difference.signal:18} differs by {difference.worst:.6g}")
    steps = len({difference.time for difference in replay.differences})
    print(f"{replay.compared} steps computed again, {steps} decided otherwise")
    return 1 if steps else 0


def _with_steps(log: RunLog, file: Path) -> RunLog:
    if not log.columns:
        raise InputError("log", str(file), "a log of at least one control step", "It ends before the loop began.")
    return log


ACTIONS: dict[str, Callable[[list[str]], int]] = {"show": _show, "plot": _plot, "repair": _repair, "replay": _replay}
