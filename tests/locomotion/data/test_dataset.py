"""Datasets: what is written is read, by Minari's own loader too; a kill, a full disk and damage cost what they must and no more."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest
import torch

from locomotion.data import dataset as module
from locomotion.data import exchange
from locomotion.data.collect import collect, exploring
from locomotion.data.dataset import Dataset, Writer
from locomotion.data.episode import Episode, end_to_end
from locomotion.data.load import replay_of, returns_scale
from robots.errors import InputError
from tests.locomotion.algorithms.point import Points

BOUNDS = np.array([[-1.0, -1.0], [1.0, 1.0]], dtype=np.float32)
GROUPS = {"actor": 3, "critic": 4}


def episode(steps: int = 5, falls: bool = False, seed: int = 0, groups: dict[str, int] = GROUPS, **changes: Any) -> Episode:
    rng = np.random.default_rng(seed)
    flags = np.zeros((2, steps), dtype=bool)
    flags[0 if falls else 1, -1] = True
    values: dict[str, Any] = {
        "observations": {name: rng.standard_normal((steps + 1, width), dtype=np.float32) for name, width in groups.items()},
        "action": rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
        "reward": rng.standard_normal(steps, dtype=np.float32),
        "terminated": flags[0],
        "truncated": flags[1],
        "signals": {"base_lin_vel": rng.standard_normal((steps + 1, 3), dtype=np.float32)},
        "steps": {"command": rng.standard_normal((steps, 3), dtype=np.float32)},
    }
    return Episode(**(values | changes))


def written(folder: Path, *episodes: Episode, groups: dict[str, int] = GROUPS, **about: Any) -> Writer:
    writer = Writer(folder, groups, BOUNDS, about)
    for one in episodes:
        writer.add(one)
    writer.flush()
    return writer


def same(a: Episode, b: Episode) -> bool:
    tables = ("observations", "signals", "steps")
    arrays = ("action", "reward", "terminated", "truncated")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays) and all(
        set(getattr(a, t)) == set(getattr(b, t)) and all(np.array_equal(getattr(a, t)[k], getattr(b, t)[k]) for k in getattr(a, t))
        for t in tables
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    episodes = [episode(5, False, 1), episode(1, True, 2), episode(7, True, 3)]
    written(tmp_path / "walk", *episodes, robot_name="dog")
    dataset = Dataset(tmp_path / "walk")
    assert (dataset.total_episodes, dataset.total_steps, dataset.groups, dataset.action) == (3, 13, GROUPS, 2)
    assert dataset.about["robot_name"] == "dog"
    assert all(same(a, b) for a, b in zip(episodes, dataset.episodes(), strict=True))
    assert same(dataset.episode(2), episodes[2])


@pytest.mark.parametrize("groups", [GROUPS, {"actor": 3}])
def test_minari_s_own_loader_reads_it(tmp_path: Path, groups: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = [episode(5, False, 1, groups), episode(3, True, 2, groups)]
    folder = tmp_path / "walk-v0"
    written(folder, *episodes, groups=groups)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    for theirs in (minari.load_dataset("walk-v0"), minari.MinariDataset(folder / "data")):
        assert (theirs.total_episodes, theirs.total_steps) == (2, 8)
        for ours, one in zip(episodes, theirs, strict=True):
            seen = one.observations if len(groups) > 1 else {"actor": one.observations}
            assert all(np.array_equal(seen[name], ours.observations[name]) for name in groups)
            assert np.array_equal(one.actions, ours.action)
            assert np.array_equal(one.terminations, ours.terminated)
            assert np.array_equal(one.infos["signals"]["base_lin_vel"], ours.signals["base_lin_vel"])
        assert theirs.action_space.contains(theirs[0].actions[0])


def test_a_dataset_of_minari_s_is_read(tmp_path: Path) -> None:
    """As its own collector writes it: doubles, one group or several that are none of ours, no table of ours."""
    data = tmp_path / "theirs" / "data"
    data.mkdir(parents=True)
    rows = np.random.default_rng(0).standard_normal((5, 2))
    with h5py.File(data / "main_data.hdf5", "w") as file:
        group = file.create_group("episode_0")
        group["observations/desired_goal"], group["observations/achieved_goal"] = rows, rows + 1.0
        group["actions"], group["rewards"] = rows[:4], rows[:4, 0]
        group["terminations"], group["truncations"] = np.zeros(4, bool), np.zeros(4, bool)
    (data / "metadata.json").write_text(
        json.dumps({"total_episodes": 1, "total_steps": 4, "data_format": "hdf5", "env_spec": '{"id": "Reach-v1"}'})
    )
    dataset = Dataset(tmp_path / "theirs")
    assert dataset.groups == {"actor": 4}
    assert np.allclose(dataset.episode(0).observations["actor"], np.concatenate([rows + 1.0, rows], axis=-1))
    assert dataset.steps().truncated.tolist() == [False, False, False, True]  # a recording that just stops


def test_episodes_end_to_end(tmp_path: Path) -> None:
    a, b = episode(3, True, 1), episode(2, False, 2)
    steps = end_to_end([a, b])
    assert steps.starts.tolist() == [0, 3]
    assert np.array_equal(steps.following["actor"][2], a.observations["actor"][3])
    assert np.array_equal(steps.observations["actor"][3], b.observations["actor"][0])
    assert np.array_equal(steps.after["base_lin_vel"][:2], steps.before["base_lin_vel"][1:3])
    assert steps.terminated.tolist() == [False, False, True, False, False]


# kills and full disks


def test_a_kill_at_any_instant_leaves_all_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever write it happens at: the dataset has the episodes of all flushes before, and can be read to its end."""
    real, counter = module.write_atomically, [0, 0]

    def write(path: Path, body: Any) -> None:
        counter[0] += 1
        if counter[0] == counter[1]:
            path.with_name(f".{path.name}.1.tmp").write_bytes(b"half")  # as a kill leaves it
            raise KeyboardInterrupt
        real(path, body)

    monkeypatch.setattr(module, "write_atomically", write)
    for at in range(3, 12):
        counter[:] = [0, at]
        folder, done = tmp_path / str(at), 0
        try:
            writer = Writer(folder, GROUPS, BOUNDS, {})
            for i in range(3):
                writer.add(episode(3, seed=i))
                writer.flush()
                done += 1
        except KeyboardInterrupt:
            pass
        if done:
            dataset = Dataset(folder)
            assert dataset.total_episodes in (done, done + 1)
            assert all(same(one, episode(3, seed=i)) for i, one in enumerate(dataset.episodes()))
        else:
            with pytest.raises(InputError, match="at least one episode"):
                Dataset(folder)


