"""The losses of a first gradient step from data, ours against d3rlpy's: the same weights, the same batch, the same noise.

IQL, CQL and TD3+BC; ``python -m benchmarks.offline_first_steps`` prints each pair and ends with status 1 where any differs by more than
1e-5 of itself. d3rlpy is installed as :mod:`benchmarks.offline_parity` says.
"""

from __future__ import annotations

import logging
import sys
from typing import Any
from unittest import mock

import d3rlpy
import torch
from d3rlpy.torch_utility import TorchMiniBatch
from torch import Tensor, nn

from benchmarks.first_steps import SIZE, copy_ensemble, copy_layers, linears
from benchmarks.offline_speed import arrays, learner_of
from benchmarks.updates import ACTIONS, OBSERVATIONS
from locomotion.algorithms.replay import Batch

Rows = list[tuple[str, float, float]]


def batches() -> tuple[Batch, TorchMiniBatch]:
    """The same for both; a fifth of the steps ended by termination."""
    seen, after, reward = torch.randn(SIZE, OBSERVATIONS), torch.randn(SIZE, OBSERVATIONS), torch.randn(SIZE)
    action, done = torch.rand(SIZE, ACTIONS) * 2 - 1, (torch.arange(SIZE) % 5 == 0).float()
    ours = Batch({"actor": seen}, action, reward, 0.99 * (1 - done), {"actor": after}, torch.arange(SIZE), torch.ones(SIZE))
    one = torch.ones(SIZE, 1)
    return ours, TorchMiniBatch(
        observations=seen, actions=action, rewards=reward[:, None], next_observations=after, next_actions=action, returns_to_go=one,
        terminals=done[:, None], intervals=one, device="cpu",
    )  # fmt: skip


def copied(config: Any, name: str, *overrides: str) -> tuple[Any, Any]:
    """Their implementation of ``config``, and our learner ``name`` with its weights."""
    algorithm = config.create(device="cpu")
    algorithm.create_impl((OBSERVATIONS,), ACTIONS)
    theirs, ours = algorithm.impl, learner_of(name, arrays(), *overrides)
    for mine, network in ((ours.critic, theirs._modules.q_funcs), (ours.target, theirs._modules.targ_q_funcs)):
        copy_ensemble(mine, list(network))
    return ours, theirs


def copy_policy(ours: Any, layers: list[Any], heads: int) -> None:
    """Of their last ``heads`` layers our policy has one."""
    body, last = layers[:-heads], layers[-heads:]
    weights = [*(layer.weight for layer in body), torch.cat([layer.weight for layer in last])]
    copy_layers(linears(ours.network), weights, [*(layer.bias for layer in body), torch.cat([layer.bias for layer in last])])


def iql() -> Rows:
    torch.manual_seed(0)
    ours, theirs = copied(d3rlpy.algos.IQLConfig(), "iql_gymnasium", "normalize=false")
    copy_policy(ours.actor, linears(theirs._modules.policy), 1)
    value, ours.value.normalizer = theirs._modules.value_func, nn.Identity()
    layers = linears(value)
    copy_layers(linears(ours.value.network), [layer.weight for layer in layers], [layer.bias for layer in layers])
    mine, batch = batches()
    with torch.no_grad():
        ours.log_std.copy_(theirs._modules.policy(batch.observations).logstd[0])
    losses = theirs.compute_critic_loss(batch, theirs.compute_target(batch))
    others = losses.q_loss, losses.v_loss, theirs.compute_actor_loss(batch, theirs._modules.policy(batch.observations)).actor_loss
    figures = ours.update(mine) * torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0])  # of two critics theirs is the sum: Adam sees no difference
    return [(name, float(own), other.item()) for name, own, other in zip(("critic", "value", "actor"), figures, others, strict=False)]


def cql() -> Rows:
    torch.manual_seed(1)
    n = 10
    config = d3rlpy.algos.CQLConfig(n_action_samples=n, alpha_threshold=0.0, alpha_learning_rate=0.0, temp_learning_rate=0.0)
    ours, theirs = copied(config, "cql", "updates=1")
    copy_policy(ours.actor, linears(theirs._modules.policy), 2)
    mine, batch = batches()
    uniform, noise = torch.rand(n, SIZE, ACTIONS) * 2 - 1, torch.randn(2 + 2 * n, SIZE, ACTIONS)
    noise[1] = 0.0  # theirs follows the mean
    drawn = iter((noise[2 : 2 + n], noise[2 + n :], noise[0]))
    normal = mock.patch.object(torch.distributions.Normal, "rsample", lambda self, shape=(): self.loc + self.scale * next(drawn))
    with normal, mock.patch.object(Tensor, "uniform_", return_value=uniform.transpose(0, 1).reshape(-1, ACTIONS)):
        critic = theirs.compute_critic_loss(batch, theirs.compute_target(batch))
    bellman = (critic.critic_loss - critic.conservative_loss).item()
    figures = ours.update(mine, noise, uniform).tolist()
    return [("critic", figures[0], bellman), ("gap", 5.0 * figures[1], critic.conservative_loss.item())]


def td3_bc() -> Rows:
    torch.manual_seed(2)
    ours, theirs = copied(d3rlpy.algos.TD3PlusBCConfig(observation_scaler=None), "td3_bc", "normalize=false", "actor_every=1")
    for actor, policy in ((ours.actor, theirs._modules.policy), (ours.target_actor, theirs._modules.targ_policy)):
        copy_policy(actor, linears(policy), 1)
    mine, batch = batches()
    noise = torch.randn(SIZE, ACTIONS)
    with mock.patch.object(torch, "randn", return_value=noise):
        critic = theirs.update_critic(batch)["critic_loss"]
    actor = theirs.update_actor(batch)
    figures = ours.update(mine, noise).tolist()
    return [("critic", figures[0], critic), ("actor", figures[1], actor["actor_loss"]), ("imitation", figures[2], actor["bc_loss"])]


def main() -> int:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    differences = []
    for name, rows in (("IQL", iql()), ("CQL", cql()), ("TD3+BC", td3_bc())):
        for loss, ours, other in rows:
            difference = abs(ours - other) / abs(other)
            print(f"{name}, {loss}: {ours:.8f}, d3rlpy {other:.8f}, relative difference {difference:.1e}")
            differences.append(difference)
    return int(not all(difference <= 1e-5 for difference in differences))


if __name__ == "__main__":
    sys.exit(main())
