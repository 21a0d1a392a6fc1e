"""``report.html``: one self-contained page about a run, for a person who has to decide whether to trust it."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import robots
from locomotion.files import write_atomically

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1060px;margin:2em auto;padding:0 1em;color:#1d232b;background:#fff}
h1{font-size:1.6em;margin-bottom:0}h2{font-size:1.2em;margin-top:2em;border-bottom:1px solid #d7dce2;padding-bottom:.2em}
table{border-collapse:collapse;margin:.6em 0}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #e6e9ed}
td:first-child,th:first-child{text-align:left}code,pre{background:#f3f5f7;border-radius:4px;padding:.1em .3em;font-size:.9em}
pre{padding:.8em;overflow-x:auto}img,video{max-width:100%}.note{color:#5b6570;font-size:.92em}.bad{color:#b3261e}.good{color:#1b7f3b}
"""
FACTS = {  # what a row of the scorecard means
    "tracking_score": "mean of exp(-|v_xy - command|² / 0.25), 0 after a fall; standing still scores 0.40",
    "yaw_score": "mean of exp(-(yaw rate - command)² / 0.25), 0 after a fall",
    "lin_vel_error": "m/s, while up",
    "ang_vel_error": "rad/s, while up",
    "fall_rate": "share of episodes",
    "cost_of_transport": "Σ|τ·q̇| / (m g distance)",
    "torque_saturation": "share of joint-steps at the limit",
    "action_rate": "squared change of the action a step",
    "foot_slip": "m/s, mean speed of loaded feet over ground",
    "episodes": "",
}