def test_a_full_disk_is_said_and_costs_what_was_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = written(tmp_path / "walk", episode())
    writer.add(episode(seed=1))

    def full(path: Path, body: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_atomically", full)
    with pytest.raises(InputError, match=r"disk with room.*first 1 episodes can be read"):
        writer.flush()
    assert Dataset(tmp_path / "walk").total_episodes == 1


def test_of_a_dataset_that_could_not_begin_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.write_atomically

    def full(path: Path, body: Any) -> None:
        if path.name == module.METADATA:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, body)

    monkeypatch.setattr(module, "write_atomically", full)
    with pytest.raises(InputError, match="disk with room"):
        Writer(tmp_path / "walk", GROUPS, BOUNDS, {})
    assert not list(tmp_path.iterdir())


# bad data


@pytest.mark.parametrize("what", ["actions", "observations/actor"])
def test_tables_inside_of_tables_are_no_dataset_of_ours(what: str, tmp_path: Path) -> None:
    """As Minari writes the Dict and Tuple spaces of other people's environments."""
    written(tmp_path / "walk", episode())
    main = tmp_path / "walk" / "data" / module.MAIN
    with h5py.File(main, "w") as file:
        first = file.create_group("episode_0")
        first["actions"], first["observations/actor"] = np.zeros((5, 2)), np.zeros((6, 3))
        del first[what]
        first[f"{what}/left"] = np.zeros((5, 2))
    with pytest.raises(InputError, match="none inside another"):
        Dataset(tmp_path / "walk")


