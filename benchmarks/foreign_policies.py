"""Ten wrong descriptions of a foreign policy that walks, each searched for what is wrong with it.

    python -m benchmarks.foreign_policies DESCRIPTION.yaml

The description is a right one, of a policy with one frame, a clock, and the terms of docs/foreign_policies.md. For history, its network is
put behind one that takes three frames, the newest first, and hands on the newest. Prints a row for each: what was made wrong, how the
policy did under it, what the search names. Exit status 1 where the cure is not among what it names.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from locomotion.adapters.foreign_check import search
from locomotion.adapters.foreign_policy import Description, ForeignPolicy, History, describe, read
from locomotion.adapters.foreign_variations import joint_orders

FRAMES = 3


def changed(settings: ForeignPolicy, **fields: Any) -> ForeignPolicy:
    return settings.model_copy(update=fields)


def with_term(settings: ForeignPolicy, name: str, **fields: Any) -> ForeignPolicy:
    """``settings`` with other fields of the terms called ``name``."""
    terms = [term.model_copy(update=fields) if term.term == name else term for term in settings.observation]
    return changed(settings, observation=tuple(terms))


def with_order(found: Description, name: str) -> ForeignPolicy:
    return changed(found.settings, joint_names=tuple(joint_orders(found.own)[name]))


def with_history(framed: Description, **fields: Any) -> ForeignPolicy:
    return changed(framed.settings, history=framed.settings.history.model_copy(update=fields))


def swapped(settings: ForeignPolicy, *names: str) -> ForeignPolicy:
    """``settings`` with two terms in each other's place."""
    terms = list(settings.observation)
    first, second = ([term.term for term in terms].index(name) for name in names)
    terms[first], terms[second] = terms[second], terms[first]
    return changed(settings, observation=tuple(terms))


def behind_history(found: Description, folder: Path) -> Description:
    """The same policy as one that takes three frames, by term, the newest first."""
    model = onnx.load(found.file)
    name, columns, width = model.graph.input[0].name, [], 0
    for term in found.settings.observation:
        columns += range(width, width + found.width(term))
        width += FRAMES * found.width(term)
    inner = onnx.compose.add_prefix(model, "inner/")
    inner.graph.initializer.append(numpy_helper.from_array(np.array(columns), "newest"))
    inner.graph.node.insert(0, helper.make_node("Gather", ["frames", "newest"], [f"inner/{name}"], axis=1))
    inner.graph.input[0].CopyFrom(helper.make_tensor_value_info("frames", onnx.TensorProto.FLOAT, ["batch", width]))
    path = folder / "history.onnx"
    onnx.save(inner, path)
    history = History(length=FRAMES, layout="by_term", order="newest_first")
    return dataclasses.replace(found, settings=found.settings.model_copy(update={"history": history, "policy": path.name}), file=path)


def misconfigured(found: Description, framed: Description) -> list[tuple[str, str, Description, ForeignPolicy]]:
    """What is wrong, words of its cure, the description that it is a change of, and the wrong one."""
    settings = found.settings
    rate = next(term.scale for term in settings.observation if term.term == "base_ang_vel")
    swap = swapped(settings, "joint_pos", "previous_action")
    return [
        ("joints alphabetical", "robot.yaml's order", found, with_order(found, "alphabetical")),
        ("joints breadth first", "robot.yaml's order", found, with_order(found, "breadth first (Isaac Lab)")),
        ("joints left for right", "robot.yaml's order", found, with_order(found, "the order of robot.yaml, left and right swapped")),
        ("history oldest first", "by_term, newest_first", framed, with_history(framed, order="oldest_first")),
        ("history by frame", "by_term, newest_first", framed, with_history(framed, layout="by_frame")),
        ("joint_vel not scaled", "joint_vel: scale 0.05", found, with_term(settings, "joint_vel", scale=1.0)),
        ("action scale 1", "action.scale 0.25", found, changed(settings, action=settings.action.model_copy(update={"scale": 1.0}))),
        ("gravity of opposite sign", "gravity: of opposite sign", found, with_term(settings, "projected_gravity", scale=-1.0)),
        (
            "gyroscope turned about z",
            "base_ang_vel: turned about z",
            found,
            with_term(settings, "base_ang_vel", scale=(-rate, -rate, rate)),
        ),
        ("joint_pos and previous_action swapped", "in each other's place", found, swap),
    ]


def main() -> int:
    found, missed = read(Path(sys.argv[1])), 0
    print(f"{found.file.name} on {found.robot.name}")
    with tempfile.TemporaryDirectory() as folder:
        framed = behind_history(found, Path(folder))
        for wrong, cure, base, settings in misconfigured(found, framed):
            began = time.monotonic()
            first = next(search(describe(settings, base.file.parent)))
            named = [outcome.variation.words for outcome in first.better]
            right = any(cure in words for words in named)
            missed += not right
            score = f"{first.described.upright:.2f} upright, {first.described.tracking:.2f} tracking"
            best = first.outcomes[0]
            verdict, seconds = "found " if right else "MISSED", time.monotonic() - began
            print(f"{verdict} | {wrong:38} | {score} | {best.upright:.2f}, {best.tracking:.2f} | {named[:6]} | {seconds:.0f} s", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
