"""PPO under constraints by Lagrange multipliers (Ray, Achiam and Amodei, "Benchmarking safe exploration in deep RL", 2019).

Each constraint has a critic of its own, of the share of steps in which it is violated, and a multiplier: the price of a violation, which
rises while there are more of them than allowed and falls while there are fewer.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from locomotion.algorithms.algorithm import algorithm
from locomotion.algorithms.ppo import PPO, PPOSettings
from locomotion.algorithms.returns import following_values, generalized_advantages, normalized
from locomotion.algorithms.rollout import Evaluated
from locomotion.distributed import mean_
from locomotion.environment import Constrained, Environment
from locomotion.models.actor_critic import make_costs
from locomotion.models.flat import FlatAdam
from locomotion.schema import Positive, Share

SMALLEST = 0.01  # standard deviation of a cost's advantages: less of it is the critic's error


class LagrangianSettings(PPOSettings):
    allowed: Share  # of steps in which each constraint may be violated
    multiplier_rate: Positive  # by which multipliers change, an iteration, for each share of steps too many
    multiplier_limit: Positive


@algorithm("lagrangian")
class Lagrangian(PPO):
    settings_type = LagrangianSettings

    def __init__(self, settings: LagrangianSettings, env: Environment, seed: int, iterations: int) -> None:
        names = env.spaces.constrained("lagrangian")
        super().__init__(settings, env, seed, iterations)
        self.constraints = settings
        initial = torch.Generator().manual_seed(seed)
        made = make_costs(env.spaces, settings.critic_hidden, settings.symmetric, initial, settings.activation)
        self.cost_critic = made.to(env.device)
        self.cost_optimizer = FlatAdam(self.cost_critic.parameters(), settings.learning_rate)
        self.multipliers = torch.zeros(len(names), device=env.device)

    def prepare(self) -> dict[str, Tensor]:
        self.violated = (cast(Constrained, self.env).costs() > 0.0).float()  # [T, N, K]; before the rewards of the same steps
        batch = super().prepare()
        return {**batch, "cost_target": self.cost_target.flatten(0, 1)}

    def estimate(self, seen: Evaluated) -> tuple[Tensor, Tensor]:
        """Advantages of the reward less the price of violations, and targets of the value."""
        s, net = self.constraints, self.cost_critic
        value = net(seen.critic).view_as(self.violated)
        terminated, done = seen.terminated[..., None], seen.done[..., None]
        next_value = following_values(value, net(seen.last), terminated, seen.ended.steps, seen.ended.rows, net(seen.final))
        cost = generalized_advantages(self.violated, value, next_value, done, s.gamma, s.lam)
        self.cost_target = cost + value
        raised = self.multipliers + s.multiplier_rate * (mean_(self.violated.mean(dim=(0, 1))) - s.allowed)
        self.multipliers = raised.clamp(0.0, s.multiplier_limit)
        advantage, target = super().estimate(seen)
        return priced(advantage, cost, self.multipliers), target

    def update(self, batch: dict[str, Tensor]) -> dict[str, float]:
        figures = super().update(batch) | {"loss/cost": self._learn_costs(batch)}
        for name, multiplier in zip(self.env.spaces.costs, self.multipliers.tolist(), strict=True):
            figures[f"multiplier/{name}"] = multiplier
        return figures

    def _learn_costs(self, batch: dict[str, Tensor]) -> float:
        """Mean loss over the minibatches."""
        s, total = self.constraints, torch.zeros((), device=self.env.device)
        critic, goal = batch["critic"].clone(), batch["cost_target"].clone()
        minibatches = self.rollout.minibatches(s.epochs, s.minibatches, self.generator)
        for ids in minibatches:
            loss = (self.cost_critic(critic[ids]) - goal[ids]).square().mean()
            self.cost_optimizer.descend(loss, s.max_grad_norm)
            total += loss.detach()
        return float(total) / len(minibatches)

    def state_dict(self) -> dict[str, Any]:
        own = {
            "critic": self.cost_critic.state_dict(),
            "optimizer": self.cost_optimizer.state_dict(),
            "multipliers": self.multipliers.clone(),
        }
        return {**super().state_dict(), "costs": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.cost_critic.load_state_dict(state["costs"]["critic"])
        self.cost_optimizer.load_state_dict(state["costs"]["optimizer"])
        self.multipliers = state["costs"]["multipliers"].to(self.env.device, copy=True)


def priced(advantage: Tensor, cost: Tensor, multipliers: Tensor) -> Tensor:
    """Advantages [T, N] less those of the costs [T, N, K] at their price, each in its own standard deviations."""
    centred = cost - mean_(cost.mean(dim=(0, 1)))
    scaled = centred / mean_(centred.square().mean(dim=(0, 1))).sqrt().clamp(min=SMALLEST)
    return (normalized(advantage) - scaled @ multipliers) / (1.0 + multipliers.sum())