@pytest.mark.parametrize("changes", [{"total_episodes": "many"}, {"locomotion": 3}, {"total_steps": None}])
def test_metadata_of_other_kinds_are_damaged(changes: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path / "walk", episode())
    path = tmp_path / "walk" / "data" / module.METADATA
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match="It is damaged"):
        Dataset(tmp_path / "walk")


@pytest.mark.parametrize("about", [b"hello", b"[1]", b'{"action_space": "{}{"}', b'{"action_space": "[1]"}'])
def test_an_npz_that_tells_nonsense_of_itself_is_refused(about: bytes, tmp_path: Path) -> None:
    tables = {"observations": np.zeros((3, 2)), "actions": np.zeros((3, 1)), "rewards": np.zeros(3), "terminals": np.zeros(3, bool)}
    np.savez(tmp_path / "d.npz", about=np.frombuffer(about, np.uint8), **tables)
    with pytest.raises(InputError, match=r"dataset\.about"):
        exchange.about_of_npz(tmp_path / "d.npz")


def broken(name: str) -> Episode:
    one = episode()
    nan = one.reward.copy()
    nan[2] = np.nan
    changes: dict[str, dict[str, Any]] = {
        "missing group": {"observations": {"actor": one.observations["actor"]}},
        "width": {"observations": one.observations | {"critic": one.observations["critic"][:, :2]}},
        "length": {"observations": {k: v[:-1] for k, v in one.observations.items()}},
        "nan": {"reward": nan},
        "actions": {"action": one.action[:, :1]},
        "ends twice": {"terminated": np.array([True, False, False, False, True])},
        "signal": {"signals": {"base_lin_vel": np.zeros((2, 3))}},
    }
    return episode(**changes[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing group", r"episode_0.observations.critic"), ("width", r"observations.critic.*\[6, 4\]"),
        ("length", r"observations.actor.*\[6, 3\]"),
        ("nan", "episode_0.rewards.*Step 2 has none"), ("actions", r"actions.*\[5, 2\]"),
        ("ends twice", "ends once"), ("signal", "base_lin_vel"),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_refused_by_name(tmp_path: Path, name: str, message: str) -> None:
    writer = Writer(tmp_path / "walk", GROUPS, BOUNDS, {})
    with pytest.raises(InputError, match=message):
        writer.add(broken(name))


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "terminations", "truncations"])
def test_a_missing_table_is_named(tmp_path: Path, name: str) -> None:
    exchange.copied(_reread(written(tmp_path / "a", episode(), episode())), tmp_path / "b", one_file=True)
    with h5py.File(tmp_path / "b" / "data" / "main_data.hdf5", "a") as file:
        del file[f"episode_1/{name}"]
    with pytest.raises(InputError, match=rf"dataset.episode_1.{name}"):
        list(Dataset(tmp_path / "b").episodes())


def test_a_part_that_is_gone_or_damaged_is_named(tmp_path: Path) -> None:
    written(tmp_path / "a", episode(), episode())
    part = tmp_path / "a" / "data" / "part_000001.hdf5"
    for damage in (lambda: part.write_bytes(b"nothing"), part.unlink):
        damage()
        with pytest.raises(InputError, match=r"dataset.episode_0"):
            Dataset(tmp_path / "a")
    (tmp_path / "a" / "data" / "main_data.hdf5").write_bytes(b"nothing")
    with pytest.raises(InputError, match="undamaged HDF5"):
        Dataset(tmp_path / "a")
    with pytest.raises(InputError, match="a dataset: a folder with"):
        Dataset(tmp_path / "nothing")


