"""What an identification leaves: its figures, a randomization to train with, and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from locomotion.evaluation import page
from locomotion.evaluation.plots import label, subplots
from locomotion.files import make_folder, write_atomically, write_json, writing
from locomotion.identification.estimate import Estimate
from locomotion.identification.recording import MEASURED, Recording
from locomotion.schema import check, plain
from locomotion.task.randomization import RandomizationSettings
from sim import PARAMETERS

# the least that a range reaches to either side of what was found: what one log knows is not all that there is
SPREAD = {
    "motor_strength": 0.05, "joint_friction_scale": 0.2, "joint_damping_scale": 0.2, "armature_scale": 0.1, "kp_scale": 0.05,
    "kd_scale": 0.05, "action_delay": 0.002, "base_mass_offset": 0.5, "base_com_offset": 0.01, "payload_mass": 0.5, "link_mass_scale": 0.05,
    "inertia_scale": 0.05, "joint_zero_offset": 0.01, "friction": 0.2,
}  # fmt: skip
# what is found as one with a parameter where it is not sought itself, and the range about nominal that is left of it
WITH = {
    "motor_strength": {"kp_scale": 0.05, "kd_scale": 0.05},
    "payload_mass": {"base_mass_offset": 0.0},
    "base_mass_offset": {"payload_mass": 0.0},
}
EXPLAINED = 1.5  # residual over noise of what was held out, up to which a log is explained
SHOWN = 4  # held out windows that the page shows


def randomization(found: Estimate, base: RandomizationSettings) -> dict[str, Any]:
    """``base`` with the ranges of what was seen about what was found. A parameter of which a part was not seen keeps its range."""
    ranges: dict[str, list[float]] = {}
    for parameter in dict.fromkeys(unknown.parameter for unknown in found.sought):
        mine = [p for p, unknown in enumerate(found.sought) if unknown.parameter == parameter]
        if found.seen[mine].all():
            spread, value = SPREAD[parameter], found.value[mine]
            low = min(found.interval[mine, 0].min(), (value - spread).min())
            high = max(found.interval[mine, 1].max(), (value + spread).max())
            ranges[parameter] = [round(float(x), 6) for x in np.clip([low, high], *PARAMETERS[parameter].bounds)]
    result = plain(base)
    for name, spread in [pair for sought, others in WITH.items() if sought in ranges for pair in others.items()]:
        nominal = PARAMETERS[name].nominal
        ranges.setdefault(name, [nominal - spread, nominal + spread])
    result["parameters"] = {**result["parameters"], **ranges}
    return plain(check(RandomizationSettings, result, "randomization"))


def figures(found: Estimate, recording: Recording, left_out: Sequence[str] = ()) -> dict[str, Any]:
    """Plain numbers and strings. ``left_out`` names parameters that were asked for, and that no robot on a stand shows."""
    parts = [slice(0, (j := recording.robot.num_joints)), slice(j, 2 * j), slice(2 * j, 2 * j + 3), slice(2 * j + 3, None)]
    return {
        "robot": recording.robot.name,
        "seconds": float(recording.sampled[-1] - recording.sampled[0]),
        "place": "stand" if recording.held else "ground",
        "left_out": list(left_out),
        "parameters": [
            {
                "parameter": unknown.parameter, "part": unknown.part, "unit": unknown.unit, "value": float(value),
                "low": float(low), "high": float(high), "seen": bool(seen),
            }
            for unknown, value, (low, high), seen in zip(found.sought, found.value, found.interval, found.seen, strict=True)
        ],
        "not_told_apart": found.together,
        "residual_over_noise": found.fit,
        "noise": {name: float(found.sigma[part].mean()) for name, part in zip(MEASURED, parts, strict=True)},
    }  # fmt: skip


def lines(result: Mapping[str, Any]) -> list[str]:
    """The figures in words."""
    said = [f"{'':36} {'found':>9}   95 % interval"]
    for row in result["parameters"]:
        name = f"{row['parameter']} {row['part']}".strip()
        verdict = "" if row["seen"] else "   not seen: the log says little more than was believed before"
        said.append(f"  {name:34} {row['value']:9.4f}   [{row['low']:.4f}, {row['high']:.4f}] {row['unit']}{verdict}")
    said += [f"  {words}" for words in (*result["not_told_apart"], *doubts(result))]
    fit = result["residual_over_noise"]
    said.append(f"Residual over noise, held out: {fit['held out before']:.2f} before, {fit['held out']:.2f} after (1 is a perfect model)")
    return said


def doubts(result: Mapping[str, Any]) -> list[str]:
    """What the figures do not say, and why they may be worse than their intervals, in words."""
    said = []
    if result["left_out"]:
        said.append(f"Left out, since the base was held and shows nothing of them: {', '.join(result['left_out'])}")
    held = result["residual_over_noise"]["held out"]
    if held > EXPLAINED:
        said.append(
            f"The model does not explain this log: {held:.1f} times its noise is left where 1 is right, so that intervals may not hold. "
            "A robot that walks needs short windows (window=0.4 lead=0.1), one that was held on a stand place=stand; "
            "else something is wrong that is not sought"
        )
    for row in result["parameters"]:
        low, high = PARAMETERS[row["parameter"]].bounds
        if row["seen"] and not low < row["value"] < high:
            remedy = ": if the robot may be lighter than described, seek base_mass_offset" if row["parameter"] == "payload_mass" else ""
            said.append(f"{row['parameter']} {row['part']}".strip() + f" is at its bound of {row['value']:g}{remedy}")
    return said


def write(
    found: Estimate, recording: Recording, output: Path, base: RandomizationSettings, log: Path, left_out: Sequence[str] = ()
) -> dict[str, Any]:  # fmt: skip
    """``identification.json``, ``identification.html`` and a randomization in ``output``. Raises InputError where they cannot be."""
    result = figures(found, recording, left_out) | {"log": str(log)}
    ranges = randomization(found, base)
    name = "".join(c if c.isalnum() or c in "_-" else "_" for c in output.absolute().name) or "identified"
    path = make_folder(output / "configs" / "randomization", "output") / f"{name}.yaml"
    text = f"# What 'locomotion identify {log.name}' found of {recording.robot.name}, with the least spread: docs/identification.md\n"
    text += yaml.safe_dump(ranges, sort_keys=False, default_flow_style=None, width=120)
    with writing("output", path):
        write_atomically(path, lambda stream: stream.write(text.encode()))
    write_json(output / "identification.json", result, "output")
    _write_page(found, recording, result, ranges, output / "identification.html")
    return result | {"randomization": str(path)}


def _write_page(found: Estimate, recording: Recording, result: dict[str, Any], ranges: dict[str, Any], path: Path) -> None:
    rows = [
        [
            f"{row['parameter']} {row['part']}".strip(), f"{row['value']:.4g}", f"{row['low']:.4g} .. {row['high']:.4g}", row["unit"],
            ("seen", "good") if row["seen"] else ("not seen", "bad"),
        ]
        for row in result["parameters"]
    ]  # fmt: skip
    fit = result["residual_over_noise"]
    body = [
        page.note(f"{result['log']}: {result['seconds']:.1f} s. Intervals are of 95 %. Residuals over noise: 1 is a perfect model."),
        page.section("Found", page.table(("parameter", "value", "interval", "unit", ""), rows)),
        *(f"<p class=bad>{page.text(words)}.</p>" for words in (*result["not_told_apart"], *doubts(result))),
        page.section(
            "The judge",
            page.table(("residual over noise", "before", "after"), [
                ["fitted", f"{fit['fitted before']:.2f}", f"{fit['fitted']:.2f}"],
                ["held out", f"{fit['held out before']:.2f}", f"{fit['held out']:.2f}"],
            ]),
        ),
        page.section("Measured against simulated, held out", page.picture(_joints(found, recording), "joints, measured and simulated")),
        page.section("To train with", f"<pre>{page.text(yaml.safe_dump(ranges['parameters'], default_flow_style=None))}</pre>"),
    ]  # fmt: skip
    page.write(path, f"Identification of {recording.robot.name}", "".join(body), "output")


def _joints(found: Estimate, recording: Recording) -> Any:
    """A panel a joint: some held out windows, one after the other."""
    names, dt = recording.robot.joint_names, recording.control_dt
    chosen = np.linspace(0, len(found.measured) - 1, min(SHOWN, len(found.measured))).round().astype(int)
    rows = -(-len(names) // 3)
    figure, axes = subplots(rows, 3, height=2.0 * rows, font=6)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for j, axis in zip(range(len(names)), axes.flat, strict=False):
        for place, w in enumerate(chosen):
            time = dt * (np.arange(found.measured.shape[1]) + place * (found.measured.shape[1] + 5))
            for values, style, words in (
                (found.measured, {"color": "C0", "lw": 1.4}, "measured"),
                (found.before, {"color": "0.6", "lw": 0.8, "ls": "--"}, "simulated, as described"),
                (found.after, {"color": "C3", "lw": 0.8}, "simulated, as identified"),
            ):
                axis.plot(time, values[w, :, j], **style, label=words if place == 0 else None)
        axis.set_title(f"{label(names[j])}: rad", fontsize=7)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), fontsize=8, loc="outside upper center", ncols=3)
    return figure
