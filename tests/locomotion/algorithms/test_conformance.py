"""What other libraries were found to get wrong, each by a reference of its own: traces that go over an episode's end, schedules that do
not move, signs of entropy and temperature, losses of CQL and TD3+BC, critics of costs."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from locomotion.algorithms import ppo
from locomotion.algorithms.returns import normalized
from locomotion.models.distributions import gaussian_kl
from tests.locomotion.algorithms import test_constraints, test_offline, test_on_policy
from tests.locomotion.algorithms.finite import TWO_STATES, Finite
from tests.locomotion.algorithms.point import Points, make
from tests.locomotion.algorithms.test_off_policy import batch_of, dense

ON_POLICY = ("ppo", "trpo", "a2c", "reinforce")


def on_policy(name, env, *words, **options):
    return test_on_policy.make(name, env, *words, **options)


# on-policy


def by_hand(reward: Tensor, value: Tensor, next_value: Tensor, done: Tensor, gamma: float, lam: float) -> np.ndarray:
    """Generalized advantages, episode by episode: sums of discounted errors up to the episode's end."""
    delta, result = reward + gamma * next_value - value, np.zeros(reward.shape)
    steps, rows = reward.shape
    for row in range(rows):
        for t in range(steps):
            end = next((k for k in range(t, steps) if done[k, row]), steps - 1)
            result[t, row] = sum((gamma * lam) ** (k - t) * float(delta[k, row]) for k in range(t, end + 1))
    return result


@pytest.mark.parametrize("name", ON_POLICY)
def test_no_advantage_goes_over_the_end_of_an_episode(name):
    """skrl's went on into the next episode where one was cut off; CleanRL's and rsl_rl's take another value than the last state's."""
    learner = on_policy(name, Finite(TWO_STATES, 5, max_steps=3), "algorithm.gamma=0.9")
    rewards, ended, env = [], [], learner.env
    inner, ends = env.rewards, env.ended
    env.rewards = lambda: rewards.append(inner()) or rewards[-1]
    env.ended = lambda: ended.append(ends()) or ended[-1]
    with torch.inference_mode():
        learner.critic.normalizer.update(torch.rand(50, 2))
        learner.rollout.collect(learner.generator)
        seen = learner.rollout.evaluate(learner.critic)
        advantage, target = learner.estimate(seen)
        value = learner.critic(learner.rollout.critic.flatten(0, 1)).view_as(seen.value)
        following = torch.cat([value[1:], learner.critic(env.observations["critic"])[None]])
        following[ended[0].steps, ended[0].rows] = learner.critic(ended[0].observations["critic"])
    terminated, truncated = learner.rollout.terminated, learner.rollout.truncated
    following = following.masked_fill(terminated, 0.0)
    assert terminated.any()
    assert truncated.any()
    lam = 1.0 if name == "reinforce" else learner.settings.lam  # returns less the value are advantages of lambda 1
    expected = by_hand(rewards[0], value, following, terminated | truncated, 0.9, lam)
    scaled = expected if name == "ppo" else (expected - expected.mean()) / expected.std(ddof=1)
    np.testing.assert_allclose(advantage, scaled, atol=1e-4)
    np.testing.assert_allclose(target, expected + value.numpy(), atol=1e-4)


def test_normalised_advantages_are_the_exact_values():
    advantage = torch.tensor([1.09951873475, 1.2116095, -2.901, -2.0], dtype=torch.float64)
    expected = [0.8261152133, 0.8791207042, -1.0656504384, -0.6395854790]  # of standard deviation 2.114701 (of 3, not of 4)
    np.testing.assert_allclose(normalized(advantage), expected, atol=1e-7)


@pytest.mark.parametrize("name", ["ppo", "a2c", "reinforce"])
def test_a_bonus_of_entropy_raises_it(name):
    """Where nothing is better than anything else."""
    learner = on_policy(name, Finite(TWO_STATES, 8, max_steps=4), "algorithm.entropy_coefficient=0.1")
    with torch.no_grad():
        for parameter in learner.critic.parameters():
            parameter.zero_()
        learner.actor.network[-1].bias.copy_(torch.tensor([1.0, -1.0]))
    inner = learner.env.rewards
    learner.env.rewards = lambda: 0.0 * inner()
    entropies = [learner.iterate()["policy/entropy"] for _ in range(8)]
    assert entropies[-1] > entropies[0] + 0.01


