"""Advantages and losses of policy-gradient methods, as pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from locomotion.distributed import mean_, world


def generalized_advantages(reward: Tensor, value: Tensor, next_value: Tensor, done: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalized advantage estimates, all arguments and the result [T, N].

    Schulman et al., "High-dimensional continuous control using generalized advantage estimation" (2016), equation 16.
    ``next_value`` is the value of the state that the step led to: 0 where the episode terminated, the value of the final
    state where it was truncated, ``value[t + 1]`` elsewhere. ``done`` (terminated or truncated) cuts the trace; a share of 1
    cuts that share of it.
    """
    delta = reward + gamma * next_value - value
    decay = gamma * lam * (1.0 - done.to(delta.dtype))
    advantages = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = torch.addcmul(delta[t], decay[t], running)
        advantages[t] = running
    return advantages


def following_values(value: Tensor, last: Tensor, terminated: Tensor, steps: Tensor, rows: Tensor, final: Tensor) -> Tensor:
    """The value [T, N] of the state that each step led to.

    ``value`` [T, N] is of the state before each step, ``last`` [N] of that after the last one; where episodes ended, at ``steps``
    and ``rows`` [K], the state is their own last one, of value ``final`` [K], and after ``terminated`` [T, N] nothing follows.
    """
    next_value = torch.cat([value[1:], last[None]])
    next_value[steps, rows] = final
    return next_value.masked_fill_(terminated, 0.0)


def discounted_returns(reward: Tensor, next_value: Tensor, done: Tensor, gamma: float) -> Tensor:
    """What follows each step, all [T, N]: rewards until the episode or the rollout ends, and ``next_value`` of the state there."""
    result = torch.empty_like(reward)
    running = next_value[-1]
    for t in range(len(reward) - 1, -1, -1):
        running = reward[t] + gamma * torch.where(done[t], next_value[t], running)
        result[t] = running
    return result


def termination_probability(cost: Tensor, largest: Tensor, most: float) -> Tensor:
    """[...] the chance with which violations end an episode: ``cost`` [..., K] as a share of its ``largest`` [K], up to ``most``.

    Chane-Sane et al., "CaT: Constraints as terminations for legged locomotion reinforcement learning" (2024), equation 5.
    """
    return most * (cost / largest).clamp(0.0, 1.0).amax(dim=-1)


def normalized(advantage: Tensor) -> Tensor:
    """Of mean 0 and standard deviation 1, over all processes."""
    centred = advantage - mean_(advantage.mean())
    if world() == 1:
        return centred / (advantage.std() + 1e-8)
    count = advantage.numel() * world()
    return centred / (torch.sqrt(mean_(centred.square().mean()) * (count / (count - 1))) + 1e-8)


def clipped_surrogate(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO's objective, to be maximised: Schulman et al., "Proximal policy optimization" (2017), equation 7."""
    return torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)


def clipped_value_loss(value: Tensor, old_value: Tensor, target: Tensor, clip: float) -> Tensor:
    """Squared error, or that of the value clipped to ``old_value`` +- ``clip`` where it is larger."""
    clipped = old_value + (value - old_value).clamp(-clip, clip)
    return torch.maximum((value - target).square(), (clipped - target).square())


def estimated_kl(log_ratio: Tensor) -> Tensor:
    """[...] of KL(old, new) by each action that the old policy took, from log(new / old); never negative, and without bias.

    Schulman (2020), "Approximating KL divergence", k3.
    """
    return log_ratio.exp() - 1.0 - log_ratio


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
