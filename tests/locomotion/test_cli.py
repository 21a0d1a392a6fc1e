"""What a person types, right and wrong."""

import json
import subprocess
import sys
import time

import pytest

from locomotion.cli import COMMANDS, main
from locomotion.commands import export_checkpoint
from tests.conftest import TINY


@pytest.mark.parametrize("words", [[], ["--help"], *[[name, "--help"] for name in COMMANDS]])
def test_help_reads_well_and_imports_nothing_heavy(words):
    code = (
        "import sys; from locomotion.cli import main; status = main(sys.argv[1:]);"
        "assert not {'torch', 'mujoco', 'hydra'} & set(sys.modules); sys.exit(status)"
    )
    began = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - began < 5  # a second when nothing else runs
    assert "usage: locomotion" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 140


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "Did you mean train?"),
        (["train", "robot=unitree_go1"], "Did you mean unitree_go2?"),
        (["train", "task=velocity_flt"], "Did you mean velocity_flat?"),
        (["train", "sim=mujco"], "Did you mean mujoco?"),
        (["train", "algorithm=pp0"], "Did you mean ppo"),
        (["train", "num_envs=4"], "Did you mean algorithm.num_envs?"),
        (["train", "task.reward.weights.foot_slp=1"], "task.reward.weights.foot_slip"),
        (["train", "+task.reward.weights.foot_slp=1"], "Did you mean foot_slip"),
        (["train", "seed=one"], "a value like 1"),
        (["train", "seed"], "key=value"),
        (["train", "task.command.forward=[1,-1]"], "min <= max"),
        (["train", "randomization.friction=[2,1]"], "min <= max"),
        (["train", "algorithm.num_envs=0"], "at least 1"),
        (["train", "algorithm.num_envs=-4"], "at least 1"),
        (["train", "iterations=0"], "at least 1"),
        (["train", "sim.physics_dt=0.003"], "divisor"),
        (["train", "run=/proc/nowhere/run"], "folder that can be written to"),
        (["train", "resume=runs/nothing_here"], "path of a checkpoint"),
        (["export", "checkpoint=none.pt"], "path of a checkpoint"),
        (["export"], "checkpoint=..."),
        (["evaluate", "policy=none.onnx"], "path of a policy.onnx"),
        (["deploy", "policy=none.onnx", "interface=real"], "Real robots are not supported yet"),
        (["deploy", "policy=none.onnx"], "path of a policy.onnx"),
        (["play", "policy=none.onnx"], "path of a policy.onnx"),
        (["report", "run=none"], "folder that 'locomotion train' wrote"),
        (["robots", "lst"], "robots list"),
        (["train", "sim=pybullet"], "an engine that can train"),
        (["train", "robot=go2"], "Did you mean unitree_go2?"),
    ],
)
def test_wrong_input_is_one_clear_error(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_robots_list(capsys):
    assert main(["robots", "list"]) == 0
    assert "unitree_go2" in capsys.readouterr().out


def test_an_existing_run_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "last.pt").touch()
    assert main(["train", f"run={tmp_path}"]) == 2
    assert f"resume={tmp_path}" in capsys.readouterr().err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "tiny"
    assert main(["train", *TINY, f"run={folder}"]) == 0
    return folder


def test_train_export_evaluate_deploy_report(run, tmp_path, capsys):
    """The loop with an untrained policy: every command works on what the one before it wrote."""
    bundle = run / "policy.onnx"
    assert main(["export", f"checkpoint={run}/last.pt", f"output={bundle}"]) == 0
    assert main(["evaluate", f"policy={bundle}", "episodes=2", f"output={run}/scorecard.json"]) == 0
    card = json.loads((run / "scorecard.json").read_text())
    assert set(card) == {"train_seconds", "train_steps", "scores"}
    assert set(card["scores"]["mujoco"]) == {"nominal", "randomized"}
    keys = {"tracking_score", "yaw_score", "lin_vel_error", "ang_vel_error", "fall_rate", "cost_of_transport"}
    keys |= {"torque_saturation", "action_rate", "foot_slip", "episodes"}
    assert set(card["scores"]["mujoco"]["nominal"]) == keys
    assert main(["export", f"checkpoint={run}/last.pt", f"output={bundle}", f"scorecard={run}/scorecard.json"]) == 0
    status = main(["deploy", f"policy={bundle}", "duration=3", f"output={run}"])
    summary = json.loads((run / "deploy.json").read_text())
    assert status == (0 if summary["passed"] else 1)
    assert summary["final_state"] in ("damping", "fault")
    assert main(["report", f"run={run}"]) == 0
    page = (run / "report.html").read_text()
    for part in ("Learning", "Scorecard", "Behind the safety layer", "Loop timing", "How it was made", "locomotion"):
        assert part in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_resume_goes_on_with_more_iterations(run, capsys):
    assert main(["train", f"resume={run}", "iterations=4"]) == 0
    assert "192 steps" in capsys.readouterr().out  # 4 x 8 x 6


def test_resume_with_the_default_number_of_iterations_counts_as_asked(run, monkeypatch):
    asked = []
    monkeypatch.setattr("locomotion.train._iterate", lambda run: asked.append(run.config["iterations"]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["train", f"resume={run}", "iterations=450"])
    assert asked == [450]


def test_resume_with_another_setting_is_refused(run, capsys):
    assert main(["train", f"resume={run}", "seed=5"]) == 2
    assert "a run goes on with its own" in capsys.readouterr().err


def test_a_snapshot_can_be_exported_but_not_resumed(run, tmp_path, capsys):
    assert main(["train", f"resume={run}", "iterations=20"]) == 0
    snapshot = run / "checkpoints" / "000020.pt"
    export_checkpoint(snapshot, tmp_path / "policy.onnx", None)
    assert main(["train", f"resume={snapshot}"]) == 2
    assert "complete checkpoint" in capsys.readouterr().err
