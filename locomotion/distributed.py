"""Several processes that learn as one, started by ``torchrun``: what they do together. Where there is one process, nothing.

Each has environments, a generator and perhaps a replay buffer of its own; parameters, normalisers, rates and whatever else decides
(levels of curricula) are the same in all, since each of these follows from figures that were averaged over all. Process 0 alone writes.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from robots.errors import InputError

PATIENCE = datetime.timedelta(minutes=10)  # with a process that says nothing: longer than a scorecard takes
APART = 1_000_003  # between the seeds of neighbours


_joined = False  # in joined(): the processes are those of our own trainings, which all do the same


class LostProcessError(InputError):
    """Another process of this run has ended, or does not answer."""


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes that ``torchrun`` has started; alone where it has not."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        yield
        return
    if not (size.isdigit() and os.environ.get("RANK", "").isdigit() and "MASTER_ADDR" in os.environ):
        allowed = "RANK and MASTER_ADDR beside it, as torchrun sets them"
        raise InputError("WORLD_SIZE", size, allowed, "Start with torchrun (docs/several_processes.md), or unset this variable.")
    # Its functions have the group of that moment as default arguments: loaded later (torch.optim does), they would keep the group and its
    # threads beyond its end, and a thread that wants the interpreter while that ends aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    with _together():
        dist.init_process_group(timeout=PATIENCE)  # gloo for tensors on CPUs, NCCL for those on GPUs
    global _joined
    _joined = True
    try:
        yield
        with _together():
            dist.barrier()  # nobody takes the connections down while another one still talks
    finally:
        _joined = False
        dist.destroy_process_group()


def world() -> int:
    """How many processes learn together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This one's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def seed(common: int) -> int:
    """Of this process; ``common`` itself in process 0."""
    return (common + APART * rank()) % 2**31


@contextlib.contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:  # a peer that is gone, a time-out, an address that nobody answers at
        said = " ".join(str(error).split())[:200]
        one, all_ = (os.environ.get(name, "?") for name in ("RANK", "WORLD_SIZE"))
        allowed = f"that all {all_} processes answer"
        raise LostProcessError("torchrun", f"no answer in process {one}", allowed, f"Another has ended: {said}") from error


def agreed(figure: Tensor) -> Tensor:
    """The mean of ``figure`` over the processes; itself where they are another library's, which may not all ask."""
    return mean_(figure.clone()) if _joined else figure


def mean_(tensor: Tensor) -> Tensor:
    """``tensor`` becomes its mean over the processes."""
    if world() > 1:
        with _together():
            dist.all_reduce(tensor)
        tensor /= world()
    return tensor


def largest_(tensor: Tensor) -> Tensor:
    """``tensor`` becomes its maximum over the processes, entry by entry."""
    if world() > 1:
        with _together():
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor


def stacked(tensor: Tensor) -> Tensor:
    """[W, ...]: ``tensor`` of every process, in their order."""
    if world() == 1:
        return tensor[None]
    parts = [torch.empty_like(tensor) for _ in range(world())]
    with _together():
        dist.all_gather(parts, tensor.contiguous())
    return torch.stack(parts)


def gathered(value: Any) -> list[Any]:
    """``value`` of every process, in process 0; nothing elsewhere."""
    if world() == 1:
        return [value]
    values = [None] * world() if rank() == 0 else None
    with _together():
        dist.gather_object(value, values)
    return values or []


def shared(make: Callable[[], Any]) -> Any:
    """What ``make`` gives in process 0."""
    values = [make() if rank() == 0 else None]
    if world() > 1:
        with _together():
            dist.broadcast_object_list(values)
    return values[0]


def everywhere(figures: dict[str, float], counts: tuple[str, ...]) -> dict[str, float]:
    """Figures of all processes: sums of ``counts``, and means of the others over the processes that have them."""
    if world() == 1:
        return figures
    every: list[dict[str, float]] = [{} for _ in range(world())]
    with _together():
        dist.all_gather_object(every, figures)
    names = dict.fromkeys(name for one in every for name in one)
    values = {name: [one[name] for one in every if name in one] for name in names}
    return {name: sum(found) if name in counts else sum(found) / len(found) for name, found in values.items()}
