"""Readers of the fields of a ``robot.yaml``: each returns a clean value, or an error that names the field and its remedy.

``field`` is what errors call the field, for example ``unitree_go2/robot.yaml: kp``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from robots.errors import InputError, nearest

Floats = np.ndarray


@dataclass(frozen=True)
class Bounds:
    """The numbers that a field admits, in ``unit``. They tell a slip from a robot, and not a good robot from a bad one."""

    low: float
    high: float
    unit: str
    remedy: str = "Check the unit and the decimal point."

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g} {self.unit}".strip()


MASS = Bounds(1e-6, 500.0, "kg", "Write null in place of mass, centre and inertia for a link that weighs nothing.")
OFFSET = Bounds(-2.0, 2.0, "m")
INERTIA = Bounds(-100.0, 100.0, "kg m^2")


def mapping(field: str, value: object, keys: Sequence[str] = (), optional: Sequence[str] = ()) -> dict[str, Any]:
    """A mapping with text as keys; with ``keys``, exactly these, of which ``optional`` ones may be missing."""
    if not isinstance(value, Mapping) or not value:
        raise InputError(field, value, "a mapping, 'key: value'", "Write one 'key: value' a line, or {key: value}.")
    for key in value:
        if not isinstance(key, str):
            raise InputError(field, key, "text as a key", f"Write '{key}' in quotes.")
        if keys and key not in (*keys, *optional):
            raise InputError(f"{field}: {key}", value[key], "a known field", nearest(key, (*keys, *optional)))
    for key in keys:
        if key not in value and key not in optional:
            raise InputError(f"{field}: {key}", None, "a value", f"The field is missing: add '{key}:'.")
    return dict(value)


def text(field: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(field, value, "text", "Write a name.")
    return value


def names(field: str, value: object) -> tuple[str, ...]:
    """At least one name, each once."""
    if not isinstance(value, list) or not value:
        raise InputError(field, value, "a list of at least one name", "Write [first, second, ...].")
    found = tuple(text(field, name) for name in value)
    for name in found:
        if found.count(name) > 1:
            raise InputError(field, name, "every name once", f"Remove the second '{name}'.")
    return found


def feet(field: str, value: object) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Names of the feet and the shapes of each: a list of shapes, one a foot, or a mapping from feet to lists of shapes."""
    if not isinstance(value, Mapping):
        found = names(field, value)
        return found, tuple((name,) for name in found)
    shapes = tuple(names(f"{field}: {foot}", listed) for foot, listed in mapping(field, value).items())
    names(field, [shape for listed in shapes for shape in listed])
    return tuple(value), shapes


def number(field: str, value: object, bounds: Bounds) -> float:
    if isinstance(value, str):
        remedy = "Write a number without quotes; YAML reads 1e-3 as text, 1.0e-3 as a number."
        raise InputError(field, value, f"a number ({bounds})", remedy)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(field, value, f"one number ({bounds})", "Write a number, such as 0.5.")
    if not bounds.low <= value <= bounds.high:  # nor is NaN within any bounds
        raise InputError(field, value, f"a number from {bounds}", bounds.remedy)
    return float(value)


def numbers(field: str, value: object, count: int, bounds: Bounds) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        raise InputError(field, value, f"a list of {count} numbers ({bounds})", f"Give exactly {count} numbers in brackets.")
    return [number(field, entry, bounds) for entry in value]


def matching(field: str, patterns: object, candidates: Sequence[str]) -> np.ndarray:
    """Indices of the names that some of the patterns match, in order. Every pattern must match one."""
    if not isinstance(patterns, list):
        raise InputError(field, patterns, "a list of names, with * for any text", 'Write ["*_hip_joint", ...].')
    for pattern in patterns:
        if not any(fnmatchcase(name, text(field, pattern)) for name in candidates):
            raise InputError(field, pattern, "a pattern that matches a joint", nearest(pattern, candidates))
    found = [i for i, name in enumerate(candidates) if any(fnmatchcase(name, pattern) for pattern in patterns)]
    return read_only(np.array(found, dtype=np.int64))


def per_joint(field: str, value: object, joints: Sequence[str], bounds: Bounds, count: int = 1) -> Floats:
    """[J], or [J, count]: figures of every joint, from one for all or from a mapping of name patterns."""
    patterns = value if isinstance(value, Mapping) else {"*": value}
    clean = {}
    for pattern, entry in patterns.items():
        matching(field, [pattern], joints)
        where = field if value is not patterns else f"{field}: {pattern}"
        clean[pattern] = number(where, entry, bounds) if count == 1 else numbers(where, entry, count, bounds)
    rows = []
    for joint in joints:
        matches = [pattern for pattern in clean if fnmatchcase(joint, pattern)]
        if len(matches) != 1:
            remedy = f"{joint} matches {' and '.join(matches)}: keep one." if matches else f"Add '{joint}' to {list(clean)}."
            raise InputError(field, joint, f"exactly one matching pattern, found {len(matches)}", remedy)
        rows.append(clean[matches[0]])
    return read_only(np.array(rows, dtype=np.float64))


def links(field: str, value: object) -> dict[str, Floats]:
    """[10] of each link: mass, centre of mass, inertia about it along the link's axes; null for a link that weighs nothing."""
    found = {}
    for name, entry in mapping(field, value).items():
        figures = np.zeros(10)
        if entry is not None:
            parts = mapping(f"{field}: {name}", entry, ("mass", "centre", "inertia"))
            figures[0] = number(f"{field}: {name}: mass", parts["mass"], MASS)
            figures[1:4] = numbers(f"{field}: {name}: centre", parts["centre"], 3, OFFSET)
            figures[4:] = numbers(f"{field}: {name}: inertia", parts["inertia"], 6, INERTIA)
        found[name] = read_only(figures)
    return found


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
