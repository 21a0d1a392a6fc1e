"""The extras that code and docs tell a person to install exist, also for the pip that Debian's Python 3.11 brings."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
NAMED = re.compile(r"(?:sim2real-locomotion|['\"]\.|\(`)\[([\w.,-]+)\]|the extra ``([\w-]+)``")


def test_names_are_normalised():
    """pip before 23.3 does not find an extra that is declared with an underscore: the package's metadata has a hyphen (PEP 685)."""
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in EXTRAS} == EXTRAS


def test_each_that_is_named_exists():
    rooms = ("robots", "sim", "locomotion", "deploy", "configs", "docs", "benchmarks")
    files = [path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".md", ".yaml")]
    named = {
        name: path
        for path in [*files, *(ROOT / name for name in ("README.md", "Makefile", "pyproject.toml"))]
        for words in NAMED.findall(path.read_text())
        for name in "".join(words).split(",")
    }
    assert EXTRAS > {"stable-baselines", "ray", "unitree", "offline", "warp"} <= set(named), "the pattern finds what it looks for"
    assert {name: path for name, path in named.items() if name not in EXTRAS} == {}
