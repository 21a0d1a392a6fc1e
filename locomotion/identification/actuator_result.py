"""What a fit of an actuator network leaves: the network, its figures, and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from locomotion.evaluation import page
from locomotion.evaluation.plots import label, subplots
from locomotion.files import make_folder, write_json
from locomotion.identification.actuator import Fit, errors
from sim.actuator_network import document

NETWORK = "actuator.json"
BETTER = 0.9  # of the best law's error, above which a network says nothing that parameters could not
LEAST_DELAY = 0.002  # s that a range of delays reaches to either side
SHOWN = 150  # moments that a panel shows
STYLES = {"law": ("0.6", "--"), "best law": ("C2", "-"), "network": ("C3", "-")}


def figures(found: Fit, logs: Sequence[Path]) -> dict[str, Any]:
    """Plain numbers and strings; torques in N m, delays in s."""
    robot, everyone = found.samples.robot, range(found.samples.robot.num_joints)
    error = errors(found, everyone)
    return {
        "robot": robot.name,
        "logs": [str(log) for log in logs],
        "moments": len(found.samples.torque),
        "held_out": int(found.judge.sum()),
        "rms_error": error,
        "parts": {
            name: {
                "joints": [robot.joint_names[j] for j in part.joints],
                "rms_torque": float(np.sqrt(np.square(found.measured[:, list(part.joints)]).mean())),
                "rms_error": errors(found, part.joints),
                "best_gains": {"kp_scale": part.gains[0], "kd_scale": part.gains[1]},
                "bound": float(part.rest.unit[0] * part.rest.bound[0]),
                "trusted": float((found.trust[:, list(part.joints)] == 1.0).mean()),
            }
            for name, part in found.parts.items()
        },
        "joints": {name: errors(found, (j,)) for j, name in enumerate(robot.joint_names)},
        "action_delay": None if found.delays is None else {"best": found.delay, "alike": list(found.delays)},
        "too_little": found.poor,
        "better": bool(error["network"] < BETTER * error["best law"]),
    }


def lines(result: dict[str, Any]) -> list[str]:
    """The figures in words."""
    said = [f"{'RMS torque error, held out, N m':34} {'law':>8} {'best law':>9} {'network':>8} {'(torque)':>9}"]
    for name, part in result["parts"].items():
        error = part["rms_error"]
        said.append(f"  {name:32} {error['law']:8.3f} {error['best law']:9.3f} {error['network']:8.3f} {part['rms_torque']:9.2f}")
    delay = result["action_delay"]
    if delay:
        said.append(
            f"commands take {1e3 * delay['best']:.0f} ms ({1e3 * delay['alike'][0]:.0f} to {1e3 * delay['alike'][1]:.0f} do as well)"
        )
    said += [f"too little: {words}" for words in result["too_little"]]
    if not result["better"]:
        said.append("The network says nothing that factors on kp and kd and a delay do not: none is written. Use locomotion identify.")
    return said


def command(result: dict[str, Any], network: Path) -> str:
    """The line that trains with the network."""
    delay, words = result["action_delay"], f"locomotion train robot={result['robot']} sim.actuator={network}"
    if delay:
        low, high = max(0.0, min(delay["alike"][0], delay["best"] - LEAST_DELAY)), max(delay["alike"][1], delay["best"] + LEAST_DELAY)
        words += f' "randomization.parameters.action_delay=[{low:.3f},{high:.3f}]"'
    return words


def write(found: Fit, output: Path, logs: Sequence[Path]) -> dict[str, Any]:
    """``actuator_fit.json``, ``actuator.html`` and, where it is worth it, ``actuator.json`` in ``output``.

    Raises InputError where they cannot be written.
    """
    result = figures(found, logs)
    make_folder(output, "output")
    result["network"] = str(output / NETWORK) if result["better"] else None
    if result["better"]:
        parts = {name: (part.joints, part.rest) for name, part in found.parts.items()}
        about = {name: result[name] for name in ("logs", "rms_error", "action_delay", "too_little")}
        write_json(output / NETWORK, document(found.samples.robot, parts, found.history, found.spacing, about), "output")
    write_json(output / "actuator_fit.json", result, "output")
    _write_page(found, result, output / "actuator.html")
    return result


def _write_page(found: Fit, result: dict[str, Any], path: Path) -> None:
    rows = [
        [
            name, f"{part['rms_torque']:.2f}", *(f"{part['rms_error'][law]:.3f}" for law in STYLES), f"{part['bound']:.2f}",
            f"{100 * part['trusted']:.1f} %",
        ]
        for name, part in (result["parts"] | _joints(found, result)).items()
    ]  # fmt: skip
    head = ("RMS, held out, N m", "torque", "law", "best law", "network", "at most off the law", "trusted")
    delay = result["action_delay"]
    body = [
        page.note(
            f"{', '.join(result['logs'])}: {result['moments']} moments, {result['held_out']} of them held out. The law is the robot's as "
            "it is described; the best law has the gains and the delay that explain the log best. A drive's torque is its current times a "
            "constant: a motor that is weak for its current, and friction behind it, do not show."
        ),
        page.section("The judge", page.table(head, rows)),
        page.note(f"Commands take {1e3 * delay['best']:.0f} ms." if delay else "The log shows no delay of commands."),
        *(f"<p class=bad>Too little: {page.text(words)}.</p>" for words in result["too_little"]),
        page.section("Reported against predicted, held out", page.picture(_panels(found), "torques, reported and predicted")),
        page.section(
            "To train with", f"<pre>{page.text(command(result, Path(result['network'])))}</pre>" if result["network"] else
            page.note("Nothing: factors on kp and kd and a delay say the same. Use locomotion identify."),
        ),
    ]  # fmt: skip
    page.write(path, f"Actuators of {result['robot']}", "".join(body), "output")


def _joints(found: Fit, result: dict[str, Any]) -> dict[str, Any]:
    """A row a joint, of its part's network."""
    rows = {}
    for part in result["parts"].values():
        for name in part["joints"]:
            j = found.samples.robot.joint_names.index(name)
            rms, trusted = np.sqrt(np.square(found.measured[:, j]).mean()), (found.trust[:, j] == 1.0).mean()
            rows[name] = part | {"rms_torque": rms, "rms_error": result["joints"][name], "trusted": trusted}
    return rows


