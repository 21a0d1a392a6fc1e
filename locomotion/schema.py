"""Types and bounds of settings: one small vocabulary for every configuration, with pydantic's errors said our way."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from robots.errors import InputError, nearest

LARGE = 1.0e6  # no quantity of a walking robot is larger in SI units
Positive = Annotated[float, Field(gt=0, le=LARGE, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=LARGE, allow_inf_nan=False)]
Finite = Annotated[float, Field(ge=-LARGE, le=LARGE, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Text = Annotated[str, Field(min_length=1)]


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] <= value[1]:
        raise ValueError("[min, max] with min <= max")
    return value


Range = Annotated[tuple[Finite, Finite], AfterValidator(_ordered)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]


def present(value: Any) -> Any:
    """A mapping without the entries that are null: how a configuration removes one."""
    return {name: entry for name, entry in value.items() if entry is not None} if isinstance(value, dict) else value


class Settings(BaseModel):
    """A group of settings: immutable, every key known, numbers and flags not taken from text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


S = TypeVar("S", bound=BaseModel)
_EMPTY = inspect.Parameter.empty


def check(model: type[S], data: Any, field: str = "") -> S:
    """``data`` as ``model``. Raises one InputError that names the setting under ``field``, its value and what is allowed."""
    try:
        return model.model_validate(_tuples(data))
    except ValidationError as error:
        raise _input_error(model, error, field) from error


def refuse_unused(given: Mapping[str, Any], unused: Mapping[str, str]) -> None:
    """Raises InputError where a person has ``given`` a setting that plays no part; ``unused`` says why, by name."""
    for name, why in unused.items():
        if name in given:
            raise InputError(name, given[name], "nothing", f"{why}: leave {name} out.")


def parameters_of(function: Callable, name: str) -> type[BaseModel]:
    """The settings that a term takes: its keyword-only parameters, with their types, bounds and defaults."""
    own = {key: value for key, value in inspect.signature(function).parameters.items() if value.kind is inspect.Parameter.KEYWORD_ONLY}
    # annotations as written, looked up where the term was written; those of its other arguments may not exist at run time
    written = SimpleNamespace(__annotations__={key: value.annotation for key, value in own.items() if value.annotation is not _EMPTY})
    hints = get_type_hints(written, globalns=vars(sys.modules[function.__module__]), include_extras=True)
    fields: dict[str, Any] = {key: (hints.get(key, Any), ... if value.default is _EMPTY else value.default) for key, value in own.items()}
    return create_model(name, __base__=Settings, **fields)


def _tuples(data: Any) -> Any:
    """Lists as tuples: YAML and JSON know lists only, strict settings tuples only."""
    if isinstance(data, Mapping):
        return {key: _tuples(value) for key, value in data.items()}
    return tuple(_tuples(value) for value in data) if isinstance(data, list | tuple) else data


def _input_error(model: type[BaseModel], error: ValidationError, field: str) -> InputError:
    first = error.errors(include_url=False)[0]
    own = first.get("ctx", {}).get("error")
    if isinstance(own, InputError):
        return own
    path = ".".join(str(part) for part in (field, *first["loc"]) if str(part) != "")
    kind, message, value = first["type"], first["msg"], first.get("input")
    if kind == "extra_forbidden":
        key = str(first["loc"][-1])
        known = _known_keys(model, first["loc"][:-1])
        return InputError(path, value, "no such setting", nearest(key, known) if known else "Remove it.")
    if kind == "missing" and isinstance(first["loc"][-1], int):
        path, last = path.rpartition(".")[0], first["loc"][-1]
        return InputError(path, value, f"a list of more than {last} entries", "Write [first, second], as [min, max] of a range.")
    if kind == "missing":
        return InputError(path, None, "a value", f"Add {path}=...")
    said = re.sub(r"^(Value error, |[A-Z]\w+ should (be |have )?)", "", message)
    said = said.replace("a valid tuple", "a list, such as [min, max]")
    allowed = re.sub("a valid dictionary( or instance of .*)?", "settings as {key: value}", said).replace(" after validation", "")
    return InputError(path, value, allowed, f"Change {path}, or leave it out for its default.")


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (inspect.isclass(annotation) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def plain(settings: BaseModel) -> dict[str, Any]:
    """Settings as dicts, lists, numbers and strings, for YAML and checkpoints."""
    return settings.model_dump(mode="json")


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``change`` laid over it, mapping by mapping."""
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
