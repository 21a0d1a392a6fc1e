"""docs/randomization.md says what the table, the engines, the default ranges and the tests say."""

from pathlib import Path

import yaml

from sim import PARAMETERS
from sim.mujoco_batch import MujocoSimulator
from sim.mujoco_warp import WarpSimulator
from sim.pybullet import PybulletSimulator

ROOT = Path(__file__).parents[3]


def test_the_page_is_true():
    ranges = yaml.safe_load((ROOT / "configs/randomization/default.yaml").read_text())["parameters"]
    lines = (ROOT / "docs/randomization.md").read_text().splitlines()
    rows = [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    rows = [row for row in rows if len(row) == 7]  # of physical parameters
    assert [row[0] for row in rows] == list(PARAMETERS)
    tests = "".join(path.read_text() for path in (ROOT / "tests/sim").glob("test_*.py"))
    for name, unit, nominal, span, engines, text, test in rows:
        parameter, able = PARAMETERS[name], [e.engine for e in (MujocoSimulator, WarpSimulator, PybulletSimulator) if name in e.supports]
        assert (unit, float(nominal), text) == (parameter.unit, parameter.nominal, parameter.text)
        assert yaml.safe_load(span) == ranges.get(name, False)  # YAML reads "off" as false
        assert engines == ", ".join(able)
        assert f"def {test}(" in tests
