"""The replay buffer of a run: in pieces beside its checkpoint, and lost at no instant."""

import contextlib
import os
import shutil

import pytest
import torch

from locomotion import files
from locomotion.algorithms.replay import Replay
from locomotion.runs import checkpoint
from locomotion.runs.pieces import Pieces
from locomotion.runs.start import resume, start
from locomotion.schema import check
from locomotion.settings import TrainSettings
from robots.errors import InputError
from tests.locomotion.runs.test_checkpoint import Silent, assert_same, go_on

SMALL = ["rounds=6", "warm_up=8", "capacity=24", "batch_size=4", "num_envs=2", "actor_hidden=[8]"]


def settings(name, *words):
    from locomotion.config import compose

    small = [f"algorithm.{one}" for one in (*SMALL, *([] if name == "dqn" else ["critic_hidden=[8]"]))]
    env = "CartPole-v1" if name == "dqn" else "Pendulum-v1"
    return check(
        TrainSettings, compose("train", [f"algorithm={name}", f"env=gymnasium:{env}", "score_every=0", "snapshot_every=2", *small, *words])
    )


def run(path, iterations, name="sac", stop=0):
    try:
        start(settings(name, f"iterations={iterations}", f"run={path}"), lambda _: Silent(stop), print)
    except KeyboardInterrupt:
        assert stop
    return checkpoint.load(path / "last.pt")


def pieces_of(path):
    return sorted(file.name for file in (path / "replay").iterdir())


@pytest.mark.parametrize("name", ["sac", "td3", "dqn"])
def test_a_resumed_off_policy_run_equals_one_that_never_stopped(tmp_path, name):
    """To the last bit of its buffer, which by then has gone round: a piece's name says what is in it."""
    whole = run(tmp_path / "whole", 4, name)
    run(tmp_path / "parts", 4, name, stop=2)
    parts = go_on(tmp_path / "parts")
    assert whole["replay"]["written"] == 24
    assert_same(whole, parts)
    assert pieces_of(tmp_path / "whole") == pieces_of(tmp_path / "parts") == sorted(whole["replay"]["pieces"])


def filled(slots=40):
    return Replay({"x": 3}, 2, 1, slots, "cpu", priority=0.6)


def write(buffer, steps):
    for _ in range(steps):
        row = torch.randn(1, 1, 3)
        buffer.extend({"x": row}, row[..., :2], row[..., 0], {"x": row}, row[..., 0] > 9, row[..., 0] > 9)


def same(a, b):
    assert_same(a.state_dict(), b.state_dict())


