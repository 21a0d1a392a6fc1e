"""``report.html``: one self-contained page about a run, for a person who has to decide whether to trust it.

Whatever a file lacks or however it is damaged, the page is written and says so in that file's place.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

import robots
from locomotion.evaluation import fault_page, page, plots
from locomotion.evaluation.documents import (
    GaitFigures,
    StandFigures,
    WalkFigures,
    read_deployment,
    read_faults,
    read_log,
    read_scorecard,
)
from locomotion.evaluation.page import Cell, note, number, picture, section, table
from locomotion.evaluation.rollout import load_policy
from locomotion.runs import checkpoint
from locomotion.runs.folder import read_config, read_metrics
from robots import Robot
from robots.errors import InputError

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
PROTOCOL = (
    "10 s of each command of the grid forward {-0.5, 0, 0.5, 0.8} × left {-0.3, 0, 0.3} × yaw {-0.6, 0, 0.6}, the first 2 s "
    "unscored; physics at 2 ms; the bundle's own gains, commands clipped to its trained range."
)
OF_A_ROBOT = ("robot", "task", "sim", "randomization", "score_episodes")  # settings that another environment does not read
# what a good gait of a robot of a dog's size comes to
APEX, TOUCHDOWN, COST, BIAS, HEIGHT_SWING, DRIFT, SETTLING = (0.05, 0.09), 0.8, 0.6, 0.03, 0.02, 0.02, 1.0  # m, m/s, 1, m/s, m, m, s


def write(folder: Path) -> Path:
    """Write ``folder/report.html`` from what the folder holds; parts that are missing or damaged say so.

    Raises:
        InputError: no folder of a run, or a page that cannot be written.
    """
    config, metrics = read_config(folder), read_metrics(folder)
    task, env = config["task"], config.get("env")
    title = str(env) if env else f"{config.get('robot')}: {task.get('name') if isinstance(task, Mapping) else task}"
    body = [
        note(f"Run {folder}, seed {config.get('seed')}"),
        "" if env else _video(folder),
        _part("Learning", lambda: _learning(metrics)),
        *([] if env else _walk(folder)),
        _part("How it was made", lambda: _provenance(folder, config)),
    ]
    return page.write(folder / "report.html", title, "".join(body), "run")


def _walk(folder: Path) -> list[str]:
    """What is known of a robot's policy."""
    return [
        _part("Scorecard", lambda: _scorecard(folder)),
        _part("Gait", lambda: _gait(folder)),
        _part("Motors", lambda: _motors(folder)),
        _part("Behind the safety layer", lambda: _deployment(folder)),
        _part("Faults", lambda: _faults(folder)),
    ]


def _part(title: str, content: Callable[[], str]) -> str:
    try:
        return section(title, content())
    except InputError as error:
        return section(title, note(f"Cannot be shown: {error}"))


def _video(folder: Path) -> str:
    path = folder / "video.mp4"
    try:
        data = base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return note("No video.mp4 here: 'locomotion play policy=... output=<this folder>/video.mp4' makes one.")
    return f'<video controls autoplay muted loop src="data:video/mp4;base64,{data}"></video>'


def _learning(metrics: list[dict[str, float]]) -> str:
    if not metrics:
        return note("No iteration finished.")
    _, steps = plots.series(metrics, "steps")
    seconds, _ = plots.series(metrics, "seconds")
    faults = plots.series(metrics, "faults")[1].sum()
    if not len(steps):
        raise InputError("metrics.jsonl", f"{len(metrics)} lines", "lines with steps and seconds", "It was written by another program.")
    said = f"{steps[-1]:,.0f} control steps in {seconds[-1]:.0f} s of wall time; {faults:.0f} simulations diverged and were reset."
    return f"<p>{page.text(said)}</p>" + picture(plots.learning(metrics), "learning curves") + _estimates(metrics)


