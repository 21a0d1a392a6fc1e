"""The left-right mirror of a robot: how signals of its joints and feet look in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robots import fields
from robots.errors import InputError


@dataclass(frozen=True)
class Mirror:
    """Left-right mirror of per-joint and per-foot signals: ``mirrored = sign * signal[index]``."""

    joint_index: np.ndarray  # [J] int
    joint_sign: np.ndarray  # [J] +-1
    foot_index: np.ndarray  # [F] int


def read_mirror(field: str, value: object, joints: tuple[str, ...], feet: tuple[str, ...]) -> Mirror:
    """From ``swap``, beginnings of names that change places, and ``negate``, patterns of joints that turn the other way.

    A mirror applied twice changes nothing; whether it is the mirror of the robot's geometry is asked of the model.
    """
    data = fields.mapping(field, value, ("swap", "negate"))
    swap = {}
    for left, right in fields.mapping(f"{field}: swap", data["swap"]).items():
        for one, other in ((left, fields.text(f"{field}: swap", right)), (right, left)):
            if swap.setdefault(one, other) != other:
                remedy = f"'{one}' changes places with two others: keep one."
                raise InputError(f"{field}: swap", one, "pairs, each side in one pair", remedy)

    def index(names: tuple[str, ...]) -> np.ndarray:
        images = [_image(name, swap) for name in names]
        for name, image in zip(names, images, strict=True):
            if image not in names:
                raise InputError(f"{field}: swap", name, "names whose mirror image exists", f"There is no '{image}'. Known: {list(names)}.")
        found = np.array([names.index(image) for image in images])
        for i in np.flatnonzero(found[found] != np.arange(len(names))):
            allowed = "a mirror that, applied twice, changes nothing"
            raise InputError(f"{field}: swap", names[i], allowed, "Write whole beginnings, {FL_: FR_}.")
        return fields.read_only(found)

    joint_index, foot_index = index(joints), index(feet)
    sign = np.ones(len(joints))
    sign[fields.matching(f"{field}: negate", data["negate"], joints)] = -1.0
    for i in np.flatnonzero(sign != sign[joint_index]):
        allowed = "the same sign for a joint and its mirror image"
        raise InputError(f"{field}: negate", joints[i], allowed, f"Negate {joints[i]} and {joints[joint_index[i]]} both, or neither.")
    return Mirror(joint_index, fields.read_only(sign), foot_index)


def _image(name: str, swap: dict[str, str]) -> str:
    for beginning, replacement in swap.items():
        if name.startswith(beginning):
            return replacement + name[len(beginning) :]
    return name
