"""``python -m deploy`` on a simulated robot, interrupted as a terminal would, and files that it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.__main__ import main, read
from robots import InputError

ROOT = Path(__file__).parents[2]
GOOD = """
policy: {policy}
interface: {{name: sim}}
duration: 60
commands: [[0, [0.3, 0, 0]]]
limits: {{max_tilt: 0.7}}
"""


@pytest.fixture
def good(tmp_path, bundle):
    return GOOD.format(policy=bundle)


def test_an_interrupted_run_stands_up_and_ends_in_damping_and_says_what_it_came_to(tmp_path, good):
    (tmp_path / "go2.yaml").write_text(good)
    errors = tmp_path / "stderr"
    command = [sys.executable, "-m", "deploy", str(tmp_path / "go2.yaml")]
    run = subprocess.Popen(command, cwd=ROOT, process_group=0, stdout=subprocess.PIPE, stderr=errors.open("w"), text=True)
    limit = time.monotonic() + 30
    while "guard: following" not in errors.read_text():
        assert run.poll() is None, errors.read_text()
        assert time.monotonic() < limit
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(run.pid, signal.SIGINT)
    output, _ = run.communicate(timeout=30)
    summary = json.loads(output)
    assert run.returncode == 1  # it never walked
    assert not summary["passed"]
    assert summary["robot"] == "unitree_go2"
    assert any("idle -> stand_up" in event["detail"] for event in summary["events"])
    assert summary["final_state"] in ("damping", "fault")  # a fault where the machine is too busy to keep time
    assert errors.read_text().endswith("guard: has spoken its last word\n")


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("duration: 60", "duration: -1", "duration"),
        ("duration: 60", "duration: .inf", "duration"),
        ("duration: 60", "duration: yes", "duration"),
        ("duration: 60\n", "", "duration"),
        ("duration", "durations", "file.durations"),
        ("max_tilt", "tilt", "limits.tilt"),
        ("max_tilt: 0.7", "max_tilt: -1", "deploy.limits.max_tilt"),
        ("{name: sim}", "sim", "interface"),
        ("{name: sim}", "{network: lo}", "interface"),
        ("policy:", "policy: [", "file"),
        ("commands", "[1]", "file"),
    ],
)
def test_a_file_with_a_mistake_is_refused_by_the_name_of_the_field(tmp_path, good, old, new, field):
    path = tmp_path / "go2.yaml"
    path.write_text(good.replace(old, new))
    with pytest.raises(InputError) as error:
        read(path)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [("name: sim", "name: simm", "Did you mean sim"), ("[0.3, 0, 0]", "[0.3]", "commands"), ("policy.onnx", "no.onnx", "no.onnx")],
)  # fmt: skip
def test_what_cannot_begin_is_said_in_a_line_and_ends_with_status_2(tmp_path, good, capfd, old, new, word):
    path = tmp_path / "go2.yaml"
    path.write_text(good.replace(old, new))
    assert main([str(path)]) == 2
    assert word in capfd.readouterr().err


def test_without_a_file_it_says_what_one_holds(capsys):
    assert main([]) == 2
    assert "policy: policy.onnx" in capsys.readouterr().err
    assert main(["missing.yaml"]) == 2
    assert "missing.yaml" in capsys.readouterr().err
