"""Episodes on disk in Minari's format (minari.farama.org), which its own loader reads; written here with h5py alone.

``FOLDER/data/metadata.json``, and ``main_data.hdf5`` with a group an episode: ``observations`` (one table, or one a group), ``actions``,
``rewards``, ``terminations``, ``truncations``, and ``infos/signals/NAME`` and ``infos/steps/NAME``. Of a dataset that grows, main_data.hdf5
holds links into ``part_000001.hdf5`` and so on. A part is whole before it is linked, and all that changes is written aside and renamed: a
kill at any instant leaves what was linked.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from locomotion.data.episode import Arrays, Episode, Steps, end_to_end
from locomotion.files import make_folder, write_atomically
from robots.errors import InputError, nearest

MAIN, METADATA, OURS = "main_data.hdf5", "metadata.json", "locomotion"
FORMAT, MINARI_VERSION = 1, "0.5.3"  # of the table OURS; of the format
PART_STEPS = 8192  # that a kill can cost, beside unfinished episodes
IDENTITY = re.compile(r"([\w-]+/)*[\w-]+-v\d+")  # Minari's names of datasets


def h5py() -> Any:
    """The library. Raises InputError where it is not installed."""
    try:
        import h5py as library
    except ImportError as error:
        raise InputError("dataset", "h5py is not installed", "the extra [offline]", "pip install 'sim2real-locomotion[offline]'") from error
    return library


class Writer:
    """A new dataset. ``groups`` are the widths of its observation groups, ``bounds`` [2, A] those of actions, ``about`` plain values.

    Raises:
        InputError: the folder is in use, or cannot be written to.
    """

    def __init__(
        self, folder: Path, groups: Mapping[str, int], bounds: np.ndarray, about: Mapping[str, Any], env_spec: str | None = None
    ) -> None:
        self.folder, self.groups, self.action = folder, dict(groups), bounds.shape[1]
        self.refuse_if_used(folder)
        self._library = h5py()
        self._data = make_folder(folder / "data", "output")
        spaces = {name: _box([-np.inf] * width, [np.inf] * width) for name, width in groups.items()}
        name = re.sub(r"[^\w-]+", "-", folder.name) or "data"
        self.metadata = {
            "dataset_id": name if IDENTITY.fullmatch(name) else f"{name}-v0",
            "data_format": "hdf5", "minari_version": MINARI_VERSION, "jpeg_encoding": False,
            "observation_space": json.dumps(spaces["actor"] if list(spaces) == ["actor"] else {"type": "Dict", "subspaces": spaces}),
            "action_space": json.dumps(_box(*bounds.tolist())),
            **({"env_spec": env_spec} if env_spec else {}),
            OURS: {"format": FORMAT, **about},
        }  # fmt: skip
        self.total_episodes = self.total_steps = 0
        self._parts: list[tuple[str, int]] = []  # file and episodes of each
        self._waiting: list[Episode] = []
        try:
            self._link()
        except InputError:
            shutil.rmtree(self.folder)  # nobody can use it, and it would be in the way of the next try
            raise

    @staticmethod
    def refuse_if_used(folder: Path) -> None:
        """Raises InputError where there is something already."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError("output", str(folder), "a new or empty folder", "Choose another name.")

    def add(self, episode: Episode) -> None:
        """Take an episode; it is on disk after :meth:`flush`, or when enough of them wait. Raises InputError where it is not whole."""
        number = self.total_episodes + len(self._waiting)
        self._waiting.append(episode.checked(f"episode_{number}", self.groups, self.action))
        if sum(len(one) for one in self._waiting) >= PART_STEPS:
            self.flush()

    def flush(self) -> None:
        """Raises InputError where the disk is full; what was written before can still be read."""
        if not self._waiting:
            return
        stream = io.BytesIO()
        with self._library.File(stream, "w") as file:
            for i, episode in enumerate(self._waiting):
                _write_episode(file.create_group(f"episode_{self.total_episodes + i}"), self.total_episodes + i, episode, self.groups)
        name = f"part_{len(self._parts) + 1:06d}.hdf5"
        self._write(name, stream.getvalue())
        self._parts.append((name, len(self._waiting)))
        self.total_episodes += len(self._waiting)
        self.total_steps += sum(len(one) for one in self._waiting)
        self._waiting = []
        self._link()

    def _link(self) -> None:
        stream, number = io.BytesIO(), 0
        with self._library.File(stream, "w", track_order=True) as file:
            for part, count in self._parts:
                for _ in range(count):
                    file[f"episode_{number}"] = self._library.ExternalLink(part, f"/episode_{number}")
                    number += 1
        self._write(MAIN, stream.getvalue())
        size = sum(path.stat().st_size for path in self._data.glob("*.hdf5")) / 1e6
        counts = {"total_episodes": self.total_episodes, "total_steps": self.total_steps, "dataset_size": round(size, 1)}
        self._write(METADATA, (json.dumps({**counts, **self.metadata}, indent=2) + "\n").encode())

    def merge(self) -> None:
        """Put all episodes into main_data.hdf5 itself, and remove the parts."""
        stream = io.BytesIO()
        with self._library.File(self._data / MAIN, "r") as linked, self._library.File(stream, "w", track_order=True) as file:
            for number in range(self.total_episodes):
                linked.copy(linked[f"episode_{number}"], file, f"episode_{number}")
        self._write(MAIN, stream.getvalue())
        for part, _ in self._parts:
            (self._data / part).unlink()

    def _write(self, name: str, data: bytes) -> None:
        try:
            write_atomically(self._data / name, lambda stream: stream.write(data))
        except OSError as error:
            kept = f"{error.strerror or error}: its first {self.total_episodes} episodes can be read."
            raise InputError("output", str(self.folder), "a disk with room", kept) from error


