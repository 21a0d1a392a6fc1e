"""The example in docs/finetuning.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.locomotion.finetuning import standing

PAGE = Path(__file__).parents[3] / "docs" / "finetuning.md"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    standing.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(names["first"].episodes) == 1
    assert names["far"] > 0.0
    assert names["verdict"].pairs == 2
    assert Path("first.mcap").exists()


def test_every_setting_that_the_page_names_exists() -> None:
    configs = PAGE.parents[1] / "configs"
    settings = "".join(path.read_text() for path in (configs / "finetune.yaml", *(configs / "learner").glob("*.yaml")))
    for name in re.findall(r"`((?:learner|gate|box|ends)\.\w+|\w+_\w+)`", PAGE.read_text().split("```python")[0]):
        assert f"{name.rpartition('.')[2]}:" in settings, name
