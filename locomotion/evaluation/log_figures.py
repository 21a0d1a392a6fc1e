"""What the log of a run comes to: figures, the lines that show them, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deploy.log_reader import RunLog
from locomotion.evaluation.plots import label, subplots

Array = np.ndarray
GAP = 1.5  # control periods between two steps that count as a gap
MOST_EVENTS = 40
EVENT_COLORS = {"transition": "0.4", "refused": "C1", "warning": "C1", "override": "C1"}  # anything else is a fault
STATE_COLORS = {
    "idle": "0.85",
    "stand_up": "C0",
    "check": "C4",
    "ready": "C9",
    "walk": "C2",
    "settle": "C8",
    "damping": "C1",
    "fault": "C3",
}


def phases(log: RunLog) -> list[tuple[str, float, float]]:
    """State, begin and end (s), one after the other."""
    time, state = log.columns["time"], log.columns["state"]
    begins = [0, *(np.flatnonzero(state[1:] != state[:-1]) + 1)]
    ends = [*time[begins[1:]], time[-1] + log.control_dt]
    return [(str(state[begin]), float(time[begin]), float(end)) for begin, end in zip(begins, ends, strict=True)]


def gaps(log: RunLog) -> list[tuple[float, float]]:
    """Where the steps are further apart than :data:`GAP` control periods: time of the step before (s), and seconds between them."""
    time = log.columns["time"]
    between = np.diff(time)
    return [(float(time[i]), float(between[i])) for i in np.flatnonzero(between > GAP * log.control_dt)]


def torque_share(log: RunLog) -> Array:
    """Measured torque over the effort limit, [T, J]."""
    return np.abs(log.columns["joint_torque"]) / np.array(log.robot["effort_limit"])


def changed(log: RunLog) -> Array:
    """How far what the motors heard is from what the policy asked, rad [T, J]; NaN where it asked nothing."""
    return np.abs(log.columns["joint_pos_target"] - log.columns["asked_joint_pos_target"])


def lines(log: RunLog) -> list[str]:
    """The log in words."""
    about, columns = log.about, log.columns
    said = [
        f"robot      {about['robot']}   (description {about['robot_fingerprint'][:12]})",
        f"policy     graph {about['graph_sha256'][:12]}   period {1e3 * log.control_dt:g} ms",
        f"began      {about['created']}",
        f"file       {f'ends early: {log.damage}' if log.damage else 'closed'}",
    ]
    if not columns:
        return [*said, "steps      none: it ended before the loop began", *_events(log)]
    said.append(f"steps      {len(log.steps)} in {columns['time'][-1] - columns['time'][0]:.2f} s; {log.lost} lost between them")
    found = gaps(log)
    worst = max(found, key=lambda gap: gap[1], default=None)
    said.append(f"gaps       {len(found)}" + (f", the longest {1e3 * worst[1]:.0f} ms after {worst[0]:.2f} s" if worst else ""))
    said += [f"raw        {topic}: {len(messages)} messages" for topic, messages in log.raw.items()]
    said.append("states")
    said += [f"  {begin:8.2f} s  {state:10} {end - begin:8.2f} s" for state, begin, end in phases(log)]
    said += _extremes(log)
    said.append("latency us       p50     p99   p99.9     max")
    for name in columns:
        seconds = columns[name][np.isfinite(columns[name])] if name.startswith("timing/") else np.zeros(0)
        if len(seconds):
            figures = [*np.quantile(seconds, [0.5, 0.99, 0.999]), seconds.max()]
            said.append(f"  {name.removeprefix('timing/'):10}" + "".join(f"{1e6 * figure:8.0f}" for figure in figures))
    return [*said, *_events(log)]


def _extremes(log: RunLog) -> list[str]:
    columns, names = log.columns, log.robot["joint_names"]

    def worst(values: Array) -> tuple[float, str]:
        """The largest of [T, J], and where."""
        if not np.isfinite(values).any():
            return float("nan"), "nowhere"
        t, j = np.unravel_index(np.nanargmax(values), values.shape)
        return float(values[t, j]), f"{names[j]} at {columns['time'][t]:.2f} s"

    share, where = worst(torque_share(log))
    said = [f"torque     at most {share:.0%} of the limit ({where})"]
    difference = changed(log)
    asked = np.isfinite(difference).all(axis=1)
    if asked.any():
        angle, where = worst(difference)
        count = int((difference[asked].max(axis=1) > 1e-5).sum())
        said.append(f"filters    changed {count} of {asked.sum()} targets of the policy, by at most {angle:.3f} rad ({where})")
    tilt = _tilt(columns["projected_gravity"])
    if np.isfinite(tilt).any():
        said.append(f"tilt       at most {np.nanmax(tilt):.1f} degrees, at {columns['time'][np.nanargmax(tilt)]:.2f} s")
    return said


def _events(log: RunLog) -> list[str]:
    said = [f"events     {len(log.events)}"]
    said += [f"  {event.time:8.2f} s  {event.kind:12} {event.detail}" for event in log.events[:MOST_EVENTS]]
    return said + ([f"  and {len(log.events) - MOST_EVENTS} more"] if len(log.events) > MOST_EVENTS else [])


def _tilt(gravity: Array) -> Array:
    """Degrees from upright of [T, 3]."""
    return np.degrees(np.arccos(np.clip(-gravity[:, 2], -1.0, 1.0)))


def overview(log: RunLog) -> Any:
    """States and events over commands, tilt, torque and latencies."""
    columns, time = log.columns, log.columns["time"]
    channels = log.contract["command_names"] if "command_names" in log.contract else [f"{i}" for i in range(columns["command"].shape[1])]
    figure, axes = subplots(5, 1, height=10.0)
    states, command, tilt, torque, latency = axes[:, 0]
    for state, begin, end in phases(log):
        states.axvspan(begin, end, color=STATE_COLORS.get(state, "C7"), alpha=0.6, lw=0)
        if end - begin > 0.04 * (time[-1] - time[0]):
            states.text((begin + end) / 2, 0.78, label(state), ha="center", fontsize=8)
    states.set(title="states of the supervisor; events as marks", yticks=[], ylim=(0, 1))
    for i, channel in enumerate(channels):
        command.plot(time, columns["command"][:, i], color=f"C{i}", ls="--", lw=1.2, label=f"{label(channel)}, commanded")
    measured = {"yaw": columns["base_ang_vel"][:, 2]}
    if "base_lin_vel" in columns:
        measured |= {"forward": columns["base_lin_vel"][:, 0], "left": columns["base_lin_vel"][:, 1]}
    for i, channel in enumerate(channels):
        if channel in measured:
            command.plot(time, measured[channel], color=f"C{i}", lw=0.7, label=f"{label(channel)}, measured")
    command.set(title="command (m/s, rad/s)")
    tilt.plot(time, _tilt(columns["projected_gravity"]), lw=0.9)
    tilt.set(title="tilt from upright (degrees)")
    tilt.set_ylim(bottom=0)
    share = torque_share(log)
    torque.plot(time, share.max(axis=1), lw=0.9, color="C3", label="the most loaded joint")
    torque.plot(time, share.mean(axis=1), lw=0.9, color="C0", label="mean of the joints")
    torque.axhline(1.0, color="r", lw=0.7)
    torque.set(title="torque as a share of the limit")
    for name in columns:
        if name.startswith("timing/") and np.isfinite(columns[name]).any():
            latency.plot(time, 1e3 * columns[name], lw=0.8, label=label(name.removeprefix("timing/")))
    latency.plot(time[1:], 1e3 * np.diff(time), lw=0.8, color="0.6", label="between steps")
    latency.set(title="latencies (ms)", xlabel="s")
    latency.set_yscale("symlog", linthresh=1.0)
    for axis in (command, torque, latency):
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axis in axes[:, 0]:
        axis.set_xlim(time[0], max(time[-1], time[0] + log.control_dt))
        _mark(axis, log)
    return figure


def joints(log: RunLog) -> Any:
    """A panel a joint: measured, what the policy asked and what the motor heard, within its stops; below it torque over the limit."""
    columns, time, names = log.columns, log.columns["time"], log.robot["joint_names"]
    limits, share = np.array(log.robot["joint_pos_limit"]), columns["joint_torque"] / np.array(log.robot["effort_limit"])
    rows = -(-len(names) // 3)
    figure, axes = subplots(2 * rows, 3, height=2.6 * rows, font=6)
    axes = axes.reshape(rows, 2, 3)
    held = np.where(np.array(columns["kp"]) > 0.0, columns["joint_pos_target"], np.nan)  # without a spring it is no target
    for j in range(3 * rows):
        upper, lower = axes[j // 3, :, j % 3]
        if j >= len(names):
            upper.set_visible(False)
            lower.set_visible(False)
            continue
        upper.plot(time, columns["asked_joint_pos_target"][:, j], color="C1", lw=0.7, label="asked by the policy")
        upper.plot(time, held[:, j], color="k", lw=0.7, ls=":", label="heard by the motor")
        upper.plot(time, columns["joint_pos"][:, j], color="C0", lw=0.8, label="measured")
        for limit in limits[j]:
            if np.nanmin(columns["joint_pos"][:, j]) - 0.3 < limit < np.nanmax(columns["joint_pos"][:, j]) + 0.3:
                upper.axhline(limit, color="r", lw=0.7)
        upper.set_title(f"{label(names[j])}: rad, and torque over its limit", fontsize=7)
        lower.plot(time, share[:, j], color="C3", lw=0.7)
        lower.set(ylim=(-1.1, 1.1))
        for axis in (upper, lower):
            _mark(axis, log)
    figure.legend(*axes[0, 0, 0].get_legend_handles_labels(), fontsize=8, loc="outside upper center", ncols=3)
    return figure


def event_rows(log: RunLog) -> list[Sequence[Any]]:
    """For a page's table."""
    return [[f"{event.time:.2f} s", event.state, (event.kind, "text"), (event.detail, "text")] for event in log.events]


def _mark(axis: Any, log: RunLog) -> None:
    for event in log.events[:MOST_EVENTS]:
        axis.axvline(event.time, color=EVENT_COLORS.get(event.kind, "r"), lw=0.7, ls="--" if event.kind in EVENT_COLORS else "-")
