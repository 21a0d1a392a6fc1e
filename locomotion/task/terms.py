"""The pieces that a task is made of, by kind and name. A file of one's own adds to them with the same decorators:

    from locomotion.task.terms import reward

    @reward
    def joint_speed(frame, *, limit: Positive = 10.0):
        return (frame.signals.joint_vel.abs() - limit).clamp(min=0).sum(dim=-1)

A term's settings are its keyword-only parameters; their annotations are the types and bounds that YAML is held to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from locomotion.schema import check, parameters_of
from robots.errors import InputError, nearest

T = TypeVar("T", bound=Callable[..., Any])


class Registry:
    """Terms of one kind, by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.terms: dict[str, Callable[..., Any]] = {}

    def __call__(self, term: T) -> T:
        """Decorator: make ``term`` known under its own name. Raises InputError where the toolkit has one of that name."""
        name, known = term.__name__, self.terms.get(term.__name__)
        if known is not None and known.__module__ != term.__module__ and known.__module__.startswith("locomotion."):
            raise InputError(f"{self.kind} term", name, "a name that is not taken", f"{known.__module__} has one: choose another.")
        self.terms[name] = term
        return term

    def bind(self, field: str, name: str, settings: Mapping[str, Any] | None, without: tuple[str, ...] = ()) -> partial[Any]:
        """The term of ``name`` (or of the setting ``term``) with its settings fixed; ``without`` names settings of others.

        Raises:
            InputError: no such term, no such setting, or a value out of bounds, each by its full name ``field.name.key``.
        """
        if settings is not None and not isinstance(settings, Mapping):
            raise InputError(f"{field}.{name}", settings, f"the settings of a {self.kind} term, as key: value", "For example {}.")
        own = {key: value for key, value in (settings or {}).items() if key not in without}
        kind = own.pop("term", name)
        if not isinstance(kind, str) or kind not in self.terms:
            remedy = f"{nearest(str(kind), self.terms)} One of your own needs plugins=[FILE.py]."
            raise InputError(f"{field}.{name}", kind, f"the name of a term: {self.kind}", remedy)
        term = self.terms[kind]
        known = [*parameters_of(term, kind).model_fields, *without, "term"]
        for key in own:
            if key not in known:
                raise InputError(f"{field}.{name}.{key}", own[key], f"a setting of {kind}", nearest(key, known))
        values = check(parameters_of(term, kind), own, f"{field}.{name}")
        return partial(term, **{key: getattr(values, key) for key in type(values).model_fields})


command, observation, privileged = Registry("command"), Registry("observation"), Registry("privileged observation")
reward, metric, termination = Registry("reward"), Registry("metric"), Registry("termination")
reset, event, curriculum = Registry("reset"), Registry("event"), Registry("curriculum")
