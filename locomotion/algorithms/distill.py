"""A student learns to act as a teacher does that sees more: DAgger (Ross, Gordon and Bagnell, 2011, arXiv:1011.0686), online.

The student acts, the teacher says what it would have done in the states that the student gets into, and the student moves towards
that; each iteration learns from its own rollout. Read :meth:`Distill.iterate` first.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.returns import imitation_loss
from locomotion.environment import Environment, Spaces
from locomotion.models.actor_critic import Actor, make_actor
from locomotion.models.estimator import EstimatorSettings, EstimatorTraining
from locomotion.models.flat import FlatAdam, make_minibatches, pack
from locomotion.schema import Count, Positive, Settings, Text
from robots.errors import InputError


class DistillSettings(Settings):
    teacher: Text  # a run folder or a checkpoint
    num_envs: Count
    steps: Count  # control steps an iteration
    epochs: Count
    minibatches: Count
    learning_rate: Positive
    max_grad_norm: Positive
    actor_hidden: Annotated[tuple[Count, ...], Field(min_length=1, max_length=8)]
    initial_std: Positive  # of the exploration that a later training of the student begins with
    symmetric: bool
    estimator: EstimatorSettings | None = None  # of what the student cannot measure, for the student

    @model_validator(mode="after")
    def _sizes(self) -> DistillSettings:
        if self.num_envs * self.steps < 2 * self.minibatches:
            raise InputError("algorithm.minibatches", self.minibatches, "at most half of num_envs * steps", "Use fewer minibatches.")
        if self.symmetric and any(size % 2 for size in self.actor_hidden):
            raise InputError("algorithm.actor_hidden", self.actor_hidden, "even sizes for a symmetric network", "Round them up.")
        return self


class Teacher(nn.Module):
    """A trained ``actor`` that finds what it sees in ``columns`` [D] of the group "critic"."""

    columns: Tensor

    def __init__(self, actor: nn.Module, columns: np.ndarray) -> None:
        super().__init__()
        self.actor = actor
        self.register_buffer("columns", torch.from_numpy(columns), persistent=False)

    def forward(self, critic: Tensor) -> Tensor:
        """Mean action [N, A] of observations [N, C]."""
        return self.actor(critic[:, self.columns])


@algorithm("distill")
class Distill:
    """The student, its teacher and its optimizer."""

    settings_type = DistillSettings

    def __init__(self, settings: DistillSettings, env: Environment, seed: int, iterations: int, teacher: Teacher) -> None:
        self.settings, self.env, s, device = settings, env, settings, env.device
        self.iterations, self.iteration = iterations, 0
        self.iteration_steps = s.num_envs * s.steps
        initial = torch.Generator().manual_seed(seed)  # on the host: the same weights whatever the device
        self.actor, self.teacher = self.make_actor(s, env.spaces, initial).to(device), teacher.to(device)
        self.generator = initial if device.type == "cpu" else torch.Generator(device=device).manual_seed(seed)
        self.optimizer = FlatAdam(self.actor.policy_parameters(), s.learning_rate)
        self.estimation = EstimatorTraining(estimator, s.max_grad_norm) if (estimator := self.actor.estimator) else None
        groups = env.spaces.groups
        self._rollout = {name: torch.zeros(s.steps, s.num_envs, groups[name], device=device) for name in ("actor", "critic")}

    @staticmethod
    def make_actor(settings: DistillSettings, spaces: Spaces, generator: torch.Generator) -> Actor:
        s = settings
        return make_actor(spaces, s.actor_hidden, s.symmetric, s.initial_std, generator, estimator=s.estimator)

    @property
    def learning_rate(self) -> float:
        """It falls to a tenth over a run, so that the student settles."""
        return self.settings.learning_rate * (1.0 - 0.9 * min(self.iteration / self.iterations, 1.0))

    def iterate(self) -> dict[str, float]:
        with torch.inference_mode():
            self.collect()
            batch = self.label()
        figures = self.update(batch)
        with torch.inference_mode():
            self.actor.normalizer.update(self._rollout["actor"].flatten(0, 1))
        self.iteration += 1
        return figures

    def collect(self) -> None:
        """Act as the student would, without exploration."""
        act, observations = self.actor.frozen(), self.env.observations
        for t in range(self.settings.steps):
            for name, rows in self._rollout.items():
                rows[t] = observations[name]
            observations = self.env.step(act(observations["actor"])).observations
        self.env.rewards()  # nobody learns from them here, but curricula and figures do

    def label(self) -> dict[str, Tensor]:
        """What the student saw, [T * N, ...] as its network sees it, and what the teacher would have done."""
        actor, critic = (self._rollout[name].flatten(0, 1) for name in ("actor", "critic"))
        return {"features": self.actor.features(actor), "action": self.teacher(critic)}

    def update(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Several epochs of minibatch gradient steps. Returns the mean loss over them, in squared units of an action."""
        s, samples = self.settings, len(batch["action"])
        minibatches = make_minibatches(samples, s.epochs, s.minibatches, self.generator, self.env.device)
        packed, widths = pack(batch, ("features", "action"))
        total = torch.zeros((), device=packed.device)
        for rows in minibatches:
            features, action = packed[rows].split(widths, dim=-1)
            loss = imitation_loss(self.actor.network(features), action)
            self.optimizer.descend(loss, s.max_grad_norm, self.learning_rate)
            total += loss.detach()
        figures = {"loss/imitation": float(total) / len(minibatches)}
        if self.estimation:
            figures |= self.estimation.learn(batch["features"], self._rollout["critic"].flatten(0, 1), minibatches)
        return figures

    def initialize(self, state: dict[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])

    def state_dict(self) -> dict[str, Any]:
        return {
            "actor": self.actor.state_dict(),
            "teacher": self.teacher.state_dict(),  # whatever its run comes to meanwhile
            "optimizer": self.optimizer.state_dict(),
            "estimator_optimizer": self.estimation and self.estimation.optimizer.state_dict(),
            "iteration": self.iteration,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.initialize(state)
        self.teacher.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.estimation:
            self.estimation.optimizer.load_state_dict(state["estimator_optimizer"])
        self.iteration = state["iteration"]
        self.generator.set_state(state["generator"])
