"""Compose Hydra configuration from command-line overrides, with one clear error for each wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import configs
from robots.errors import InputError, nearest

FOLDER = Path(configs.__file__).parent
NULLABLE = ("task.gait_frequency",)  # settings with a default that null switches off
GROUPS = ("robot", "task", "sim", "algorithm", "randomization", "deploy")


def options(group: str) -> list[str]:
    """The alternatives of a group."""
    return sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))


def compose(command: str, overrides: list[str]) -> dict[str, Any]:
    """The configuration of ``command`` (a file of ``configs/``) with ``key=value`` overrides, as plain containers.

    Raises:
        InputError: an override that is not ``key=value``, names nothing, has a value of another type, or a missing value.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from omegaconf import OmegaConf

    for override in overrides:
        if "=" not in override:
            raise InputError("override", override, "key=value", "For example seed=2.")
    choices = [override for override in overrides if _group(override)]
    for choice in choices:
        group, _, option = choice.partition("=")
        if option not in options(group):
            raise InputError(group, option, f"the name of a file in configs/{group}/", nearest(option, options(group)))
    with initialize_config_module("configs", version_base="1.3"):
        plain = OmegaConf.to_container(hydra_compose(command, choices), resolve=True)
        assert isinstance(plain, dict)
        for override in overrides:
            if not _group(override) and not override.startswith("+"):
                _check_key(override.partition("=")[0], plain)
        try:
            composed = hydra_compose(command, overrides)
        except Exception as error:  # hydra raises types of its own for each kind of bad override
            raise InputError("override", " ".join(overrides), "key=value with a YAML value", str(error).splitlines()[0]) from error
        missing = OmegaConf.missing_keys(composed)
        if missing:
            name = min(missing)
            raise InputError(name, "nothing", "a value", f"Add {name}=... ('locomotion {command} --help' says what it is).")
        result = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(result, dict)
    _check_types("", plain, result)
    return {str(key): value for key, value in result.items()}


def _group(override: str) -> bool:
    return override.partition("=")[0] in GROUPS


def _check_key(key: str, plain: dict[Any, Any]) -> None:
    known = set(_keys("", plain))
    if key not in known:
        last = key.rpartition(".")[2]
        close = [name for name in known if name.rpartition(".")[2] == last] or known
        raise InputError("override", key, "the name of a setting", nearest(key, close))


def _keys(prefix: str, node: dict[Any, Any]) -> list[str]:
    names: list[str] = []
    for key, value in node.items():
        names.append(f"{prefix}{key}")
        if isinstance(value, dict):
            names += _keys(f"{prefix}{key}.", value)
    return names


def _check_types(prefix: str, plain: dict[Any, Any], result: dict[Any, Any]) -> None:
    """Each value has the type of its default; an integer passes for a float, and anything for null."""
    for key, value in result.items():
        name, default = f"{prefix}{key}", plain.get(key)
        if isinstance(default, dict) and isinstance(value, dict):
            _check_types(f"{name}.", default, value)
        elif default is None or default == "???" or (value is None and name in NULLABLE):
            continue
        elif isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            result[key] = float(value)
        elif type(value) is not type(default):
            raise InputError(name, value, f"a value like {default!r} ({type(default).__name__})", f"For example {name}={default}.")