def test_the_rate_follows_the_divergence_of_the_present_policy_from_the_one_that_acted(monkeypatch):
    """KL(old || new) of each minibatch before its step, and not the other way round."""
    learner = on_policy("ppo", Points(6), "algorithm.steps=8", "algorithm.epochs=4", "algorithm.learning_rate=0.05")
    told, expected, old = [], [], []

    def adapt(rate, kl, *rest):
        rows = minibatches[len(told)]
        with torch.no_grad():
            new = learner.actor.network(batch["actor"][rows]), learner.actor.log_std.clone()
        old.append(old[0] if old else new[1])
        expected.append(gaussian_kl(batch["output"][rows], old[0], *new).mean().item())
        told.append(kl)
        return rate

    monkeypatch.setattr(ppo, "adapt_learning_rate", adapt)
    with torch.inference_mode():
        learner.rollout.collect(learner.generator)
        batch = learner.prepare()
    minibatches = learner.rollout.minibatches(learner.settings.epochs, learner.settings.minibatches, learner.generator)
    learner._learn_policy(batch, minibatches)
    assert told[-1] > 0.01
    assert told == pytest.approx(expected, rel=1e-3, abs=1e-6)


# costs


def test_the_critic_of_costs_learns_what_they_come_to_within_an_episode():
    learner = test_constraints.make("lagrangian", "task.episode_seconds=0.1", "algorithm.multiplier_rate=0.5", "algorithm.allowed=0.0")
    ended, inner = [], learner.env.ended
    learner.env.ended = lambda: ended.append(inner()) or ended[-1]
    generator = torch.Generator().manual_seed(2)
    violated = (torch.rand(8, 6, 2, generator=generator) < 0.4).float()
    learner.env.costs = lambda: 3.0 * violated  # however large
    with torch.inference_mode():
        learner.rollout.collect(learner.generator)
        learner.rollout.terminated[3, 2] |= True  # a fall, too
        learner.prepare()
        net, norm = learner.cost_critic, learner.critic.normalizer
        value = net(norm(learner.rollout.critic))
        following = torch.cat([value[1:], net(norm(learner.env.observations["critic"]))[None]])
        following[ended[0].steps, ended[0].rows] = net(norm(ended[0].observations["critic"]))
    terminated, done = learner.rollout.terminated, learner.rollout.terminated | learner.rollout.truncated
    following = following.masked_fill(terminated[..., None], 0.0)
    assert learner.rollout.truncated.any()
    s = learner.settings
    for k in range(2):
        expected = by_hand(violated[..., k], value[..., k], following[..., k], done, s.gamma, s.lam)
        np.testing.assert_allclose(learner.cost_target[..., k], expected + value[..., k].numpy(), atol=1e-4)
    assert learner.multipliers.tolist() == pytest.approx((0.5 * violated.mean(dim=(0, 1))).tolist())


# off-policy


@pytest.mark.parametrize("source", ["td3", "td3_bc"])
def test_targets_wait_as_the_actor_does(source):
    """Fujimoto et al. (2018), algorithm 1: every ``actor_every`` updates, both of them, by the share tau."""
    learner = make("td3", "actor_every=2") if source == "td3" else test_offline.make("td3_bc", actor_every=2)
    batch = batch_of(learner) if source == "td3" else learner.samples.batches(1, learner.generator)[0]
    learner.updates = 0
    targets = learner._targets
    for turn in (1, 2, 3, 4):
        before = [target.clone() for target in targets]
        learner.update(batch)
        online = (learner.actor_optimizer.flat.detach(), learner.critic_optimizer.flat.detach())
        for target, old, new in zip(targets, before, online, strict=True):
            share = learner.settings.tau if turn % 2 == 0 else 0.0
            torch.testing.assert_close(target, old + share * (new - old), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["sac", "td3", "ddpg"])
