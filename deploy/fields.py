"""The fields of an untrusted JSON object, each checked as it is read."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from robots import InputError

FLOAT32_MAX = float(np.finfo(np.float32).max)


class ContractError(InputError):
    """A policy bundle that must not run."""


def error(field: str, value: object, allowed: str, remedy: str = "Export the policy anew.") -> ContractError:
    """Of a field of the contract; a long or deep value is shortened."""
    if isinstance(value, str):
        value = value[:80]
    elif value is not None and not isinstance(value, bool | float):
        value = reprlib.repr(value)[:200]
    return ContractError(f"policy_contract{field and '.'}{field}", value, allowed, remedy)


class Fields:
    """Reads ``data[name]`` and raises ContractError, with the field's name, for anything but what was asked for."""

    def __init__(self, data: object, where: str = "") -> None:
        if not isinstance(data, Mapping):
            raise error(where, data, "a JSON object")
        self.data: dict[str, Any] = dict(data)
        self._prefix = f"{where}." if where else ""

    def error(self, name: str, allowed: str) -> ContractError:
        return error(self._prefix + name, self._get(name), allowed)

    def _get(self, name: str) -> Any:
        return self.data.get(name)

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str) or not value:
            raise self.error(name, "a text")
        return value

    def integer(self, name: str, low: int) -> int:
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise self.error(name, f"an integer of at least {low}")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        value = self._get(name)
        if not _is_number(value) or not low <= value <= high:
            raise self.error(name, f"a number in [{low}, {high}]")
        return float(value)

    def names(self, name: str, known: Collection[str] | None = None) -> tuple[str, ...]:
        """At least one, each once; of ``known``, if given."""
        values = self._get(name)
        if not isinstance(values, list | tuple) or not values or not all(isinstance(value, str) and value for value in values):
            raise self.error(name, "a list of at least one name")
        if len(set(values)) < len(values):
            raise self.error(name, "names that differ from each other")
        if known is not None and not set(values) <= set(known):
            raise self.error(name, f"some of {tuple(known)}")
        return tuple(values)

    def array(self, name: str, *shape: int | None) -> np.ndarray:
        """Finite float64 numbers that a float32 holds; None in ``shape`` is any length of at least one, 0 an empty list."""
        value = self._get(name)
        try:
            array = np.array(value, dtype=np.float64) if _fits(value, shape) else None
            if shape and shape[0] == 0 and array is not None:
                array = array.reshape([length or 0 for length in shape])
        except (ValueError, OverflowError):  # ragged, or an integer beyond every float
            array = None
        if array is None or not (np.abs(array) <= FLOAT32_MAX).all():
            words = " x ".join("any" if length is None else str(length) for length in shape)
            raise self.error(name, f"finite numbers, {words}")
        return array

    def within(self, name: str, length: int, low: float, high: float) -> np.ndarray:
        """[length], each in [low, high]."""
        array = self.array(name, length)
        if not ((array >= low) & (array <= high)).all():
            raise self.error(name, f"numbers in [{low:g}, {high:g}]")
        return array

    def ranges(self, name: str, length: int, largest: float) -> np.ndarray:
        """[length, 2], low before high, both within +-``largest``."""
        array = self.array(name, length, 2)
        if not ((array[:, 0] <= array[:, 1]).all() and (np.abs(array) <= largest).all()):
            raise self.error(name, f"pairs [low, high] with low not above high, within {largest:g} of zero")
        return array

    def objects(self, name: str, at_least: int = 0) -> list[Fields]:
        """A list of JSON objects."""
        values = self._get(name)
        if not isinstance(values, list | tuple) or len(values) < at_least:
            raise self.error(name, f"a list of JSON objects, at least {at_least}")
        return [Fields(value, f"{self._prefix}{name}[{i}]") for i, value in enumerate(values)]

    def read(self, name: str) -> Fields:
        """A JSON object of further fields."""
        return Fields(self._get(name), self._prefix + name)

    def mapping(self, name: str, keys: Collection[str] = ()) -> dict[str, Any]:
        """A JSON object with at least ``keys``; whatever is in it, its numbers are finite."""
        value = self._get(name)
        if not isinstance(value, dict):
            raise self.error(name, "a JSON object")
        if missing := [key for key in keys if key not in value]:
            raise error(f"{self._prefix}{name}.{missing[0]}", None, "a value, null where it is not known")
        parts: list[Any] = [value]
        while parts:
            part = parts.pop()
            if isinstance(part, dict | list | tuple):
                parts.extend(part.values() if isinstance(part, dict) else part)
            elif isinstance(part, float) and not math.isfinite(part):
                raise self.error(name, "finite numbers")
        return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fits(value: Any, shape: tuple[int | None, ...]) -> bool:
    """Whether ``value`` is nested lists of numbers, and of numbers alone: numpy would also take text and truth values."""
    if not shape:
        return _is_number(value)
    if not isinstance(value, list | tuple) or len(value) != (len(value) if shape[0] is None else shape[0]):
        return False
    return shape[0] == 0 or (len(value) > 0 and all(_fits(part, shape[1:]) for part in value))