@pytest.mark.parametrize("steps", [(3,), (40,), (7, 9, 30), (25, 40, 1), (39, 1, 1)])
def test_what_is_read_is_what_was_kept_however_far_the_ring_has_gone(tmp_path, steps):
    buffer, again = filled(), filled()
    kept = Pieces(tmp_path, buffer, piece=4 * buffer.slot_bytes)
    for count in steps:
        write(buffer, count)
        buffer.prioritize(torch.tensor([0]), torch.tensor([5.0]))
        state = kept.save()
        kept.clean()
    Pieces(tmp_path, again).load(state)
    same(buffer, again)
    assert len(pieces_of(tmp_path)) == -(-min(sum(steps), 40) // 4)


def test_a_save_writes_what_is_new_and_at_most_one_piece_more(tmp_path):
    buffer = filled()
    kept = Pieces(tmp_path, buffer, piece=4 * buffer.slot_bytes)
    write(buffer, 30)
    before = set(kept.save()["pieces"])
    write(buffer, 2)
    assert len(set(kept.save()["pieces"]) - before) == 1
    assert len(set(kept.save()["pieces"]) - before) == 1  # nothing new: nothing written


def test_a_kill_at_any_instant_leaves_the_last_good_checkpoint_with_its_buffer(tmp_path, monkeypatch):
    """Every write, replacement and removal of an iteration is a kill in turn; then the run goes on as if nothing had been."""
    run(tmp_path / "whole", 3)
    run(tmp_path / "good", 3, stop=1)
    whole, instants = checkpoint.load(tmp_path / "whole" / "last.pt"), 0
    for kill in range(100):
        path = tmp_path / f"killed{kill}"
        shutil.copytree(tmp_path / "good", path)
        calls = 0

        def dying(inner, at=kill):
            def call(*arguments, **options):
                nonlocal calls
                calls += 1
                if calls > at:
                    raise KeyboardInterrupt
                return inner(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for owner, name in ((os, "fsync"), (files.Path, "replace"), (files.Path, "unlink")):
                patch.setattr(owner, name, dying(getattr(owner, name)))
            try:
                resume(str(path), {"resume": str(path)}, lambda _: Silent(2), print)
                died = False
            except KeyboardInterrupt:
                died = calls > kill
        if not died:
            break
        instants += 1
        if kill % 3 == 0:  # a third of them is gone on with
            assert_same(go_on(path), whole)
            assert pieces_of(path) == sorted(whole["replay"]["pieces"])
        else:
            state = checkpoint.load(path / "last.pt")
            for name in state["replay"]["pieces"]:
                checkpoint.unpack(path / "replay" / name)
    assert instants > 8


def test_best_and_snapshots_are_policies_and_say_so(tmp_path):
    run(tmp_path / "a", 2)
    first = checkpoint.load(tmp_path / "a" / "best.pt")["replay"]["pieces"]  # for a kill before the first last.pt
    assert not set(first) & set(pieces_of(tmp_path / "a"))
    for name in ("best.pt", "checkpoints/000002.pt"):
        with pytest.raises(InputError, match=r"last\.pt.*init=|init=.*begins from its weights"):
            resume(str(tmp_path / "a" / name), {"resume": "", "run": str(tmp_path / name.replace("/", "_"))}, lambda _: Silent(), print)
    start(settings("sac", "iterations=1", f"init={tmp_path / 'a' / 'best.pt'}", f"run={tmp_path / 'b'}"), lambda _: Silent(), print)


def test_a_branch_has_pieces_of_its_own(tmp_path):
    run(tmp_path / "a", 2)
    go_on(tmp_path / "a", run=str(tmp_path / "b"), iterations=3)
    shutil.rmtree(tmp_path / "a")
    assert go_on(tmp_path / "b", iterations=4)["iteration"] == 4


def test_a_piece_that_is_missing_damaged_or_another_is_one_clear_error(tmp_path):
    state = run(tmp_path, 2)
    piece = tmp_path / "replay" / state["replay"]["pieces"][0]
    data = piece.read_bytes()
    for content, match in ((data[:-5], r"undamaged.*init="), (checkpoint.to_bytes({"x": 1}), "name says"), (None, "piece of the run")):
        piece.unlink() if content is None else piece.write_bytes(content)
        with pytest.raises(InputError, match=match):
            go_on(tmp_path, iterations=3)


@contextlib.contextmanager
def killed_at(monkeypatch, name):
    """A kill where a file of this ``name`` is about to be written."""
    real = checkpoint.write

    def write(path, data):
        if path.name == name:
            raise KeyboardInterrupt
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", write)
        yield


def test_a_kill_before_the_first_last_checkpoint_costs_nothing(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole", 3)
    asked = settings("sac", "iterations=3", f"run={tmp_path / 'cut'}")
    with killed_at(monkeypatch, "last.pt"), pytest.raises(KeyboardInterrupt):
        start(asked, lambda _: Silent(), print)
    assert not (tmp_path / "cut" / "last.pt").exists()
    assert_same(whole, go_on(tmp_path / "cut"))
    assert_same(checkpoint.load(tmp_path / "whole" / "best.pt"), checkpoint.load(tmp_path / "cut" / "best.pt"))


def test_a_kill_while_a_run_branches_costs_nothing(tmp_path, monkeypatch):
    run(tmp_path / "old", 3)
    shutil.copytree(tmp_path / "old", tmp_path / "copy")
    whole = go_on(tmp_path / "copy", iterations=5)
    with killed_at(monkeypatch, "last.pt"), pytest.raises(KeyboardInterrupt):
        resume(str(tmp_path / "old"), {"run": str(tmp_path / "new"), "iterations": 5}, lambda _: Silent(), print)
    assert_same(whole, go_on(tmp_path / "new"))


def other_state(path, change):
    state = checkpoint.load(path / "last.pt")
    change(state)
    checkpoint.save(path / "last.pt", state)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["replay"].update(pieces=[]),
        lambda state: state["replay"].pop("slots"),
        lambda state: state["replay"].update(written=1000),
        lambda state: state["learner"].pop("critic"),
        lambda state: state["learner"].update(generator=torch.zeros(3)),
        lambda state: state["environment"].pop("played"),
        lambda state: state["config"]["algorithm"].update(actor_hidden=[16]),
        lambda state: state.pop("best_score"),
    ],
)
def test_a_state_that_does_not_fit_is_one_clear_error(tmp_path, change):
    """As of a plugin, or a version of the toolkit, that has changed since."""
    run(tmp_path, 1)
    other_state(tmp_path, change)
    with pytest.raises(InputError, match=r"resume.*init=") as caught:
        go_on(tmp_path, iterations=2)
    assert "\n" not in str(caught.value)
