"""Behaviour cloning (Pomerleau, 1988): act as the data do. What every offline algorithm has to be better than."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.offline import OfflineSettings, Samples, chunks, cosine, mirror_of
from locomotion.algorithms.replay import Batch, Replay
from locomotion.algorithms.returns import imitation_loss
from locomotion.environment import Environment, Spaces
from locomotion.models.actor_critic import Actor, make_actor
from locomotion.models.flat import FlatAdam
from locomotion.models.mlp import ActivationName
from locomotion.schema import Positive


class BCSettings(OfflineSettings):
    activation: ActivationName = "elu"
    initial_std: Positive  # of the exploration with which a later training begins (init=...)


@algorithm("bc")
class BC:
    """The policy and its optimizer."""

    settings_type = BCSettings
    acts = False

    def __init__(self, settings: BCSettings, env: Environment, seed: int, iterations: int, data: Replay) -> None:
        self.settings, self.env, s, device = settings, env, settings, env.device
        self.iterations, self.iteration, self.iteration_steps, self.updates = iterations, 0, s.updates, 0
        initial = torch.Generator().manual_seed(seed)  # on the host: the same weights whatever the device
        self.actor = self.make_actor(s, env.spaces, initial).to(device)
        self.samples = Samples(data, env, False, s.batch_size)  # a symmetric policy learns the mirrored sample with the sample
        if s.normalize:
            normalizer = self.samples.normalizer("actor", mirror_of(env.spaces, "actor", s.symmetric))
            self.actor.normalizer.load_state_dict(normalizer.state_dict())
        self.generator = initial if device.type == "cpu" else torch.Generator(device=device).manual_seed(seed)
        self.optimizer = FlatAdam([*self.actor.network.parameters()], s.learning_rate)

    @staticmethod
    def make_actor(settings: BCSettings, spaces: Spaces, generator: torch.Generator) -> Actor:
        spaces.continuous("bc")
        s = settings
        return make_actor(spaces, s.actor_hidden, s.symmetric, s.initial_std, generator, activation=s.activation)

    def iterate(self) -> dict[str, float]:
        total = torch.zeros((), device=self.env.device)
        for count in chunks(self.settings.updates):
            for batch in self.samples.batches(count, self.generator):
                total += self.update(batch)
        self.iteration += 1
        return {"loss/imitation": float(total) / self.settings.updates}

    def update(self, batch: Batch) -> Tensor:
        """One gradient step. Returns the loss [], in squared units of an action."""
        s = self.settings
        loss = imitation_loss(self.actor(batch.observations["actor"]), batch.action)
        self.optimizer.descend(loss, s.max_grad_norm, cosine(s.learning_rate, self.updates / (self.iterations * s.updates)))
        self.updates += 1
        return loss.detach()

    def initialize(self, state: dict[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])

    def state_dict(self) -> dict[str, Any]:
        return {
            "actor": self.actor.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "iteration": self.iteration,
            "updates": self.updates,
            "data": self.samples.fingerprint,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.samples.check(state)
        self.initialize(state)
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.iteration, self.updates = state["iteration"], state["updates"]
