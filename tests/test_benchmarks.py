"""Benchmarks are run by people, seldom: that they still begin is what tests can say."""

import ast
import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import parity

FOLDER = Path(parity.__file__).parent


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_finds_all_that_it_takes_from_this_project(path):
    """Names imported from our packages, and attributes read of our modules, exist."""
    tree = ast.parse(path.read_text())
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("locomotion", "sim", "robots", "deploy"):
            module = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name):
                    modules[name.asname or name.name] = importlib.import_module(f"{node.module}.{name.name}")
                elif type(getattr(module, name.name)) is type(ast):
                    modules[name.asname or name.name] = getattr(module, name.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), f"{path.name}:{node.lineno}: {node.value.id}.{node.attr}"


def test_parity_trains_ours():
    case = replace(parity.CASES["a2c_cartpole"], steps=200)
    actor, steps, seconds = parity.ours(case, 1)
    assert steps >= 200
    assert seconds > 0
    assert sum(p.numel() for p in actor.parameters()) > 100
