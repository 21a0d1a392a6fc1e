"""What is commonly wrong in the description of a foreign policy: each description that differs from a given one in a single such thing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from locomotion.adapters.foreign_policy import Description, ForeignPolicy, Term
from robots import Robot
from robots.model import build_spec

SCALES = (1.0, 0.5, 0.25, 0.2, 0.1, 0.05, 2.0)  # of frameworks' configurations
AXES = {
    "turned about x": (1.0, -1.0, -1.0), "turned about y": (-1.0, 1.0, -1.0), "turned about z": (-1.0, -1.0, 1.0),
    "of opposite sign": (-1.0, -1.0, -1.0),
}  # fmt: skip


@dataclass(frozen=True)
class Variation:
    """One thing changed, in words that say what would stand in the YAML."""

    kind: str  # as described, joint order, history, scale, frame, term order, gait, action, gains
    words: str
    settings: ForeignPolicy


def variations(found: Description) -> Iterator[Variation]:
    """Every single change of the description, without repetition; the first is none."""
    seen: list[ForeignPolicy] = []
    everything = (_as_described, _joint_orders, _histories, _scales, _frames, _term_orders, _gaits, _actions, _gains)
    for variation in itertools.chain.from_iterable(kind(found) for kind in everything):
        if variation.settings not in seen:
            seen.append(variation.settings)
            yield variation


def _changed(found: Description, kind: str, words: str, **fields: Any) -> Variation:
    return Variation(kind, words, found.settings.model_copy(update=fields))


def _as_described(found: Description) -> Iterator[Variation]:
    yield _changed(found, "as described", "nothing changed")


def joint_orders(robot: Robot) -> dict[str, list[str]]:
    """Orders in which programs number a robot's joints, by what they are."""
    names = list(robot.joint_names)
    mirrored = [names[i] for i in robot.mirror.joint_index]
    model = build_spec(robot).compile()
    depth, order = {0: 0}, {}
    for body in range(1, model.nbody):
        depth[body] = depth[int(model.body_parentid[body])] + 1
    for name in names:
        order[name] = model.joint(name).id
    level = {name: depth[int(model.jnt_bodyid[order[name]])] for name in names}
    orders = {
        "robot.yaml's order": names,
        "the order of robot.yaml, left and right swapped": mirrored,
        "the model's order (MuJoCo, Isaac Gym)": sorted(names, key=order.__getitem__),
        "breadth first (Isaac Lab)": sorted(names, key=lambda name: (level[name], order[name])),
        "breadth first, left and right swapped": sorted(names, key=lambda name: (level[name], names.index(mirrored[names.index(name)]))),
        "alphabetical": sorted(names),
    }
    if robot.motor_index is not None:
        orders["the vendor's order"] = [names[i] for i in np.argsort(robot.motor_index)]
    return orders


def _joint_orders(found: Description) -> Iterator[Variation]:
    settings = found.settings
    used = {found.robot.joint_names[i] for i in found.observed}
    moved = {found.robot.joint_names[i] for i in found.acted}
    for words, names in joint_orders(found.own).items():
        order = tuple(name for name in names if name in used)
        if len({settings.joint_names or found.robot.joint_names, order}) > 1:
            yield _changed(found, "joint order", f"joint_names in {words}", joint_names=order)
        if settings.action.joint_names is not None:
            action = settings.action.model_copy(update={"joint_names": tuple(name for name in names if name in moved)})
            yield _changed(found, "joint order", f"action.joint_names in {words}", action=action)


def _histories(found: Description) -> Iterator[Variation]:
    history = found.settings.history
    if history.length == 1:
        return
    for layout, order, start in itertools.product(("by_term", "by_frame"), ("oldest_first", "newest_first"), ("zeros", "first")):
        changed = history.model_copy(update={"layout": layout, "order": order, "start": start})
        yield _changed(found, "history", f"history {layout}, {order}, from {start}", history=changed)


def _with_term(found: Description, kind: str, words: str, place: int, **fields: Any) -> Variation:
    terms = list(found.settings.observation)
    terms[place] = terms[place].model_copy(update=fields)
    return _changed(found, kind, f"{_name(found, place)}: {words}", observation=tuple(terms))


def _name(found: Description, place: int) -> str:
    term = found.settings.observation[place]
    detail = term.function or (" ".join(term.channels) if term.channels else "")
    return f"{term.term}{f' ({detail})' if detail else ''}"


def _scales(found: Description) -> Iterator[Variation]:
    for place, term in enumerate(found.settings.observation):
        if term.term in ("gait_phase", "constant", "projected_gravity"):
            continue  # of unit size in every framework
        for scale in SCALES:
            if scale != term.scale:
                yield _with_term(found, "scale", f"scale {scale:g}", place, scale=scale)


def _frames(found: Description) -> Iterator[Variation]:
    for place, term in enumerate(found.settings.observation):
        if term.term in ("base_ang_vel", "projected_gravity"):
            for words, signs in AXES.items():
                yield _with_term(found, "frame", words, place, scale=tuple((np.array(signs) * np.array(term.scale)).tolist()))
        if term.term == "joint_pos":
            words = "as measured" if term.relative else "less the default pose"
            yield _with_term(found, "frame", words, place, relative=not term.relative)
        if term.term == "command" and len(term.channels or ()) == 0 and len(found.settings.commands) > 1:
            yield _with_term(found, "term order", "channels reversed", place, channels=tuple(reversed(found.settings.commands)))


def _term_orders(found: Description) -> Iterator[Variation]:
    terms = list(found.settings.observation)
    alphabetical = sorted(range(len(terms)), key=lambda place: _sorted_name(terms[place]))
    yield _changed(found, "term order", "terms in alphabetical order", observation=tuple(terms[i] for i in alphabetical))
    for a, b in itertools.combinations(range(len(terms)), 2):
        order = list(terms)
        order[a], order[b] = order[b], order[a]
        yield _changed(found, "term order", f"{_name(found, a)} and {_name(found, b)} in each other's place", observation=tuple(order))


def _sorted_name(term: Term) -> str:
    return f"{term.function}_phase" if term.function else term.term


def _gaits(found: Description) -> Iterator[Variation]:
    gait = found.settings.gait
    if gait is None:
        return
    for period in (0.5 * gait.period, 2.0 * gait.period, 0.5, 0.6, 0.7, 0.8, 1.0):
        yield _changed(found, "gait", f"gait.period {period:g} s", gait=gait.model_copy(update={"period": period}))
    backwards = gait.model_copy(update={"offsets": gait.offsets[::-1]})
    yield _changed(found, "gait", f"gait.offsets {list(backwards.offsets)}", gait=backwards)


def _actions(found: Description) -> Iterator[Variation]:
    settings = found.settings
    names = [found.robot.joint_names[i] for i in found.acted]
    scales: dict[str, Any] = {f"{scale:g}": scale for scale in SCALES}
    quarter = 0.25 * found.robot.effort_limit[found.acted] / found.robot.kp[found.acted]
    scales["0.25 effort_limit / kp of each joint"] = dict(zip(names, quarter.tolist(), strict=True))
    for words, scale in scales.items():
        if scale != settings.action.scale:
            yield _changed(found, "scale", f"action.scale {words}", action=settings.action.model_copy(update={"scale": scale}))


def _gains(found: Description) -> Iterator[Variation]:
    settings = found.settings
    if settings.kp is not None or settings.kd is not None:
        yield _changed(found, "gains", "kp and kd of robot.yaml", kp=None, kd=None)
    if settings.default_joint_pos is not None:
        yield _changed(found, "default pose", "default_joint_pos of robot.yaml", default_joint_pos=None)
