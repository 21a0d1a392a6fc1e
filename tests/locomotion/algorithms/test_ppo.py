"""PPO on the task: consistency between acting and learning, and that it learns."""

import os
import threading

import pytest
import torch

from locomotion import build
from locomotion.algorithms import ppo
from locomotion.models.distributions import gaussian_kl, gaussian_log_prob
from robots import InputError
from tests.conftest import only, standing, tiny


def make(*overrides):
    settings = tiny(*overrides)
    return build.algorithm(settings, build.task(settings))


def test_the_policy_that_is_optimised_is_the_policy_that_acted():
    """Before any gradient the probability ratio is 1 everywhere, in later iterations too."""
    learner = make()
    for _ in range(3):
        with torch.inference_mode():
            learner.rollout.collect(learner.generator)
            batch = learner.prepare()
            log_prob = gaussian_log_prob(batch["action"], learner.actor.network(batch["actor"]), learner.actor.log_std)
        ratio = torch.exp(log_prob - batch["log_prob"].squeeze(-1))
        assert (ratio - 1).abs().max() < 1e-6  # a normaliser that moved meanwhile gives 1e-11 to 3
        learner.update(batch)
        learner.rollout.learn_normalizers(learner.critic)


def test_normalisers_do_not_move_between_acting_and_updating():
    learner = make()
    before = learner.actor.normalizer.mean.clone()
    with torch.inference_mode():
        learner.rollout.collect(learner.generator)
        learner.prepare()
    assert torch.equal(learner.actor.normalizer.mean, before)
    learner.iterate()
    assert not torch.equal(learner.actor.normalizer.mean, before)


