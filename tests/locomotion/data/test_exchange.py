"""Datasets from and to other programs: there and back, refused by name where they are no episodes, whole or absent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locomotion.data import dataset as module
from locomotion.data import exchange
from locomotion.data.dataset import Dataset
from locomotion.data.episode import Episode
from robots.errors import InputError
from tests.locomotion.data.episodes import BOUNDS, GROUPS, episode, reread, same, written


@pytest.mark.parametrize("about", [b"hello", b"[1]", b'{"action_space": "{}{"}', b'{"action_space": "[1]"}'])
def test_an_npz_that_tells_nonsense_of_itself_is_refused(about: bytes, tmp_path: Path) -> None:
    tables = {"observations": np.zeros((3, 2)), "actions": np.zeros((3, 1)), "rewards": np.zeros(3), "terminals": np.zeros(3, bool)}
    np.savez(tmp_path / "d.npz", about=np.frombuffer(about, np.uint8), **tables)
    with pytest.raises(InputError, match=r"dataset\.about"):
        exchange.about_of_npz(tmp_path / "d.npz")


def test_npz_there_and_back(tmp_path: Path) -> None:
    episodes = [episode(4, True, 1), episode(3, False, 2)]
    exchange.to_npz(reread(written(tmp_path / "a", *episodes, robot_name="dog")), tmp_path / "a.npz")
    assert exchange.about_of_npz(tmp_path / "a.npz")["robot_name"] == "dog"
    exchange.from_npz(tmp_path / "a.npz", tmp_path / "b", BOUNDS, {})
    for a, b in zip(episodes, Dataset(tmp_path / "b").episodes(), strict=True):
        assert same(Episode(**{**vars(a), "signals": {}, "steps": {}}), b)


def test_d4rl_s_arrays_are_read_and_lose_only_what_nobody_knows(tmp_path: Path) -> None:
    seen = np.arange(8.0, dtype=np.float32)[:, None].repeat(3, axis=1)
    terminals, timeouts = np.zeros(8, bool), np.zeros(8, bool)
    terminals[2], timeouts[5] = True, True
    arrays = {
        "observations": seen,
        "actions": np.zeros((8, 2), np.float32),
        "rewards": np.arange(8.0),
        "terminals": terminals,
        "timeouts": timeouts,
    }
    np.savez(tmp_path / "a.npz", **arrays)
    exchange.from_npz(tmp_path / "a.npz", tmp_path / "b", BOUNDS, {})
    first, second, third = Dataset(tmp_path / "b").episodes()
    assert first.terminated.tolist() == [False, False, True]
    assert second.reward.tolist() == [3.0, 4.0]  # where its last step led to is not in the file
    assert second.observations["actor"][:, 0].tolist() == [3.0, 4.0, 5.0]
    assert third.reward.tolist() == [6.0]
    del arrays["rewards"]
    np.savez(tmp_path / "c.npz", **arrays)
    with pytest.raises(InputError, match=r"dataset.rewards"):
        exchange.from_npz(tmp_path / "c.npz", tmp_path / "d", BOUNDS, {})


def test_an_import_that_fails_leaves_nothing_that_is_in_the_way_of_the_next(tmp_path: Path) -> None:
    exchange.to_npz(reread(written(tmp_path / "a", episode())), tmp_path / "a.npz")
    for bounds, message in ((np.array([[-1.0], [1.0]]), "actions"), (BOUNDS, "")):
        with pytest.raises(InputError, match=message) if message else contextlib.nullcontext():
            exchange.from_npz(tmp_path / "a.npz", tmp_path / "b", bounds, {})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": np.array(1.0)}, r"dataset.rewards: got \[\]"),
        ({"observations": np.zeros(6)}, r"dataset.observations: got \[6\]"),
        ({"observations": np.zeros((6, 3, 2))}, r"dataset.observations: got \[6, 3, 2\]"),
        ({"rewards": np.array(["a"] * 6)}, "dataset.rewards.*numbers"),
        ({"rewards": np.zeros(6, complex)}, "dataset.rewards.*numbers"),
        ({"terminals": np.full(6, np.nan)}, "dataset.terminals.*0 and 1"),
        ({"timeouts": np.zeros((6, 2))}, "dataset.timeouts"),
        ({"next_observations": np.zeros((6, 4))}, r"dataset.next_observations: got \[6, 4\]; expected \[6, 3\]"),
        ({"next_observations.critic": np.zeros((6, 3))}, "each with its group"),
        ({"observations.critic": np.zeros((6, 3))}, "each with its group"),
        ({"actions.a": np.zeros((6, 2)), "actions": None}, "dataset.actions: got nothing|dataset.actions: got 'nothing'"),
        ({"observations": None, "observations.actor": np.zeros((6, 3)), "observations.critic": np.zeros((6, 4)),
          "next_observations.actor": np.zeros((6, 3))}, "dataset.next_observations.critic: got 'nothing'"),
        ({"observations": None, "observations.actor": np.zeros((6, 3)), "next_observations.critic": np.zeros((6, 3))},
         "dataset.next_observations.actor: got 'nothing'"),
        ({"actions": np.zeros((5, 2))}, "dataset.actions: got 5; expected 6 rows"),
        ({name: np.zeros((0, *shape)) for name, shape in {"observations": [3], "actions": [2], "rewards": [], "terminals": []}.items()},
         "at least one episode"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_episodes_are_refused_by_name(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    arrays = {"observations": np.zeros((6, 3)), "actions": np.zeros((6, 2)), "rewards": np.zeros(6), "terminals": np.zeros(6, bool)}
    arrays = {name: value for name, value in (arrays | changed).items() if value is not None}
    np.savez(tmp_path / "a.npz", **arrays, **{"infos/else": np.array("of another program")})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        exchange.from_npz(tmp_path / "a.npz", tmp_path / "b", BOUNDS, {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("kind", ["new", "empty", "link", "here"])
def test_a_new_or_empty_folder_takes_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    folder = tmp_path / "a"
    if kind != "new":
        folder.mkdir()
    if kind == "link":
        (tmp_path / "b").symlink_to(folder)
    if kind == "here":
        monkeypatch.chdir(folder)
    output = {"link": tmp_path / "b", "here": Path()}.get(kind, folder)
    exchange.whole(output, GROUPS, BOUNDS, {}, [episode()])
    assert [path.name for path in folder.iterdir()] == ["data"]
    assert Dataset(folder).metadata["dataset_id"] == "a-v0"


def test_an_import_that_is_interrupted_leaves_nothing_under_its_name(tmp_path: Path) -> None:
    """Not even the parts that were on disk: they would be read as if they were all."""

    def killed() -> Iterator[Episode]:
        yield episode(module.PART_STEPS + 1)
        assert list(tmp_path.glob(".*/a/data/part_*"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exchange.whole(tmp_path / "a", GROUPS, BOUNDS, {}, killed())
    assert not list(tmp_path.iterdir())


def test_one_file_for_minari_holds_the_same(tmp_path: Path) -> None:
    episodes = [episode(4, True, 1), episode(3, False, 2)]
    exchange.copied(reread(written(tmp_path / "a", *episodes)), tmp_path / "b", one_file=True)
    assert [path.name for path in sorted((tmp_path / "b" / "data").iterdir())] == ["main_data.hdf5", "metadata.json"]
    assert all(same(a, b) for a, b in zip(episodes, Dataset(tmp_path / "b").episodes(), strict=True))
