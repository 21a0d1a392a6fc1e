"""Learning in few operations: parameters as one vector, clipped and stepped at once, and a minibatch as one gather."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

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
    """Adam (Kingma and Ba, 2015) on ``parameters``, whose tensors become views of one vector.

    It calls torch's function: its class, and clip_grad_norm_(), spend more time on finding one vector than on moving it.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> None:
        self.flat, self.learning_rate = flatten(parameters), learning_rate
        self._moments = {name: torch.zeros_like(self.flat) for name in ("exp_avg", "exp_avg_sq")}
        self._moments["step"] = torch.zeros((), dtype=torch.float32, device=self.flat.device)

    def descend(self, loss: torch.Tensor, max_grad_norm: float | None, learning_rate: float | None = None) -> None:
        """One step down the gradient of ``loss``, its norm clipped to ``max_grad_norm``, if any; a ``learning_rate`` stays."""
        gradient, moments = self.flat.grad, self._moments
        assert gradient is not None
        if learning_rate is not None:
            self.learning_rate = learning_rate
        gradient.zero_()
        loss.backward()
        distributed.mean_(gradient)  # before it is clipped
        with torch.no_grad():
            if max_grad_norm is not None:
                gradient.mul_((max_grad_norm / (torch.linalg.vector_norm(gradient) + 1e-6)).clamp(max=1.0))
            adam(
                [self.flat], [gradient], [moments["exp_avg"]], [moments["exp_avg_sq"]], [], [moments["step"]], fused=True,
                amsgrad=False, beta1=0.9, beta2=0.999, lr=self.learning_rate, weight_decay=0.0, eps=1e-8, maximize=False,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate} | {name: value.clone() for name, value in self._moments.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "param_groups" in state:  # of torch.optim.Adam, which older checkpoints have; before its first step it has no moments
            state = {**self._moments, **state["state"].get(0, {}), "learning_rate": state["param_groups"][0]["lr"]}
        self.learning_rate = state["learning_rate"]
        for name, value in self._moments.items():
            value.copy_(state[name])


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
