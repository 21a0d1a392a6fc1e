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

from typing import Any, Literal

import torch
from torch import Tensor

from locomotion.algorithms.returns import clipped_surrogate, generalized_advantages, normalized
from locomotion.finetuning import leash
from locomotion.finetuning.adapter import Adapted, hidden_of
from locomotion.finetuning.base import Base
from locomotion.finetuning.batch import Batch, joined
from locomotion.finetuning.exploring import Noise
from locomotion.models.distributions import gaussian_log_prob
from locomotion.models.flat import FlatAdam, make_minibatches
from locomotion.schema import Count, NotNegative, Positive, Settings, Share

DOUBT = 2.0
NEAR = 0.3  # nats from a walk's policy to the present one, within which its advantages say something of that
RIDGE = 1e-4  # of features whose variance is 1
MINIBATCH, MAX_GRAD_NORM = 512, 1.0  # of the critic
MOST_WEIGHT = 2.0  # of a step that the present policy would have made more often


class PPOSettings(Settings):
    name: Literal["ppo"]
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


def trusted(score: Tensor) -> Tensor:
    """How much of each number of a gradient is believed, of what it is as a multiple of its standard error.

    The positive part of 1 - DOUBT / score^2: with 1 in the place of DOUBT it is James and Stein's estimator of each by itself.
    """
    return (1.0 - DOUBT / score.square().clamp(min=1e-12)).clamp(min=0.0)


class Learner(Adapted):
    """The critic, its optimizer, and an update of the adapter."""

    def __init__(self, settings: PPOSettings, base: Base, noise: Noise, seed: int) -> None:
        super().__init__(base, noise, settings.directions)
        self.settings, self.critic = settings, base.new_critic()
        self.generator = torch.Generator().manual_seed(seed)
        self._value = FlatAdam(self.critic.network.parameters(), settings.value_learning_rate)

    def warm_up(self) -> dict[str, float]:
        """The critic learns what the base earns on this robot; the adapter takes its directions from what it saw."""
        self.find_directions()
        return self._learn_value(joined(self.batches), self.settings.warm_up_epochs)

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
                loss = (self.critic.network(seen[rows]).squeeze(-1) - self.critic.said(target[rows])).square().mean()
                self._value.descend(loss, MAX_GRAD_NORM)
        target = self._advantages(batch)[1]
        error = (self.critic(batch.critic).detach() - target).square().mean()
        return {"value/explained": 1.0 - float(error / target.var())}

    def state_dict(self) -> dict[str, Any]:
        """To go on from, bit for bit."""
        return self.kept() | {
            "critic": self.critic.state_dict(), "value": self._value.state_dict(), "generator": self.generator.get_state(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.load_kept(state)
        self.critic.load_state_dict(state["critic"])
        self._value.load_state_dict(state["value"])
        self.generator.set_state(state["generator"])