def _panels(found: Fit) -> Any:
    """Of each part the joint that the law explains worst: torque over time where it moves most, and predicted over reported."""
    figure, axes = subplots(len(found.parts), 3, height=2.4 * len(found.parts) + 0.4, font=7)
    for (name, part), (trace, left, right) in zip(found.parts.items(), axes, strict=True):
        j = max(part.joints, key=lambda joint: errors(found, (joint,))["law"])
        measured = found.measured[:, j]
        starts = range(0, max(1, len(measured) - SHOWN), SHOWN)
        begin = max(starts, key=lambda k: float(np.std(measured[k : k + SHOWN])))
        rows = slice(begin, begin + SHOWN)
        trace.plot(measured[rows], color="C0", lw=1.4, label="reported")
        for law, (colour, dash) in STYLES.items():
            trace.plot(found.laws[law][rows, j], color=colour, ls=dash, lw=0.9, label=law)
        trace.set_xlabel("moments", fontsize=7)
        trace.set_title(f"{label(name)}: {label(found.samples.robot.joint_names[j])}, N m")
        for axis, law in ((left, "law"), (right, "network")):
            own = list(part.joints)
            axis.plot(found.measured[:, own].ravel(), found.laws[law][:, own].ravel(), ".", ms=1, alpha=0.3, color=STYLES[law][0])
            axis.axline((0.0, 0.0), slope=1.0, color="k", lw=0.6)
            axis.set_title(f"{law} over reported, N m")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), fontsize=8, loc="outside upper center", ncols=4)
    return figure
