"""Datasets: what is written is read, by Minari's own loader too; a kill, a full disk and damage cost what they must and no more."""

from __future__ import annotations

import errno
import json
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
from tests.locomotion.data.episodes import BOUNDS, GROUPS, episode, reread, same, written


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
    exchange.copied(reread(written(tmp_path / "a", episode(), episode())), tmp_path / "b", one_file=True)
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


# rewards


def test_rewards_scaled_by_returns() -> None:
    steps = end_to_end([episode(2, reward=np.array([1.0, 2.0])), episode(2, reward=np.array([0.5, 0.0]))])
    assert returns_scale(steps, steps.reward) == pytest.approx(1000.0 / 2.5)