def test_first_actions_are_uniform_over_all_that_is_allowed(name):
    own = ["initial_std=0.3"] if name == "sac" else []
    learner = make(name, "random_warm_up=true", "num_envs=4000", "capacity=40000", "warm_up=8000", *own)
    action = learner.act({"actor": torch.zeros(4000, 1)})[:, 0]
    quarters = torch.histc(action, 4, -1.0, 3.0) / 4000
    np.testing.assert_allclose(quarters, 0.25, atol=0.03)
    learner.replay.written = 2  # 8000 transitions
    assert learner.act({"actor": torch.zeros(4000, 1)}).std() < 0.8 * action.std()


def test_exploration_is_in_shares_of_half_the_range_and_stays_within_it():
    learner = make("td3", "random_warm_up=false", "exploration=0.2", "num_envs=4000", "capacity=40000")
    still = learner.actor(torch.zeros(1, 1)).item()
    action = learner.act({"actor": torch.zeros(4000, 1)})
    assert action.mean().item() == pytest.approx(still, abs=0.03)
    assert action.std().item() == pytest.approx(0.2 * 2.0, rel=0.1)  # bounds -1 and 3
    with torch.no_grad():
        learner.actor.network[-1].bias.fill_(9.0)
    assert learner.act({"actor": torch.zeros(4000, 1)}).max().item() <= 3.0


def test_a_choice_is_explored_less_and_weighed_more_as_a_run_goes_on():
    learner = make("dqn", "exploring=0.5", "final_exploration=0.1", "prioritized={alpha: 0.6, beta: 0.4}", iterations=10)
    for iteration, explored, beta in ((0, 1.0, 0.4), (2, 0.64, 0.52), (5, 0.1, 0.7), (10, 0.1, 1.0), (20, 0.1, 1.0)):
        learner.iteration = iteration
        assert learner.exploration == pytest.approx(explored)
        assert learner.beta == pytest.approx(beta)
    seen = {"actor": torch.zeros(4, 1).repeat(1000, 1)}
    learner.settings = learner.settings.model_copy(update={"num_envs": 4000})
    best = learner.actor(seen["actor"]).argmax(-1)[0]
    assert (learner.act(seen) == best).float().mean().item() == pytest.approx(0.9 + 0.1 / 3, abs=0.02)


# from data


@pytest.mark.parametrize("name", ["bc", "iql", "iql_gymnasium"])
def test_the_policy_s_rate_falls_to_nothing_as_a_cosine(name):
    learner = test_offline.make(name, iterations=2, updates=4, learning_rate=1e-3)
    optimizer = learner.optimizer if name == "bc" else learner.actor_optimizer
    for k in range(8):
        learner.update(learner.samples.batches(1, learner.generator)[0])
        rate = optimizer.state_dict()["learning_rate"]
        assert rate == pytest.approx(0.5e-3 * (1 + math.cos(math.pi * k / 8)))


