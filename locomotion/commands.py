"""What each command of the command line does, from its composed configuration to its exit status."""

from __future__ import annotations

import json
import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

import robots
from locomotion.files import make_folder, write_atomically
from locomotion.view import LiveView
from robots.errors import InputError

Config = dict[str, Any]


def train(config: Config, given: list[str]) -> int:
    """Train, or go on with a run. ``given`` names the settings that the person gave."""
    from locomotion import checkpoint
    from locomotion.train import train as run_training

    state = None
    if config["resume"] is not None:
        path = Path(config["resume"])
        path = path / "last.pt" if path.is_dir() else path
        state = checkpoint.load(path)
        folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
        if "task" not in state:
            raise InputError("resume", str(path), "a complete checkpoint (last.pt or best.pt)", f"Use {folder / 'last.pt'}.")
        if config["run"] is not None:
            folder = _new_run(Path(config["run"]))
        config = _resumed(config, given, state, folder)
    else:
        name = f"{config['robot']['name']}_{config['task']['name']}_{datetime.now():%Y-%m-%d_%H-%M-%S}"
        folder = _new_run(Path(config["run"] or f"runs/{name}"))
        config["run"] = str(folder)
    with LiveView(f"locomotion train  {folder}") as view:
        run = run_training(config, folder, view, state)
        view.phase("train", 1.0)
    print(f"{run.steps:,} steps in {run.seconds:.0f} s. Next:")
    print(f"  locomotion export checkpoint={folder}/best.pt output={folder}/policy.onnx")
    return 0


def export(config: Config) -> int:
    """Checkpoint to bundle."""
    output = Path(config["output"])
    make_folder(output.parent, "output")
    scores = _read_json("scorecard", config["scorecard"]) if config["scorecard"] else None
    export_checkpoint(Path(config["checkpoint"]), output, scores)
    print(f"{output}: {output.stat().st_size / 1024:.0f} KiB, verified. Next:")
    print(f"  locomotion evaluate policy={output}")
    return 0


def evaluate(config: Config) -> int:
    """Bundle to scorecard."""
    from locomotion import build

    policy, engine = Path(config["policy"]), config["sim"]["engine"]
    randomization = build.randomization(config["randomization"])
    with LiveView(f"locomotion evaluate  {policy}") as view:
        scores = score(policy, [(engine, config["episodes"])], randomization, config["seed"], view)
    result = {"train_seconds": None, "train_steps": _contract(policy)["provenance"]["steps"], "scores": scores}
    _print_scores(scores)
    if config["output"]:
        _write_json(Path(config["output"]), result, "output")
    return 0


def play(config: Config) -> int:
    """Show a bundle following one command."""
    from deploy import contract
    from locomotion import video

    path = Path(config["policy"])
    loaded = contract.load(path)
    robot = robots.load(loaded.contract.robot)
    loaded.contract.check_robot(robot)
    if config["output"] is None:
        video.window(loaded, robot, config["command"], config["duration"])
        return 0
    output = Path(config["output"])
    make_folder(output.parent, "output")
    with LiveView(f"locomotion play  {path}") as view:
        frames = video.rollout(loaded, robot, config["command"], config["duration"])
        message = video.write(output, robot, frames, loaded.contract.control_dt, lambda share: view.phase("render", share))
    print(message or f"{output}")
    return 1 if message else 0


def deploy(config: Config) -> int:
    """Run a bundle behind the safety layer."""
    summary = run_deployment(config, Path(config["policy"]))
    print(json.dumps({key: value for key, value in summary.items() if key not in ("events",)}, indent=2))
    for event in summary["events"]:
        print(f"{event['time']:8.3f} s  {event['kind']:12} {event['detail']}")
    return 0 if summary["passed"] else 1


