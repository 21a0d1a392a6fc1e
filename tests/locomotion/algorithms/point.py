"""Points on a line, an environment whose every value is known: what off-policy algorithms are tested on."""

from __future__ import annotations

import functools

import torch
import yaml
from torch import Tensor

from locomotion.algorithms import ALGORITHMS
from locomotion.config import compose
from locomotion.environment import ActionSpace, DiscreteActions, Ended, Spaces, Transition
from locomotion.schema import check, merge


class Points:
    """N points that an action moves; reward -position^2. Beyond +-2 an episode terminates, after ``limit`` steps it is truncated.

    The critic also sees the step of the episode. ``discrete``: three choices, -1, 0 and 1.
    """

    def __init__(self, num_envs: int, limit: int = 5, discrete: bool = False, seed: int = 0) -> None:
        self.num_envs, self.limit, self.device, self.step_seconds = num_envs, limit, torch.device("cpu"), 1.0
        action = DiscreteActions(3) if discrete else ActionSpace(torch.tensor([-1.0]), torch.tensor([3.0]))
        self.spaces = Spaces({"actor": 1, "critic": 2}, action, None)
        self.generator = torch.Generator().manual_seed(seed)
        self.position, self.step_of = self._start(num_envs), torch.zeros(num_envs)
        self._rewards: list[Tensor] = []
        self._ended: list[tuple[Tensor, Tensor, Tensor]] = []

    def _start(self, n: int) -> Tensor:
        return torch.rand(n, generator=self.generator) * 2 - 1

    def _seen(self) -> dict[str, Tensor]:
        actor = self.position[:, None].clone()
        return {"actor": actor, "critic": torch.cat([actor, self.step_of[:, None]], dim=-1)}

    @property
    def observations(self) -> dict[str, Tensor]:
        return self._seen()

    def step(self, action: Tensor) -> Transition:
        move = action - 1.0 if action.dim() == 1 else action[:, 0]
        self.position, self.step_of = self.position + 0.5 * move, self.step_of + 1
        self._rewards.append(-self.position.square())
        terminated = self.position.abs() > 2
        truncated = (self.step_of >= self.limit) & ~terminated
        done = terminated | truncated
        seen, rows = self._seen(), done.nonzero().squeeze(-1)
        self._ended.append((rows, seen["actor"][rows], seen["critic"][rows]))
        self.position = torch.where(done, self._start(self.num_envs), self.position)
        self.step_of = torch.where(done, 0.0, self.step_of)
        return Transition(self._seen(), terminated, truncated)

    def ended(self) -> Ended:
        steps = torch.cat([torch.full_like(rows, t) for t, (rows, _, _) in enumerate(self._ended)])
        rows, actor, critic = (torch.cat(parts) for parts in zip(*self._ended, strict=True))
        return Ended(steps, rows, {"actor": actor, "critic": critic})

    def rewards(self) -> Tensor:
        rewards = torch.stack(self._rewards)
        self._rewards, self._ended = [], []
        return rewards

    def state_dict(self) -> dict:
        return {"position": self.position.clone(), "step": self.step_of.clone(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.position, self.step_of = state["position"].clone(), state["step"].clone()
        self.generator.set_state(state["generator"])


@functools.cache
def _configured(name: str) -> dict:
    return compose("train", [f"algorithm={name}"])["algorithm"]


def make(name: str, *overrides: str, env: Points | None = None, iterations: int = 10):
    """The learner of configs/algorithm/``name``.yaml, small, on points."""
    small = ["rounds=20", "warm_up=40", "capacity=400", "batch_size=16", "actor_hidden=[16,16]", "num_envs=4"]
    if "dqn" not in name:
        small.append("critic_hidden=[16,16]")
    changes = {key: yaml.safe_load(value) for key, _, value in (one.partition("=") for one in (*small, *overrides))}
    data = merge(_configured(name), changes)
    cls = ALGORITHMS[data.pop("name")]
    settings = check(cls.settings_type, data, "algorithm")
    return cls(settings, env or Points(settings.num_envs, discrete="dqn" in name), 1, iterations)