def test_cql_s_losses_are_its_papers():
    """Kumar et al. (2020), equation 4 with CQL(H)'s samples, on SAC without entropy in what follows: in double precision.

    As in their code, whose weights of conservatism people know, the squared error is not halved.
    """
    learner = test_offline.make("cql", actions=3, conservatism=5.0)
    learner.iterate()
    batch = learner.samples.batches(1, learner.generator)[0]
    batch.discount.fill_(0.7)
    generator = torch.Generator().manual_seed(4)
    noise, uniform = torch.randn(8, 32, 1, generator=generator), torch.rand(3, 32, 1, generator=generator) * 2 - 1
    critic, target, actor = (copy.deepcopy(x) for x in (learner.critic, learner.target, learner.actor))
    temperature, seen, follows = learner.log_temperature.exp().item(), batch.observations["actor"], batch.following["actor"]

    def act(observation: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = (x.double() for x in actor.outputs(observation))
        u = mean + log_std.exp() * eps.double()
        density = torch.distributions.Normal(mean, log_std.exp()).log_prob(u) - torch.log(1 - torch.tanh(u) ** 2)
        return torch.tanh(u), density[..., 0]

    def value(net, k: int, observation: Tensor, action: Tensor) -> Tensor:
        return dense(net, k, torch.cat([observation.double(), action.double()], -1))

    with torch.no_grad():
        now, log_prob = act(seen, noise[0])
        then, _ = act(follows, noise[1])
        goal = batch.reward.double() + 0.7 * torch.stack([value(target, k, follows, then) for k in range(2)]).amin(0)
        done = (batch.action.double() - 1.0) / 2.0  # bounds -1 and 3
        bellman, gap = torch.zeros(()), torch.zeros(())
        for k in range(2):
            mine = value(critic, k, seen, done)
            bellman = bellman + (mine - goal).square().mean()
            tried = [value(critic, k, seen, uniform[i]) + math.log(2.0) for i in range(3)]
            for observation, drawn in ((seen, noise[2:5]), (follows, noise[5:8])):
                for eps in drawn:
                    action, density = act(observation, eps)
                    tried.append(value(critic, k, seen, action) - density)
            gap = gap + (torch.stack(tried).logsumexp(0) - mine).mean()
    figures = learner.update(batch, noise, uniform)
    with torch.no_grad():  # the actor learns from critics that have taken their step
        least = torch.stack([value(learner.critic, k, seen, now) for k in range(2)]).amin(0)
        actor_loss = (temperature * log_prob - least).mean()
    expected = [bellman, gap, actor_loss, goal.mean(), -log_prob.mean(), temperature]
    np.testing.assert_allclose(figures, [float(x) for x in expected], rtol=1e-4, atol=1e-5)
    assert learner.log_temperature.grad.item() == pytest.approx(-(log_prob.mean().item() - 1.0), rel=1e-4)  # towards -1 an action


def test_td3_bc_s_losses_are_its_papers():
    """Fujimoto and Gu (2021), equation 5, on TD3's critics: in double precision."""
    learner = test_offline.make("td3_bc", actor_every=1, normalize=False)
    learner.iterate()
    batch = learner.samples.batches(1, learner.generator)[0]
    batch.discount.fill_(0.7)
    noise = 4 * torch.randn(32, 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():  # near a bound, which what follows may not leave
        learner.target_actor.network[-1].bias.fill_(1.5)
        first = torch.cat([batch.observations["actor"], torch.tanh(learner.actor.outputs(batch.observations["actor"])[0])], -1)
        learner.critic.biases[-1] -= learner.critic(first).mean(dim=1, keepdim=True)  # of both signs: else a mean says nothing of whose
    critic, target, actor, target_actor = (copy.deepcopy(x) for x in (learner.critic, learner.target, learner.actor, learner.target_actor))
    seen, follows = batch.observations["actor"].double(), batch.following["actor"]
    with torch.no_grad():
        smooth = (0.2 * noise.double()).clamp(-0.5, 0.5)
        then = (torch.tanh(target_actor.outputs(follows)[0]).double() + smooth).clamp(-1, 1)
        after = torch.cat([follows.double(), then], -1)
        goal = batch.reward.double() + 0.7 * torch.stack([dense(target, k, after) for k in range(2)]).amin(0)
        done = (batch.action.double() - 1.0) / 2.0
        critic_loss = sum((dense(critic, k, torch.cat([seen, done], -1)) - goal).square().mean() for k in range(2))
        now = torch.tanh(actor.outputs(seen.float())[0]).double()
    figures = learner.update(batch, noise)
    with torch.no_grad():
        value = dense(learner.critic, 0, torch.cat([seen, now], -1))  # the first critic's
        imitation = (now - done).square().mean()
        actor_loss = imitation - 2.5 / value.abs().mean() * value.mean()
    expected = [float(x) for x in (critic_loss, actor_loss, imitation, goal.mean())]
    np.testing.assert_allclose(figures, expected, rtol=1e-4, atol=1e-5)
