"""The whole recipe on a simulated robot that stands: what it leaves, that a kill costs nothing but time, and that sabotage gets nowhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.limits import Limits
from deploy.log_reader import read_log
from deploy.policy import load as load_bundle
from locomotion.cli import main
from locomotion.finetuning import base as bases
from locomotion.finetuning.batch import Measure
from locomotion.finetuning.keeping import base_bundle, read_rows
from locomotion.finetuning.learner import Learner
from locomotion.finetuning.rollback import Walked
from locomotion.finetuning.session import Session
from locomotion.runs import checkpoint
from robots.errors import InputError
from tests.locomotion.finetuning import standing
from tests.locomotion.finetuning.session_process import session, unlocked

SHORT = {"minutes": 1.6}  # a warm-up, one round, and the last test


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standing.write(tmp_path_factory.mktemp("base"))


@pytest.fixture
def open_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    unlocked(monkeypatch.setattr)


def flattered(patch: pytest.MonkeyPatch) -> None:
    """Whatever the candidate does earns 1 a second more: a session that comes to its last test, and leaves the candidate."""
    walked = Measure.walked
    patch.setattr(
        Measure, "walked", lambda self, one: replace(found := walked(self, one), reward=found.reward + (one.walk.who == "candidate"))
    )


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Session]:
    folder = tmp_path_factory.mktemp("whole")
    whole = session(folder, source, lambda text: None, **SHORT)
    with pytest.MonkeyPatch.context() as patch:
        flattered(patch)
        unlocked(patch.setattr)
        assert whole.run() == "done"
    return folder, whole


def test_what_it_leaves(finished: tuple[Path, Session], source: Path) -> None:
    folder, whole = finished
    rows = read_rows(folder)
    assert [row["stage"] for row in rows] == ["warm_up", "learn", "final"]
    assert [row["run"] for row in rows] == [0, 1, 2]
    assert rows[-1]["robot_seconds"] <= 60.0 * SHORT["minutes"]
    assert max(row["torque_share"] for row in rows) <= 1.0
    limits = [json.loads(read_log(folder / "logs" / f"run_{i:03d}.mcap").about["limits"]) for i in range(3)]
    assert limits[0]["action_box"] == Limits().action_box  # the base alone, as it is deployed
    assert rows[0]["reach"] < limits[1]["action_box"] <= limits[2]["action_box"] < 1.0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["result"] == "candidate"
    assert summary["last_test"]["low"] > 0.0
    assert summary["robot_minutes"] == pytest.approx(rows[-1]["robot_seconds"] / 60.0)
    bundle = load_bundle(folder / "policy.onnx")
    assert bundle.contract.provenance["steps"] > checkpoint.load(source)["steps"]
    again = bases.load(str(folder / "best.pt"))  # it may be fine-tuned again
    assert torch.equal(again.actor.network[-1].weight, whole.learner.candidate().network[-1].weight)


@pytest.mark.slow
def test_a_kill_costs_no_more_than_the_run_that_it_falls_into(
    finished: tuple[Path, Session], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_gate: None
) -> None:
    flattered(monkeypatch)
    whole, _ = finished
    seen = 0
    for lines in (0, 1):  # in the middle of the first run, and of the second
        words = [sys.executable, "-m", "tests.locomotion.finetuning.session_process", str(tmp_path), str(source)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        while not (tmp_path / "logs" / f"run_{lines:03d}.mcap").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(read_rows(tmp_path)) == lines >= seen
        seen = lines
    other = session(tmp_path, source, lambda text: None, **SHORT)
    other.load_state_dict(checkpoint.unpack(tmp_path / "state.pt")[0])
    assert other.number == 1
    assert other.run() == "done"
    assert read_rows(tmp_path) == read_rows(whole)
    assert (tmp_path / "policy.onnx").read_bytes() == (whole / "policy.onnx").read_bytes()


def collapse(learner: Learner) -> dict[str, float]:
    """What a reward for falling would teach in the end, at once: knees that give way."""
    assert learner.adapter is not None
    with torch.no_grad():
        learner.adapter.weight[:, -1] = torch.tensor([0.0, 24.0, -20.0] * 4)
    return {}


def heights(folder: Path, robot) -> float:
    """The least height of the base while a policy walked, as a share of the standing height: only the simulator knows it."""
    least = np.inf
    for log in sorted((folder / "logs").glob("*.mcap")):
        columns = read_log(log).columns
        walked = columns["state"] == "walk"
        if walked.any():
            least = min(least, float(columns["base_pos"][walked, 2].min()) / robot.standing_height)
    return least


def test_a_candidate_that_falls_in_simulation_never_moves_the_robot(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learner, "update", collapse)
    one = session(tmp_path, source, lambda text: None, gate={"episodes": 1, "margin": 0.05}, ends={"failures": 1})
    assert one.run() == "done"
    rows = read_rows(tmp_path)
    assert [row["stage"] for row in rows] == ["warm_up"]
    assert rows[0]["gate_why"]
    assert not one.learner.moved
    assert json.loads((tmp_path / "summary.json").read_text())["result"] == "base"
    assert heights(tmp_path, one.base.robot) > 0.8  # as its springs hold it up


def test_behind_a_gate_that_sees_nothing_the_box_the_tilt_and_the_pairs_stop_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_gate: None
) -> None:
    monkeypatch.setattr(Learner, "update", collapse)
    one = session(tmp_path, source, lambda text: None, ends={"failures": 1})
    assert one.run() == "done"
    rows = read_rows(tmp_path)
    assert [row["stage"] for row in rows] == ["warm_up", "learn"]
    assert rows[1]["rolled_back"]
    assert "filters change" in rows[1]["verdict"]["worse"]
    assert not one.learner.moved
    assert "latched" not in rows[1]
    assert heights(tmp_path, one.base.robot) > 0.6  # the box held it up


def cli(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["finetune", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_bad_input_is_one_clear_error(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, auto = f"output={tmp_path / 'ft'}", "operator=auto"
    policy = f"policy={source}"
    state = checkpoint.load(source)
    bare = tmp_path / "bare.pt"
    checkpoint.save(bare, {**state, "learner": {"actor": state["learner"]["actor"]}})
    said = {
        "wider": cli(capsys, policy, output, auto, "deploy.limits.max_tilt=1.0"),
        "gate": cli(capsys, policy, output, auto, "deploy.limits.wiggle_share=0.05"),
        "robot": cli(capsys, policy, output, auto, "robot=unitree_g1"),
        "critic": cli(capsys, f"policy={bare}", output, auto),
        "auto": cli(capsys, policy, output, auto, "interface=unitree_dds"),
        "plant": cli(capsys, policy, output, auto, "plant={weight: 3}"),
        "seed": cli(capsys, policy, output, auto, "plant={seed: 0.5}"),
        "real": cli(capsys, policy, output, "plant={payload: 3}", "interface=unitree_dds"),
        "minutes": cli(capsys, policy, output, auto, "minutes=0.1"),
        "commands": cli(capsys, policy, output, auto, "commands=[[0.5, 0.0]]"),
        "pairs": cli(capsys, policy, output, auto, "pairs=9"),
        "reward": cli(capsys, policy, output, auto, "rewards.tilted.weight=1.0"),
        "missing": cli(capsys, "policy=nowhere.pt", output, auto),
    }
    named = {
        "wider": "deploy.limits.max_tilt", "gate": "deploy.limits.wiggle_share", "robot": "unitree_go2", "critic": "critic",
        "auto": "operator", "plant": "plant.weight", "seed": "plant.seed", "real": "interface=sim", "minutes": "minutes: got 0.1",
        "commands": "commands", "pairs": "pairs", "reward": "tilted", "missing": "policy",
    }  # fmt: skip
    for name, word in named.items():
        assert word in said[name], said[name]


def test_another_folder_is_not_gone_on_with_under_other_settings(finished: tuple[Path, Session], source: Path) -> None:
    from locomotion.finetuning.start import _go_on

    folder, _ = finished
    before = (folder / "state.pt").read_bytes()
    with pytest.raises(InputError, match="std"):
        _go_on(session(folder, source, std=0.1, **SHORT), folder, lambda text: None)
    assert (folder / "state.pt").read_bytes() == before


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploy.hil.simulated_robot import SimulatedRobot

    written: list[object] = []
    monkeypatch.setattr(SimulatedRobot, "write", lambda self, command: written.append(command))
    words = [f"policy={source}", f"output={tmp_path}", "operator=auto", "dry_run=true", "walk_seconds=4.0"]
    assert main(["finetune", *words]) == 0
    said = capsys.readouterr().out
    assert written == []
    assert "nothing was sent" in said
    assert said.count("_joint") >= 12
    assert " steps\n     0.00 s  " in said  # the first event: not by a clock that nobody knows
    assert not Path(tmp_path / "state.pt").exists()


def test_the_folder_of_a_run_is_not_written_over(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in source.parent.iterdir() if path.is_file() and path.name != ".lock"}
    assert main(["finetune", f"policy={source}", f"output={source.parent}", "operator=auto"]) == 2
    assert "without best.pt" in capsys.readouterr().err
    assert all(path.read_bytes() == data for path, data in before.items())
    assert not (source.parent / "base.onnx").exists()


def test_a_base_that_a_cut_start_has_left_is_not_taken_for_another_policy(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    bases_ = [bases.load(str(source)), bases.load(str(standing.write(other, weight=0.5)))]
    written = [base_bundle(base, tmp_path).read_bytes() for base in bases_]
    assert written[0] != written[1]
    again = base_bundle(bases_[1], tmp_path).stat()
    assert base_bundle(bases_[1], tmp_path).stat().st_mtime_ns == again.st_mtime_ns  # once


def test_lines_of_another_programs_metrics_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 1}\n5\n[1]\n{"run": 0, "stage": "warm_up"}\n{"ru')
    assert read_rows(tmp_path) == [{"run": 0, "stage": "warm_up"}]


def test_pairs_gather_over_runs_until_the_last_test_has_its_number(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = session(tmp_path, source, lambda text: None)
    one.stage = "final"
    pair = [asdict(Walked(2.0, 0.0, False)), asdict(Walked(1.0, 0.0, False))]
    monkeypatch.setattr(one, "_paired", lambda episodes: ([pair], []))
    for pairs, stage in ((1, "final"), (2, "done")):
        one._learned([], [])
        assert len(one.pairs) == pairs
        assert one.stage == stage
    assert one.final is not None
    assert one.final["pairs"] == 2
    assert one.final["difference"] == pytest.approx(1.0)
