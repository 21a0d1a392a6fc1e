"""What is recorded: an episode, and many of them laid end to end for a learner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robots.errors import InputError

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Episode:
    """T steps. It ended by what happened (terminated) or was cut off (truncated), in its last step."""

    observations: Arrays  # group -> [T + 1, width], the last being those in which it ended
    action: np.ndarray  # [T, A]
    reward: np.ndarray  # [T]
    terminated: np.ndarray  # [T] bool
    truncated: np.ndarray  # [T] bool
    signals: Arrays = field(default_factory=dict)  # name -> [T + 1, ...] SI; what was not measured is NaN
    steps: Arrays = field(default_factory=dict)  # name -> [T, ...], what belongs to a step: command, joint_pos_target, memory
    about: dict[str, Any] = field(default_factory=dict)  # plain values

    def __len__(self) -> int:
        return len(self.reward)

    def checked(self, field: str, groups: Mapping[str, int], action: int) -> Episode:
        """Itself. Raises InputError that names the first thing that is missing, of another size, or no number."""
        steps = len(self.reward)
        if not steps:
            raise InputError(f"{field}.rewards", 0, "an episode of at least one step", "Leave it out.")
        shapes: dict[str, tuple[np.ndarray, tuple[int, ...]]] = {
            "actions": (self.action, (steps, action)),
            "rewards": (self.reward, (steps,)),
        }
        for name, width in groups.items():
            if name not in self.observations:
                raise InputError(
                    f"{field}.observations.{name}", "nothing", f"[{steps + 1}, {width}] numbers", "Record it, or choose other data."
                )
            shapes[f"observations.{name}"] = (self.observations[name], (steps + 1, width))
        for name, (value, shape) in shapes.items():
            if value.shape != shape:
                raise InputError(
                    f"{field}.{name}", list(value.shape), f"the shape {list(shape)}", "The file is damaged, or of another format."
                )
            if not np.isfinite(value).all():
                where = int(np.argwhere(~np.isfinite(value))[0][0])
                raise InputError(f"{field}.{name}", float(value[where].min()), "numbers", f"Step {where} has none: leave the episode out.")
        for name, flag in (("terminations", self.terminated), ("truncations", self.truncated)):
            if flag.shape != (steps,) or flag[:-1].any():
                raise InputError(f"{field}.{name}", "set before the last step", "an episode that ends once", "Split it there.")
        for table, length in ((self.signals, steps + 1), (self.steps, steps)):
            for name, value in table.items():
                if len(value) != length:
                    raise InputError(f"{field}.{name}", len(value), f"{length} rows", "The file is damaged.")
        return self


@dataclass(frozen=True)
class Steps:
    """S steps of E episodes, one after the other. Where an episode just stops, its last step is truncated."""

    observations: Arrays  # group -> [S, width]
    following: Arrays  # group -> [S, width]; where an episode ended, those in which it ended
    action: np.ndarray  # [S, A]
    reward: np.ndarray  # [S]
    terminated: np.ndarray  # [S] bool
    truncated: np.ndarray  # [S] bool
    before: Arrays  # signals -> [S, ...]
    after: Arrays
    steps: Arrays  # name -> [S, ...]
    starts: np.ndarray  # [E] where each episode begins

    def __len__(self) -> int:
        return len(self.reward)


def end_to_end(episodes: Iterable[Episode]) -> Steps:
    """All ``episodes`` as one. What not all have (signals) is left out."""
    all_ = list(episodes)
    ends = np.cumsum([len(one) for one in all_])
    truncated = np.concatenate([one.truncated for one in all_])
    terminated = np.concatenate([one.terminated for one in all_])
    truncated[ends - 1] |= ~terminated[ends - 1]

    def joined(tables: list[Arrays], part: slice) -> Arrays:
        return {name: np.concatenate([table[name][part] for table in tables]) for name in tables[0] if all(name in t for t in tables)}

    seen, signals, steps = ([getattr(one, name) for one in all_] for name in ("observations", "signals", "steps"))
    first, later = slice(None, -1), slice(1, None)
    return Steps(
        joined(seen, first), joined(seen, later),
        np.concatenate([one.action for one in all_]), np.concatenate([one.reward for one in all_]), terminated, truncated,
        joined(signals, first), joined(signals, later), joined(steps, slice(None)), ends - [len(one) for one in all_],
    )  # fmt: skip
