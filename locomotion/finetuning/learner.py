"""PPO on few data: the last layer moves, in the few directions in which its features vary most, and no further than a leash lets it.

What is learned is the weight [A, K] and the bias [A] of an addition to the mean action; folded into the last layer they are the policy
again, so nothing else changes: not the graph, not the contract. 20 minutes of one robot are 60,000 steps, of which 25,000 weights learn
little but noise; a hundred learn what is systematic: a leg that is weak, a load, a floor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from locomotion.algorithms.returns import clipped_surrogate, generalized_advantages, normalized
from locomotion.finetuning import leash
from locomotion.finetuning.base import Base
from locomotion.finetuning.batch import Batch
from locomotion.finetuning.exploring import Noise
from locomotion.models.actor_critic import Actor
from locomotion.models.distributions import gaussian_log_prob
from locomotion.models.flat import FlatAdam, make_minibatches
from locomotion.schema import Count, NotNegative, Positive, Settings, Share


class LearnerSettings(Settings):
    gamma: Share
    lam: Share
    clip: Positive
    epochs: Count
    minibatches: Count
    learning_rate: Positive
    directions: Count  # of the features in which the last layer may move
    kl_price: NotNegative  # of a nat from the base
    kl_limit: Positive  # nats from the base, at most
    value_learning_rate: Positive
    value_epochs: Count
    warm_up_epochs: Count
    max_grad_norm: Positive


class Adapter(nn.Module):
    """An addition to the mean action, ``features`` [S, K] of the base's last hidden layer."""

    shift: Tensor
    basis: Tensor

    def __init__(self, hidden: Tensor, actions: int, directions: int) -> None:
        """From what the base's last hidden layer said [S, H] on the robot: its principal directions, each of variance 1."""
        super().__init__()
        shift = hidden.mean(dim=0)
        _, scale, axes = torch.linalg.svd(hidden - shift, full_matrices=False)
        k = min(directions, int((scale > 1e-4 * scale[0]).sum()))
        self.register_buffer("shift", shift)
        self.register_buffer("basis", axes[:k].T * (len(hidden) ** 0.5 / scale[:k]))  # [H, K]
        self.weight = nn.Parameter(torch.zeros(actions, k))
        self.bias = nn.Parameter(torch.zeros(actions))

    def features(self, hidden: Tensor) -> Tensor:
        return (hidden - self.shift) @ self.basis

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight, self.bias)

    @torch.no_grad()
    def shorten(self, share: float) -> None:
        """Towards the base."""
        self.weight.mul_(share)
        self.bias.mul_(share)


def hidden_of(actor: Actor, observation: Tensor) -> Tensor:
    """[S, H] what the last layer of a plain network sees."""
    *layers, _ = actor.network
    return nn.Sequential(*layers)(actor.features(observation))


