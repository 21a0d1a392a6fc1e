"""Nothing is lost: same bytes, exact resumption, kills, full disks, damaged files."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from locomotion import checkpoint, files
from locomotion.commands import export_checkpoint
from locomotion.files import make_folder, write_atomically
from locomotion.train import train
from robots import InputError
from tests.conftest import TINY, tiny_config


class Silent:
    def iteration(self, iteration, iterations, figures):
        pass


def run(folder: Path, iterations: int, resume: Path | None = None, **overrides) -> dict:
    config = tiny_config() | {"iterations": iterations, "run": str(folder), "snapshot_every": 2} | overrides
    train(config, folder, Silent(), checkpoint.load(resume) if resume else None)
    return checkpoint.load(folder / "last.pt")


def assert_same(a, b, path="") -> None:
    """Equal to the last bit, wall time and folder names apart."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a.keys() - {"seconds", "run", "iterations"}:
            assert_same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path


def test_same_seed_same_bytes_bundle_included(tmp_path):
    states = [run(tmp_path / name, 3) for name in "ab"]
    assert_same(*states)
    for name in "ab":
        export_checkpoint(tmp_path / name / "last.pt", tmp_path / f"{name}.onnx", None)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_another_seed_is_another_policy(tmp_path):
    a, b = (run(tmp_path / str(seed), 1, seed=seed) for seed in (1, 2))
    weights = [state["learner"]["actor"]["network.weights.0"] for state in (a, b)]
    assert not torch.equal(*weights)


def test_a_resumed_run_equals_one_that_never_stopped(tmp_path):
    whole = run(tmp_path / "whole", 5)
    run(tmp_path / "parts", 2)
    parts = run(tmp_path / "parts", 5, resume=tmp_path / "parts" / "last.pt")
    assert_same(whole, parts)
    lines = [json.loads(line)["iteration"] for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3, 4, 5]


def test_resuming_forgets_metrics_beyond_the_checkpoint_and_cut_lines(tmp_path):
    run(tmp_path, 2)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"iteration": 3, "tracking_score": 1}\n{"iterat')
    run(tmp_path, 3, resume=tmp_path / "last.pt")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3]
    assert lines[2]["tracking_score"] != 1


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"not a checkpoint"])
def test_damaged_checkpoints_are_refused(tmp_path, damage):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"x": torch.arange(1000)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="undamaged"):
        checkpoint.load(path)


def test_missing_and_foreign_checkpoints_are_refused(tmp_path):
    with pytest.raises(InputError, match="path of a checkpoint"):
        checkpoint.load(tmp_path / "none.pt")
    torch.save({"format": 99}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="format"):
        checkpoint.load(tmp_path / "other.pt")


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    run(tmp_path, 1)
    good = (tmp_path / "last.pt").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    config = tiny_config() | {"iterations": 3, "run": str(tmp_path), "snapshot_every": 2}
    state = checkpoint.load(tmp_path / "last.pt")
    with pytest.raises(InputError, match="No space left"):
        train(config, tmp_path, Silent(), state)
    assert (tmp_path / "last.pt").read_bytes() == good
    assert not list(tmp_path.glob(".*tmp"))


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(stream):
        stream.write(b"half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="folder that can be written to"):
        make_folder(tmp_path / "file" / "run", "run")


def kill_and_resume(folder: Path, kills: int, iterations: int) -> None:
    """Start, kill at random times with SIGKILL, resume, until the run is done."""
    words = [sys.executable, "-m", "locomotion.cli", "train"]
    rng = random.Random(0)
    for _ in range(kills):
        resumable = (folder / "last.pt").exists()
        before, written = (checkpoint.load(folder / "last.pt")["iteration"], _modified(folder / "last.pt")) if resumable else (0, 0)
        arguments = [f"resume={folder}"] if resumable else [*TINY[:-3], "threads=1", f"run={folder}", f"iterations={iterations}"]
        process = subprocess.Popen([*words, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None and _modified(folder / "last.pt") == written:
            time.sleep(0.01)  # until it has finished an iteration; then a random instant
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        state = checkpoint.load(folder / "last.pt")
        last = [json.loads(line)["iteration"] for line in _read(folder / "metrics.jsonl").splitlines() if line.endswith("}")]
        assert state["iteration"] >= last[-1] - 1, "a finished iteration was lost"
        assert state["iteration"] > before
    subprocess.run([*words, f"resume={folder}"], check=True, stdout=subprocess.DEVNULL)


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_lose_nothing_but_the_unfinished_iteration(tmp_path, kills):
    iterations = 40 * kills
    kill_and_resume(tmp_path / "killed", kills, iterations)
    words = [
        sys.executable,
        "-m",
        "locomotion.cli",
        "train",
        *TINY[:-3],
        "threads=1",
        f"run={tmp_path / 'whole'}",
        f"iterations={iterations}",
    ]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    assert_same(*(checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "killed")))
    lines = [json.loads(line)["iteration"] for line in _read(tmp_path / "killed" / "metrics.jsonl").splitlines()]
    assert lines == list(range(1, iterations + 1))
