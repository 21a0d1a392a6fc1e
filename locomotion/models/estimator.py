"""What a policy cannot measure, estimated from what it sees: trained along with it by supervision, and exported within its graph.

Ji et al., "Concurrent training of a control policy and a state estimator for dynamic and robust legged locomotion" (2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from locomotion.environment import Spaces, part_of
from locomotion.models.flat import FlatAdam
from locomotion.models.mlp import make_network
from locomotion.models.normalizer import Normalizer
from locomotion.schema import Positive, Settings, Text

FIELD = "algorithm.estimator.targets"
Even = Annotated[int, Field(ge=2, le=10_000, multiple_of=2)]  # mirrored units come in pairs


class EstimatorSettings(Settings):
    targets: Annotated[tuple[Text, ...], Field(min_length=1)]  # of task.observations.critic
    hidden: Annotated[tuple[Even, ...], Field(min_length=1, max_length=8)] = (64, 64)
    learning_rate: Positive = 1.0e-3


class Estimator(nn.Module):
    """From the actor's normalised observation [N, D] to its targets [N, E] in standard deviations from their mean."""

    columns: Tensor

    def __init__(self, settings: EstimatorSettings, spaces: Spaces, symmetric: bool, generator: torch.Generator) -> None:
        super().__init__()
        columns, mirrors = spaces.columns(FIELD, "critic", settings.targets), None
        if symmetric and spaces.symmetry is not None:
            mirrors = spaces.symmetry.groups["actor"], part_of(spaces.symmetry.groups["critic"], columns)
        self.register_buffer("columns", torch.from_numpy(columns), persistent=False)  # of the critic's group
        self.learning_rate = settings.learning_rate
        self.widths = {name: spaces.parts["critic"][name] for name in settings.targets}
        self.mirror = mirrors[1] if mirrors else None  # of the targets
        self.network = make_network([spaces.groups["actor"], *settings.hidden, len(columns)], 0.1, generator, mirrors)
        self.normalizer = Normalizer(len(columns), self.mirror)

    def forward(self, observation: Tensor) -> Tensor:
        return self.network(observation)


class EstimatorTraining:
    """Supervised learning of an estimator. Nothing of a policy's gradient reaches it, and none of its own the policy."""

    def __init__(self, estimator: Estimator, max_grad_norm: float) -> None:
        self.estimator, self.max_grad_norm = estimator, max_grad_norm
        self.optimizer = FlatAdam(estimator.parameters(), estimator.learning_rate)

    def learn(self, features: Tensor, critic: Tensor, minibatches: Sequence[Tensor]) -> dict[str, float]:
        """Learn from a rollout's ``features`` [B, D + E] of the actor and raw observations of the critic's group [B, C].

        Returns :func:`errors` of the estimates that the policy acted on.
        """
        normalizer, truth = self.estimator.normalizer, critic[:, self.estimator.columns]
        observation, estimate = features.clone().split([features.shape[1] - truth.shape[1], truth.shape[1]], dim=-1)
        figures = errors(estimate / normalizer.scale + normalizer.shift, truth, self.estimator.widths)
        normalizer.update(truth)
        goal = normalizer(truth)
        for rows in minibatches:
            loss = (self.estimator(observation[rows]) - goal[rows]).square().mean()
            self.optimizer.descend(loss, self.max_grad_norm)
        return figures


def errors(estimate: Tensor, truth: Tensor, widths: Mapping[str, int]) -> dict[str, float]:
    """Of each target, in its own unit: the root mean square of its error, and beside it its own, the error of guessing 0."""
    figures: dict[str, float] = {}
    parts = (x.square().mean(dim=0).split([*widths.values()]) for x in (estimate - truth, truth))
    for name, error, size in zip(widths, *parts, strict=True):
        figures |= {f"estimate/{name}": float(error.mean().sqrt()), f"estimate/{name} of": float(size.mean().sqrt())}
    return figures
