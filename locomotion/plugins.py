"""Terms and algorithms of one's own: Python files or packages that the configuration names."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from robots.errors import InputError


def load(names: Sequence[str] | str) -> None:
    """Import each plugin: the path of a ``.py`` file, or the name of an installed package. Importing one twice does nothing.

    Raises:
        InputError: not found, or it raised while it was imported.
    """
    for name in (names,) if isinstance(names, str) else names:
        path = Path(name)
        if not name.endswith(".py"):
            _import_package(name)
            continue
        if not path.is_file():
            raise InputError(
                "plugins",
                name,
                "the path of a Python file, or the name of a package",
                "It is looked for from the folder that you are in: go where the run was started, or give the whole path.",
            )
        module_name = f"locomotion_plugin_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
        if module_name in sys.modules:
            continue
        specification = importlib.util.spec_from_file_location(module_name, path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[module_name] = module  # before it runs: annotations are looked up there
        try:
            specification.loader.exec_module(module)
        except (Exception, SystemExit, GeneratorExit) as error:  # whatever a file of somebody else's raises
            del sys.modules[module_name]
            raise InputError("plugins", name, "a file that can be imported", f"{type(error).__name__}: {error}") from error


def _import_package(name: str) -> None:
    try:
        importlib.import_module(name)
    except (Exception, SystemExit, GeneratorExit) as error:
        raise InputError("plugins", name, "a package that can be imported", f"{type(error).__name__}: {error}") from error
