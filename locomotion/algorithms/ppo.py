"""Proximal policy optimisation (Schulman et al., 2017) with generalized advantages and an adaptive learning rate.

Read :meth:`PPO.iterate` first: collect, estimate advantages, update, and only then move the normalisers, so that the
policy that is optimised is exactly the policy that acted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=config.learning_rate, fused=True)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=config.learning_rate, fused=True)
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
            self.learn_normalizers()
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
        scalars = {"log_prob": log_prob, "advantage": advantage, "target": target, "value": value}
        columns = {name: tensor.reshape(-1, 1) for name, tensor in scalars.items()}
        return {"policy": policy, "critic": critic, "action": action, "mean": mean, **columns}

    def update(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Several epochs of minibatch gradient steps. Returns means over the minibatches.

        The two networks share nothing, so they learn side by side, each on a thread of its own.
        """
        config, std = self.config, float(self.actor.log_std.detach().exp().mean())
        samples = len(batch["policy"])
        orders = [torch.randperm(samples, generator=self.generator) for _ in range(config.epochs)]
        minibatches = [ids for order in orders for ids in order.tensor_split(config.minibatches)]
        with _single_threaded_operations(), ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            value_loss = pool.submit(self._learn_value, batch, minibatches)
            surrogate, entropy, kl = self._learn_policy(batch, minibatches)
            return {
                "loss/surrogate": surrogate,
                "loss/value": value_loss.result(),
                "policy/entropy": entropy,
                "policy/kl": kl,
                "policy/learning_rate": self.learning_rate,
                "policy/std": std,
            }

    def _learn_policy(self, batch: dict[str, Tensor], minibatches: list[Tensor]) -> tuple[float, float, float]:
        """Mean surrogate, entropy and KL divergence over the minibatches."""
        config, names = self.config, ("policy", "action", "mean", "log_prob", "advantage")
        packed, widths = _pack(batch, names)
        old_log_std = self.actor.log_std.detach().clone()
        sums = torch.zeros(3)
        for ids in minibatches:
            policy, action, old_mean, old_log_prob, advantage = packed[ids].split(widths, dim=-1)
            mean, log_std = self.actor.network(policy), self.actor.log_std
            with torch.no_grad():
                kl = gaussian_kl(old_mean, old_log_std, mean, log_std).mean()
            self.learning_rate = adapt_learning_rate(self.learning_rate, float(kl), config.target_kl, *config.learning_rate_range)
            self.actor_optimizer.param_groups[0]["lr"] = self.learning_rate
            ratio = torch.exp(gaussian_log_prob(action, mean, log_std) - old_log_prob.squeeze(-1))
            surrogate = clipped_surrogate(ratio, advantage.squeeze(-1), config.clip).mean()
            entropy = gaussian_entropy(log_std)
            self._descend(-surrogate - config.entropy_coefficient * entropy, self.actor, self.actor_optimizer)
            sums += torch.stack([surrogate.detach(), entropy.detach(), kl])
        surrogate_mean, entropy_mean, kl_mean = (sums / len(minibatches)).tolist()
        return surrogate_mean, entropy_mean, kl_mean

    def _learn_value(self, batch: dict[str, Tensor], minibatches: list[Tensor]) -> float:
        """Mean loss over the minibatches."""
        packed, widths = _pack(batch, ("critic", "target", "value"))
        total = torch.zeros(())
        for ids in minibatches:
            critic, target, old_value = packed[ids].split(widths, dim=-1)
            value = self.critic.network(critic)
            if self.config.value_clip is None:
                loss = (value - target).square().mean()
            else:
                loss = clipped_value_loss(value, old_value, target, self.config.value_clip).mean()
            self._descend(loss, self.critic, self.critic_optimizer)
            total += loss.detach()
        return float(total) / len(minibatches)

    def _descend(self, loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), self.config.max_grad_norm, foreach=True)
        optimizer.step()

    def learn_normalizers(self) -> None:
        """Take the rollout's observations into the normalisers."""
        self.actor.normalizer.update(self._rollout["policy"].flatten(0, 1))
        self.critic.normalizer.update(self._rollout["critic"].flatten(0, 1))

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs, the task excluded."""
        return {
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "learning_rate": self.learning_rate,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])
        self.critic.load_state_dict(state["critic"])
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.learning_rate = state["learning_rate"]
        self.generator.set_state(state["generator"])


def _pack(batch: dict[str, Tensor], names: Sequence[str]) -> tuple[Tensor, list[int]]:
    """The named tensors side by side, so that a minibatch is one gather; and their widths."""
    parts = [batch[name] for name in names]
    # the batch was made in inference mode; cat under autograd makes an ordinary tensor of it
    return torch.cat(parts, dim=-1).clone(), [part.shape[-1] for part in parts]


@contextlib.contextmanager
def _single_threaded_operations() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