def report(config: Config) -> int:
    """Run folder to page."""
    from locomotion.report import write

    folder = Path(config["run"])
    if not (folder / "metrics.jsonl").is_file():
        raise InputError("run", str(folder), "a folder that 'locomotion train' wrote", "Look in runs/.")
    print(write(folder))
    return 0


def demo(config: Config) -> int:
    """The whole loop, with everything it makes in one folder."""
    from locomotion import build, checkpoint
    from locomotion.report import write as write_report
    from locomotion.train import train as run_training

    folder = Path(config["run"])
    training = {key: value for key, value in config.items() if key not in ("deploy", "episodes", "pybullet_episodes", "commands")}
    state = None
    if (folder / "last.pt").is_file():
        state = checkpoint.load(folder / "last.pt")
        if state["config"] != training:
            raise InputError("run", str(folder), "a folder of a run with the same settings", f"Remove {folder}, or choose run=runs/demo2.")
    bundle = folder / "policy.onnx"
    with LiveView(f"locomotion demo  {folder}") as view:
        run = run_training(training, folder, view, state)
        view.phase("export")
        export_checkpoint(folder / "last.pt", bundle, None)
        randomization = build.randomization(config["randomization"])
        engines = [("mujoco", config["episodes"]), ("pybullet", config["pybullet_episodes"])]
        scores = score(bundle, engines, randomization, 0, view)
        card = {"train_seconds": run.seconds, "train_steps": run.steps, "scores": scores}
        _write_json(folder / "scorecard.json", card, "run")
        export_checkpoint(folder / "last.pt", bundle, scores)
        view.phase("deploy", 0.0)
        deployment = {**_deploy_defaults(), "deploy": config["deploy"], "output": str(folder)}
        summary = run_deployment(deployment, bundle, view)
        view.phase("report", 0.5)
        page = write_report(folder)
        view.phase("done", 1.0)
    _print_scores(scores)
    print(f"\nLook at {page}, {folder / 'video.mp4'} and the other files of {folder}/. Then try:")
    print(f'  locomotion play policy={bundle} command="[0.8,0,0.3]" output=walk.mp4')
    print(f"  locomotion evaluate policy={bundle} sim=mujoco episodes=144 seed=1 output=score.json")
    print("  locomotion train seed=2 task.gait.swing_height=0.1")
    return 0 if summary["passed"] else 1


def export_checkpoint(path: Path, output: Path, scores: Config | None) -> None:
    """Write the bundle of a checkpoint; ``scores`` is embedded in its contract."""
    import hashlib

    from locomotion import build, checkpoint
    from locomotion.export import export as write_bundle

    state = checkpoint.load(path)
    config = state["config"]
    robot = robots.load(config["robot"]["name"])
    policy, settings = build.policy(config, state["learner"]["actor"])
    text = json.dumps({key: value for key, value in config.items() if key != "run"}, sort_keys=True)
    fields = {
        "control_dt": settings.control_dt,
        "command_range": [list(limits) for limits in settings.command.limits],
        "randomization": config["randomization"],
        "provenance": {
            "commit": _commit(),
            "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "seed": config["seed"],
            "steps": state["steps"],
            "iteration": state["iteration"],
            "engine": config["sim"],
            "versions": versions(),
        },
        "scorecard": scores,
    }
    write_bundle(policy, robot, fields, output)


def score(policy: Path, engines: list[tuple[str, int]], randomization: Any, seed: int, view: LiveView) -> Config:
    """``{engine: {condition: scores}}``: MuJoCo nominal and randomized, PyBullet nominal."""
    from locomotion import scorecard

    result: Config = {}
    for engine, episodes in engines:
        conditions = {"nominal": scorecard.NOMINAL}
        if engine == "mujoco":
            conditions["randomized"] = randomization
        result |= scorecard.score_file(policy, {engine: conditions}, episodes, seed, lambda name, share: view.phase(f"score {name}", share))
    return result