def test_normalised_targets_are_those_of_all_that_was_learned_and_values_stay_in_units_of_reward():
    learner = make("algorithm.normalize_values=true", "randomization=none")
    plain, inner = [], learner.estimate
    learner.estimate = lambda seen: plain.append(inner(seen)) or plain[-1]
    for _ in range(2):
        with torch.inference_mode():
            learner.rollout.collect(learner.generator)
            batch = learner.prepare()
        learner.update(batch)
    seen = torch.cat([target.flatten() for _, target in plain]).double()
    torch.testing.assert_close(learner.critic.targets.mean[0], seen.mean())
    torch.testing.assert_close(learner.critic.targets.var[0], seen.var(correction=0))
    std = seen.std(correction=0)
    expected = (plain[1][1].flatten().double() - seen.mean()) / std
    torch.testing.assert_close(batch["target"].flatten().double(), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        value, said = learner.critic.value(batch["critic"]), learner.critic.network(batch["critic"]).squeeze(-1)
    torch.testing.assert_close(value.double(), said.double() * std + seen.mean(), rtol=1e-4, atol=1e-5)


def test_a_clip_of_values_is_about_what_the_network_said_though_its_scale_has_moved():
    learner = make("algorithm.normalize_values=true", "algorithm.value_clip=0.2")
    for _ in range(2):
        with torch.inference_mode():
            learner.rollout.collect(learner.generator)
            batch = learner.prepare()
            torch.testing.assert_close(learner.critic.network(batch["critic"]), batch["value"], rtol=1e-4, atol=1e-5)
        learner.update(batch)


def test_advantages_are_normalised_and_truncation_bootstraps_with_the_true_last_state():
    learner = make("task.episode_seconds=0.1", "randomization=none")
    seen, inner = [], learner.env.ended
    learner.env.ended = lambda: seen.append(inner()) or seen[-1]
    with torch.inference_mode():
        learner.rollout.collect(learner.generator)
        batch = learner.prepare()
    advantage = batch["advantage"]
    assert advantage.mean().abs() < 1e-5
    assert advantage.std().item() == pytest.approx(1.0, abs=1e-4)
    terminated, truncated = learner.rollout.terminated, learner.rollout.truncated
    assert truncated.any()
    assert not (terminated & truncated).any()
    # with lambda 0 the target of a truncated step is reward + gamma V(last state), of a terminated one the reward alone
    again = make("task.episode_seconds=0.1", "randomization=none", "algorithm.lam=0.0")
    seen.clear()
    ended, rewards, inner, inner_rewards = [], [], again.env.ended, again.env.rewards
    again.env.ended = lambda: ended.append(inner()) or ended[-1]
    again.env.rewards = lambda: rewards.append(inner_rewards()) or rewards[-1]
    with torch.inference_mode():
        again.rollout.collect(again.generator)
        target = again.prepare()["target"].view(8, 6)
        for step, row, value in zip(ended[0].steps, ended[0].rows, again.critic(ended[0].observations["critic"]), strict=True):
            follows = 0.0 if again.rollout.terminated[step, row] else value
            torch.testing.assert_close(target[step, row], rewards[0][step, row] + again.settings.gamma * follows)


def test_nothing_follows_a_fall():
    """The target of a step that ended in a fall is its reward alone, whatever the critic thinks of the last state."""
    learner = make("randomization=none", "algorithm.lam=0.0")
    state = standing(learner.env.robot, 6)
    state.base_quat[:] = torch.tensor([0.8, 0.6, 0.0, 0.0])
    learner.env.simulator.reset(only(6, 1, 4), state)
    rewards, inner = [], learner.env.rewards
    learner.env.rewards = lambda: rewards.append(inner()) or rewards[-1]
    with torch.no_grad():
        for weight in learner.critic.network.parameters():
            weight.add_(0.3)
    with torch.inference_mode():
        learner.rollout.collect(learner.generator)
        target = learner.prepare()["target"].view(8, 6)
    fell = learner.rollout.terminated
    assert fell[0].tolist() == [False, True, False, False, True, False]
    torch.testing.assert_close(target[fell], rewards[0][fell])
    assert (target - rewards[0])[~fell].abs().min() > 1e-3


def test_an_iteration_holds_exploration_below_its_limit():
    learner = make("algorithm.final_std=0.02", "algorithm.annealed=1.0", "iterations=2")
    learner.iteration = 2
    learner.iterate()
    assert learner.rollout.action.sub(learner.rollout.output).std().item() == pytest.approx(0.02, rel=0.2)


def test_two_networks_learn_the_same_one_after_the_other_on_one_cpu():
    cpus, learned = os.sched_getaffinity(0), []
    for allowed in (cpus, {min(cpus)}):
        os.sched_setaffinity(0, allowed)
        try:
            learner, threads = make(), set()
            inner = learner.critic_optimizer.descend
            learner.critic_optimizer.descend = lambda *given, to=threads, do=inner: to.add(threading.get_ident()) or do(*given)
            learner.iterate()
        finally:
            os.sched_setaffinity(0, cpus)
        learned.append(learner.critic_optimizer.flat.clone())
        assert (threads == {threading.get_ident()}) == (len(allowed) == 1)
    assert torch.equal(*learned)


def test_a_rate_without_a_range_stays():
    """It learns what one learns whose range is a point; how far the policy moved, it estimates from the actions."""
    rollout = ("algorithm.num_envs=64", "algorithm.steps=64", "algorithm.epochs=1", "algorithm.minibatches=1")
    learned = []
    for between in ("null", "[0.003,0.003]"):
        learner = make(*rollout, "algorithm.learning_rate=0.003", f"algorithm.learning_rate_range={between}")
        old = learner.actor.present_distribution()
        learner.actor.present_distribution = lambda old=old: old
        with torch.inference_mode():
            learner.rollout.collect(learner.generator)
            batch = learner.prepare()
        with torch.no_grad():
            learner.actor.log_std_parameter -= 0.3  # the divergence back from there is two thirds of that to it
        learned.append((learner.update(batch), learner.actor_optimizer.flat))
    (estimated, stayed), (exact, held) = learned
    assert torch.equal(stayed, held)
    assert estimated["policy/learning_rate"] == exact["policy/learning_rate"] == 0.003
    assert estimated["policy/kl"] == pytest.approx(exact["policy/kl"], rel=0.1)
    assert exact["policy/kl"] > 1.0


def test_every_sample_is_used_once_an_epoch():
    learner = make("algorithm.minibatches=5", "algorithm.epochs=1")
    with torch.inference_mode():
        learner.rollout.collect(learner.generator)
        batch = learner.prepare()
    sizes, learn = [], learner._learn_policy
    learner._learn_policy = lambda batch, minibatches: sizes.extend(map(len, minibatches)) or learn(batch, minibatches)
    learner.update(batch)
    assert sum(sizes) == 6 * 8
    assert max(sizes) - min(sizes) <= 1


def test_the_policy_moves_towards_rewarded_actions():
    """With a reward that depends on the action alone, the mean action moves to its optimum, left and right alike."""
    learner = make("algorithm.num_envs=32", "algorithm.steps=16", "iterations=1000")
    goal = 0.4 * torch.as_tensor(learner.env.robot.mirror.joint_sign).float()  # a mirrored pose: reachable by a symmetric policy
    inner, distances = learner.env.rewards, []

    def rewards():
        inner()
        return -(learner.rollout.action - goal).square().sum(dim=-1)

    learner.env.rewards = rewards
    for _ in range(30):
        learner.iterate()
        distances.append((learner.rollout.output - goal).square().mean().item())
    assert distances[-1] < 0.75 * distances[0]


def test_the_trust_region_shrinks_over_the_last_part_of_a_run():
    learner = make("algorithm.target_kl=0.08", "algorithm.final_kl=0.02", "algorithm.annealed=0.5", "iterations=100")
    for iteration, expected in ((0, 0.08), (50, 0.08), (75, 0.04), (100, 0.02), (150, 0.02)):
        learner.iteration = iteration
        assert learner.target_kl == pytest.approx(expected)


def test_exploration_and_its_bonus_end_as_learning_settles():
    settings = ("algorithm.initial_std=0.5", "algorithm.final_std=0.02", "algorithm.annealed=0.5", "iterations=100")
    learner = make(*settings, "algorithm.entropy_coefficient=0.004", "algorithm.final_entropy_coefficient=0.0")
    for iteration, std, bonus in ((0, 0.5, 0.004), (50, 0.5, 0.004), (75, 0.1, 0.002), (100, 0.02, 0.0)):
        learner.iteration = iteration
        learner.limit_std()
        assert learner.actor.log_std.exp().max().item() == pytest.approx(std, rel=1e-5)
        assert learner.entropy_coefficient == pytest.approx(bonus)


def test_weights_of_another_run_are_a_start_and_schedules_are_its_own():
    a, b = make(), make("seed=2")
    for _ in range(3):
        a.iterate()
    b.initialize(a.state_dict())
    for x, y in zip(a.actor.state_dict().values(), b.actor.state_dict().values(), strict=True):
        assert torch.equal(x, y)
    assert b.iteration == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algorithm.num_envs=0", "num_envs"),
        ("algorithm.num_envs=-5", "num_envs"),
        ("algorithm.steps=0", "steps"),
        ("algorithm.minibatches=1000", "minibatches"),
        ("algorithm.actor_hidden=[15,16]", "even"),
        ("algorithm.gamma=1.5", "gamma"),
        ("algorithm.gamma=nan", "gamma"),
        ("algorithm.clip=-0.1", "clip"),
        ("algorithm.learning_rate=-1.0", "learning_rate"),
        ("algorithm.initial_std=0.0", "initial_std"),
        ("algorithm.learning_rate_range=[1.0,0.1]", "min <= max"),
        ("algorithm.epochs=true", "epochs"),
        ("algorithm.name=soc", "the name of an algorithm"),
        ("algorithm.num_envs=2.5", "num_envs"),
    ],
)
def test_bad_settings_are_refused(override, message):
    with pytest.raises(InputError, match=message):
        make(override)


