"""Advantages and losses of policy-gradient methods, as pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def generalized_advantages(reward: Tensor, value: Tensor, next_value: Tensor, done: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalized advantage estimates, all arguments and the result [T, N].

    Schulman et al., "High-dimensional continuous control using generalized advantage estimation" (2016), equation 16.
    ``next_value`` is the value of the state that the step led to: 0 where the episode terminated, the value of the final
    state where it was truncated, ``value[t + 1]`` elsewhere. ``done`` (terminated or truncated) cuts the trace.
    """
    delta = reward + gamma * next_value - value
    decay = gamma * lam * (1.0 - done.to(delta.dtype))
    advantages = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = torch.addcmul(delta[t], decay[t], running)
        advantages[t] = running
    return advantages


def clipped_surrogate(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO's objective, to be maximised: Schulman et al., "Proximal policy optimization" (2017), equation 7."""
    return torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)


def clipped_value_loss(value: Tensor, old_value: Tensor, target: Tensor, clip: float) -> Tensor:
    """Squared error, or that of the value clipped to ``old_value`` +- ``clip`` where it is larger."""
    clipped = old_value + (value - old_value).clamp(-clip, clip)
    return torch.maximum((value - target).square(), (clipped - target).square())


def adapt_learning_rate(learning_rate: float, kl: float, target: float, low: float, high: float) -> float:
    """Keep the policy's change near ``target``: slow down above twice of it, speed up below half of it."""
    if kl > 2.0 * target:
        return max(low, learning_rate / 1.5)
    if 0.0 <= kl < 0.5 * target:
        return min(high, learning_rate * 1.5)
    return learning_rate


def imitation_loss(action: Tensor, goal: Tensor) -> Tensor:
    """Mean squared error [] of actions [B, A]; of a Gaussian of fixed spread it is the negative log-likelihood of ``goal``, scaled."""
    return (action - goal).square().mean()