def _estimates(metrics: list[dict[str, float]]) -> str:
    """How far off the policy's estimator was in the end, beside what guessing zero would have come to."""
    last = metrics[-1]
    names = [name.removeprefix("estimate/") for name in last if name.startswith("estimate/") and f"{name} of" in last]
    if not names:
        return ""
    rows: list[list[Cell]] = [[name, number(last[f"estimate/{name}"], 3), number(last[f"estimate/{name} of"], 3)] for name in names]
    return "<h3>What the policy estimates</h3>" + table(["", "RMS error", "RMS of guessing zero"], rows)


def _scorecard(folder: Path) -> str:
    path = folder / "scorecard.json"
    if not path.exists():
        return note(f"Not scored: 'locomotion evaluate policy=... output={path}' writes it.")
    card = read_scorecard(path)
    columns = {f"{engine}, {name}": values for engine, conditions in card.scores.items() for name, values in conditions.items()}

    def row(key: str) -> list[Cell]:
        digits = 0 if key == "episodes" else 3
        return [key, *(number(values.get(key), digits) for values in columns.values()), (FACTS.get(key, ""), "text note")]

    given = {key: None for values in columns.values() for key in values}
    velocity = "lin_vel_error" in given or not given  # other protocols say what they measure by name
    keys = FACTS if velocity else given
    return (note(PROTOCOL) if velocity else "") + table(["", *columns, ""], [row(key) for key in keys])


def _gait(folder: Path) -> str:
    path = folder / "scorecard.json"
    gait = read_scorecard(path).gait if path.exists() else None
    if gait is None:
        return note("Not measured: 'locomotion evaluate' measures it in MuJoCo.")
    traces = ""
    for name, trace in gait.traces.items():
        if len({len(gait.feet), len(trace.sole_height), len(trace.contact)}) > 1:
            raise InputError("scorecard.gait.traces", name, f"heights and contacts of {len(gait.feet)} feet", "Score the policy again.")
        lengths = {len(trace.base_height), *map(len, trace.sole_height), *map(len, trace.contact)}
        if len(lengths) > 1 or min(lengths) < 2:
            raise InputError("scorecard.gait.traces", name, "heights and contacts of one length", "Score the policy again.")
        traces += f"<h3>Soles and base, {page.text(name)} m/s</h3>" + picture(plots.feet(trace, gait.feet), f"feet, {name}")
    return (
        traces
        + note("Height of each sole above the ground; bars: the foot carries load; green: where the top of a swing should be.")
        + _walking(gait)
        + _standing(gait.standing, gait.feet)
    )


def _walking(gait: GaitFigures) -> str:
    """A row a figure, a column a command."""

    def row(name: str, target: str, cell: Callable[[WalkFigures], Cell]) -> list[Cell]:
        return [name, *(("fell", "bad") if walk.fell else cell(walk) for walk in gait.walking.values()), (target, "text")]

    def feet(values: tuple | None, digits: int, scale: float = 1.0, good: Callable[[float], bool] | None = None) -> Cell:
        content = " ".join(number(value, digits, scale) for value in values or ()) or "–"
        return _judged(content, [value for value in values or () if value is not None], good)

    def one(value: float | None, digits: int, scale: float = 1.0, good: Callable[[float], bool] | None = None) -> Cell:
        return _judged(number(value, digits, scale), [] if value is None else [value], good)

    rows = [
        row("top of swing, cm", "5 to 9", lambda w: feet(w.apex, 1, 100, lambda x: APEX[0] <= x <= APEX[1])),
        row("fall at touchdown, m/s", f"at most {TOUCHDOWN}", lambda w: feet(w.touchdown, 2, 1, lambda x: x <= TOUCHDOWN)),
        row("slide at touchdown, m/s", "", lambda w: feet(w.slide, 2)),
        row("peak force, body weights", "", lambda w: feet(w.peak_force, 2)),
        row("time on the ground", "", lambda w: feet(w.duty, 2)),
        row("lands ahead of the hip, cm", "", lambda w: feet(w.foothold, 1, 100)),
        row("strides a second", "", lambda w: one(w.frequency, 2)),
        row("base height, cm", "", lambda w: one(w.height, 1, 100)),
        row("base up and down, cm", "within 2", lambda w: one(w.height_swing, 1, 100, lambda x: x <= HEIGHT_SWING)),
        row("base left and right, cm", "", lambda w: one(w.sway, 1, 100)),
        row("velocity less command", f"within {BIAS}", lambda w: feet(w.bias, 3, 1, lambda x: abs(x) <= BIAS)),
        row("cost of transport, Σ|τ·q̇|", f"at most {COST}", lambda w: one(w.cost, 2, 1, lambda x: x <= COST)),
        row("the same with energy regained", "", lambda w: one(w.cost_net, 2)),
    ]
    said = f"Four or more numbers in a cell: the feet, in the order {', '.join(gait.feet)}. Velocities: forward, left m/s, yaw rad/s."
    return f"<h3>Walking</h3>{note(said)}" + table(["", *gait.walking, "target"], rows)


