"""The losses of a first gradient step, ours against stable-baselines3's: the same weights, the same batch, the same noise.

PPO, A2C and TRPO (a whole rollout in which episodes end, its advantages among it; TRPO of sb3-contrib, its whole step), SAC, TD3 and DQN
(without double targets, which theirs has not).
Prints each pair and ends with status 1 where any differs by more than 1e-5 of itself. Theirs clips log(1 - tanh^2 + 1e-6); with its own
epsilon the losses of SAC differ by what that line says.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3 as theirs
import torch
from sb3_contrib import TRPO as TheirTRPO
from stable_baselines3.common.buffers import ReplayBufferSamples
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn

from benchmarks.updates import ACTIONS, OBSERVATIONS, Nothing, NothingGym, own, silent
from locomotion.algorithms.a2c import A2C
from locomotion.algorithms.dqn import DQN, DQNSettings
from locomotion.algorithms.ppo import PPO
from locomotion.algorithms.replay import Batch
from locomotion.algorithms.returns import generalized_advantages, normalized
from locomotion.algorithms.sac import SAC, SACSettings
from locomotion.algorithms.td3 import TD3, TD3Settings
from locomotion.algorithms.trpo import TRPO
from locomotion.environment import DiscreteActions, Spaces
from locomotion.models.ensemble import Ensemble

SIZE, CHOICES = 256, 4
STEPS, ROBOTS, GAMMA, LAM = 32, 8, 0.98, 0.9  # of a rollout


class Choices(NothingGym):
    action_space = gymnasium.spaces.Discrete(CHOICES)  # type: ignore[assignment]


class NothingToChoose(Nothing):
    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs)
        self.spaces = Spaces(self.spaces.groups, DiscreteActions(CHOICES), None)


def linears(module: nn.Module) -> list[nn.Linear]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


@torch.no_grad()
def copy_ensemble(ours: Ensemble, networks: list[Any]) -> None:
    for k, network in enumerate(networks):
        for weight, bias, layer in zip(ours.weights, ours.biases, linears(network), strict=True):
            weight[k], bias[k, 0] = layer.weight.T, layer.bias


@torch.no_grad()
def copy_layers(ours: list[nn.Linear], weights: list[Tensor], biases: list[Tensor]) -> None:
    for layer, weight, bias in zip(ours, weights, biases, strict=True):
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def batches(action: Tensor) -> tuple[Batch, ReplayBufferSamples]:
    """The same for both; a fifth of the windows ended by termination."""
    seen, after, reward = torch.randn(SIZE, OBSERVATIONS), torch.randn(SIZE, OBSERVATIONS), torch.randn(SIZE)
    done = (torch.arange(SIZE) % 5 == 0).float()
    groups = [{"actor": value, "critic": value} for value in (seen, after)]
    ours = Batch(groups[0], action.float(), reward, 0.99 * (1 - done), groups[1], torch.arange(SIZE), torch.ones(SIZE))
    return ours, ReplayBufferSamples(seen, action, after, done[:, None], reward[:, None])


def logged(model: Any, samples: ReplayBufferSamples) -> dict[str, float]:
    """What its first step says of itself."""
    silent(model)
    model.replay_buffer.sample = lambda *arguments, **options: samples
    model.train(1, SIZE)
    return model.logger.name_to_value


def on_policy(model: Any, ours: Any, moved: float = 0.0) -> dict[str, Tensor]:
    """The same weights for both, and a rollout in which episodes end: in theirs' buffer, and as columns [B, ...] of ours.

    Its actions are not of ours, and their probabilities when they were taken were ours times exp(``moved`` * noise).
    """
    nets = model.policy
    for mine, other in (
        (ours.actor.network, [nets.mlp_extractor.policy_net, nets.action_net]),
        (ours.critic.network, [nets.mlp_extractor.value_net, nets.value_net]),
    ):
        layers = [layer for module in other for layer in linears(module)]
        copy_layers(linears(mine), [layer.weight for layer in layers], [layer.bias for layer in layers])
    seen, reward = torch.randn(STEPS + 1, ROBOTS, OBSERVATIONS), torch.randn(STEPS, ROBOTS)
    chosen = torch.randint(CHOICES, (STEPS, ROBOTS, 1)).float()
    action = chosen if ours.rollout.choices else torch.randn(STEPS, ROBOTS, ACTIONS)
    done = torch.rand(STEPS, ROBOTS) < 0.1
    with torch.no_grad():
        output, value = ours.actor(seen[:-1]), ours.critic(seen)
        log_prob = ours.actor.distribution(output).log_prob(action)
        log_prob += moved * torch.randn_like(log_prob)
        advantage = generalized_advantages(reward, value[:-1], value[1:] * ~done, done, GAMMA, LAM)
    buffer, begins = model.rollout_buffer, np.ones(ROBOTS)
    for t in range(STEPS):
        buffer.add(seen[t].numpy(), action[t].numpy(), reward[t].numpy(), begins, value[t], log_prob[t])
        begins = done[t].numpy().astype(float)
    buffer.compute_returns_and_advantage(value[-1], begins)
    rows = {"actor": seen[:-1], "critic": seen[:-1], "action": action, "output": output}
    columns = {"log_prob": log_prob, "advantage": normalized(advantage), "target": advantage + value[:-1], "value": value[:-1]}
    return {name: x.flatten(0, 1) for name, x in rows.items()} | {name: x.reshape(-1, 1) for name, x in columns.items()}


def on_policy_pair(
    name: str, cls: Any, other: Any, words: list[str], arguments: dict[str, Any], choices: bool = False, seed: int = 0
) -> tuple[Any, Any]:
    """One of theirs (class ``other``, ``arguments``) and one of ours (settings ``words``), with the same networks and discounts."""
    set_random_seed(seed)  # theirs shuffles by numpy's
    common = [f"steps={STEPS}", "actor_hidden=[64,64]", "critic_hidden=[64,64]", "symmetric=false", "initial_std=1.0"]
    envs = NothingToChoose(ROBOTS) if choices else Nothing(ROBOTS)
    ours = own(cls, cls.settings_type, name, ROBOTS, *common, f"gamma={GAMMA}", f"lam={LAM}", *words, env=envs)
    policy = {"net_arch": [64, 64], "activation_fn": nn.ELU}
    env = DummyVecEnv([Choices if choices else NothingGym] * ROBOTS)
    return other("MlpPolicy", env, n_steps=STEPS, gamma=GAMMA, gae_lambda=LAM, policy_kwargs=policy, device="cpu", **arguments), ours


def compared(model: Any, figures: dict[str, float], names: dict[str, tuple[str, int]]) -> list[tuple[str, float, float]]:
    """Figures of ours beside what the ``model``'s step over its buffer says: under which name, with which sign."""
    silent(model).train()
    log = model.logger.name_to_value
    return [(name.split("/")[1], figures[name], sign * log[f"train/{other}"]) for name, (other, sign) in names.items()]