def test_exploration_does_not_repeat_the_numbers_that_made_the_weights():
    """It goes on where the weights stopped: the same seed anew would tie the noise to the network."""
    learner = make("seed=3")
    assert not torch.equal(learner.generator.get_state(), torch.Generator().manual_seed(3).get_state())


def minibatches_of(learner, **settings):
    learner.settings = learner.settings.model_copy(update=settings)
    return learner.rollout.minibatches(learner.settings.epochs, learner.settings.minibatches, learner.generator)


def test_every_epoch_has_an_order_of_its_own_and_leaves_nobody_out():
    parts = minibatches_of(make(), epochs=3, minibatches=5)  # 48 samples: 10, 10, 10, 9, 9
    assert [len(part) for part in parts] == [10, 10, 10, 9, 9] * 3
    orders = [torch.cat(parts[i : i + 5]) for i in (0, 5, 10)]
    assert all(sorted(order.tolist()) == list(range(48)) for order in orders)
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[1], orders[2])
    assert not torch.equal(orders[0], torch.arange(48))


def test_a_large_gradient_of_the_critic_does_not_shrink_the_actor_s():
    """Their norms are clipped apart."""
    weights = []
    for scale in (1.0, 1e4):
        learner = make()
        inner, learner.env.rewards = learner.env.rewards, None
        learner.env.rewards = lambda inner=inner: inner() * 0.0 + 1.0
        with torch.inference_mode():
            learner.rollout.collect(learner.generator)
            batch = learner.prepare()
            batch["target"] = batch["target"] * scale
        learner.update(batch)
        weights.append(torch.cat([p.detach().flatten() for p in learner.actor.parameters()]))
    assert torch.equal(*weights)