def run_deployment(config: Config, policy_path: Path, view: LiveView | None = None) -> Config:
    """Run the bundle through the deployment runtime; write what happened to ``config["output"]``; return the summary."""
    import numpy as np

    from deploy import contract
    from deploy.hil.simulated_robot import SimulatedRobot
    from deploy.interface import RealTime
    from deploy.operator import ScriptedOperator
    from deploy.runtime import Runtime
    from deploy.summary import summarize
    from deploy.supervisor import Limits, Supervisor
    from locomotion import video

    if config["interface"] != "sim":
        raise InputError("interface", config["interface"], "sim", "Real robots are not supported yet.")
    shortest = config["deploy"]["limits"]["stand_up_seconds"] + 1.0
    if not config["duration"] >= shortest:
        raise InputError("duration", config["duration"], f"at least {shortest} s, to stand up and walk", "For example duration=20.")
    output = make_folder(Path(config["output"]), "output") if config["output"] else None
    loaded = contract.load(policy_path)
    robot = loaded.contract.robot_with_gains(robots.load(loaded.contract.robot))
    operator = ScriptedOperator(config["commands"])
    clock = RealTime()
    supervisor = Supervisor(robot, loaded.contract.control_dt, Limits(**config["deploy"]["limits"]))
    plant = SimulatedRobot(robot, clock)
    runtime = Runtime(loaded, plant, supervisor, clock)
    runtime.run(config["duration"], operator)
    summary = summarize(runtime)
    for warning in runtime.warnings:
        print(f"warning: {warning}")
    if output:
        write_atomically(output / "deploy_log.npz", lambda stream: np.savez_compressed(stream, allow_pickle=False, **runtime.log.columns()))
        progress = (lambda share: view.phase("video", share)) if view else (lambda share: None)
        summary["video"] = video.write(output / "video.mp4", robot, plant.frames, loaded.contract.control_dt, progress) or "video.mp4"
        _write_json(output / "deploy.json", summary, "output")
    return summary


def versions() -> dict[str, str]:
    """Of the toolkit, Python and the libraries that decide a result."""
    from importlib.metadata import version

    names = ("sim2real-locomotion", "mujoco", "torch", "onnx", "onnxruntime", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _new_run(folder: Path) -> Path:
    if (folder / "last.pt").exists():
        raise InputError("run", str(folder), "a folder without a run", f"Go on with resume={folder}, or choose another name.")
    return folder


def _resumed(config: Config, given: list[str], state: Config, folder: Path) -> Config:
    """The run's own configuration; of the new one only ``iterations`` counts, where it was given."""
    for key in given:
        if key not in ("resume", "run", "iterations"):
            raise InputError(key, "a new value", "no new setting: a run goes on with its own", f"Leave {key} out, or start a new run.")
    iterations = config["iterations"] if "iterations" in given else state["config"]["iterations"]
    return {**state["config"], "run": str(folder), "iterations": iterations}


def _deploy_defaults() -> Config:
    from locomotion.config import FOLDER

    return yaml.safe_load((FOLDER / "deploy.yaml").read_text())


def _contract(policy: Path) -> Config:
    from deploy import contract

    return contract.load(policy).contract.data


def _commit() -> str | None:
    """The toolkit's git commit, with ``+`` where files have changed since; None outside a checkout."""
    import subprocess

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _read_json(field: str, path: str) -> Config:
    try:
        return json.loads(Path(path).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(field, path, "a JSON file", str(error)) from error


def _write_json(path: Path, data: Config, field: str) -> None:
    make_folder(path.parent, field)
    write_atomically(path, lambda stream: stream.write((json.dumps(data, indent=2) + os.linesep).encode()))


def _print_scores(scores: Config) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = {f"{engine}, {name}": values for engine, conditions in scores.items() for name, values in conditions.items()}
    table = Table(title="scorecard", title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for key in next(iter(columns.values())):
        table.add_row(key, *(f"{values[key]:.3f}" if key != "episodes" else str(values[key]) for values in columns.values()))
    Console().print(table)