def ppo() -> list[tuple[str, float, float]]:
    """One step in which ratios are not 1 and some are clipped."""
    whole = {"batch_size": STEPS * ROBOTS, "n_epochs": 1, "ent_coef": 0.003}
    model, ours = on_policy_pair("ppo", PPO, theirs.PPO, ["epochs=1", "minibatches=1"], whole, seed=3)
    figures = ours.update(on_policy(model, ours, 0.3))
    names = {"loss/surrogate": ("policy_gradient_loss", -1), "loss/value": ("value_loss", 1), "policy/entropy": ("entropy_loss", -1)}
    return compared(model, figures, names)


def a2c() -> list[tuple[str, float, float]]:
    normal = {"normalize_advantage": True}
    model, ours = on_policy_pair("a2c", A2C, theirs.A2C, ["entropy_coefficient=0.0"], normal, seed=4)
    figures = improve(ours, on_policy(model, ours))
    names = {"loss/policy": ("policy_loss", 1), "loss/value": ("value_loss", 1), "policy/entropy": ("entropy_loss", -1)}
    return compared(model, figures, names)


def trpo() -> list[tuple[str, float, float]]:
    """The whole step: the natural gradient, its length, and the search along it. Of choices, since for actions of several numbers theirs
    averages the KL divergence over these, instead of summing it."""
    whole = {"batch_size": STEPS * ROBOTS, "n_critic_updates": 1, "cg_max_steps": 10, "cg_damping": 0.1, "target_kl": 0.01}
    words = ["value_epochs=1", "value_minibatches=1", "max_kl=0.01", "damping=0.1", "conjugate_iterations=10", "backtrack_ratio=0.8"]
    model, ours = on_policy_pair("trpo", TRPO, TheirTRPO, words, whole, choices=True, seed=5)
    figures = improve(ours, on_policy(model, ours))
    rows = compared(model, figures, {"loss/surrogate": ("policy_objective", 1), "loss/value": ("value_loss", 1)})
    after = [float(linears(network)[-1].weight.detach().norm()) for network in (ours.actor.network, model.policy.action_net)]
    return [*rows, ("norm of the last weights after it", *after)]