def test_the_rate_by_the_kl_of_steps():
    """A policy that a step moves too far slows down once an epoch; the divergence from the rollout's policy plays no part."""
    words = ("algorithm.kl_of=step", "algorithm.epochs=3", "algorithm.minibatches=4", "algorithm.learning_rate_range=[1e-7,1.0]")
    fast, slow = make(*words, "algorithm.target_kl=1e-9", "algorithm.final_kl=1e-9"), make(*words, "algorithm.target_kl=100.0")
    rate = fast.learning_rate
    assert fast.iterate()["policy/learning_rate"] == pytest.approx(rate / 1.5**3)
    assert slow.iterate()["policy/learning_rate"] == pytest.approx(rate * 1.5**3)


@pytest.mark.parametrize("symmetric", ["true", "false"])
def test_the_kl_of_a_step_is_of_the_policy_after_it_from_the_one_before(monkeypatch, symmetric):
    learner = make("algorithm.kl_of=step", "algorithm.epochs=2", "algorithm.minibatches=3", f"algorithm.symmetric={symmetric}")
    told, seen, descend = [], [], learner.actor_optimizer.descend
    monkeypatch.setattr(ppo, "adapt_learning_rate", lambda rate, kl, *rest: told.append(kl) or rate)
    with torch.inference_mode():
        learner.rollout.collect(learner.generator)
        batch = learner.prepare()
    minibatches = learner.rollout.minibatches(2, 3, learner.generator)
    rows = iter(minibatches)

    def watched(loss, *rest):
        actor = batch["actor"][next(rows)]
        with torch.no_grad():
            before = learner.actor.network(actor), learner.actor.log_std.clone()
        descend(loss, *rest)
        with torch.no_grad():
            seen.append(gaussian_kl(learner.actor.network(actor), learner.actor.log_std, *before).mean().item())

    learner.actor_optimizer.descend = watched
    learner._learn_policy(batch, minibatches)
    assert told == pytest.approx([sum(seen[:3]) / 3, sum(seen[3:]) / 3], rel=1e-3)
