"""What was lived through, kept to learn from again: one preallocated ring of transitions of N environments that step together.

A sample is a window of up to ``n_steps`` steps of one environment (Sutton, 1988; as in Rainbow, Hessel et al., 2018). It ends early
where an episode does, and at the newest step; whoever learns from it needs only ``reward + discount * value(following)``:
``discount`` is gamma to the number of steps that the window really has, and 0 where it ended by termination. A truncated
episode goes on in the true last observation.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from locomotion.algorithms.sum_tree import SumTree
from locomotion.environment import Ended, Observations, Transition
from robots.errors import InputError

GOES_ON, TERMINATED, TRUNCATED = 0, 1, 2
LARGEST_HALF = torch.finfo(torch.float16).max  # larger values are kept as this
GIB = 1024.0**3


@dataclass(frozen=True)
class Batch:
    """B windows of steps."""

    observations: Observations  # group -> [B, width], in which the window begins
    action: Tensor  # [B, A], its first
    reward: Tensor  # [B], of its m steps, discounted to the first
    discount: Tensor  # [B], gamma^m; 0 where the last step terminated the episode
    following: Observations  # in which the window ends
    rows: Tensor  # [B] int64, where it begins: for Replay.prioritize
    weight: Tensor  # [B], importance: 1 where samples are uniform

    def part(self, rows: slice | Tensor) -> Batch:
        """Some of the windows."""
        groups = ({name: value[rows] for name, value in group.items()} for group in (self.observations, self.following))
        return Batch(
            next(groups), self.action[rows], self.reward[rows], self.discount[rows], next(groups), self.rows[rows], self.weight[rows]
        )


class Replay:
    """The newest ``capacity // num_envs`` steps of ``num_envs`` environments; time comes first, so that a step is one copy.

    ``widths`` are those of the observation groups that are kept. ``half`` keeps observations and actions in 16 bits. Where ``priority``
    (alpha of Schaul et al., "Prioritized experience replay", 2016) is given, samples come in proportion to |error|^alpha.

    Raises:
        InputError: it would not fit into memory (before it is allocated), or it holds no step of all environments.
    """

    def __init__(
        self, widths: Mapping[str, int], action: int, num_envs: int, capacity: int, device: torch.device | str,
        half: bool = False, priority: float | None = None,
    ) -> None:  # fmt: skip
        self.widths, self.num_envs, self.device, self.priority = dict(widths), num_envs, torch.device(device), priority
        self.slots = capacity // num_envs
        if not self.slots:
            raise InputError("algorithm.capacity", capacity, f"at least algorithm.num_envs ({num_envs}) transitions", "Raise it.")
        dtype = torch.float16 if half else torch.float32
        self._half, self._columns = half, sum(widths.values())
        self._refuse_too_large(capacity, (2 * self._columns + action) * dtype.itemsize + 5 + (32 if priority is not None else 0))
        shape = (self.slots, num_envs)
        self.written = 0  # steps of all environments, ever; the next goes into slot written % slots
        self._before = torch.zeros(*shape, self._columns + action, dtype=dtype, device=self.device)  # observations, action
        self._after = torch.zeros(*shape, self._columns, dtype=dtype, device=self.device)
        self._reward = torch.zeros(shape, device=self.device)
        self._end = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        self._tree = SumTree(self.slots * num_envs, self.device) if priority is not None else None
        self._largest = torch.ones((), dtype=torch.float64, device=self.device)  # priority of what nobody has learned from yet

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return min(self.written, self.slots) * self.num_envs

    @property
    def action_size(self) -> int:
        return self._before.shape[-1] - self._columns

    # filling

    def begin(self, observations: Observations, action: Tensor) -> None:
        """The first half of a step: what was seen, and done [N, A] (of choices: [N]). To be followed by :meth:`finish`."""
        self._put(self._before, [observations[name] for name in self.widths] + [action.view(self.num_envs, -1)])

    def finish(self, step: Transition, ended: Ended, reward: Tensor) -> None:
        """The second half: what it led to, ``ended`` and ``reward`` [N] being of this step alone."""
        slot = self.written % self.slots
        self._put(self._after, [step.observations[name] for name in self.widths])
        last = torch.cat([ended.observations[name] for name in self.widths], dim=-1)
        self._after[slot].index_copy_(0, ended.rows, self._fitting(last))
        self._reward[slot] = reward
        self._end[slot] = step.terminated * TERMINATED + (step.truncated & ~step.terminated) * TRUNCATED
        if self._tree is not None:
            rows = torch.arange(slot * self.num_envs, (slot + 1) * self.num_envs, device=self.device)
            self._tree.set(rows, self._largest.expand(len(rows)))
        self.written += 1

    def extend(
        self, observations: Observations, action: Tensor, reward: Tensor, following: Observations, terminated: Tensor, truncated: Tensor
    ) -> None:
        """T steps at once, [T, N, ...] (``reward`` and flags [T, N]), T at most the free slots before the ring's end.

        ``following`` are true: where an episode ended, those in which it ended. The last step of a recording that just stops is truncated.
        """
        steps, first = len(reward), self.written % self.slots
        if first + steps > self.slots:
            raise InputError("replay", f"{steps} steps", f"at most {self.slots - first}, the free slots", "Make the buffer larger.")
        span = slice(first, first + steps)
        n = (steps, self.num_envs, -1)
        before = torch.cat([*(observations[name] for name in self.widths), action.reshape(n)], dim=-1)
        self._before[span] = self._fitting(before)
        self._after[span] = self._fitting(torch.cat([following[name] for name in self.widths], dim=-1))
        self._reward[span] = reward
        self._end[span] = terminated * TERMINATED + (truncated & ~terminated) * TRUNCATED
        if self._tree is not None:
            rows = torch.arange(first * self.num_envs, (first + steps) * self.num_envs, device=self.device)
            self._tree.set(rows, self._largest.expand(len(rows)))
        self.written += steps

    def cut(self) -> None:
        """What comes next does not follow from the newest step: episodes that go on in it are truncated there."""
        if self.written:
            newest = self._end[(self.written - 1) % self.slots]
            newest[newest == GOES_ON] = TRUNCATED

    def _put(self, storage: Tensor, parts: Sequence[Tensor]) -> None:
        target = storage[self.written % self.slots]
        start = 0
        for part in parts:
            target[:, start : start + part.shape[1]] = self._fitting(part)
            start += part.shape[1]

    def _fitting(self, values: Tensor) -> Tensor:
        return values.clamp(-LARGEST_HALF, LARGEST_HALF).half() if self._half else values

    # sampling

    def sample(self, size: int, n_steps: int, gamma: float, generator: torch.Generator, beta: float | None = None) -> Batch:
        """``size`` windows of at most ``n_steps`` steps, uniform with replacement; with ``beta``, by priority.

        By priority: one from each of ``size`` equal strata of the priorities' sum, weighted (size of buffer * probability)^-beta, divided
        by the batch's largest weight.
        """
        if beta is None:
            rows = torch.randint(len(self), (size,), generator=generator, device=self.device)
            return self.windows(rows, n_steps, gamma, torch.ones(size, device=self.device))
        assert self._tree is not None, "made without priorities"
        rows, probability = self._tree.sample(size, generator)
        weight = (probability * len(self)).pow(-beta)
        return self.windows(rows, n_steps, gamma, (weight / weight.max()).float())

    def windows(self, rows: Tensor, n_steps: int, gamma: float, weight: Tensor) -> Batch:
        """The windows that begin in ``rows`` [B] (slot * num_envs + environment)."""
        n, width = self.num_envs, self._columns
        reward, end = self._reward.view(-1), self._end.view(-1)
        last, total, discount = rows, reward[rows], torch.full(rows.shape, gamma, device=self.device)
        if n_steps > 1:
            newest = (self.written - 1) % self.slots
            left = (newest - rows.div(n, rounding_mode="floor")) % self.slots  # steps of the buffer after this one
            for k in range(1, n_steps):
                on = (end[last] == GOES_ON) & (left >= k)
                last = torch.where(on, (last + n) % (self.slots * n), last)
                total = torch.where(on, total + discount * reward[last], total)
                discount = torch.where(on, discount * gamma, discount)
        discount = discount * (end[last] != TERMINATED)
        before = self._before.view(-1, width + self.action_size).index_select(0, rows).float()
        after = self._after.view(-1, width).index_select(0, last).float()
        *seen, action = before.split([*self.widths.values(), self.action_size], dim=-1)
        follows = after.split([*self.widths.values()], dim=-1)
        named = (dict(zip(self.widths, parts, strict=True)) for parts in (seen, follows))
        return Batch(next(named), action, total, discount, next(named), rows, weight)

    def prioritize(self, rows: Tensor, error: Tensor) -> None:
        """Priorities of ``rows`` [B] by their temporal-difference ``error`` [B]."""
        assert self._tree is not None, "made without priorities"
        assert self.priority is not None
        value = (error.detach().abs().double() + 1e-6).pow(self.priority)
        self._tree.set(rows, value)
        torch.maximum(self._largest, value.max(), out=self._largest)

    def newest(self, steps: int) -> Observations:
        """What was seen in the last ``steps`` steps, group -> [steps * N, width]."""
        slots = torch.arange(self.written - steps, self.written, device=self.device) % self.slots
        seen = self._before[slots].flatten(0, 1).float()
        return dict(zip(self.widths, seen[:, : self._columns].split([*self.widths.values()], dim=-1), strict=True))

    # keeping

    def span(self, slots: slice) -> dict[str, Tensor]:
        """The contents of some slots, as they are."""
        return {name: value[slots].clone() for name, value in self._storage().items()}

    def fingerprint(self) -> str:
        """Of all that it holds."""
        digest = hashlib.sha256()
        for value in self._storage().values():
            digest.update(value.numpy(force=True).data)
        return digest.hexdigest()

    @property
    def actions(self) -> Tensor:
        """[slots, N, A], as they are kept."""
        return self._before[..., self._columns :]

    def load_span(self, slots: slice, state: Mapping[str, Tensor]) -> None:
        for name, value in self._storage().items():
            value[slots] = state[name].to(self.device)

    @property
    def slot_bytes(self) -> int:
        return sum(value[0].nbytes for value in self._storage().values())

    def counters(self) -> dict[str, Any]:
        """All but the slots' contents."""
        leaves = self._tree.leaves[: len(self)].clone() if self._tree is not None else None
        return {"written": self.written, "leaves": leaves, "largest": self._largest.clone(), "shape": self._shape()}

    def load_counters(self, state: Mapping[str, Any]) -> None:
        """Raises InputError where the buffer of ``state`` was of another shape."""
        if list(state["shape"]) != self._shape():
            raise InputError("resume", state["shape"], f"a replay buffer of shape {self._shape()}", "Go on with the run's own settings.")
        self.written = state["written"]
        self._largest.copy_(state["largest"])
        if self._tree is not None:
            self._tree.load(state["leaves"])

    def state_dict(self) -> dict[str, Any]:
        """Everything, for a continuation that is exact."""
        return self.counters() | {"contents": self.span(slice(0, min(self.written, self.slots)))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.load_counters(state)
        self.load_span(slice(0, min(self.written, self.slots)), state["contents"])

    def _shape(self) -> list[int]:
        return [self.slots, self.num_envs, *self.widths.values(), self.action_size, int(self._half)]

    def _storage(self) -> dict[str, Tensor]:
        return {"before": self._before, "after": self._after, "reward": self._reward, "end": self._end}

    def _refuse_too_large(self, capacity: int, row_bytes: int) -> None:
        free, needed = free_memory(self.device), self.slots * self.num_envs * row_bytes
        if free is not None and needed > 0.9 * free:
            remedy = f"At most {int(0.9 * free / row_bytes):,} transitions fit." + ("" if self._half else " algorithm.half=true halves it.")
            allowed = f"a replay buffer that fits into memory: it takes {needed / GIB:.1f} GiB, and {free / GIB:.1f} GiB are free"
            raise InputError("algorithm.capacity", capacity, allowed, remedy)


def from_arrays(
    observations: Observations, action: Tensor, reward: Tensor, following: Observations, terminated: Tensor, truncated: Tensor,
    device: torch.device | str = "cpu", half: bool = False,
) -> Replay:  # fmt: skip
    """A full buffer of T recorded steps, arguments [T, ...] in order of time: for offline algorithms. See :meth:`Replay.extend`."""
    steps = len(reward)
    widths = {name: value.shape[-1] for name, value in observations.items()}
    replay = Replay(widths, action.reshape(steps, -1).shape[1], 1, steps, device, half)
    one = [{name: value[:, None] for name, value in group.items()} for group in (observations, following)]
    replay.extend(one[0], action.reshape(steps, 1, -1), reward[:, None], one[1], terminated[:, None], truncated[:, None])
    return replay


def mixed(batches: Sequence[Batch]) -> Batch:
    """Batches of several buffers as one (half of each: RLPD, Ball et al., 2023). Groups that not all have are left out."""

    def join(groups: Sequence[Observations]) -> Observations:
        common = [name for name in groups[0] if all(name in group for group in groups)]
        return {name: torch.cat([group[name] for group in groups]) for name in common}

    seen, follows = join([batch.observations for batch in batches]), join([batch.following for batch in batches])
    action, reward, discount, rows, weight = (
        torch.cat([getattr(batch, name) for batch in batches]) for name in ("action", "reward", "discount", "rows", "weight")
    )
    return Batch(seen, action, reward, discount, follows, rows, weight)


def refuse_other_data(begun: str | None, now: str | None) -> None:
    """Raises InputError where the fingerprints differ: of the data that a run began with, and of those of now."""
    if begun != now:
        raise InputError("resume", "its dataset has changed", "the data that the run began with", "Begin a new run with init=...")


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on ``device``; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        names = os.sysconf_names
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_AVPHYS_PAGES" in names else None
