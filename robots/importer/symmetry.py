"""Which legs are each other's mirror image, found and verified by where their joints are and how they turn."""

from __future__ import annotations

import numpy as np

from robots.errors import InputError
from robots.importer.limbs import Limbs, legs_as_modelled
from robots.importer.read import Source

TOLERANCE = 0.02  # m, between a joint and the mirror image of its partner


def find_pairs(source: Source, limbs: Limbs) -> tuple[list[int], list[list[float]]]:
    """For each leg the index of its mirror image, and the sign that each of its joints' angles takes in the mirror.

    A turn about an axis a looks in the mirror of the plane y = 0 like one about (-a_x, a_y, -a_z).

    Raises:
        InputError: a leg has no mirror image.
    """
    model = source.model
    data = legs_as_modelled(model, limbs)
    origin, axes = data.xpos[limbs.base], data.xmat[limbs.base].reshape(3, 3)
    anchors = [(data.xanchor[list(leg.joints)] - origin) @ axes for leg in limbs.legs]
    turns = [data.xaxis[list(leg.joints)] @ axes for leg in limbs.legs]
    pairs, signs = [], []
    for i, leg in enumerate(limbs.legs):
        errors = [
            np.abs(anchors[i] * (1, -1, 1) - anchors[j]).max() if len(anchors[i]) == len(anchors[j]) else np.inf
            for j in range(len(limbs.legs))
        ]
        j = int(np.argmin(errors))
        cosine = (turns[i] * (-1, 1, -1) * turns[j]).sum(1) if np.isfinite(errors[j]) else np.zeros(1)
        if errors[j] > TOLERANCE or (np.abs(cosine) < 0.98).any():
            allowed = f"legs that are mirror images left and right; that of {leg.name} misses by {errors[j]:.3f} m"
            raise InputError("import: symmetry", leg.name, allowed, "Is x forward and y left in the base's frame?")
        pairs.append(j)
        signs.append(np.sign(cosine).tolist())
    return pairs, signs


def prefixes(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Beginnings of names that change places, for ``robot.yaml``: short ones where they serve, else whole names."""
    short = {}
    for left, right in pairs:
        common = 0
        while common < min(len(left), len(right)) and left[-1 - common] == right[-1 - common]:
            common += 1
        cut = left[len(left) - common :].find("_") + 1  # to the end of the word
        one, other = left[: len(left) - common + cut], right[: len(right) - common + cut]
        short[one] = other
    whole = dict(sorted(pairs, key=lambda pair: -len(pair[0])))
    images = {**short, **{right: left for left, right in short.items()}}

    def image(name: str) -> str:
        return next((images[beginning] + name[len(beginning) :] for beginning in images if name.startswith(beginning)), name)

    good = len(images) == 2 * len(short) and all(image(left) == right and image(right) == left for left, right in pairs)
    return short if good and all(short) else whole