def _standing(s: StandFigures, feet: tuple[str, ...]) -> str:
    steps = " ".join(number(value, 0) for value in s.steps)
    worst = number(s.settling_worst, 2) if s.settling_worst is not None else "never"
    rows: list[list[Cell]] = [
        [f"steps in {s.seconds:.0f} s, {s.robots} robots", _judged(steps, list(s.steps), lambda x: x == 0), ("none", "text")],
        ["falls", _judged(number(s.fell, 2), [s.fell], lambda x: x == 0), ("none", "text")],
        ["drift of the worst, cm", _judged(number(s.drift, 1, 100), [s.drift], lambda x: x < DRIFT), ("below 2", "text")],
        ["joint speed, rad/s", number(s.joint_speed, 3), ("", "text")],
        ["still after a stop, s", number(s.settling, 2) if s.settling is not None else "never", ("", "text")],
        ["the worst of them, s", _judged(worst, [s.settling_worst], lambda x: x <= SETTLING), (f"at most {SETTLING:.0f}", "text")],
    ]
    said = f"Told to stand, with sensor noise and joint bias; then, with perfect sensors, stops from 0.8 m/s. Feet: {', '.join(feet)}."
    return f"<h3>Standing</h3>{note(said)}" + table(["", "", "target"], rows)


def _motors(folder: Path) -> str:
    path = folder / "scorecard.json"
    motors = read_scorecard(path).motors if path.exists() else None
    if motors is None:
        return note("Not measured: 'locomotion evaluate' measures them in MuJoCo.")
    both = (motors.nominal, motors.harsh)
    rows: list[list[Cell]] = [
        ["share of the action's energy above 10 Hz", *(number(one.shaking, 3) for one in both)],
        ["joint acceleration, rad/s², root mean square", *(number(one.joint_acceleration, 0) for one in both)],
        ["fastest joint, of its speed limit", *(_judged(number(one.peak_speed, 2), [one.peak_speed], lambda x: x <= 1) for one in both)],
        ["falls", *(number(one.fell, 2) for one in both)],
    ]
    loads = {name: load for name, load in (("standing", motors.standing), ("forward 0.8", motors.walking)) if load is not None}
    if any(len(values) != len(motors.joints) for load in loads.values() for values in (load.torque, load.minutes)):
        raise InputError("scorecard.motors", len(motors.joints), "torques and minutes of every joint", "Score the policy again.")
    head = [f"{name}, {what}" for name in loads for what in ("N m rms", "min to 90 °C")]
    heat = [
        [joint, *(cell for load in loads.values() for cell in (number(load.torque[i], 1), _minutes(load.minutes[i])))]
        for i, joint in enumerate(motors.joints)
    ]
    return (
        note("Harsh: 12-bit encoders, joint-velocity noise of 1 rad/s, delays of 5 to 20 ms drawn anew every step, 50 % more damping.")
        + table(["", "nominal", "harsh"], rows)
        + note("Minutes from 25 °C by a generic estimate of the motors' thermal figures: compare policies by them, do not trust them.")
        + table(["", *head], heat)
    )


