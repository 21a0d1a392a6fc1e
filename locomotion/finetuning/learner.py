"""PPO on few data: the last layer moves, in the few directions in which its features vary most, and no further than a leash lets it.

What is learned is the weight [A, K] and the bias [A] of an addition to the mean action; folded into the last layer they are the policy
again, so nothing else changes: not the graph, not the contract. 20 minutes of one robot are 60,000 steps, of which 25,000 weights learn
little but noise; two hundred learn what is systematic: a leg that is weak, a load, a floor.

Every walk whose policy is still near counts at every update: the objective is clipped about the present policy, and weighted by how
likely that one would have done what was done (Hilton et al., "Batch size-invariance for policy optimization", 2022, equation 6). The
gradient is the natural one (Kakade 2001), of which noise has the same size in every direction, so that what is no more than noise can be
left out; and a step is as long as the clip allows, not as a rate says.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from locomotion.algorithms.returns import clipped_surrogate, generalized_advantages, normalized
from locomotion.finetuning import leash
from locomotion.finetuning.base import Base
from locomotion.finetuning.batch import Batch, joined
from locomotion.finetuning.exploring import Noise
from locomotion.models.actor_critic import Actor
from locomotion.models.distributions import gaussian_log_prob
from locomotion.models.flat import FlatAdam, make_minibatches
from locomotion.schema import Count, NotNegative, Positive, Settings, Share

DOUBT = 2.0
NEAR = 0.3  # nats from a walk's policy to the present one, within which its advantages say something of that
RIDGE = 1e-4  # of features whose variance is 1
MINIBATCH, MAX_GRAD_NORM = 512, 1.0  # of the critic
MOST_WEIGHT = 2.0  # of a step that the present policy would have made more often


class LearnerSettings(Settings):
    gamma: Share
    lam: Share
    clip: Positive
    updates: Count  # a round, each clipped about where the one before has led
    steps: Count  # of the gradient, an update: together as long as the clip
    directions: Count  # of the features in which the last layer may move
    kl_price: NotNegative  # of a nat from the base
    kl_limit: Positive  # nats from the base, at most
    value_learning_rate: Positive
    value_epochs: Count
    warm_up_epochs: Count


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
        self.weight = nn.Parameter(torch.zeros(actions, k + 1))  # the last column is the bias

    def features(self, hidden: Tensor) -> Tensor:
        """[S, K + 1], the last of them 1."""
        found = (hidden - self.shift) @ self.basis
        return torch.cat([found, torch.ones_like(found[:, :1])], dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight)

    @torch.no_grad()
    def folded(self, actor: Actor) -> None:
        """Into ``actor``, a copy of the base."""
        change, last = self.weight[:, :-1] @ self.basis.T, actor.network[-1]
        last.weight += change
        last.bias += self.weight[:, -1] - change @ self.shift


def trusted(score: Tensor) -> Tensor:
    """How much of each number of a gradient is believed, of what it is as a multiple of its standard error.

    The positive part of 1 - DOUBT / score^2: with 1 in the place of DOUBT it is James and Stein's estimator of each by itself.
    """
    return (1.0 - DOUBT / score.square().clamp(min=1e-12)).clamp(min=0.0)


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
        self.batches = list[Batch]()
        self.generator = torch.Generator().manual_seed(seed)
        self._value = FlatAdam(self.critic.network.parameters(), settings.value_learning_rate)

    def take(self, batch: Batch) -> None:
        """What the robot did, whoever walked."""
        self.batches.append(batch)

    def warm_up(self) -> dict[str, float]:
        """The critic learns what the base earns on this robot; the adapter takes its directions from what it saw."""
        batch = joined(self.batches)
        hidden = hidden_of(self.base.actor, batch.observation).detach()
        self.adapter = Adapter(hidden, self.std.numel(), self.settings.directions)
        return self._learn_value(batch, self.settings.warm_up_epochs)

    def candidate(self) -> Actor:
        """The base with the adapter folded into its last layer."""
        actor = self.base.new_actor()
        if self.adapter is not None:
            self.adapter.folded(actor)
        return actor.eval()

    def update(self) -> dict[str, float]:
        """One round: values, advantages, and a way of the adapter that is as long as the clip, within the leash."""
        assert self.adapter is not None
        s, adapter = self.settings, self.adapter
        figures = self._learn_value(joined(self.batches), s.value_epochs)
        batch = joined(self._near())
        with torch.no_grad():
            advantage = self._advantages(batch)[0]
            spread, advantage = float(advantage.std()), normalized(advantage)
            features, base = adapter.features(hidden_of(self.base.actor, batch.observation)), self.base.actor(batch.observation)
            before = base + adapter(features)
            seen = self.noise.off(features, torch.zeros_like(features), batch.first)  # what a step's probability depends on
            values, axes = torch.linalg.eigh(seen.T @ seen / len(seen) + RIDGE * torch.eye(seen.shape[1]))
            white = axes * values.rsqrt()  # the natural gradient is this, twice
            trust: Tensor | None = None
            behaviour = self._log_prob(batch, batch.mean)
        for _ in range(s.updates):
            with torch.no_grad():
                old = self._log_prob(batch, base + adapter(features))
                likely = torch.exp(old - behaviour).clamp(max=MOST_WEIGHT)
                weight = likely * ~batch.changed  # what filters changed was not what led to a reward
            for _ in range(s.steps):
                mean = base + adapter(features)
                ratio = torch.exp(self._log_prob(batch, mean) - old)
                gain = (clipped_surrogate(ratio, advantage, s.clip) * weight).mean() - s.kl_price * leash.distance(mean, base, self.std)
                (gradient,) = torch.autograd.grad(gain, adapter.weight)
                with torch.no_grad():
                    clean = gradient @ white  # [A, K + 1], each number of the same variance
                    if trust is None:
                        samples = weight.sum().square() / weight.square().sum().clamp(min=1.0)
                        trust = trusted(clean * self.noise.innovation * samples.sqrt())
                    way = (clean * trust) @ white.T
                    length = float((seen @ way.T).square().sum(dim=-1).mean().sqrt()) / self.noise.innovation  # of the log ratio, rms
                    if length > 0.0:
                        adapter.weight += s.clip / s.steps / length * way
        assert trust is not None
        with torch.no_grad():
            adapter.weight *= leash.shortened(float(leash.distance(base + adapter(features), base, self.std)), s.kl_limit)
            mean = base + adapter(features)
            likely = torch.exp(self._log_prob(batch, mean) - behaviour).clamp(max=MOST_WEIGHT)
            return figures | {
                "policy/gain": float((likely * advantage * ~batch.changed).mean()),
                "policy/kl": float(leash.distance(mean, before, self.std)),
                "policy/kl_to_base": float(leash.distance(mean, base, self.std)),
                "policy/changed": float(batch.changed.float().mean()),
                "policy/likely": float(likely.mean()),
                "policy/steps": float(len(batch)),
                "policy/trusted": float((trust > 0.0).float().mean()),
                "value/spread": spread,
            }

    @torch.no_grad()
    def _near(self) -> list[Batch]:
        """The walks of policies that are near the present one; the newest where none is."""
        actor = self.candidate()
        near = [one for one in self.batches if float(leash.distance(actor(one.observation), one.mean, self.std)) <= NEAR]
        return near or self.batches[-1:]

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
        following[batch.terminated] = following[batch.terminated].clamp(max=0.0)  # no fall is worth more than to go on
        reward, before, after, done = (one[:, None] for one in (batch.reward, value, following, batch.done))
        advantage = generalized_advantages(reward, before, after, done, self.settings.gamma, self.settings.lam)[:, 0]
        return advantage, advantage + value

    def _learn_value(self, batch: Batch, epochs: int) -> dict[str, float]:
        """Regression on targets that are worked out anew each epoch. Says what share of the targets' variance is explained."""
        seen = self.critic.normalizer(batch.critic)
        for _ in range(epochs):
            target = self._advantages(batch)[1]
            for rows in make_minibatches(len(batch), 1, max(1, len(batch) // MINIBATCH), self.generator, torch.device("cpu")):
                loss = (self.critic.network(seen[rows]).squeeze(-1) - target[rows]).square().mean()
                self._value.descend(loss, MAX_GRAD_NORM)
        target = self._advantages(batch)[1]
        error = (self.critic(batch.critic).detach() - target).square().mean()
        return {"value/explained": 1.0 - float(error / target.var())}

    @property
    def moved(self) -> bool:
        """Whether there is anything that is not the base."""
        return self.adapter is not None and bool(self.adapter.weight.any())

    @property
    def policy(self) -> Tensor:
        """Where the policy is, a copy."""
        assert self.adapter is not None
        return self.adapter.weight.detach().clone()

    @torch.no_grad()
    def go_back(self, there: Tensor, share: float = 0.0) -> None:
        """To where ``share`` of the way from ``there`` to the present is left; all the way back from a present that is no number."""
        assert self.adapter is not None
        way = share * (self.adapter.weight - there)
        self.adapter.weight.copy_(there + way if share and way.isfinite().all() else there)

    def state_dict(self) -> dict[str, Any]:
        """To go on from, bit for bit."""
        return {
            "adapter": None if self.adapter is None else self.adapter.state_dict(), "critic": self.critic.state_dict(),
            "value": self._value.state_dict(), "generator": self.generator.get_state(),
            "batches": [vars(batch) for batch in self.batches],
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
        self.batches = [Batch(**batch) for batch in state["batches"]]