def write(folder: Path) -> Path:
    """Write ``folder/report.html`` from what the folder holds; parts whose files are missing say so."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    sections = [_learning(metrics), _scorecard(folder), _deployment(folder, config), _provenance(folder, config)]
    title = f"{config['robot']['name']}: {config['task']['name']}"
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><p class=note>Run {html.escape(str(folder))}, seed {config['seed']}</p>{_video(folder)}"
        + "".join(sections)
    )
    path = folder / "report.html"
    write_atomically(path, lambda stream: stream.write(page.encode()))
    return path


def _video(folder: Path) -> str:
    path = folder / "video.mp4"
    if not path.is_file():
        return _missing("No video: nothing here could render one.")
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<video controls autoplay muted loop src="data:video/mp4;base64,{data}"></video>'


def _learning(metrics: list[dict[str, float]]) -> str:
    if not metrics:
        return "<h2>Learning</h2>" + _missing("No iteration finished.")
    figure, axes = _subplots(2, 2, height=5.6)
    x = np.array([row["seconds"] for row in metrics])

    def curve(name: str) -> np.ndarray:
        return np.array([row[name] for row in metrics])

    (scores, rate), (falls, terms) = axes
    for name in ("tracking_score", "yaw_score", "gait"):
        scores.plot(x, curve(name), label=name)
    scores.set(title="scores in training (noise, pushes and exploration on)", ylim=(0, 1))
    rate.plot(x, curve("steps_per_second"))
    rate.set(title="control steps a second", ylim=(0, None))
    falls.plot(x, 1e3 * curve("falls") / np.gradient(curve("steps")))
    falls.set(title="falls in 1000 steps (20 s of one robot)", ylim=(0, None))
    for name in metrics[0]:
        if name.startswith("reward/"):
            style = "-" if len(terms.lines) < 10 else "--"  # the colours repeat after ten
            terms.plot(x, curve(name), style, lw=1, label=name.removeprefix("reward/"))
    terms.set(title="reward a step, by term")
    terms.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5))
    scores.legend(fontsize=8)
    for axis in axes.flat:
        axis.set_xlabel("s of training")
    last, faults = metrics[-1], sum(row["faults"] for row in metrics)
    text = (
        f"<p>{last['steps']:,.0f} control steps in {last['seconds']:.0f} s of wall time; {faults} simulations diverged and were reset.</p>"
    )
    return "<h2>Learning</h2>" + text + _picture(figure, "learning curves")


def _scorecard(folder: Path) -> str:
    path = folder / "scorecard.json"
    if not path.is_file():
        return "<h2>Scorecard</h2>" + _missing(
            "Not scored: 'locomotion evaluate policy=... output=<this folder>/scorecard.json' writes it."
        )
    card = json.loads(path.read_text())
    columns = {f"{engine}, {name}": values for engine, conditions in card["scores"].items() for name, values in conditions.items()}
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    rows = ""
    for key, fact in FACTS.items():
        cells = "".join(f"<td>{values[key]:.3f}</td>" if key != "episodes" else f"<td>{values[key]}</td>" for values in columns.values())
        rows += f"<tr><td>{key}</td>{cells}<td class=note style='text-align:left'>{fact}</td></tr>"
    note = (
        "10 s of each command of the grid forward {-0.5, 0, 0.5, 0.8} × left {-0.3, 0, 0.3} × yaw {-0.6, 0, 0.6}, "
        "the first 2 s unscored; physics at 2 ms."
    )
    return f"<h2>Scorecard</h2><p class=note>{note}</p><table><tr><th></th>{head}<th></th></tr>{rows}</table>"


def _deployment(folder: Path, config: dict[str, Any]) -> str:
    if not (folder / "deploy.json").is_file() or not (folder / "deploy_log.npz").is_file():
        return "<h2>Behind the safety layer</h2>" + _missing("Not run: 'locomotion deploy policy=... output=...' writes it.")
    summary = json.loads((folder / "deploy.json").read_text())
    with np.load(folder / "deploy_log.npz") as file:
        log = {name: file[name] for name in file.files}
    robot = robots.load(config["robot"]["name"])
    verdict = "<span class=good>passed</span>" if summary["passed"] else "<span class=bad>failed</span>"
    states = ", ".join(f"{state} {seconds:.1f} s" for state, seconds in summary["seconds"].items())
    changed = ", ".join(f"{name} {count}" for name, count in summary["interventions"].items()) or "none"
    events = "".join(
        f"<tr><td>{event['time']:.2f} s</td><td style='text-align:left'>{event['kind']}</td>"
        f"<td style='text-align:left'>{html.escape(event['detail'])}</td></tr>"
        for event in summary["events"]
    )
    loop = summary["loop"]
    timing = "".join(
        f"<tr><td>{name.removesuffix('_us')}</td>"
        + "".join(f"<td>{loop[name][q]:.0f}</td>" for q in ("p50", "p99", "p99.9", "max"))
        + "</tr>"
        for name in ("lateness_us", "compute_us", "inference_us")
        if loop[name]
    )
    return (
        f"<h2>Behind the safety layer</h2><p>{verdict}: {states}. Control steps that filters changed: {changed}.</p>"
        + _picture(_plot_commands(log), "command against velocity")
        + _picture(_plot_feet(log, robot), "foot contacts")
        + _picture(_plot_joints(log, robot), "joints against limits")
        + f"<h3>Safety events</h3><table>{events}</table><h3>Loop timing</h3><table><tr><th>µs</th><th>p50</th><th>p99</th><th>p99.9</th>"
        f"<th>max</th></tr>{timing}</table><p class=note>Period {loop['period_ms']:.0f} ms, {loop['steps']} steps, "
        f"{loop['missed_deadlines']} missed by more than a period.</p>"
    )


def _plot_commands(log: dict[str, np.ndarray]) -> Any:
    figure, axes = _subplots(3, 1, height=4.6)
    yaw = log["base_ang_vel"][:, 2]
    velocity = [*log["base_lin_vel"][:, :2].T, yaw] if "base_lin_vel" in log else [None, None, yaw]
    for axis, name, i in zip(axes, ("forward m/s", "left m/s", "yaw rad/s"), range(3), strict=True):
        if velocity[i] is not None:
            axis.plot(log["time"], velocity[i], lw=0.8, label="robot")
        axis.plot(log["time"], log["command"][:, i], "k--", lw=1, label="command")
        axis.set_ylabel(name)
    axes[0].legend(fontsize=8, loc="upper right")
    axes[-1].set_xlabel("s")
    return figure


def _plot_feet(log: dict[str, np.ndarray], robot: robots.Robot) -> Any:
    figure, axes = _subplots(1, 1, height=1.9)
    axis = axes.item()
    walking = np.flatnonzero(log["state"] == "walk")
    if "foot_contact_force" in log and len(walking):
        middle = walking[len(walking) // 8 :][:150]
        contact = log["foot_contact_force"][middle, :, 2] > 1.0
        dt = float(np.median(np.diff(log["time"])))
        for i in range(len(robot.feet)):
            axis.broken_barh([(log["time"][k], dt) for k, on in zip(middle, contact[:, i], strict=True) if on], (i - 0.35, 0.7))
        axis.set_yticks(range(len(robot.feet)), robot.feet)
        axis.invert_yaxis()
    axis.set(title="feet on the ground, 3 s of walking", xlabel="s")
    return figure


def _plot_joints(log: dict[str, np.ndarray], robot: robots.Robot) -> Any:
    figure, axes = _subplots(robot.num_joints // 3, 6, height=1.35 * (robot.num_joints // 3), font=6)
    for j, name in enumerate(robot.joint_names):
        row, column = divmod(j, 3)
        position, torque = axes[row, column], axes[row, column + 3]
        position.plot(log["time"], log["joint_pos"][:, j], lw=0.5)
        torque.plot(log["time"], log["joint_torque"][:, j], lw=0.5, color="C1")
        for limit in robot.joint_pos_limit[j]:
            position.axhline(limit, color="r", lw=0.7)
        for sign in (-1, 1):
            torque.axhline(sign * robot.effort_limit[j], color="r", lw=0.7)
        position.set_title(f"{name} rad", fontsize=6)
        torque.set_title("N m", fontsize=6)
    return figure


def _provenance(folder: Path, config: dict[str, Any]) -> str:
    from deploy import contract
    from locomotion.commands import versions

    bundle = folder / "policy.onnx"
    made = contract.load(bundle).contract.data["provenance"] if bundle.is_file() else {"versions": versions()}
    text = html.escape(yaml.safe_dump({"provenance": made, "config": config}, sort_keys=False))
    commands = "\n".join(line.removeprefix("# ") for line in (folder / "config.yaml").read_text().splitlines() if line.startswith("# "))
    return f"<h2>How it was made</h2><pre>{html.escape(commands)}</pre><p class=note>Settings and versions:</p><pre>{text}</pre>"


def _subplots(rows: int, columns: int, height: float, font: int = 8) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, height), layout="constrained")
    axes = np.array(figure.subplots(rows, columns, squeeze=False))
    for axis in axes.flat:
        axis.tick_params(labelsize=font)
        axis.grid(alpha=0.25)
        axis.title.set_fontsize(font + 1)
    return figure, axes if columns > 1 else axes[:, 0]


def _picture(figure: Any, alternative: str) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return f'<p><img alt="{alternative}" src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"></p>'


def _missing(text: str) -> str:
    return f"<p class=note>{html.escape(text)}</p>"