class Learner:
    """The adapter, the critic and their optimizers."""

    def __init__(self, settings: LearnerSettings, base: Base, noise: Noise, seed: int) -> None:
        self.settings, self.base, self.noise = settings, base, noise
        self.std = torch.full((base.robot.num_joints,), noise.std)
        self.critic = base.new_critic()
        self.adapter: Adapter | None = None
        self.generator = torch.Generator().manual_seed(seed)
        self._value = FlatAdam(self.critic.network.parameters(), settings.value_learning_rate)

    def warm_up(self, batch: Batch) -> dict[str, float]:
        """The critic learns what the base earns on this robot; the adapter takes its directions from what it saw."""
        hidden = hidden_of(self.base.actor, batch.observation).detach()
        self.adapter = Adapter(hidden, self.std.numel(), self.settings.directions)
        return self._learn_value(batch, self.settings.warm_up_epochs)

    def candidate(self) -> Actor:
        """The base with the adapter folded into its last layer."""
        actor = self.base.new_actor()
        if self.adapter is not None:
            last, a = actor.network[-1], self.adapter
            with torch.no_grad():
                change = a.weight @ a.basis.T
                last.weight += change
                last.bias += a.bias - change @ a.shift
        return actor.eval()

    def update(self, batch: Batch) -> dict[str, float]:
        """One round: values, advantages, a few epochs of PPO on the adapter, within the leash."""
        assert self.adapter is not None
        s, adapter = self.settings, self.adapter
        figures = self._learn_value(batch, s.value_epochs)
        advantage, _ = self._advantages(batch)
        with torch.no_grad():
            features = adapter.features(hidden_of(self.base.actor, batch.observation))
            base = batch.mean - adapter(features)  # the means of the base on these observations
            old = self._log_prob(batch, batch.mean)
        weight = (~batch.changed).float()
        advantage = normalized(advantage)
        optimizer = torch.optim.Adam(adapter.parameters(), lr=s.learning_rate)
        before = {name: value.clone() for name, value in adapter.state_dict().items()}
        surrogate_sum = 0.0
        ids = make_minibatches(len(batch), s.epochs, s.minibatches, self.generator, torch.device("cpu"))
        for rows in ids:
            mean = base + adapter(features)
            ratio = torch.exp(self._log_prob(batch, mean) - old)[rows]
            surrogate = (clipped_surrogate(ratio, advantage[rows], s.clip) * weight[rows]).mean()
            loss = s.kl_price * leash.distance(mean[rows], base[rows], self.std) - surrogate
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(adapter.parameters(), s.max_grad_norm)
            optimizer.step()
            surrogate_sum += float(surrogate.detach())
        with torch.no_grad():
            far = float(leash.distance(base + adapter(features), base, self.std))
            adapter.shorten(leash.shortened(far, s.kl_limit))
            mean = base + adapter(features)
            moved = float(leash.distance(mean, batch.mean, self.std))
            far = float(leash.distance(mean, base, self.std))
            ratio = torch.exp(self._log_prob(batch, mean) - old)
        if not all(bool(torch.isfinite(value).all()) for value in adapter.state_dict().values()):
            adapter.load_state_dict(before)
        return figures | {
            "policy/surrogate": surrogate_sum / len(ids), "policy/kl": moved, "policy/kl_to_base": far,
            "policy/clipped": float(((ratio - 1.0).abs() > s.clip).float().mean()),
            "policy/changed": float(batch.changed.float().mean()),
        }  # fmt: skip

    def _log_prob(self, batch: Batch, mean: Tensor) -> Tensor:
        """[S] of the actions that were asked for, given the steps before them."""
        new = self.noise.off(batch.action, mean, batch.first)
        return gaussian_log_prob(new, torch.zeros_like(new), torch.log(torch.full_like(self.std, self.noise.innovation)))

    @torch.no_grad()
    def _advantages(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Advantages and targets of the value [S]."""
        value = self.critic(batch.critic)
        following = torch.cat([value[1:], value[:1]])
        following[batch.done] = self.critic(batch.final)
        following.masked_fill_(batch.terminated, 0.0)
        columns = (batch.reward, value, following, batch.done)
        advantage = generalized_advantages(*(one[:, None] for one in columns), self.settings.gamma, self.settings.lam)[:, 0]
        return advantage, advantage + value

    def _learn_value(self, batch: Batch, epochs: int) -> dict[str, float]:
        """Regression on targets that are worked out anew each epoch. Says what share of the targets' variance is explained."""
        s, seen = self.settings, self.critic.normalizer(batch.critic)
        for _ in range(epochs):
            target = self._advantages(batch)[1]
            for rows in make_minibatches(len(batch), 1, s.minibatches, self.generator, torch.device("cpu")):
                loss = (self.critic.network(seen[rows]).squeeze(-1) - target[rows]).square().mean()
                self._value.descend(loss, s.max_grad_norm)
        target = self._advantages(batch)[1]
        error = (self.critic(batch.critic).detach() - target).square().mean()
        return {"value/explained": 1.0 - float(error / target.var())}

    @property
    def moved(self) -> bool:
        """Whether there is anything that is not the base."""
        return self.adapter is not None and any(bool(value.any()) for value in self.adapter.parameters())

    def policy_state(self) -> list[Tensor]:
        """Where the policy is."""
        assert self.adapter is not None
        return [value.detach().clone() for value in self.adapter.parameters()]

    @torch.no_grad()
    def load_policy(self, state: list[Tensor]) -> None:
        """Back to where it was."""
        self.go_back(state, 0.0)

    @torch.no_grad()
    def go_back(self, state: list[Tensor], share: float) -> None:
        """To where ``share`` of the way from ``state`` to the present is left."""
        assert self.adapter is not None
        for value, there in zip(self.adapter.parameters(), state, strict=True):
            value.copy_(there + share * (value - there))

    def state_dict(self) -> dict[str, Any]:
        """To go on from, bit for bit."""
        return {
            "adapter": None if self.adapter is None else self.adapter.state_dict(), "critic": self.critic.state_dict(),
            "value": self._value.state_dict(), "generator": self.generator.get_state(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["adapter"] is None:
            self.adapter = None
        else:
            shift, basis = state["adapter"]["shift"], state["adapter"]["basis"]
            self.adapter = Adapter(torch.randn(2 * basis.shape[1], len(shift)), self.std.numel(), basis.shape[1])
            self.adapter.load_state_dict(state["adapter"])
        self.critic.load_state_dict(state["critic"])
        self._value.load_state_dict(state["value"])
        self.generator.set_state(state["generator"])
