"""Finite problems, solved exactly: what learners of the same problems are held against. Float64 throughout.

Sutton and Barto, "Reinforcement learning: an introduction" (2018), chapters 4 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class FiniteProblem:
    """S states and A actions. Where the probabilities of a state and action sum to less than 1, the rest is the chance to end."""

    transition: Array  # [S, A, S]
    reward: Array  # [S, A], expected
    gamma: float

    def backup(self, value: Array) -> Array:
        """Action values [S, A] where states are worth ``value`` [S]."""
        return self.reward + self.gamma * self.transition @ value


def value_iteration(problem: FiniteProblem, iterations: int) -> Array:
    """Values [S] after so many optimal backups from 0: equation 4.10."""
    value = np.zeros(len(problem.reward))
    for _ in range(iterations):
        value = problem.backup(value).max(axis=1)
    return value


def evaluate(problem: FiniteProblem, policy: Array) -> Array:
    """The value [S] of a ``policy`` [S, A] of probabilities: the solution of Bellman's equation, 4.4."""
    step = np.einsum("sa,sat->st", policy, problem.transition)
    return np.linalg.solve(np.eye(len(step)) - problem.gamma * step, (policy * problem.reward).sum(axis=1))


def greedy(action_value: Array) -> Array:
    """The policy [S, A] that takes the best action, the first of equals."""
    return np.eye(action_value.shape[1])[action_value.argmax(axis=1)]


def policy_iteration(problem: FiniteProblem, policy: Array) -> tuple[Array, int]:
    """The optimal policy [S, A] from ``policy``, and how many improvements changed it: section 4.3."""
    improvements = 0
    while True:
        action_value = problem.backup(evaluate(problem, policy))
        better = greedy(action_value)
        gain = (better * action_value).sum(axis=1) - (policy * action_value).sum(axis=1)
        if not (gain > 1e-10).any():
            return policy, improvements
        policy, improvements = better, improvements + 1


def soft_value_iteration(problem: FiniteProblem, alpha: float, iterations: int) -> tuple[Array, Array]:
    """Values [S] and policy [S, A] where entropy is rewarded with ``alpha``: Haarnoja et al., "Reinforcement learning with deep
    energy-based policies" (2017), theorem 3."""
    value = np.zeros(len(problem.reward))
    for _ in range(iterations):
        value = soft_value(problem.backup(value), alpha)
    action_value = problem.backup(value)
    return value, np.exp((action_value - soft_value(action_value, alpha)[:, None]) / alpha)


def soft_value(action_value: Array, alpha: float) -> Array:
    """alpha log sum exp(Q / alpha) over the last axis."""
    best = action_value.max(axis=-1, keepdims=True)
    return best[..., 0] + alpha * np.log(np.exp((action_value - best) / alpha).sum(axis=-1))


def q_update(old: float, reward: float, best_next: float, rate: float, gamma: float) -> float:
    """An action value after one step: equation 6.8. ``best_next`` is 0 where the episode terminated."""
    return old + rate * (reward + gamma * best_next - old)


def q_learning(problem: FiniteProblem, steps: int, explore: float, rng: np.random.Generator) -> Array:
    """Action values [S, A] from ``steps`` of experience, begun anew in a random state where an episode ends.

    A step's rate is 1 / n^0.7 in the n-th visit, as convergence asks for (Watkins and Dayan, 1992).
    """
    states, actions = problem.reward.shape
    action_value, visits = np.zeros((states, actions)), np.zeros((states, actions))
    ends = 1.0 - problem.transition.sum(axis=2)
    chances = np.cumsum(np.concatenate([problem.transition, ends[..., None]], axis=2), axis=2)
    state = int(rng.integers(states))
    for u_explore, u_action, u_next, start in zip(*rng.random((3, steps)), rng.integers(states, size=steps), strict=True):
        best = int(action_value[state].argmax())
        action = int(u_action * actions) if u_explore < explore else best
        following = int(np.searchsorted(chances[state, action], u_next, side="right"))
        visits[state, action] += 1
        rate, ended = visits[state, action] ** -0.7, following >= states
        best_next = 0.0 if ended else float(action_value[following].max())
        action_value[state, action] = q_update(action_value[state, action], problem.reward[state, action], best_next, rate, problem.gamma)
        state = int(start) if ended else following
    return action_value
