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

from locomotion import files
from locomotion.environment import NotFiniteError
from locomotion.export import export_checkpoint
from locomotion.files import make_folder, output_file, write_atomically
from locomotion.runs import checkpoint, folder
from locomotion.runs.start import make, resume, start
from locomotion.runs.train import train
from locomotion.schema import plain
from robots import InputError
from tests.conftest import TINY, tiny


class Silent:
    """Shows nothing; stops at an iteration as an impatient person would."""

    def __init__(self, stop: int = 0):
        self.stop = stop

    def iteration(self, iteration, iterations, figures):
        if iteration == self.stop:
            raise KeyboardInterrupt


def run(path: Path, iterations: int, *overrides: str, stop: int = 0) -> dict:
    words = [f"iterations={iterations}", f"run={path}", *overrides]
    try:
        start(tiny(*words), lambda _: Silent(stop), print)
    except KeyboardInterrupt:
        assert stop
    return checkpoint.load(path / "last.pt")


def go_on(path: Path, **given) -> dict:
    _, where = resume(str(path), {"resume": str(path), **given}, lambda _: Silent(), print)
    return checkpoint.load(where / "last.pt")


def assert_same(a, b, path="") -> None:
    """Equal to the last bit, wall time and folder names apart."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a.keys() - {"seconds", "run"}:
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
        export_checkpoint(tmp_path / name / "last.pt", tmp_path / f"{name}.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_another_seed_is_another_policy(tmp_path):
    a, b = (run(tmp_path / str(seed), 1, f"seed={seed}") for seed in (1, 2))
    weights = [state["learner"]["actor"]["network.weights.0"] for state in (a, b)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize("steps", [8, 16])  # off and on the beat of what is drawn ahead
def test_a_resumed_run_equals_one_that_never_stopped(tmp_path, steps):
    settings = (f"algorithm.steps={steps}", "algorithm.final_kl=0.01", "task.episode_seconds=0.5")
    whole = run(tmp_path / "whole", 5, *settings)
    run(tmp_path / "parts", 5, *settings, stop=2)
    parts = go_on(tmp_path / "parts")
    assert_same(whole, parts)
    whole, parts = (folder.read_metrics(tmp_path / name) for name in ("whole", "parts"))
    assert [row["iteration"] for row in parts] == [1, 2, 3, 4, 5]
    for a, b in zip(whole, parts, strict=True):
        assert {k: v for k, v in a.items() if "second" not in k} == {k: v for k, v in b.items() if "second" not in k}


def test_a_resumed_run_with_an_estimator_equals_one_that_never_stopped(tmp_path):
    settings = ("algorithm.estimator={targets: [base_lin_vel], hidden: [16]}", "task.episode_seconds=0.5")
    whole = run(tmp_path / "whole", 3, *settings)
    run(tmp_path / "parts", 3, *settings, stop=1)
    assert_same(whole, go_on(tmp_path / "parts"))
    export_checkpoint(tmp_path / "whole" / "last.pt", tmp_path / "policy.onnx")  # the estimator is within: verified as it is written


def test_resuming_forgets_metrics_beyond_the_checkpoint_and_broken_lines_only(tmp_path):
    run(tmp_path, 3, stop=2)
    path = tmp_path / "metrics.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(first + '\n{"iteration": 1, broken\n' + second + '\n{"iteration": 3, "score": 1}\n{"iterat')
    go_on(tmp_path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3]
    assert lines[2]["score"] != 1


def test_a_finished_run_says_so_and_changes_nothing(tmp_path, capsys):
    before = run(tmp_path, 2)
    after = go_on(tmp_path)
    assert "nothing to do" in capsys.readouterr().out
    assert_same(before, after)
    go_on(tmp_path, iterations=3)
    assert "going on with" in capsys.readouterr().out


def test_one_process_a_folder(tmp_path):
    with folder.locked(tmp_path), pytest.raises(InputError, match="no other process"):
        run(tmp_path, 1)
    run(tmp_path, 1)
    with folder.locked(tmp_path), pytest.raises(InputError, match="no other process"):
        go_on(tmp_path, iterations=2)


@pytest.mark.parametrize("name", ["last.pt", "metrics.jsonl", "config.yaml", "best.pt", "policy.onnx"])
def test_a_folder_with_somebody_s_files_is_not_written_over(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="folder without"):
        run(tmp_path, 1)
    assert (tmp_path / name).read_text() == "mine"


def test_an_older_checkpoint_does_not_overwrite_a_newer_one_but_may_branch(tmp_path):
    run(tmp_path / "a", 4, "score_every=0")
    old = tmp_path / "a" / "best.pt"
    state = checkpoint.load(old)
    state["iteration"] = 2
    checkpoint.save(old, state)
    with pytest.raises(InputError, match=r"newest checkpoint of its run \(iteration 4\)"):
        go_on(old)
    assert checkpoint.load(tmp_path / "a" / "last.pt")["iteration"] == 4
    assert go_on(old, run=str(tmp_path / "b"), iterations=3)["iteration"] == 3
    assert checkpoint.load(tmp_path / "a" / "last.pt")["iteration"] == 4


def test_a_run_can_begin_from_other_weights(tmp_path):
    first = run(tmp_path / "a", 3)
    run(tmp_path / "b", 1, f"init={tmp_path / 'a'}", "seed=5", "algorithm.learning_rate=1e-8", "algorithm.learning_rate_range=[1e-8,1e-8]")
    second = checkpoint.load(tmp_path / "b" / "last.pt")
    name = "network.weights.0"
    torch.testing.assert_close(second["learner"]["actor"][name], first["learner"]["actor"][name], atol=1e-5, rtol=0)
    assert second["iteration"] == 1
    with pytest.raises(InputError, match="same networks"):
        run(tmp_path / "c", 1, f"init={tmp_path / 'a'}", "algorithm.actor_hidden=[8,8]")
    with pytest.raises(InputError, match="init"):
        run(tmp_path / "d", 1, f"init={tmp_path / 'nothing'}")


@pytest.mark.parametrize("what", ["action", "reward"])
def test_learning_that_has_diverged_ends_with_an_error_that_names_the_last_good_checkpoint(tmp_path, what):
    settings = tiny("iterations=5")
    one = make(settings, plain(settings))
    good = []

    def spoil(iteration, iterations, figures):
        good.append((tmp_path / "last.pt").read_bytes())
        if iteration == 2 and what == "action":
            with torch.no_grad():
                one.learner.actor.log_std_parameter.fill_(float("nan"))
        elif iteration == 2:
            one.env.rewards_function.weights.fill_(float("nan"))

    view = Silent()
    view.iteration = spoil
    with folder.locked(tmp_path), pytest.raises(NotFiniteError, match=r"last good checkpoint is .*last\.pt"):
        train(one, tmp_path, view)
    assert (tmp_path / "last.pt").read_bytes() == good[1]
    assert checkpoint.load(tmp_path / "last.pt")["iteration"] == 2


def test_best_is_there_from_the_first_iteration_and_by_the_scorer(tmp_path):
    scores = iter([0.2, 0.7, 0.5])
    settings = tiny("iterations=6", "score_every=2")
    one = make(settings, plain(settings))
    seen = []

    class View:
        def iteration(self, iteration, iterations, figures):
            seen.append((checkpoint.load(tmp_path / "best.pt")["iteration"], figures.get("scorecard/selection")))

    with folder.locked(tmp_path):
        train(one, tmp_path, View(), lambda learner: {"selection": next(scores)})
    assert seen == [(1, None), (2, 0.2), (2, None), (4, 0.7), (4, None), (4, 0.5)]


def test_any_flipped_byte_of_a_checkpoint_is_noticed(tmp_path):
    run(tmp_path, 1)
    path, rng = tmp_path / "last.pt", random.Random(0)
    data = path.read_bytes()
    for position in [0, 30, 80, len(data) - 1, *(rng.randrange(len(data)) for _ in range(40))]:
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="checkpoint"):
            checkpoint.load(path)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"not a checkpoint"])
def test_damaged_checkpoints_are_refused(tmp_path, damage):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"x": torch.arange(1000)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="checkpoint"):
        checkpoint.load(path)


def test_missing_and_foreign_checkpoints_are_refused(tmp_path):
    with pytest.raises(InputError, match="path of a checkpoint"):
        checkpoint.load(tmp_path / "none.pt")
    torch.save({"format": 99}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="of this toolkit"):
        checkpoint.load(tmp_path / "other.pt")
    (tmp_path / "old.pt").write_bytes(b"locomotion checkpoint 1 0000\nrest")
    with pytest.raises(InputError, match="another version"):
        checkpoint.load(tmp_path / "old.pt")


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    run(tmp_path, 1)
    good = (tmp_path / "last.pt").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(InputError, match=r"No space left.*last good checkpoint is"):
        go_on(tmp_path, iterations=3)
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


def test_a_failure_to_write_names_the_file_and_a_source_is_no_output(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def full(stream):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as raised:
        write_atomically(path, full)
    assert raised.value.filename == str(path)
    (tmp_path / "link").symlink_to(path)
    for source in (path, str(path), tmp_path / "link"):
        with pytest.raises(InputError, match="another file than what is read"):
            output_file(path, "output", None, source)
    assert output_file(tmp_path / "new", "output", path, None, tmp_path / "none") == tmp_path / "new"


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    run(tmp_path, 1)
    for path in (tmp_path / ".last.pt.123.tmp", tmp_path / "checkpoints" / ".000001.pt.9.tmp"):
        path.write_bytes(b"half")
    go_on(tmp_path, iterations=2)
    assert not list(tmp_path.rglob(".*.tmp"))


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
        arguments = [f"resume={folder}"] if resumable else [*TINY, f"run={folder}", f"iterations={iterations}"]
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
        *TINY,
        f"run={tmp_path / 'whole'}",
        f"iterations={iterations}",
    ]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    assert_same(*(checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "killed")))
    lines = [json.loads(line)["iteration"] for line in _read(tmp_path / "killed" / "metrics.jsonl").splitlines()]
    assert lines == list(range(1, iterations + 1))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("task.observations.actor={joint_pos: null}", "task.observations.actor.joint_pos={}"), "same task.observations.actor"),
        (("task.control_dt=0.04",), "same task.control_dt"),
        (("robot=anymal_c",), "same robot"),
    ],
)
def test_weights_that_mean_something_else_are_refused_though_their_shapes_fit(tmp_path, words, message):
    run(tmp_path / "a", 1)
    path = tmp_path / "a" / "last.pt"
    state = checkpoint.load(path)
    if words[0].startswith("task.observations"):  # the same terms in another order
        actor = state["config"]["task"]["observations"]["actor"]
        state["config"]["task"]["observations"]["actor"] = dict(reversed(actor.items()))
        checkpoint.save(path, state)
        words = ()
    with pytest.raises(InputError, match=message):
        run(tmp_path / "b", 1, f"init={path}", *words)


def test_a_robot_that_has_changed_since_training_is_refused(tmp_path):
    run(tmp_path, 1)
    path = tmp_path / "last.pt"
    state = checkpoint.load(path)
    state["provenance"]["robot_sha256"] = "0" * 64
    checkpoint.save(path, state)
    with pytest.raises(InputError, match="as it was in training"):
        go_on(tmp_path, iterations=2)
    with pytest.raises(InputError, match="as it was in training"):
        export_checkpoint(path, tmp_path / "policy.onnx")


def test_a_damaged_last_checkpoint_is_no_dead_end(tmp_path, capsys):
    run(tmp_path, 2)
    with (tmp_path / "last.pt").open("ab") as stream:
        stream.write(b"x")
    state = go_on(tmp_path / "best.pt", iterations=3)
    assert state["iteration"] == 3
    assert "cannot be used" in capsys.readouterr().out


def test_a_run_that_was_killed_before_its_first_checkpoint_may_begin_again(tmp_path):
    run(tmp_path, 1)
    for name in ("last.pt", "best.pt"):
        (tmp_path / name).unlink()
    assert run(tmp_path, 1)["iteration"] == 1


def test_a_branch_of_a_finished_run_is_a_whole_run(tmp_path):
    run(tmp_path / "a", 2)
    go_on(tmp_path / "a" / "last.pt", run=str(tmp_path / "b"))
    assert checkpoint.load(tmp_path / "b" / "last.pt")["iteration"] == 2
    assert go_on(tmp_path / "b", iterations=3)["iteration"] == 3


def test_only_files_are_replaced_and_only_temporaries_of_ours_removed(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(OSError, match="no file"):
            write_atomically(tmp_path / name, lambda stream: stream.write(b"x"))
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / ".mine.tmp").write_text("mine")
    (tmp_path / ".last.pt.7.tmp").mkdir()
    files.remove_temporaries(tmp_path)
    assert (tmp_path / ".mine.tmp").read_text() == "mine"


def test_a_training_that_is_refused_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="init"):
        start(tiny(f"run={tmp_path}/run", "init=nothing"), lambda _: Silent(), print)
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="init"):
        start(tiny(f"run={tmp_path}/mine", "init=nothing"), lambda _: Silent(), print)
    assert (tmp_path / "mine").exists()  # it was there before
    assert not list((tmp_path / "mine").iterdir())


def test_who_comes_second_leaves_the_folder_of_the_first(tmp_path, monkeypatch):
    path = tmp_path / "run"

    def taken(where):
        folder.make_folder(where / "checkpoints", "run")  # by another process, between the look and the lock
        raise InputError("run", str(where), "a folder that no other process is writing", "Wait for it.")

    monkeypatch.setattr(folder, "locked", taken)
    with pytest.raises(InputError, match="no other process"):
        start(tiny(f"run={path}"), lambda _: Silent(), print)
    assert (path / "checkpoints").is_dir()