def _minutes(value: float | None) -> str:
    return "never" if value is None else number(value, 1)


def _judged(content: str, values: list, good: Callable[[float], bool] | None) -> Cell:
    """A cell that says by its colour whether all its figures are good; a figure that is missing is not."""
    if good is None or not values:
        return content
    return content, "good" if all(value is not None and good(value) for value in values) else "bad"


def _deployment(folder: Path) -> str:
    if not (folder / "deploy.json").exists() or not (folder / "deploy_log.mcap").exists():
        return note("Not run: 'locomotion deploy policy=... output=...' writes it.")
    summary, log = read_deployment(folder / "deploy.json"), read_log(folder / "deploy_log.mcap")
    robot = _robot(folder, summary.robot)
    verdict = "<span class=good>passed</span>" if summary.passed else "<span class=bad>failed</span>"
    states = ", ".join(f"{state} {seconds:.1f} s" for state, seconds in summary.seconds.items())
    changed = ", ".join(f"{name} {count}" for name, count in summary.interventions.items()) or "none"
    events = [[f"{event.time:.2f} s", (event.kind, "text"), (event.detail, "text")] for event in summary.events]
    loop = summary.loop
    timing = [
        [name, *(number(values.get(q), 0) for q in ("p50", "p99", "p99.9", "max"))]
        for name, values in (("lateness", loop.lateness_us), ("compute", loop.compute_us), ("inference", loop.inference_us))
    ]
    said = f"Period {loop.period_ms:.0f} ms, {loop.steps} steps, {loop.missed_deadlines} missed by more than a period."
    return (
        f"<p>{verdict}: {page.text(states)}. Control steps that filters changed: {page.text(changed)}.</p>"
        + picture(plots.commands(log), "command against velocity")
        + picture(plots.contacts(log, robot), "foot contacts")
        + picture(plots.joints(log, robot), "joints against limits")
        + "<h3>Safety events</h3>"
        + table(["", "", ""], events)
        + "<h3>Loop timing</h3>"
        + table(["µs", "p50", "p99", "p99.9", "max"], timing)
        + note(said)
    )


def _faults(folder: Path) -> str:
    path = folder / "faults.json"
    if not path.exists():
        return note("Not run: 'locomotion hil run policy=... output=...' writes it.")
    reports = read_faults(path).model_dump(exclude_none=True)
    said = "On a simulated robot, in simulated time, with the supervisor and the guard; 'without': what the same fault does with neither. "
    return fault_page.summaries(reports) + note(said + "All faults: docs/faults.md.") + fault_page.matrix(reports)


def _robot(folder: Path, name: str | None) -> Robot:
    """The robot that the bundle is of; without a bundle, the one that the deployment names."""
    bundle = folder / "policy.onnx"
    return load_policy(bundle).robot if bundle.exists() or name is None else robots.load(name)


def _provenance(folder: Path, config: dict[str, Any]) -> str:
    commands = [line.removeprefix("# ") for line in (folder / "config.yaml").read_text().splitlines() if line.startswith("# ")]
    known = {key: value for key, value in config.items() if not (config.get("env") and key in OF_A_ROBOT)}
    settings = yaml.safe_dump({"provenance": _origin(folder), "config": known}, sort_keys=False, allow_unicode=True)
    return (
        f"<pre>{page.text(chr(10).join(commands))}</pre><p class=note>Where it comes from, and its settings:</p>"
        f"<pre>{page.text(settings)}</pre>"
    )


def _origin(folder: Path) -> Any:
    """Provenance of the bundle, or of the run's checkpoint."""
    bundle, last = folder / "policy.onnx", folder / "last.pt"
    try:
        if bundle.exists():
            return load_policy(bundle).contract.provenance
        return checkpoint.load(last).get("provenance") if last.exists() else None
    except InputError as error:
        return f"cannot be read: {error}"
