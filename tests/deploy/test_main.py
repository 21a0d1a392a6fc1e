"""``python -m deploy`` on a simulated robot, interrupted as a terminal would, and files that it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.__main__ import main, read
from deploy.log_reader import read_log
from robots import InputError
from tests.deploy import bundles

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


def test_an_interface_without_options_may_be_its_name_alone(tmp_path, good):
    texts = {"a": good, "b": good.replace("{name: sim}", "sim")}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    first, second = (read(tmp_path / name) for name in texts)
    assert first["interface"] == second["interface"] == {"name": "sim"}


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("duration: 60", "duration: -1", "duration"),
        ("duration: 60", "duration: .inf", "duration"),
        ("duration: 60", "duration: yes", "duration"),
        ("duration: 60", f"duration: 1{400 * '0'}", "duration"),
        ("max_tilt: 0.7", f"max_tilt: 1{400 * '0'}", "deploy.limits.max_tilt"),
        ("duration: 60\n", "", "duration"),
        ("duration", "durations", "file.durations"),
        ("max_tilt", "tilt", "limits.tilt"),
        ("max_tilt: 0.7", "max_tilt: -1", "deploy.limits.max_tilt"),
        ("{name: sim}", "5", "interface"),
        ("{name: sim}", "{network: lo}", "interface"),
        ("policy:", "policy: [", "file"),
        ("commands", "[1]", "file"),
        ("max_tilt: 0.7", "max_tilt: 0.7, max_tilt: 0.9", "file"),
        ("duration: 60", "duration: 60\ndry_run: 1", "dry_run"),
        ("duration: 60", "duration: 60\ncalibration: 3", "calibration"),
        ("duration: 60", "duration: 60\nlog: [a]", "log"),
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
    [
        ("name: sim", "name: simm", "Did you mean sim"),
        ("name: sim", "name: unitree_dds, network: nope0", "a robot that can be reached"),
        ("[[0, [0.3, 0, 0]]]", "remote", "an interface with a remote"),
        ("[[0, [0.3, 0, 0]]]", "keyboard", "a terminal at the standard input"),
        ("duration: 60", "duration: 60\ncalibration: none.yaml", "none.yaml"), 
        ("[0.3, 0, 0]", "[0.3]", "commands"),
        ("[0.3, 0, 0]", f"[1{400 * '0'}, 0, 0]", "commands"),
        ("name: sim", "name: sim, robot: x", "interface.robot"),
        ("name: sim", "name: sim, conditions: 5", "interface.conditions"),
        ("name: sim", "name: unitree_dds, network: lo, release: 'no'", "interface.release"),
        ("name: sim", "name: unitree_dds, network: lo, patience: .nan", "interface.patience"),
        ("name: sim", "name: unitree_dds, network: lo, domain: a", "interface.domain"),
        ("name: sim", "name: unitree_dds", "interface.network"),
        ("duration: 60", "duration: 60\nlog: .", "a file whose name ends in .mcap"),
        ("duration: 60", "duration: 60\nlog: policy.onnx", "a file whose name ends in .mcap"),
        ("policy.onnx", "no.onnx", "no.onnx"),
    ],
)  # fmt: skip
def test_what_cannot_begin_is_said_in_a_line_and_ends_with_status_2(tmp_path, good, capfd, old, new, word):
    path = tmp_path / "go2.yaml"
    path.write_text(good.replace(old, new))
    assert main([str(path)]) == 2
    assert word in capfd.readouterr().err


def test_without_a_file_it_says_what_one_holds(capsys):
    assert main([]) == 2
    assert "policy: policy.onnx" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "policy: policy.onnx" in capsys.readouterr().out
    assert main(["missing.yaml"]) == 2
    assert "missing.yaml" in capsys.readouterr().err


def test_a_dry_run_passes_without_a_guard_and_leaves_its_log(tmp_path, good, capfd):
    path = tmp_path / "go2.yaml"
    path.write_text(good.replace("duration: 60", "duration: 1\ndry_run: true\nlog: dry.mcap\ncalibration: mine.yaml"))
    (tmp_path / "mine.yaml").write_text("robot: unitree_go2\njoint_zero: {FL_calf_joint: 0.1}\n")
    assert main([str(path)]) == 0
    output, errors = capfd.readouterr()
    assert json.loads(output)["seconds"]["walk"] > 0.5
    assert "guard" not in errors
    columns = read_log(tmp_path / "dry.mcap").columns
    assert (columns["state"] == "walk").sum() > 25
    left, right = columns["joint_pos"][0][2], columns["joint_pos"][0][5]
    assert right - left == pytest.approx(0.1, abs=0.02)  # the simulated robot has its zeros where they should be


def test_a_bundle_is_inspected(bundle, tmp_path, capfd):
    assert main(["inspect", str(bundle)]) == 0
    output = capfd.readouterr().out
    for text in ("unitree_go2, 12 joints", "50 Hz", "forward from -1 to 1.5, at rest 0", "max_tilt 0.8", "graph sha256", "may run here"):
        assert text in output
    assert re.search(r"FR_calf_joint +-2.723 +-0.838 +-1.500 +35.000 +0.700 +0.500 +45.430 +15.700", output)
    other = bundles.rewrite(
        bundle, tmp_path / "other.onnx", lambda data: data.update(kp=[34.0] * 12, default_joint_pos=[0.0, 0.8, -1.6] * 4)
    )
    assert main(["inspect", str(other)]) == 1
    assert "MAY NOT run here: default_joint_pos" in capfd.readouterr().out
    changed = bundles.rewrite(
        bundle, tmp_path / "changed.onnx", lambda data: data["golden_vectors"][0]["outputs"]["action"][0].__setitem__(0, 9.0)
    )
    assert main(["inspect", str(changed)]) == 1
    assert "MAY NOT run here" in capfd.readouterr().out
    assert main(["inspect", str(tmp_path / "none.onnx")]) == 2


def test_a_reader_that_leaves_early_is_no_error(bundle):
    """As in 'python -m deploy inspect policy.onnx | head'."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "deploy", "inspect", str(bundle)]
    run = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (run.returncode, run.stderr) == (0, "")


def test_the_doctor_looks_at_the_set_up_of_a_file(tmp_path, good, capfd):
    path = tmp_path / "go2.yaml"
    path.write_text(good.replace("{name: sim}", "{name: unitree_dds, network: eth99}"))
    assert main(["doctor", str(path)]) == 1
    output = capfd.readouterr().out
    assert "error: network: got 'eth99'" in output
    assert "not looked at: wire, samples" in output
    assert main(["doktor", str(path)]) == 2
