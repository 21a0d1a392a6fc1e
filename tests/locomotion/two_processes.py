"""What each process of tests/locomotion/test_distributed.py runs: ``torchrun ... two_processes.py PART FOLDER``."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from locomotion import distributed
from locomotion.algorithms import ALGORITHMS
from locomotion.algorithms.returns import normalized
from locomotion.config import compose
from locomotion.models.actor_critic import Actor
from locomotion.models.flat import FlatAdam
from locomotion.models.normalizer import Normalizer
from locomotion.runs.start import start
from locomotion.schema import check
from tests.conftest import make_task, tiny
from tests.locomotion.algorithms.point import Points
from tests.locomotion.runs.test_checkpoint import Silent

N, ALL = 6, 12  # environments of a process, and of all


class Rows(Points):
    """Some rows of ALL points, whose beginnings and noise do not depend on how many processes share them."""

    def __init__(self, first: int, count: int) -> None:
        self.rows, self.drawn = slice(first, first + count), 0
        super().__init__(count, limit=4)
        self.spaces = replace(self.spaces, costs=("far",))

    def costs(self) -> torch.Tensor:
        """[T, N, 1] of the steps that ``rewards()`` will return: how far beyond 0.5."""
        return (torch.stack(self._rewards).abs().sqrt() - 0.5).clamp(min=0.0)[..., None]

    def _start(self, n: int) -> torch.Tensor:
        self.drawn += 1
        return (torch.rand(ALL, generator=torch.Generator().manual_seed(self.drawn)) * 2 - 1)[self.rows]


def learner(name: str, first: int, count: int):
    """An algorithm on the rows; its exploration is that of the rows, too."""
    drawn = 0

    def noise(self: Actor, shape, generator) -> torch.Tensor:
        nonlocal drawn
        drawn += 1
        every = torch.randn(shape[0], ALL, shape[2], generator=torch.Generator().manual_seed(1000 + drawn))
        return every[:, first : first + count] * self.log_std.exp()

    Actor.noise = noise  # type: ignore[method-assign]
    small = {"num_envs": count, "steps": 8, "minibatches": 1, "epochs": 3, "actor_hidden": "[16,16]", "critic_hidden": "[16,16]"}
    if name in ("trpo", "a2c", "reinforce"):
        small = {"num_envs": count, "steps": 8, "value_minibatches": 1, "actor_hidden": "[16,16]", "critic_hidden": "[16,16]"}
    words = [f"algorithm.{key}={value}" for key, value in ({**small, "symmetric": "false"}).items()]
    data = compose("train", [f"algorithm={name}", *words])["algorithm"]
    cls = ALGORITHMS[data.pop("name")]
    return cls(check(cls.settings_type, data, "algorithm"), Rows(first, count), 1, 10)


def learn(name: str, folder: Path, first: int, count: int) -> None:
    made = learner(name, first, count)
    for _ in range(10):
        figures = made.iterate()
    torch.save(made.state_dict() | {"figures": figures}, folder / f"{name}_{distributed.world()}_{distributed.rank()}.pt")


def pieces(folder: Path) -> None:
    """The parts, against what one process would have."""
    k = distributed.rank()
    data = torch.arange(15.0).reshape(5, 3) ** 2
    shares = [data[:2], data[2:]]  # unequal
    ours = Normalizer(3, None)
    for _ in range(2):
        ours.update(shares[k])
    whole = torch.cat([data, data]).double()
    torch.testing.assert_close(ours.mean, whole.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.var, whole.var(0, correction=0), rtol=1e-12, atol=0)
    assert int(ours.count) == 10

    torch.testing.assert_close(normalized(data[:4][2 * k : 2 * k + 2]), ((data[:4] - data[:4].mean()) / data[:4].std())[2 * k : 2 * k + 2])

    parameter = torch.nn.Parameter(torch.zeros(1))
    adam = FlatAdam([parameter], 0.0)
    adam.descend(([30.0, -29.0][k] * parameter).sum(), max_grad_norm=1.0)  # clipped before they met, they would cancel out
    assert adam.flat.grad is not None
    torch.testing.assert_close(adam.flat.grad, torch.tensor([0.5]))

    assert distributed.everywhere({"falls": 1.0 + k, "score": float(k)} | ({"only": 7.0} if k else {}), ("falls",)) == {
        "falls": 3.0, "score": 0.5, "only": 7.0,
    }  # fmt: skip
    assert distributed.seed(5) == [5, 5 + distributed.APART][k]
    torch.testing.assert_close(distributed.largest_(torch.tensor([1.0 + k, 5.0 - k])), torch.tensor([2.0, 5.0]))
    (folder / f"good_{k}").touch()


def curricula(folder: Path) -> None:
    """Levels follow the score of all: alone the first process would come to 1, the second stay at 0."""
    torch.set_default_dtype(torch.float32)
    task = make_task("task.curricula={ramp: {term: ramp_weights, terms: {tilt: 0.1}, score: [0.5, 0.7]}}")
    score = [0.8, 0.4][distributed.rank()]
    task._outcome.smoothed_score.fill_(score)
    task.step(torch.zeros(task.num_envs, task.spaces.action.size))
    task.rewards()
    level = distributed.stacked(task.curricula[-1].level)
    assert level[0] == level[1]
    assert 0.1 < level[0] < 0.6
    (folder / f"level_{distributed.rank()}").touch()


def killed(folder: Path) -> None:
    """A training whose second process is gone after two iterations."""
    torch.set_default_dtype(torch.float32)
    settings = tiny("iterations=50", f"run={folder}/run")

    class Dying(Silent):
        def iteration(self, iteration: int, iterations: int, figures: dict[str, float]) -> None:
            if iteration == 2 and distributed.rank() == 1:
                os._exit(7)

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        start(settings, lambda _: Dying(), print)
    except distributed.LostProcessError as error:
        (folder / "said").write_text(str(error))


def die(folder: Path) -> None:
    if distributed.rank() == 1:
        os._exit(7)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, which may come before this has said what happened
    try:
        while True:
            distributed.mean_(torch.zeros(1))
    except distributed.LostProcessError as error:
        (folder / "said").write_text(str(error))


if __name__ == "__main__":
    part, where = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # what is left are errors of the sums, not of rounding that Adam enlarges
    with distributed.joined():
        if part == "pieces":
            pieces(where)
        elif part == "killed":
            killed(where)
        elif part == "curricula":
            curricula(where)
        elif part == "die":
            die(where)
        else:
            for algorithm in part.split(","):
                learn(algorithm, where, N * distributed.rank(), ALL // distributed.world())
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    assert not any("gloo" in name for name in names), names  # a thread that outlives the group may abort the interpreter's end
