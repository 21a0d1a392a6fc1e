"""The command line: ``locomotion <command> key=value ...``. Help answers without importing the heavy libraries."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator

from robots.errors import InputError, nearest

COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "demo": ("train, export, score, run behind the safety layer and report, into runs/demo", ("locomotion demo",)),
    "train": (
        "learn a policy",
        (
            "locomotion train robot=unitree_go2 task=velocity_flat sim=mujoco algorithm=ppo seed=1",
            "locomotion train resume=runs/my_run",
            "locomotion train algorithm=ppo_large task.rewards.foot_slip.weight=-0.3",
        ),
    ),
    "dataset": (
        "record, look at and convert the data that offline algorithms learn from",
        (
            "locomotion dataset collect policy=runs/my_run output=datasets/walk-v0 steps=30000 noise=null    a policy acts in simulation",
            "locomotion dataset from-logs deploy_log.mcap other.mcap output=datasets/robot-v0    what a robot did (docs/logs_to_policy.md)",
            "locomotion dataset inspect datasets/walk-v0 output=walk.html    coverage, returns, falls, missing data",
            "locomotion dataset import hopper.npz output=datasets/hopper-v0 env=gymnasium:Hopper-v5    or a folder of Minari's",
            "locomotion dataset export datasets/walk-v0 output=walk.npz    or a folder, with one file, for Minari",
        ),
    ),
    "offline": (
        "learn a policy from a dataset alone",
        (
            "locomotion offline algorithm=iql dataset=datasets/walk-v0",
            "locomotion offline algorithm=bc dataset=datasets/walk-v0",
            "locomotion offline dataset=datasets/walk-v0 rewards.power.weight=-0.4    under another reward",
            "locomotion offline algorithm=iql_gymnasium dataset=datasets/hopper-v0",
        ),
    ),
    "finetune": (
        "learn on the robot, a little, behind the safety layer; every candidate is tested against the base, and rolled back",
        (
            "locomotion finetune policy=runs/demo/best.pt output=runs/ft operator=auto plant=\"{friction: 0.4, payload: 3.2}\"",
            "locomotion finetune policy=runs/demo/best.pt output=runs/ft interface=unitree_dds network=eth0    the same again goes on",
            'locomotion finetune policy=runs/demo/best.pt output=runs/ft interface=unitree_dds estop="{key: estop.key}" learner=rlpd',
            "locomotion finetune policy=runs/demo/best.pt output=runs/dry interface=unitree_dds network=eth0 dry_run=true    sends nothing",
        ),
    ),
    "export": (
        "write a checkpoint's policy as policy.onnx, with its contract",
        (
            "locomotion export checkpoint=runs/demo/best.pt output=policy.onnx",
            'locomotion export checkpoint=runs/demo/best.pt sim="[mujoco,pybullet]" gate.tracking=0.95    else it is not written',
        ),
    ),
    "evaluate": (
        "score a policy.onnx in an engine",
        (
            "locomotion evaluate policy=policy.onnx sim=mujoco episodes=72 seed=0 output=scorecard.json",
            "locomotion evaluate policy=policy.onnx sim=pybullet episodes=36",
            'locomotion evaluate policy=policy.onnx sim="[mujoco,pybullet]" gate.tracking=0.95 gate.falls=0    exit status 1 below them',
            "locomotion evaluate policy=policy.onnx sweep=randomization against=other.onnx",
            "locomotion evaluate policy=policy.onnx sweep=falsify",
        ),
    ),
    "conformance": (
        "hold physics engines against answers that are known",
        (
            "locomotion conformance    every engine that is installed; exit status 1 where one is further off than its tolerance",
            'locomotion conformance robot=anymal_c sim="[mujoco,pybullet]" output=conformance.json    or .md, a table for a page',
        ),
    ),
    "play": (
        "watch a policy.onnx follow one command",
        ('locomotion play policy=policy.onnx command="[0.8,0,0.3]" output=walk.mp4',),
    ),
    "deploy": (
        "run a policy.onnx behind the safety layer",
        (
            "locomotion deploy policy=policy.onnx interface=sim duration=24",
            "locomotion deploy policy=policy.onnx interface=unitree_dds network=eth0 dry_run=true    reads and decides, sends nothing",
            "locomotion deploy policy=policy.onnx interface=unitree_dds network=eth0 commands=keyboard    or remote",
            "locomotion deploy inspect policy.onnx    what it demands, and whether this computer may run it; exit status 1",
            "locomotion deploy doctor go2.yaml    what is wrong before anything moves (docs/deploy.md); exit status 1",
        ),
    ),
    "hil": (
        "serve a simulated robot over DDS, as a real one would be; run suites of faults",
        (
            "locomotion hil serve robot=unitree_go2",
            "locomotion hil serve robot=unitree_g1 domain=2",
            "locomotion hil run policy=policy.onnx suite=default output=runs/faults    exit status 1 where the robot was not safe",
            "locomotion hil run policy=policy.onnx mode=realtime output=runs/realtime    over DDS, in processes of their own",
        ),
    ),
    "sweep": (
        "train every combination of settings and seeds, here or on a cluster, and compare them",
        (
            "locomotion sweep seed=1,2,3,4,5 task.rewards.foot_slip.weight=-0.3,-0.1 output=runs/slip",
            "locomotion sweep seed=range(1,6) algorithm=ppo_gymnasium,sac env=gymnasium:Hopper-v5 jobs=2",
            "locomotion sweep resume=runs/slip    what was not finished, and the page anew; exit status 1 where a training failed",
            "locomotion sweep seed=range(1,11) launcher=ray address=auto    a Ray cluster whose nodes share the folder",
        ),
    ),
    "compare": ("tell runs apart: scores, time to walk, seeds", ('locomotion compare runs="[runs/a,runs/b]"',)),
    "report": ("write report.html of a run", ("locomotion report run=runs/demo",)),
    "logs": (
        "show, plot, repair and replay the logs of deployments",
        (
            "locomotion logs show runs/demo/deploy_log.mcap    duration, states, events, gaps, latencies",
            "locomotion logs plot runs/demo/deploy_log.mcap output=log.html    states, joints, torques, commands, events",
            "locomotion logs repair deploy_log.mcap    a whole file of one that a crash cut, for programs that insist",
            "locomotion logs replay deploy_log.mcap policy=policy.onnx    where it decides otherwise; exit status 1",
        ),
    ),
    "identify": (
        "find what of a robot's physics explains a log",
        (
            "locomotion identify excite robot=unitree_go2 output=excite.onnx    a motion that shows it, run behind the supervisor",
            "locomotion identify deploy_log.mcap output=identified    parameters with intervals, a page, a randomization to train with",
            "locomotion identify deploy_log.mcap joints=joint    each joint by itself: the one weak motor",
        ),
    ),
    "actuator": (
        "learn how motors differ from their law, of the torque that a log's drives report",
        (
            "locomotion actuator fit deploy_log.mcap output=fitted    a network, its judge and a page (docs/actuators.md)",
            "locomotion train robot=unitree_go2 sim.actuator=fitted/actuator.json    trains with it",
            "locomotion actuator fit excited.mcap walked.mcap output=fitted joints=joint    of several logs, a network a joint",
        ),
    ),
    "robots": (
        "list, check, show and import robots",
        (
            "locomotion robots list",
            "locomotion robots check unitree_go2    what is wrong, with field and remedy; exit status 1",
            "locomotion robots import anymal.urdf output=robots/anymal    a robot folder from a URDF or MJCF, and what was guessed",
            "locomotion robots show unitree_go2 output=go2.png    its figures, and its picture",
        ),
    ),
    "policies": (
        "import policies trained elsewhere, and find what their description has wrong",
        (
            "locomotion policies import walk.yaml output=policy.onnx    ONNX, TorchScript, rl_games or rsl_rl (docs/foreign_policies.md)",
            "locomotion policies check walk.yaml    does it stand as described, or with another joint order, history, scale, frame?",
        ),
    ),
    "tasks": (
        "import tasks of isaacgymenvs and legged_gym",
        (
            "locomotion tasks import Anymal.yaml robot=anymal_c output=mine    task, randomization, robot, and what has no counterpart",
            "locomotion tasks import legged_gym/envs/a1/a1_config.py robot=unitree_go2    (docs/isaacgym.md)",
        ),
    ),
}  # fmt: skip

MORE = {
    "dataset": ", of dataset collect; of from-logs in configs/from_logs.yaml",
    "demo": ", and those of configs/train.yaml",
    "sweep": "; all others are a training's",
    "hil": "; of hil run in configs/faults.yaml",
    "identify": "; of identify excite in configs/excite.yaml",
}
DATASET = {"collect": "collect", "from-logs": "from_logs"}  # the actions with settings, and the commands that they are
HIL = {"serve": "hil", "run": "faults"}  # the action, and the command that it is
ALONE = {"dataset": DATASET, "hil": HIL, "identify": {"excite": "excite"}}  # actions whose --help shows their own settings alone


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit status 0: done; 1: a check failed; 2: bad input; 130: interrupted; 128 + a signal: ended by it."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with _ended_by_signals():
            return _run(words)
    except InputError as error:
        _say(f"error: {error}")
        return 2
    except KeyboardInterrupt as error:
        number = next((one for one in error.args if isinstance(one, signal.Signals)), signal.SIGINT)
        _say("interrupted" if number == signal.SIGINT else f"ended by {number.name}")
        return 128 + number
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk under the standard output, a working directory that is gone
        _say(f"error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        return 2


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone
        print(line, file=sys.stderr)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """What asks this process to end is as Ctrl-C: files are put away, and processes of its own end with it.

    Not one that is ignored (nohup), and not among several processes that learn as one: torchrun ends those that wait for each other.
    """
    alone = os.environ.get("WORLD_SIZE", "1") == "1" and threading.current_thread() is threading.main_thread()
    numbers = [one for one in (signal.SIGTERM, signal.SIGHUP) if alone and signal.getsignal(one) is signal.SIG_DFL]

    def end(number: int, _: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number))

    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    command, *overrides = words
    if command not in COMMANDS:
        raise InputError("command", command, f"one of {', '.join(COMMANDS)}", nearest(command, COMMANDS))
    if any(word in ("-h", "--help") for word in overrides):
        print(_help(command, overrides[0], dict(word.split("=", 1) for word in overrides if "=" in word)))
        return 0
    if command in ("robots", "policies", "tasks", "logs", "sweep"):
        return importlib.import_module(f"locomotion.commands.{command}").run(overrides)
    if command == "deploy" and overrides and "=" not in overrides[0]:
        from deploy import __main__ as deploy

        if overrides[0] not in deploy.ACTIONS:
            known = ", ".join(deploy.ACTIONS)
            raise InputError("deploy", overrides[0], f"{known}, or settings such as policy=", nearest(overrides[0], deploy.ACTIONS))
        return deploy.main(overrides)
    if command == "hil":
        action, *overrides = overrides or ["nothing"]
        if action not in HIL:
            raise InputError("hil", action, " or ".join(HIL), "Try 'locomotion hil serve robot=unitree_go2'.")
        command = HIL[action]
    if command == "dataset":
        action, *rest = overrides or [""]
        if action not in DATASET:
            return importlib.import_module("locomotion.commands.dataset").run(overrides)
        command, overrides = DATASET[action], rest
    from locomotion.config import compose, quoted
    from locomotion.gl import prepare_gl

    if command == "identify" and overrides and "=" not in overrides[0]:
        action, *rest = overrides
        command, overrides = ("excite", rest) if action == "excite" else ("identify", [f"log={quoted(action)}", *rest])
    if command == "actuator":
        action, *overrides = overrides or ["nothing"]
        if action != "fit":
            raise InputError("actuator", action, "fit", "Try 'locomotion actuator fit deploy_log.mcap output=fitted'.")
    if command in ("from_logs", "actuator"):
        logs = [word for word in overrides if "=" not in word]
        overrides = [word for word in overrides if "=" in word]
        if logs:
            overrides.append(f"logs=[{','.join(map(quoted, logs))}]")
        elif not any(word.startswith("logs=") for word in overrides):
            said = {"from_logs": "dataset from-logs", "actuator": "actuator fit"}[command]
            output = {"from_logs": "datasets/robot-v0", "actuator": "fitted"}[command]
            example = f"locomotion {said} a.mcap b.mcap output={output}"
            raise InputError(said, "no log", "the .mcap files of deployments", f"Name them: {example}")
    prepare_gl()
    config = compose(command, overrides)
    given = {key.lstrip("+"): config.get(key.lstrip("+"), value) for key, _, value in (word.partition("=") for word in overrides)}
    return importlib.import_module(f"locomotion.commands.{command}").run(config, given)


def _usage() -> str:
    lines = [
        "usage: locomotion <command> [key=value ...]",
        "",
        "Legged robots learn to walk in simulation and walk behind a safety layer.",
        "",
    ]
    lines += [f"  {name:10} {summary}" for name, (summary, _) in COMMANDS.items()]
    lines += ["", "'locomotion <command> --help' shows a command's settings and examples."]
    return "\n".join(lines)


def _help(command: str, action: str, given: dict[str, str]) -> str:
    from locomotion.config import FOLDER, GROUPS, found, options

    summary, examples = COMMANDS[command]
    lines = [f"usage: locomotion {command} [key=value ...]", "", summary[0].upper() + summary[1:] + ".", "", "Examples:"]
    lines += [f"  {example}" for example in examples]
    alone = ALONE.get(command, {}).get(action)
    name = alone or ("collect" if command == "dataset" else command)
    path = FOLDER / f"{name}.yaml"
    if not path.exists():
        return "\n".join(lines)
    text = path.read_text()
    if command == "demo":
        text += "\n" + (FOLDER / "train.yaml").read_text()
    if command == "hil" and not alone:
        text += "\n" + (FOLDER / "faults.yaml").read_text()
    if command == "dataset" and not alone:
        text += "\n" + (FOLDER / "from_logs.yaml").read_text()
    if command == "identify" and not alone:
        text += "\n" + (FOLDER / "excite.yaml").read_text()
    used = [group for group in GROUPS if f"- {group}:" in text]
    if used:
        lines += ["", "Alternatives (group=name; files in configs/<group>/):"]
        for group in used:
            fitting = [name for name in options(group) if group != "algorithm" or _from_data(name) == (command == "offline")]
            lines += textwrap.wrap(" | ".join(fitting), 120, initial_indent=f"  {group + '=':15} ", subsequent_indent=" " * 18)
    lines += [
        "",
        f"Settings (configs/{name}.yaml{'' if alone else MORE.get(command, '')}):",
        *(f"  {line}" for line in _settings(text)),
    ]
    for group in used:
        option = given.get(group) or _default(group, text)
        path = found(group, option)
        if path is not None:
            lines += ["", f"{group}={option}, each setting as {group}.NAME (another: --help {group}=...):"]
            lines += [f"  {line}" for line in _settings(path.read_text())]
    return "\n".join(lines)


def _from_data(algorithm: str) -> bool:
    """Whether it learns from a dataset alone, by its settings: it has a ``dataset``, and no environments of its own."""
    from locomotion.config import found

    path = found("algorithm", algorithm)
    lines = path.read_text().splitlines() if path else []
    bases = [line.strip()[2:] for line in lines if line.startswith("  - ") and line.strip() != "- _self_"]
    names = {line.partition(":")[0] for line in lines}
    return any(map(_from_data, bases)) or ("dataset" in names and "num_envs" not in names)


def _default(group: str, text: str) -> str:
    return next((line.rpartition(":")[2].split("#")[0].strip() for line in text.splitlines() if line.strip().startswith(f"- {group}:")), "")


def _settings(text: str) -> list[str]:
    """The lines of a configuration file without its list of defaults."""
    lines, skipping = [], False
    for line in text.rstrip().splitlines():
        skipping = line == "defaults:" or (skipping and line.startswith("  - "))
        if not skipping:
            lines.append(line)
    return lines


if __name__ == "__main__":
    sys.exit(main())
