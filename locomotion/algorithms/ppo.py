"""Proximal policy optimisation (Schulman et al., 2017) with generalized advantages and an adaptive learning rate.

Read :meth:`PPO.iterate` first: collect, estimate advantages, update, and only then move the normalisers, so that the
policy that is optimised is exactly the policy that acted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from locomotion.algorithms.returns import adapt_learning_rate, clipped_surrogate, clipped_value_loss, generalized_advantages
from locomotion.models.actor_critic import Actor, Critic, gaussian_entropy, gaussian_kl, gaussian_log_prob
from locomotion.task.velocity import Observations, VelocityTask
from robots.errors import InputError


@dataclass(frozen=True)
class PPOConfig:
    num_envs: int
    steps: int  # control steps an iteration
    epochs: int
    minibatches: int
    gamma: float
    lam: float
    clip: float
    value_clip: float | None  # None: plain squared error
    value_coefficient: float
    entropy_coefficient: float
    max_grad_norm: float
    learning_rate: float
    learning_rate_range: tuple[float, float]
    target_kl: float
    actor_hidden: tuple[int, ...]
    critic_hidden: tuple[int, ...]
    initial_std: float
    symmetric: bool

    def __post_init__(self) -> None:
        for name in ("num_envs", "steps", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise InputError(f"algorithm.{name}", getattr(self, name), "an integer of at least 1", "Choose a positive number.")
        if self.num_envs * self.steps < self.minibatches:
            raise InputError("algorithm.minibatches", self.minibatches, "at most num_envs * steps", "Use fewer minibatches.")
        if self.symmetric and any(size % 2 for size in (*self.actor_hidden, *self.critic_hidden)):
            raise InputError("algorithm.actor_hidden", self.actor_hidden, "even sizes for a symmetric network", "Round them up.")


class PPO:
    """Actor, critic and optimizer, and one iteration of learning on a task."""

    def __init__(self, config: PPOConfig, task: VelocityTask, seed: int) -> None:
        self.config, self.task = config, task
        self.generator = torch.Generator().manual_seed(seed)
        robot = task.robot
        action = (robot.mirror.joint_index, robot.mirror.joint_sign)
        self.actor = Actor(task.encoder.mirror, action, config.actor_hidden, config.symmetric, config.initial_std, self.generator)
        self.critic = Critic(task.critic_observation.mirror, config.critic_hidden, config.symmetric, self.generator)
        # the actor's rate follows the KL divergence, the critic's stays
        groups = [{"params": list(self.actor.parameters())}, {"params": list(self.critic.parameters())}]
        self.optimizer = torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
        self.learning_rate = config.learning_rate
        t, n, j = config.steps, config.num_envs, robot.num_joints
        sizes = {"policy": task.encoder.size, "critic": task.critic_observation.size, "action": j, "mean": j}
        self._rollout = {name: torch.zeros(t, n, size) for name, size in sizes.items()}
        self._rollout |= {name: torch.zeros(t, n) for name in ("reward", "done", "terminated", "final_value")}

    def iterate(self, observations: Observations) -> tuple[Observations, dict[str, float]]:
        """Collect ``steps`` control steps of every environment and learn from them. Returns where they ended, and figures."""
        with torch.inference_mode():
            observations = self.collect(observations)
            batch = self.prepare(observations)
        figures = self.update(batch)
        with torch.inference_mode():
            self.actor.normalizer.update(self._rollout["policy"].flatten(0, 1))
            self.critic.normalizer.update(self._rollout["critic"].flatten(0, 1))
        return observations, figures

    def collect(self, observations: Observations) -> Observations:
        """Act with the current policy, exploration noise included."""
        rollout, std = self._rollout, self.actor.log_std.exp()
        rollout["final_value"].zero_()
        for t in range(self.config.steps):
            rollout["policy"][t], rollout["critic"][t] = observations.policy, observations.critic
            mean = self.actor(observations.policy)
            action = mean + std * torch.randn(mean.shape, generator=self.generator)
            rollout["mean"][t], rollout["action"][t] = mean, action
            result = self.task.step(action)
            rollout["reward"][t], rollout["terminated"][t] = result.reward, result.terminated
            rollout["done"][t] = result.terminated | result.truncated
            if len(result.final_ids):
                rollout["final_value"][t, result.final_ids] = self.critic(result.final_critic)
            observations = result.observations
        return observations

    def prepare(self, observations: Observations) -> dict[str, Tensor]:
        """Advantages and targets of the rollout, flattened to [T * N, ...], observations normalised."""
        rollout, config = self._rollout, self.config
        policy = self.actor.normalizer(rollout["policy"].flatten(0, 1))
        critic = self.critic.normalizer(rollout["critic"].flatten(0, 1))
        value = self.critic.network(critic).view(config.steps, -1)
        last = self.critic(observations.critic)[None]
        done = rollout["done"].bool()
        # final_value is zero where an episode terminated
        next_value = torch.where(done, rollout["final_value"], torch.cat([value[1:], last]))
        advantage = generalized_advantages(rollout["reward"], value, next_value, done, config.gamma, config.lam)
        target = advantage + value
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        mean, action = rollout["mean"].flatten(0, 1), rollout["action"].flatten(0, 1)
        log_prob = gaussian_log_prob(action, mean, self.actor.log_std)
        return {
            "policy": policy,
            "critic": critic,
            "action": action,
            "mean": mean,
            "scalars": torch.stack([log_prob, advantage.flatten(), target.flatten(), value.flatten()], dim=-1),
        }

    def update(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Several epochs of minibatch gradient steps. Returns means over the minibatches."""
        config = self.config
        packed = torch.cat(list(batch.values()), dim=-1).clone()
        widths = [value.shape[-1] for value in batch.values()]
        old_log_std = self.actor.log_std.detach().clone()
        sums, count = torch.zeros(4), 0
        for _ in range(config.epochs):
            order = torch.randperm(len(packed), generator=self.generator)
            for ids in order.tensor_split(config.minibatches):
                policy, critic, action, mean, scalars = packed[ids].split(widths, dim=-1)
                figures = self._gradient_step(policy, critic, action, mean, old_log_std, *scalars.unbind(-1))
                sums += figures
                count += 1
        surrogate, value, entropy, kl = (sums / count).tolist()
        return {
            "loss/surrogate": surrogate,
            "loss/value": value,
            "policy/entropy": entropy,
            "policy/kl": kl,
            "policy/learning_rate": self.learning_rate,
            "policy/std": float(old_log_std.exp().mean()),
        }

    def _gradient_step(
        self,
        policy: Tensor,
        critic: Tensor,
        action: Tensor,
        old_mean: Tensor,
        old_log_std: Tensor,
        old_log_prob: Tensor,
        advantage: Tensor,
        target: Tensor,
        old_value: Tensor,
    ) -> Tensor:
        config = self.config
        mean, log_std = self.actor.network(policy), self.actor.log_std
        value = self.critic.network(critic).squeeze(-1)
        with torch.no_grad():
            kl = gaussian_kl(old_mean, old_log_std, mean, log_std).mean()
            self.learning_rate = adapt_learning_rate(self.learning_rate, float(kl), config.target_kl, *config.learning_rate_range)
            self.optimizer.param_groups[0]["lr"] = self.learning_rate
        ratio = torch.exp(gaussian_log_prob(action, mean, log_std) - old_log_prob)
        surrogate = clipped_surrogate(ratio, advantage, config.clip).mean()
        if config.value_clip is None:
            value_loss = (value - target).square().mean()
        else:
            value_loss = clipped_value_loss(value, old_value, target, config.value_clip).mean()
        entropy = gaussian_entropy(log_std)
        loss = config.value_coefficient * value_loss - surrogate - config.entropy_coefficient * entropy
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        # two networks that share nothing: clipped separately
        nn.utils.clip_grad_norm_(self.actor.parameters(), config.max_grad_norm, foreach=True)
        nn.utils.clip_grad_norm_(self.critic.parameters(), config.max_grad_norm, foreach=True)
        self.optimizer.step()
        return torch.stack([surrogate.detach(), value_loss.detach(), entropy.detach(), kl])

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs, the task excluded."""
        return {
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "learning_rate": self.learning_rate,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])
        self.critic.load_state_dict(state["critic"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.learning_rate = state["learning_rate"]
        self.generator.set_state(state["generator"])
