"""The one shape of an error about bad input, shared by every layer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class InputError(ValueError):
    """Input that cannot be used: which field, what came, what is allowed, and how to mend it."""

    def __init__(self, field: str, value: object, allowed: str, remedy: str) -> None:
        super().__init__(" ".join(f"{field}: got {_short(value)}; expected {allowed}. {remedy}".split()))
        self.field, self.value, self.allowed, self.remedy = field, value, allowed, remedy


@dataclass(frozen=True)
class Finding:
    """One thing that a check found: an error where the input cannot be used so, else a warning to look."""

    error: bool
    problem: InputError

    def __str__(self) -> str:
        return f"{'error' if self.error else 'warning'}: {self.problem}"


def wrong(field: str, value: object, allowed: str, remedy: str) -> Finding:
    """An error that was found."""
    return Finding(True, InputError(field, value, allowed, remedy))


def doubtful(field: str, value: object, allowed: str, remedy: str) -> Finding:
    """A warning to look."""
    return Finding(False, InputError(field, value, allowed, remedy))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:120]} ... {text[-40:]}"


MOST_KNOWN = 30  # names that are all said


def nearest(name: str, known: Iterable[str], others: str = "") -> str:
    """A remedy that names the entries of ``known`` closest to ``name``; where none is close all of them, or of many a few.

    ``others`` says where a person finds those that are left out.
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or [known for known in names if name and name in known]
    if 0 < len(close) <= MOST_KNOWN:
        return f"Did you mean {' or '.join(close)}?"
    if len(names) <= MOST_KNOWN:
        return f"Known: {', '.join(names) or 'none'}."
    few = difflib.get_close_matches(name, close or names, n=5, cutoff=0.0)
    return f"Nearest: {', '.join(few)}; {len(names) - len(few)} more{others}."
