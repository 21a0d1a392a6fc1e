"""RLPD on few data: critics learn what an action was worth from every step so far, and the adapter climbs them.

Ball et al., "Efficient online reinforcement learning with offline data", 2023 (arXiv:2302.02948): soft actor-critic with an ensemble of
critics under layer norm, many updates a step, and half of each batch from a dataset where there is one. The exploration's spread is the
recipe's and not learned, so that its entropy is a constant and there is no temperature; in its place stands the leash's price.

Unlike PPO's objective nothing is weighted by probabilities: walks of every policy count in full, however far the present one has gone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from locomotion.algorithms.replay import TERMINATED, TRUNCATED, Replay, from_arrays, mixed
from locomotion.algorithms.replay import Batch as Windows
from locomotion.finetuning import leash
from locomotion.finetuning.adapter import Adapted, hidden_of
from locomotion.finetuning.base import Base
from locomotion.finetuning.batch import Batch, joined
from locomotion.finetuning.exploring import Noise
from locomotion.models.ensemble import Ensemble
from locomotion.models.flat import FlatAdam, flatten
from locomotion.schema import Count, NotNegative, Positive, Settings, Share, Text

REWARD = 0.1  # standard deviation of a step's reward as critics are told it: values are then about 1
FURTHEST = 10.0  # standard deviations from the base's mean that critics can tell apart
MAX_GRAD_NORM = 1.0


class RLPDSettings(Settings):
    name: Literal["rlpd"]
    gamma: Annotated[float, Field(ge=0, lt=1)]
    n_steps: Count  # rewards counted before the value of what follows
    critics: Count
    hidden: Count  # units of each of their two layers
    batch_size: Count
    warm_up_updates: Count  # of the critics, from the base's walks
    updates: Count  # a round
    actor_every: Count  # critics' updates an update of the policy
    critic_learning_rate: Positive
    learning_rate: Positive  # of the policy
    tau: Share  # by which the targets follow the critics at each update
    directions: Count  # of the last layer's features in which it may move
    kl_price: NotNegative  # of a nat from the base
    kl_round: Positive  # nats from the last policy, at most
    kl_limit: Positive  # nats from the base, at most
    dataset: Text | None  # of 'locomotion dataset from-logs', which half of every batch is from


class RLPD(Adapted):
    """The critics, their targets and an update of the adapter. ``data`` holds a dataset's groups actor and critic, if there is one."""

    def __init__(self, settings: RLPDSettings, base: Base, noise: Noise, seed: int, data: Replay | None = None) -> None:
        super().__init__(base, noise, settings.directions)
        self.settings, self.critic, self._data = settings, base.critic, data
        self.generator = torch.Generator().manual_seed(seed)
        sizes = [base.spaces.groups["critic"] + len(self.std), settings.hidden, settings.hidden, 1]
        self.q, self.target = (Ensemble(settings.critics, sizes, "silu", True, self.generator) for _ in range(2))
        self.target.load_state_dict(self.q.state_dict())
        self._optimizer = FlatAdam(self.q.parameters(), settings.critic_learning_rate)
        self._follows = flatten(self.target.parameters()).data
        self.scales = torch.zeros(0)  # mean and standard deviation of a step's reward; those of what critics see: from the warm-up on

    def warm_up(self) -> dict[str, float]:
        """The directions, the scales, and critics of the base."""
        self.find_directions()
        batch = joined(self.batches)
        seen = torch.stack([batch.critic.mean(dim=0), batch.critic.std(dim=0).clamp(min=1e-3)])
        self.scales = torch.cat([torch.stack([batch.reward.mean(), batch.reward.std().clamp(min=1e-6)]), seen.flatten()])
        return self._learn(self.settings.warm_up_updates, still=True)

    def update(self) -> dict[str, float]:
        """One round: critics and policy by turns, and the policy no further than the leash."""
        assert self.adapter is not None
        s, adapter, before = self.settings, self.adapter, self.policy
        figures = self._learn(s.updates)
        batch = joined(self.batches)
        with torch.no_grad():
            base = self.base.actor(batch.observation)
            features = adapter.features(hidden_of(self.base.actor, batch.observation))
            zero = torch.zeros_like(base)

            def far(weight: Tensor) -> float:
                return float(leash.distance(features @ weight.T, zero, self.std))

            self.go_back(before, leash.shortened(far(adapter.weight - before), s.kl_round))
            adapter.weight *= leash.shortened(far(adapter.weight), s.kl_limit)
            return figures | {
                "policy/kl": far(adapter.weight - before), "policy/kl_to_base": far(adapter.weight),
                "policy/steps": float(len(batch)), "policy/changed": float(batch.changed.float().mean()),
            }  # fmt: skip

    def _learn(self, updates: int, still: bool = False) -> dict[str, float]:
        """``updates`` of the critics; with ``still`` the policy stays where it is."""
        assert self.adapter is not None
        s, weight = self.settings, self.adapter.weight
        replays, keep = self._replays()
        still = still or not keep.any()  # critics that have learned nothing lead nowhere
        climb, losses = FlatAdam([weight], s.learning_rate), torch.zeros(2)
        for i in range(updates):
            windows = self._sample(replays, keep)
            losses[0] += self._descend(windows)
            if not still and i % s.actor_every == s.actor_every - 1:
                off = windows.observations["features"] @ weight.T  # from the base's mean
                value = self.q(self._sees(windows.observations, off + self.std * self._noise(off)), frozen=True)
                price = leash.distance(off, torch.zeros_like(off), self.std)
                climb.descend(s.kl_price * price - value.squeeze(-1).amin(dim=0).mean(), MAX_GRAD_NORM)
            self._follows.lerp_(self._optimizer.flat.data, s.tau)
        return {"value/loss": float(losses[0]) / updates, "value/mean": self._value_of(replays[0])}

    def _descend(self, windows: Windows) -> Tensor:
        """A step of the critics towards rewards and the least of their targets; returns the loss."""
        with torch.no_grad():
            off = windows.following["features"] @ self.adapter.weight.T  # type: ignore[union-attr]
            follows = self.target(self._sees(windows.following, off + self.std * self._noise(off))).squeeze(-1).amin(dim=0)
            goal = windows.reward + windows.discount * follows
        estimate = self.q(self._sees(windows.observations, windows.action)).squeeze(-1)
        loss = 0.5 * (windows.weight * (estimate - goal).square()).mean(dim=-1).sum()
        self._optimizer.descend(loss, MAX_GRAD_NORM)
        return loss.detach()

    def _sees(self, observations: dict[str, Tensor], off: Tensor) -> Tensor:
        """What critics see: their observation, and how far an action is from the base's mean, in the exploration's deviations."""
        return torch.cat([observations["critic"], (off / self.std).clamp(-FURTHEST, FURTHEST)], dim=-1)

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator)

    def _sample(self, replays: list[Replay], keep: Tensor) -> Windows:
        """Half of it from the dataset, where there is one. What filters changed was not what led to a reward: it weighs nothing."""
        s, size = self.settings, self.settings.batch_size // len(replays)
        own, *others = (replay.sample(size, s.n_steps, s.gamma, self.generator) for replay in replays)
        own = replace(own, weight=keep[own.rows])
        return mixed([own, *others]) if others else own

    @torch.no_grad()
    def _value_of(self, replay: Replay) -> float:
        windows = replay.sample(1024, 1, self.settings.gamma, torch.Generator().manual_seed(0))
        return float(self.q(self._sees(windows.observations, windows.action)).mean())

    @torch.no_grad()
    def _replays(self) -> tuple[list[Replay], Tensor]:
        """All that the robot did, then the dataset, as critics are to see it; and which of the robot's steps count [S]."""
        batch = joined(self.batches)
        following = torch.cat([batch.critic[1:], batch.critic[:1]])
        following[batch.done] = batch.final
        width = batch.observation.shape[1]  # a critic sees what the policy sees, and more
        cut = batch.done & ~batch.terminated
        replays = [self._made(batch.critic, batch.action, self._rewards(batch), following, batch.terminated, cut, width)]
        if self._data is not None:
            kept = self._data.span(slice(0, len(self._data)))
            (a, c), n = (self._data.widths[name] for name in ("actor", "critic")), self._data.action_size
            _, seen, action = kept["before"][:, 0].split([a, c, n], dim=-1)
            after, end = kept["after"][:, 0, a:], kept["end"][:, 0]
            reward = self._scaled(kept["reward"][:, 0]) + (end == TERMINATED) * self._rest(torch.zeros(()))
            replays.append(self._made(seen, action, reward, after, end == TERMINATED, end == TRUNCATED, width))
        return replays, (~batch.changed).float()

    def _made(
        self, seen: Tensor, action: Tensor, reward: Tensor, following: Tensor, terminated: Tensor, truncated: Tensor, width: int
    ) -> Replay:  # fmt: skip
        assert self.adapter is not None
        mean, deviation = self.scales[2:].view(2, -1)
        groups = [
            {"critic": (one - mean) / deviation, "features": self.adapter.features(hidden_of(self.base.actor, one[:, :width]))}
            for one in (seen, following)
        ]
        return from_arrays(groups[0], action - self.base.actor(seen[:, :width]), reward, groups[1], terminated, truncated)

    def _rewards(self, batch: Batch) -> Tensor:
        """[S] in the critics' scale. A walk that its own doing ended earns nothing from there on; under penalties alone it goes on so."""
        walks = torch.cat([torch.zeros(1, dtype=torch.long), batch.done.cumsum(0)[:-1]])
        count = torch.zeros(int(walks[-1]) + 1).index_add_(0, walks, torch.ones_like(batch.reward))
        mean = torch.zeros_like(count).index_add_(0, walks, batch.reward) / count
        return self._scaled(batch.reward) + batch.terminated * self._rest(mean[walks].clamp(max=0.0))

    def _scaled(self, reward: Tensor) -> Tensor:
        """0 for the base's mean."""
        return (reward - self.scales[0]) * (REWARD / self.scales[1])

    def _rest(self, reward: Tensor) -> Tensor:
        """What it is worth to earn ``reward`` at each step from the next one on."""
        return self._scaled(reward) * self.settings.gamma / (1.0 - self.settings.gamma)

    def state_dict(self) -> dict[str, Any]:
        """To go on from, bit for bit."""
        return self.kept() | {
            "q": self.q.state_dict(), "target": self.target.state_dict(), "optimizer": self._optimizer.state_dict(),
            "generator": self.generator.get_state(), "scales": self.scales,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.load_kept(state)
        self.q.load_state_dict(state["q"])
        self.target.load_state_dict(state["target"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.scales = state["scales"]