def improve(ours: Any, rows: dict[str, Tensor]) -> dict[str, float]:
    """A step of the policy, and one of the value, as :meth:`OnPolicy.iterate` makes them."""
    figures = ours.improve(rows["actor"], rows["action"], rows["output"], rows["advantage"].squeeze(-1))
    return figures | {"loss/value": ours.learn_value(rows["critic"], rows["target"].squeeze(-1))}


def sac(epsilon: float) -> list[tuple[str, float, float]]:
    torch.manual_seed(0)
    model: Any = theirs.SAC("MlpPolicy", DummyVecEnv([NothingGym]), buffer_size=10, device="cpu", ent_coef="auto_0.3")
    ours = own(SAC, SACSettings, "sac", 1, "capacity=10", "initial_temperature=0.3")
    actor = model.actor
    hidden = linears(actor.latent_pi)
    copy_layers(
        linears(ours.actor.network),
        [*(layer.weight for layer in hidden), torch.cat([actor.mu.weight, actor.log_std.weight])],
        [*(layer.bias for layer in hidden), torch.cat([actor.mu.bias, actor.log_std.bias])],
    )
    copy_ensemble(ours.critic, model.critic.q_networks)
    copy_ensemble(ours.target, model.critic_target.q_networks)
    actor.action_dist.epsilon = epsilon
    batch, samples = batches(torch.rand(SIZE, ACTIONS) * 2 - 1)
    noise = torch.randn(2, SIZE, ACTIONS)
    drawn = iter(noise)
    normal = torch.distributions.Normal.rsample
    torch.distributions.Normal.rsample = lambda self, shape=(): self.loc + self.scale * next(drawn)  # type: ignore[method-assign]
    try:
        log = logged(model, samples)
    finally:
        torch.distributions.Normal.rsample = normal  # type: ignore[method-assign]
    figures = ours.update(batch, noise).tolist()
    return [("critic", figures[0], log["train/critic_loss"]), ("actor", figures[1], log["train/actor_loss"])]


def td3() -> list[tuple[str, float, float]]:
    torch.manual_seed(1)
    model: Any = theirs.TD3("MlpPolicy", DummyVecEnv([NothingGym]), buffer_size=10, device="cpu", policy_delay=1, target_policy_noise=0.0,
                            policy_kwargs={"net_arch": [256, 256]})  # fmt: skip
    ours = own(TD3, TD3Settings, "td3", 1, "capacity=10", "actor_every=1", "smoothing=0.0",
               "learning_rate=1e-3", "critic_learning_rate=1e-3")  # fmt: skip
    for mine, other in ((ours.actor, model.actor), (ours.target_actor, model.actor_target)):
        layers = linears(other)
        copy_layers(linears(mine), [layer.weight for layer in layers], [layer.bias for layer in layers])
    copy_ensemble(ours.critic, model.critic.q_networks)
    copy_ensemble(ours.target, model.critic_target.q_networks)
    batch, samples = batches(torch.rand(SIZE, ACTIONS) * 2 - 1)
    log, figures = logged(model, samples), ours.update(batch).tolist()
    return [("critic", figures[0], log["train/critic_loss"]), ("actor", figures[1], log["train/actor_loss"])]


def dqn() -> list[tuple[str, float, float]]:
    torch.manual_seed(2)
    model: Any = theirs.DQN("MlpPolicy", DummyVecEnv([Choices]), buffer_size=10, device="cpu", policy_kwargs={"net_arch": [128, 128]})
    data = own(DQN, DQNSettings, "dqn", 1, "capacity=10", "double=false", "prioritized=null", "n_steps=1", env=NothingToChoose(1))
    for mine, other in ((data.actor, model.q_net), (data.target, model.q_net_target)):
        layers = linears(other)
        copy_layers(linears(mine), [layer.weight for layer in layers], [layer.bias for layer in layers])
    batch, samples = batches(torch.randint(CHOICES, (SIZE, 1)))
    return [("critic", data.update(batch)[0].item(), logged(model, samples)["train/loss"])]


def main() -> int:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    differences = []
    not_the_same = "SAC, theirs with its epsilon"
    off_policy = (("SAC", sac(0.0)), (not_the_same, sac(1e-6)), ("TD3", td3()), ("DQN", dqn()))
    for name, rows in (("PPO", ppo()), ("A2C", a2c()), ("TRPO", trpo()), *off_policy):
        for loss, ours, other in rows:
            difference = abs(ours - other) / max(abs(other), 1e-9)
            print(f"{name}, {loss}: {ours:.8f}, theirs {other:.8f}, relative difference {difference:.1e}")
            differences += [difference] if name != not_the_same else []
    return int(not all(difference <= 1e-5 for difference in differences))


if __name__ == "__main__":
    sys.exit(main())
