"""locomotion evaluate sweep=..."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.policy import RobotPolicy
from locomotion.evaluation import falsify, plots, robustness, video
from locomotion.evaluation.protocols import VELOCITY
from locomotion.evaluation.rollout import load_policy
from locomotion.files import output_file, write_atomically, write_json, writing
from locomotion.settings import EvaluateSettings
from locomotion.view import LiveView, print_table
from robots.errors import InputError


def run(settings: EvaluateSettings) -> int:
    """A policy past what it was trained for: curves over each parameter, or the smallest fall."""
    if len(settings.sim) > 1:
        raise InputError("sim", [one.engine for one in settings.sim], "one engine, in a sweep", "Run it once for each.")
    path = Path(settings.policy)
    policy = load_policy(path)
    if policy.contract.protocol != VELOCITY:
        raise InputError(
            "sweep", settings.sweep, "a policy that follows velocities", f"This one is scored as '{policy.contract.protocol}'."
        )
    output = Path(settings.output) if settings.output else path.with_name(f"{path.stem}_{settings.sweep}.json")
    if output.suffix != ".json":
        raise InputError("output", str(output), "the name of a .json file", "The figure or video gets the same name.")
    if settings.sweep == "falsify":
        if settings.against:
            raise InputError("against", settings.against, "nothing, with sweep=falsify", "Margins are comparable: falsify each policy.")
        return _falsify(settings, policy, output_file(output, "output", path))
    other = load_policy(Path(settings.against)) if settings.against else None
    if other and other.robot.name != policy.robot.name:
        raise InputError("against", settings.against, f"a policy of {policy.robot.name}", f"This one is of {other.robot.name}.")
    policies = {_name(settings.policy): policy} | ({_name(settings.against): other} if other else {})
    return _sweep(settings, policies, output_file(output, "output", path, settings.against))


def _name(path: str | None) -> str:
    """What tells two policies apart: the file's name, with its folder where the file has the usual one."""
    parts = Path(path or "").absolute().parts
    return parts[-1] if parts[-1] != "policy.onnx" else "/".join(parts[-2:])


def _sweep(settings: EvaluateSettings, policies: dict[str, RobotPolicy], output: Path) -> int:
    if len(policies) < 1 + bool(settings.against):
        raise InputError("against", settings.against, "another policy than policy=", "Two of the same name: rename one.")
    with LiveView(f"locomotion evaluate  {settings.policy}  sweep=randomization") as view:
        sweeps = {
            name: robustness.sweep(
                policy,
                settings.sim[0].engine,
                settings.randomization,
                settings.seed,
                lambda axis, share, name=name: view.phase(name, share, axis),
                settings.sim[0].actuator,
                settings.sim[0].device,
                settings.others,
            )
            for name, policy in policies.items()
        }
    columns = [f"{figure} {name}" for name in sweeps for figure in ("tracking", "falls")]
    first, *others = sweeps.values()
    rows = [
        [
            axis,
            f"{panel['values'][0]:.3g} .. {panel['values'][-1]:.3g}{'' if panel['unit'] == '1' else ' ' + panel['unit']}",
            *(cell for sweep in sweeps.values() for cell in _cells(sweep["axes"][axis])),
        ]
        for axis, panel in first["axes"].items()
    ]
    print_table("mean over the values off nominal", ["parameter", "span", *columns], rows)
    result: dict[str, Any] = {"policies": sweeps}
    if others:
        result["comparison"] = verdict = robustness.compare(first, others[0])
        print(_verdict(list(sweeps), verdict))
    figure, picture = plots.robustness(sweeps), output.with_suffix(".png")
    with writing("output", picture):
        write_atomically(picture, lambda stream: figure.savefig(stream, format="png", dpi=120))
    write_json(output, result, "output")
    print(f"{picture}\n{output}")
    return 0


def _verdict(names: list[str], v: dict[str, Any]) -> str:
    (a, b), (tracking, tracking_b), (falls, falls_b) = names, v["mean_tracking"], v["mean_falls"]
    return "\n".join([
        f"off nominal, at {v['values']} values, {a} against {b}:",
        f"  tracks better at {v['better']}, as well at {v['equal']}, worse at {v['worse']}; mean {tracking:.3f} against {tracking_b:.3f}",
        f"  falls less at {v['fewer_falls']}, more at {v['more_falls']}; mean {falls:.3f} against {falls_b:.3f}",
        f"{a} dominates" if v["dominates"] else f"{a} does not dominate: {', '.join(v['worse_at']) or 'it is nowhere better'}",
    ])  # fmt: skip


def _cells(curve: dict[str, Any]) -> tuple[str, str]:
    rows = [row for row in zip(curve["values"], curve["tracking"], curve["falls"], strict=True) if row[0] != curve["nominal"]]
    return f"{sum(row[1] for row in rows) / len(rows):.3f}", f"{sum(row[2] for row in rows) / len(rows):.3f}"


def _falsify(settings: EvaluateSettings, policy: RobotPolicy, output: Path) -> int:
    film, dt = output.with_suffix(".mp4"), policy.contract.control_dt
    with LiveView(f"locomotion evaluate  {settings.policy}  sweep=falsify") as view:
        report, motion = falsify.falsify(
            policy,
            settings.sim[0].engine,
            settings.randomization,
            settings.seed,
            view.phase,
            settings.sim[0].actuator,
            settings.sim[0].device,
        )
        message = "no video: no fall to show"
        if motion is not None:
            frames = video.positions(policy.robot, motion)
            message = video.write(film, policy.robot, frames, dt, lambda share: view.phase("render", share))
    rows = [[name, _margin(single, "down"), _margin(single, "up")] for name, single in report["single"].items()]
    print_table("margin of each axis alone: distance (value)", ["parameter", "down", "up"], rows)
    if report["margin"] is None:
        print("nothing within the spans makes it fall")
    else:
        print(f"margin {report['margin']:.2f}: it falls with {', '.join(report['words']) or 'nothing changed'}")
        print(f"run again from {report['starts']} other starts, it falls from {100 * report['confirmed']:.0f} % of them")
        if report["command"]:
            print(f"the first of these is told [forward, left, yaw] = {report['command']}")
    write_json(output, report, "output")
    print(f"{message or film}\n{output}")
    return 0


def _margin(single: dict[str, Any], side: str) -> str:
    unit = "" if single["unit"] == "1" else f" {single['unit']}"
    return "stands" if single[side] is None else f"{single[side]:.2f} ({single[f'{side}_value']:.3g}{unit})"
