"""Trust region policy optimisation (Schulman et al., 2015, arXiv:1502.05477): the natural gradient, as far as a KL divergence allows.

The direction x solves F x = g by conjugate gradients, where F is the Fisher matrix: the Hessian of the KL divergence from the present
policy, known by its products with vectors alone (appendix C). A line search then holds the true KL divergence and the objective.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.on_policy import OnPolicy, OnPolicySettings
from locomotion.algorithms.returns import generalized_advantages, normalized
from locomotion.algorithms.rollout import Evaluated
from locomotion.schema import Count, NotNegative, Positive, Share

Product = Callable[[Tensor], Tensor]  # of the Fisher matrix with a vector


def conjugate_gradients(product: Product, g: Tensor, iterations: int, tolerance: float = 1e-10) -> Tensor:
    """x with product(x) = g, nearly: Hestenes and Stiefel (1952). Exact after as many ``iterations`` as g has numbers."""
    x, residual = torch.zeros_like(g), g.clone()
    direction, size = residual.clone(), residual @ residual
    for _ in range(iterations):
        if float(size) < tolerance:
            break
        image = product(direction)
        step = size / (direction @ image)
        x, residual = x + step * direction, residual - step * image
        last, size = size, residual @ residual
        direction = residual + (size / last) * direction
    return x


def longest_step(direction: Tensor, product: Product, max_kl: float) -> Tensor:
    """``direction`` at the length at which the quadratic KL divergence, x F x / 2, is ``max_kl``."""
    curvature = direction @ product(direction)
    return direction * torch.sqrt(2.0 * max_kl / curvature) if float(curvature) > 0.0 else torch.zeros_like(direction)


def fisher_product(kl: Tensor, parameters: list[nn.Parameter], damping: float) -> Product:
    """Products (F + damping I) v, from ``kl`` [] of the present policy to itself as a function of ``parameters``."""
    slope = flatten(torch.autograd.grad(kl, parameters, create_graph=True))

    def product(v: Tensor) -> Tensor:
        return flatten(torch.autograd.grad(slope @ v, parameters, retain_graph=True)) + damping * v

    return product


def flatten(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


class TRPOSettings(OnPolicySettings):
    lam: Share
    max_kl: Positive  # how far an iteration may move the policy
    damping: NotNegative  # added to the Fisher matrix's diagonal
    conjugate_iterations: Count
    backtracks: Count  # of the line search ...
    backtrack_ratio: Share  # ... each this much of the last


@algorithm("trpo")
class TRPO(OnPolicy):
    settings_type = TRPOSettings

    def estimate(self, seen: Evaluated) -> tuple[Tensor, Tensor]:
        s = self.settings
        advantage = generalized_advantages(seen.reward, seen.value, seen.next_value, seen.done, s.gamma, s.lam)
        return normalized(advantage), advantage + seen.value

    def improve(self, features: Tensor, action: Tensor, output: Tensor, advantage: Tensor) -> dict[str, float]:
        s, parameters = self.settings, list(self.actor.policy_parameters())
        old = self.actor.present_distribution()(output)
        old_log_prob = old.log_prob(action)

        def evaluate() -> tuple[Tensor, Tensor]:
            """The objective of equation 14, and the mean KL divergence from the old policy."""
            policy = self.actor.distribution(self.actor.network(features))
            ratio = torch.exp(policy.log_prob(action) - old_log_prob)
            return (ratio * advantage).mean(), old.kl(policy).mean()

        surrogate, kl = evaluate()
        gradient = flatten(torch.autograd.grad(surrogate, parameters, retain_graph=True))
        product = fisher_product(kl, parameters, s.damping)
        step = longest_step(conjugate_gradients(product, gradient, s.conjugate_iterations), product, s.max_kl)
        share, gain, moved = self.search(parameters, step, surrogate.detach(), evaluate)
        entropy = float(self.actor.distribution(output).entropy().mean().detach())
        return {"policy/step": share, "policy/kl": moved, "loss/surrogate": gain, "policy/entropy": entropy}

    def search(
        self, parameters: list[nn.Parameter], step: Tensor, before: Tensor, evaluate: Callable[[], tuple[Tensor, Tensor]]
    ) -> tuple[float, float, float]:
        """Go the largest share of ``step`` that improves the objective within the KL divergence, or nowhere: share, gain, divergence."""
        start, share = nn.utils.parameters_to_vector(parameters).detach().clone(), 1.0
        with torch.no_grad():
            for _ in range(self.settings.backtracks):
                nn.utils.vector_to_parameters(start + share * step, parameters)
                surrogate, kl = evaluate()
                gain, moved = float(surrogate - before), float(kl)
                if moved <= self.settings.max_kl and gain > 0.0 and math.isfinite(gain):
                    return share, gain, moved
                share *= self.settings.backtrack_ratio
            nn.utils.vector_to_parameters(start, parameters)
        return 0.0, 0.0, 0.0
