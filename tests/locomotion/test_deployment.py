"""The simulated robot in a time of its own: the same log each time, nothing of it lost, and only where nobody lives in real time."""

import numpy as np
import pytest

from deploy.log_reader import read_log
from locomotion.cli import main
from tests.deploy import bundles


def test_a_hurried_run_is_the_same_each_time_and_its_log_is_whole(tmp_path, go2, monkeypatch, capsys):
    monkeypatch.setattr("locomotion.deployment.CAPACITY", 64)  # as a run that is much longer
    bundle = bundles.write_tiny(tmp_path / "policy.onnx", go2, weight=0.01)
    words = ["deploy", f"policy={bundle}", "hurry=true", "plant={noise: 1.0, seed: 3}", "script=wander", "duration=8"]
    for name in "ab":
        assert main([*words, f"output={tmp_path / name}"]) == 0
    one, other = (read_log(tmp_path / name / "deploy_log.mcap") for name in "ab")
    assert one.lost == 0
    assert len(one.steps) >= 400
    for name, values in one.columns.items():
        if not name.startswith("timing/"):
            np.testing.assert_array_equal(values, other.columns[name], err_msg=name)
    assert not (tmp_path / "a" / "video.mp4").exists()


@pytest.mark.parametrize("word", ["interface=unitree_dds", "commands=keyboard", "dry_run=true"])
def test_nobody_else_can_be_hurried(bundle, word, capsys):
    assert main(["deploy", f"policy={bundle}", "hurry=true", word]) == 2
    assert "hurry" in capsys.readouterr().err


def test_what_a_real_robot_meets_is_not_ours_to_say(bundle, capsys):
    assert main(["deploy", f"policy={bundle}", "interface=unitree_dds", "plant={friction: 0.4}"]) == 2
    assert "plant: got {'friction': 0.4}; expected interface=sim" in capsys.readouterr().err
