"""Compose Hydra configuration from command-line overrides, with one clear error for each wrong one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import configs
from robots.errors import InputError, nearest

FOLDER = Path(configs.__file__).parent
GROUPS = ("task", "sim", "algorithm", "randomization", "deploy", "script", "learner")
SHOWN_BY = " (--help)"
SEVERAL = ("evaluate", "export", "conformance")  # commands that take several engines
# tables that a person may add entries to; their entries are checked where they are bound
OPEN = (
    "task.commands.", "task.observations.actor.", "task.observations.critic.", "task.rewards.", "task.constraints.",
    "task.terminations.", "task.resets.", "task.metrics.", "task.curricula.", "randomization.parameters.", "randomization.noise.",
    "randomization.bias.", "randomization.events.", "rewards.", "plant.",
)  # fmt: skip


def search_path() -> list[Path]:
    """Folders of configuration, first found first: ``$LOCOMOTION_CONFIGS``, ``./configs``, and the toolkit's own."""
    named = [Path(part) for part in os.environ.get("LOCOMOTION_CONFIGS", "").split(os.pathsep) if part]
    folders: list[Path] = []
    for folder in (*named, Path("configs"), FOLDER):
        if folder.is_dir() and folder.resolve() not in folders:
            folders.append(folder.resolve())
    return folders


def options(group: str) -> list[str]:
    """The alternatives of a group."""
    return sorted({path.stem for folder in search_path() for path in (folder / group).glob("*.yaml")})


def found(group: str, name: str) -> Path | None:
    """The file of an alternative."""
    return next((path for folder in search_path() if (path := folder / group / f"{name}.yaml").is_file()), None)


def compose(command: str, overrides: list[str]) -> dict[str, Any]:
    """The configuration of ``command`` (a file of ``configs/``) with ``key=value`` overrides, as plain containers.

    Raises:
        InputError: an override that is not ``key=value`` or names nothing, or a missing value. Types and bounds are checked by
            :mod:`locomotion.settings`.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from omegaconf import OmegaConf

    given = [_normalized(command, override) for override in overrides]
    several = [value for key, value in given if key == "sim" and value.startswith("[")]
    if several:
        return _of_engines(command, [override for override in overrides if _normalized(command, override)[0] != "sim"], several[-1])
    groups = [f"{key}={value}" for key, value in given if key in GROUPS]
    for key, value in given:
        if key in GROUPS and value not in options(key):
            hint = "It brings its tasks: env=isaacgym:Anymal (docs/isaacgym.md)." if value == "isaacgym" else nearest(value, options(key))
            raise InputError(key, value, f"the name of a file in configs/{key}/", hint)
    own = [folder for folder in search_path() if folder != FOLDER.resolve()]
    _refuse_doubles(own)
    if own:
        groups.append("hydra.searchpath=[" + ",".join(f"'file://{folder}'" for folder in own) + "]")
    try:
        with initialize_config_module("configs", version_base="1.3"):
            plain = OmegaConf.to_container(hydra_compose(command, groups), resolve=True)
            assert isinstance(plain, dict)
            words = [readable(_addressed(key, value, plain)) for key, value in given if key not in GROUPS]
            composed = hydra_compose(command, groups + words)
            missing = OmegaConf.missing_keys(composed)
            if missing:
                name = min(missing)
                raise InputError(name, "nothing", "a value", f"Add {name}=... (--help says what it is).")
            result = OmegaConf.to_container(composed, resolve=True)
    except InputError:
        raise
    except Exception as error:  # hydra raises types of its own for each kind of bad override or file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError("configuration", " ".join(overrides), "key=value, and YAML files that can be read", reason[:400]) from error
    assert isinstance(result, dict)
    return {str(key): value for key, value in result.items()}


def _of_engines(command: str, overrides: list[str], listed: str) -> dict[str, Any]:
    """The configuration of a command for several engines, ``sim=[mujoco,pybullet]``: its ``sim`` is a list of their settings."""
    names = [name.strip() for name in listed.strip("[]").split(",")]
    if command not in SEVERAL or len(set(names)) < len(names) or "" in names:
        allowed = "different engines in a list" if command in SEVERAL else "one engine"
        raise InputError("sim", listed, allowed, f"For example sim=mujoco. Several: locomotion {' or '.join(SEVERAL)}.")
    others = [override for override in overrides if not _key(override).startswith("sim.")]
    own = [override for override in overrides if override not in others]
    known = {name: _keys("", compose(command, [*others, f"sim={name}"])) for name in names}
    for key in map(_key, own):
        every = sorted({name for keys in known.values() for name in keys if name.startswith("sim.")})
        if key not in every:
            raise InputError("override", key, f"a setting of {' or '.join(names)}", nearest(key, every, SHOWN_BY))
    # a setting goes to the engines that have it: sim.device to mujoco_warp
    each = [compose(command, [*others, f"sim={name}", *(one for one in own if _key(one) in known[name])]) for name in names]
    return each[0] | {"sim": [config["sim"] for config in each]}


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def quoted(text: object) -> str:
    """``text``, which ends in no backslash, as the value of an override, whatever is in it."""
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", str(text)).replace("${", "\\${") + "'"


def readable(override: str) -> str:
    """``override``, its value quoted where Hydra's grammar has no word for it: a path with an umlaut, a ``~``, a ``#`` or a bracket."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = override.partition("=")
    if not equals or value.startswith(("[", "{", "'", '"')) or value.endswith("\\"):
        return override
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return f"{key}={quoted(value)}"
    return override


