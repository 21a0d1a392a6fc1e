"""A robot and a hand-made bundle: nothing here needs torch or a trained policy."""

from __future__ import annotations

from pathlib import Path

import pytest

import robots
from tests.deploy import bundles


@pytest.fixture(scope="session")
def go2() -> robots.Robot:
    return robots.load("unitree_go2")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, go2: robots.Robot) -> Path:
    """A policy bundle of the present version, made once."""
    return bundles.write_tiny(tmp_path_factory.mktemp("bundle") / "policy.onnx", go2)
