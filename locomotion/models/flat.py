"""Learning in few operations: parameters as one vector, clipped and stepped at once, and a minibatch as one gather."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from locomotion import distributed


def flatten(parameters: Iterable[nn.Parameter]) -> nn.Parameter:
    """One vector of which the tensors of ``parameters`` become views, and that of its gradient theirs."""
    parameters = list(parameters)
    flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        part = slice(start, start + parameter.numel())
        parameter.data = flat.data[part].view_as(parameter)
        parameter.grad = flat.grad[part].view_as(parameter)
        start = part.stop
    return flat


class FlatAdam:
    """Adam (Kingma and Ba, 2015) on ``parameters``, whose tensors become views of one vector."""

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> None:
        self.flat = flatten(parameters)
        self._adam = torch.optim.Adam([self.flat], lr=learning_rate, fused=True)

    def descend(self, loss: torch.Tensor, max_grad_norm: float | None, learning_rate: float | None = None) -> None:
        """One step down the gradient of ``loss``, its norm clipped to ``max_grad_norm``, if any."""
        assert self.flat.grad is not None
        if learning_rate is not None:
            self._adam.param_groups[0]["lr"] = learning_rate
        self.flat.grad.zero_()
        loss.backward()
        distributed.mean_(self.flat.grad)  # before it is clipped
        if max_grad_norm is not None:
            nn.utils.clip_grad_norm_([self.flat], max_grad_norm)
        self._adam.step()

    def state_dict(self) -> dict[str, Any]:
        return self._adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._adam.load_state_dict(state)


def make_minibatches(samples: int, epochs: int, count: int, generator: torch.Generator, device: torch.device) -> list[Tensor]:
    """Rows of each minibatch: every epoch uses every sample once, in an order of its own."""
    orders = [torch.randperm(samples, generator=generator, device=device) for _ in range(epochs)]
    return [rows for order in orders for rows in order.tensor_split(count)]


def pack(batch: dict[str, Tensor], names: Sequence[str]) -> tuple[Tensor, list[int]]:
    """The named tensors side by side, so that a minibatch is one gather; and their widths."""
    parts = [batch[name] for name in names]
    # the batch was made in inference mode; cat under autograd makes an ordinary tensor of it
    return torch.cat(parts, dim=-1).clone(), [part.shape[-1] for part in parts]


@contextlib.contextmanager
def side_by_side() -> Iterator[Executor]:
    """A thread for networks that learn beside the caller's, where there is a CPU for it: else one learns after the other. So it is in
    several processes, too: gradients meet in order."""
    alone = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1
    if distributed.world() > 1 or alone:
        yield _AtOnce()
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


class _AtOnce(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done