def _refuse_doubles(own: list[Path]) -> None:
    """A file of one's own with the name of one of the toolkit's would be passed over in silence."""
    for folder in own:
        if "'" in str(folder):
            raise InputError("configs", str(folder), "a folder without a quote in its path", "Move it.")
        for group in GROUPS:
            for path in (folder / group).glob("*.yaml"):
                if (FOLDER / group / path.name).is_file():
                    raise InputError(
                        f"configs/{group}", str(path), "a name that the toolkit does not use", "Rename it, and choose it by name."
                    )


def _normalized(command: str, override: str) -> tuple[str, str]:
    """Key and value; Hydra's signs for adding are not needed, and for removing a term there is null."""
    key, equals, value = override.partition("=")
    key = key.lstrip("+")
    if not equals or not key or key.startswith("~"):
        main = {"report": "run", "compare": "runs", "export": "checkpoint", "train": "resume"}.get(command, "policy")
        hint = f"Did you mean {main}={override}?" if not equals and key[:1].isalnum() and ("/" in key or "." in key) else ""
        raise InputError("override", override, "key=value", hint or "For example seed=2; key=null removes a term.")
    return key, value


def _addressed(key: str, value: str, plain: dict[Any, Any]) -> str:
    known = set(_keys("", plain))
    if value == "null" and key.startswith(OPEN) and key not in known:
        entries = [name for name in known if name.startswith(OPEN)]
        raise InputError("override", f"{key}=null", "the name of an entry to remove", nearest(key, entries, SHOWN_BY))
    if f"{key}." in OPEN and value.replace(" ", "") == "{}":
        raise InputError("override", f"{key}={{}}", "an entry to add or change", f"Remove entries one by one: {key}.NAME=null.")
    if key.startswith(OPEN) or f"{key}." in OPEN:
        return f"++{key}={value}"
    if key in known:
        return f"{key}={value}"
    last = key.rpartition(".")[2]
    close = [name for name in known if name.rpartition(".")[2] == last] or known
    raise InputError("override", key, "the name of a setting", nearest(key, close, SHOWN_BY))


def _keys(prefix: str, node: dict[Any, Any]) -> list[str]:
    names: list[str] = []
    for key, value in node.items():
        names.append(f"{prefix}{key}")
        if isinstance(value, dict):
            names += _keys(f"{prefix}{key}.", value)
    return names