def test_a_folder_in_use_is_not_written_to(tmp_path: Path) -> None:
    written(tmp_path / "a", episode())
    with pytest.raises(InputError, match="new or empty folder"):
        Writer(tmp_path / "a", GROUPS, BOUNDS, {})


@pytest.mark.parametrize(
    ("about", "groups", "message"),
    [
        ({"robot_sha256": "x", "robot_name": "cat"}, {"actor": 1, "critic": 2}, "data of this robot.*cat"),
        ({"robot_sha256": "own"}, {"actor": 1}, "observation group critic.*critic_group=actor"),
        ({"robot_sha256": "own"}, {"actor": 9, "critic": 2}, "1 numbers in the observation group actor"),
        ({"robot_sha256": "own"}, {"actor": 1, "critic": 2}, "1 actions"),
    ],
)
def test_data_of_another_robot_task_or_width_are_refused(tmp_path: Path, about: dict, groups: dict, message: str) -> None:
    written(tmp_path / "a", episode(groups=groups), groups=groups, **about)
    with pytest.raises(InputError, match=message):
        replay_of(str(tmp_path / "a"), Points(1), {"actor", "critic"}, "recorded", 1.0, "own")


# collecting


def test_what_is_collected_is_what_happened(tmp_path: Path) -> None:
    """On a line whose every step is known: each step leads to the next, ends in its true last state, and earns what it says."""
    env = Points(4, limit=7)
    act = exploring(lambda seen: 1.0 - seen["actor"], 1.5, env.spaces.action, torch.Generator().manual_seed(1))
    writer = Writer(tmp_path / "a", dict(env.spaces.groups), np.array([[-1.0], [3.0]], np.float32), {})
    collect(env, act, 4 * 75, writer)
    dataset = Dataset(tmp_path / "a")
    assert dataset.total_steps == 300
    ends = set()
    for one in dataset.episodes():
        position, action = one.observations["actor"][:, 0], one.action[:, 0]
        assert np.allclose(position[1:], position[:-1] + 0.5 * action, atol=1e-6)
        assert np.allclose(one.reward, -(position[1:] ** 2), atol=1e-5)
        assert np.array_equal(one.observations["critic"][:, 1], np.arange(len(one) + 1))
        assert one.terminated[-1] == (abs(position[-1]) > 2.0)
        assert one.truncated[-1] != one.terminated[-1]
        assert (action >= -1.0).all()
        assert (action <= 3.0).all()
        ends.add((bool(one.terminated[-1]), len(one)))
    assert {True, False} == {terminated for terminated, _ in ends}
    assert max(length for _, length in ends) == 7


# other programs


def _reread(writer: Writer) -> Dataset:
    return Dataset(writer.folder)


def test_npz_there_and_back(tmp_path: Path) -> None:
    episodes = [episode(4, True, 1), episode(3, False, 2)]
    exchange.to_npz(_reread(written(tmp_path / "a", *episodes, robot_name="dog")), tmp_path / "a.npz")
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
    exchange.to_npz(_reread(written(tmp_path / "a", episode())), tmp_path / "a.npz")
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
    exchange.copied(_reread(written(tmp_path / "a", *episodes)), tmp_path / "b", one_file=True)
    assert [path.name for path in sorted((tmp_path / "b" / "data").iterdir())] == ["main_data.hdf5", "metadata.json"]
    assert all(same(a, b) for a, b in zip(episodes, Dataset(tmp_path / "b").episodes(), strict=True))


def test_rewards_scaled_by_returns() -> None:
    steps = end_to_end([episode(2, reward=np.array([1.0, 2.0])), episode(2, reward=np.array([0.5, 0.0]))])
    assert returns_scale(steps, steps.reward) == pytest.approx(1000.0 / 2.5)