class Dataset:
    """Episodes in ``path``: a folder that a :class:`Writer` or Minari wrote. They are read when they are asked for, and checked.

    Raises:
        InputError: no dataset is there, it is damaged, or its observations or actions are of a kind that no learner here takes.
    """

    def __init__(self, path: str | Path, field: str = "dataset") -> None:
        self._library, self.field, self.path = h5py(), field, Path(path)
        self._data = self.path / "data" if (self.path / "data" / METADATA).is_file() else self.path
        self.metadata = self._read_metadata()
        self.about: dict[str, Any] = self.metadata.get(OURS) or {}
        counts = [self.metadata.get(name, 0) for name in ("total_episodes", "total_steps")]
        if not isinstance(self.about, dict) or not all(isinstance(one, int) for one in counts):
            raise InputError(field, str(path), f"a {METADATA} with numbers of episodes and steps", "It is damaged.")
        if self.about and self.about.get("format") != FORMAT:
            raise InputError(field, str(path), f"format {FORMAT}", f"It has {self.about.get('format')}: of another version of the toolkit.")
        self.total_episodes, self.total_steps = counts
        if not self.total_episodes:
            raise InputError(field, str(path), "at least one episode", "Nothing was recorded, or nothing had been finished yet.")
        self._shapes()

    @property
    def environment(self) -> str | None:
        """Gymnasium's name of what it was recorded in, where Minari's own metadata say it."""
        try:
            return str(json.loads(self.metadata["env_spec"])["id"])
        except (KeyError, TypeError, ValueError):
            return None

    def _read_metadata(self) -> dict[str, Any]:
        path = self._data / METADATA
        try:
            metadata = json.loads(path.read_text())
            if not isinstance(metadata, dict) or not (self._data / MAIN).is_file():
                raise ValueError
        except (OSError, ValueError, RecursionError) as error:
            allowed = f"a dataset: a folder with data/{METADATA} and data/{MAIN}"
            raise InputError(self.field, str(self.path), allowed, "See 'locomotion dataset --help'.") from error
        if metadata.get("data_format", "hdf5") != "hdf5":
            raise InputError(self.field, str(self.path), "a dataset of format hdf5", f"It is of {metadata['data_format']}.")
        return metadata

    def _shapes(self) -> None:
        """Widths of observation groups and of the action, by the first episode: a space need not be written down."""
        with self._file() as file:
            first = self._group(file, 0)
            seen, action = (self._member(first, name, "episode_0") for name in ("observations", "actions"))
            grouped = isinstance(seen, self._library.Group)
            tables = [*(seen.values() if grouped else [seen]), action]
            if not all(isinstance(table, self._library.Dataset) and table.shape for table in tables):
                raise InputError(self.field, str(self.path), "observations and actions of numbers, none inside another", "Flatten them.")
            self._named = grouped and "actor" in seen
            widths = {name: _width(value) for name, value in seen.items()} if grouped else {"actor": _width(seen)}
            self.groups: dict[str, int] = widths if self._named or not grouped else {"actor": sum(widths.values())}
            self._order = sorted(widths)
            self.action, self.discrete = _width(action), np.issubdtype(action.dtype, np.integer)
        if self.discrete:
            raise InputError(self.field, str(self.path), "continuous actions", "Offline algorithms for choices are not among ours.")

    def episode(self, number: int, signals: bool = True) -> Episode:
        """One of them, float32."""
        with self._file() as file:
            return self._episode(file, number, signals)

    def episodes(self, signals: bool = True) -> Iterator[Episode]:
        with self._file() as file:
            for number in range(self.total_episodes):
                yield self._episode(file, number, signals)

    def steps(self, signals: bool = False) -> Steps:
        """All episodes, end to end."""
        return end_to_end(self.episodes(signals))

    def _file(self) -> Any:
        try:
            return self._library.File(self._data / MAIN, "r")
        except OSError as error:
            raise InputError(self.field, str(self._data / MAIN), "an undamaged HDF5 file", str(error).splitlines()[0]) from error

    def _group(self, file: Any, number: int) -> Any:
        try:
            return file[f"episode_{number}"]
        except (KeyError, OSError) as error:  # a link into a part that is gone or damaged
            name = f"{self.field}.episode_{number}"
            raise InputError(name, "cannot be read", "every episode that metadata.json counts", " ".join(str(error).split())) from error

    def _member(self, group: Any, name: str, episode: str) -> Any:
        if name not in group:
            raise InputError(
                f"{self.field}.{episode}.{name}", "nothing", "a dataset with it", nearest(name, list(group)) or "It is damaged."
            )
        return group[name]

    def _episode(self, file: Any, number: int, signals: bool) -> Episode:
        label, group = f"episode_{number}", self._group(file, number)
        names = ("observations", "actions", "rewards", "terminations", "truncations")
        try:
            seen, action, reward, terminated, truncated = (self._member(group, name, label) for name in names)
            if not isinstance(seen, self._library.Group):
                observations = {"actor": _floats(seen)}
            elif self._named:
                observations = {name: _floats(value) for name, value in seen.items()}
            else:
                observations = {"actor": np.concatenate([_floats(seen[name]) for name in self._order], axis=-1)}
            infos = group.get("infos", {})
            tables: list[Arrays] = [
                {name: value[()] for name, value in infos[table].items()} if signals and table in infos else {}
                for table in ("signals", "steps")
            ]
            fell, cut = (np.asarray(flag[()], dtype=bool) for flag in (terminated, truncated))
            about = {key: value.item() if isinstance(value, np.generic) else value for key, value in group.attrs.items()}
            reward = np.asarray(reward[()], np.float32)
            episode = Episode(observations, _floats(action), reward, fell, cut, tables[0], tables[1], about)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.field}.{label}", "cannot be read", "an undamaged episode", " ".join(str(error).split())) from error
        return episode.checked(f"{self.field}.{label}", self.groups, self.action)


def _write_episode(group: Any, number: int, episode: Episode, groups: Mapping[str, int]) -> None:
    group.attrs.update({**episode.about, "id": number, "total_steps": len(episode)})
    tables = {"actions": episode.action, "rewards": episode.reward}
    if list(groups) == ["actor"]:
        tables["observations"] = episode.observations["actor"]
    else:
        tables |= {f"observations/{name}": episode.observations[name] for name in groups}
    tables |= {f"infos/signals/{name}": value for name, value in episode.signals.items()}
    for name, value in tables.items():
        group[name] = np.asarray(value, np.float32)
    group["terminations"], group["truncations"] = episode.terminated, episode.truncated
    for name, value in episode.steps.items():
        group[f"infos/steps/{name}"] = value


def _box(low: list[float], high: list[float]) -> dict[str, Any]:
    """Minari's notation of a Box."""
    return {"type": "Box", "dtype": "float32", "shape": [len(low)], "low": list(low), "high": list(high)}


def _width(table: Any) -> int:
    return int(np.prod(table.shape[1:], dtype=np.int64))


def _floats(table: Any) -> np.ndarray:
    value = np.asarray(table[()], np.float32)
    return value.reshape(len(value), -1)
