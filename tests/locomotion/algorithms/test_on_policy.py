"""REINFORCE, A2C, TRPO and PPO on problems whose answers are known, and TRPO's mathematics against exact values."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from locomotion import build
from locomotion.algorithms import ALGORITHMS
from locomotion.algorithms.trpo import conjugate_gradients, fisher_product, flatten, longest_step
from locomotion.config import compose
from locomotion.environment import ActionSpace
from locomotion.models.distributions import Categorical, Gaussian
from locomotion.runs import checkpoint
from locomotion.runs.start import resume, start
from locomotion.schema import check
from locomotion.settings import TrainSettings
from robots.errors import InputError
from tests.conftest import make_task
from tests.locomotion.algorithms.finite import TWO_STATES, Finite, V
from tests.locomotion.runs.test_checkpoint import Silent, assert_same

NETS = ["algorithm.actor_hidden=[16]", "algorithm.critic_hidden=[16]"]
VALUE = ["algorithm.value_learning_rate=0.03", "algorithm.value_epochs=4", "algorithm.value_minibatches=2"]
TUNED = {
    "reinforce": [*VALUE, "algorithm.steps=32", "algorithm.learning_rate=0.02"],
    "a2c": [*VALUE, "algorithm.steps=8", "algorithm.learning_rate=0.02"],
    "trpo": [*VALUE, "algorithm.steps=32"],
    "ppo": ["algorithm.steps=32", "algorithm.minibatches=2", "algorithm.epochs=4", "algorithm.learning_rate=0.02"],
}
TUNED["ppo"] += ["algorithm.learning_rate_range=[0.0001,0.01]", "algorithm.target_kl=0.005"]


def make(name, env, *words, seed=1, iterations=100):
    given = [f"algorithm={name}_gymnasium", f"algorithm.num_envs={env.num_envs}", *NETS, *TUNED[name], *words]
    data = dict(compose("train", given)["algorithm"])
    cls = ALGORITHMS[data.pop("name")]
    return cls(check(cls.settings_type, data, "algorithm"), env, seed, iterations)


@pytest.mark.parametrize("name", TUNED)
def test_a_learner_comes_to_the_table_s_answer_though_time_limits_cut_its_episodes(name):
    """The optimal policy goes round for ever. A time-out taken for an end would make B's exit (10 at once) the better one:
    with 4 steps going round earns 3 + .81 * 3 = 5.4."""
    learner = make(name, Finite(TWO_STATES, 16, max_steps=4), "algorithm.gamma=0.9")
    for _ in range(120 if name == "a2c" else 60):
        learner.iterate()
    states = torch.eye(2)
    with torch.no_grad():
        probability = learner.actor(states).softmax(dim=-1)
        value = learner.critic(states).numpy()
    assert probability[0, 1] > 0.85
    assert probability[1, 0] > 0.85
    np.testing.assert_allclose(value, V, rtol=0.08)


@pytest.mark.parametrize("unit", [0.001, 1000.0])
def test_values_that_are_normalised_are_learned_whatever_the_unit_of_rewards(unit):
    env = Finite(TWO_STATES, 16, max_steps=4)
    inner, env.rewards = env.rewards, lambda: unit * inner()
    learner = make("ppo", env, "algorithm.gamma=0.9", "algorithm.normalize_values=true")
    for _ in range(60):
        learner.iterate()
    with torch.no_grad():
        value = learner.critic(torch.eye(2)).numpy()
    np.testing.assert_allclose(value, unit * V, rtol=0.08)


@pytest.mark.parametrize("name", TUNED)
def test_policies_of_numbers_move_to_what_is_rewarded(name):
    class Target(Finite):
        def __init__(self):
            super().__init__(TWO_STATES, 32, max_steps=5)
            self.spaces = replace(self.spaces, action=ActionSpace(-torch.ones(2), torch.ones(2)))

        def _advance(self, action):
            goal = torch.tensor([[0.5, -0.5], [-0.5, 0.5]])[self.state]
            return -(action - goal).square().sum(dim=-1), torch.zeros(32, dtype=torch.bool)

    learner = make(name, Target(), "algorithm.initial_std=0.3")
    for _ in range(80 if name == "a2c" else 40):
        figures = learner.iterate()
    with torch.no_grad():
        mean = learner.actor(torch.eye(2))
    np.testing.assert_allclose(mean, [[0.5, -0.5], [-0.5, 0.5]], atol=0.2)
    assert figures["policy/std"] < 0.31


@pytest.mark.parametrize("name", ["reinforce", "a2c", "trpo"])
def test_a_resumed_run_equals_one_that_never_stopped(tmp_path, name):
    words = ["env=gymnasium:CartPole-v1", f"algorithm={name}_gymnasium", "algorithm.num_envs=3", "algorithm.steps=16", *NETS]
    words += ["algorithm.value_minibatches=2", "iterations=4", "score_every=0", "threads=1"]
    settings = check(TrainSettings, compose("train", [*words, f"run={tmp_path / 'whole'}"]))
    start(settings, lambda _: Silent(), print)
    settings = check(TrainSettings, compose("train", [*words, f"run={tmp_path / 'parts'}"]))
    with pytest.raises(KeyboardInterrupt):
        start(settings, lambda _: Silent(2), print)
    resume(str(tmp_path / "parts"), {"resume": str(tmp_path / "parts")}, lambda _: Silent(), print)
    assert_same(*(checkpoint.load(tmp_path / part / "last.pt") for part in ("whole", "parts")))


@pytest.mark.parametrize("name", ["reinforce", "a2c", "trpo"])
def test_they_learn_on_the_robot_s_task_too(name):
    words = [f"algorithm={name}", "algorithm.num_envs=6", "algorithm.steps=8", "algorithm.value_minibatches=2", *NETS]
    words = [word.replace("[16]", "[16,16]") for word in words]
    settings = check(TrainSettings, compose("train", [*words, "sim.threads=1", "threads=1"]))
    learner = build.algorithm(settings, make_task())
    before = learner.actor.network.layers()[0][0].clone()
    learner.iterate()
    assert not torch.equal(before, learner.actor.network.layers()[0][0])


@pytest.mark.parametrize("name", ["reinforce", "a2c", "trpo"])
def test_the_policy_that_improves_is_the_policy_that_acted(name, monkeypatch):
    """A normaliser that moved in between would make it another: a rival's defect."""
    words = [f"algorithm={name}", "algorithm.num_envs=6", "algorithm.steps=8", "algorithm.value_minibatches=2", *NETS]
    words = [word.replace("[16]", "[16,16]") for word in words]
    settings = check(TrainSettings, compose("train", [*words, "sim.threads=1", "threads=1"]))
    learner, apart = build.algorithm(settings, make_task()), []
    improve = learner.improve

    def watched(features, action, output, advantage):
        with torch.no_grad():
            apart.append(float((learner.actor.network(features) - output).abs().max()))
        return improve(features, action, output, advantage)

    monkeypatch.setattr(learner, "improve", watched)
    means = []
    for _ in range(3):
        learner.iterate()
        means.append(learner.actor.normalizer.mean.clone())
    assert max(apart) < 1e-5
    assert not torch.equal(means[0], means[1])  # it does move


def test_a_symmetric_network_where_nothing_is_mirrored_is_refused():
    with pytest.raises(InputError, match="symmetric"):
        make("a2c", Finite(TWO_STATES, 4, 4), "algorithm.symmetric=true", "algorithm.actor_hidden=[16]")


def product_of(matrix):
    return lambda v: torch.tensor(matrix, dtype=torch.float64) @ v


@pytest.mark.parametrize(
    ("matrix", "gradient", "solution", "step"),
    [
        ([[4.0, 1.0], [1.0, 3.0]], (1.0, 2.0), (1 / 11, 7 / 11), (0.0110096377, 0.0770674636)),
        ([[2.0, 0.0], [0.0, 0.5]], (1.0, 1.0), (0.5, 2.0), (0.0447213595, 0.1788854382)),
    ],
)
def test_the_natural_step(matrix, gradient, solution, step):
    product = product_of(matrix)
    x = conjugate_gradients(product, torch.tensor(gradient, dtype=torch.float64), 2)
    np.testing.assert_allclose(x, solution, atol=1e-12)  # exact in as many iterations as there are numbers
    long = longest_step(x, product, 0.01)
    np.testing.assert_allclose(long, step, atol=1e-9)
    assert (0.5 * long @ product(long)).item() == pytest.approx(0.01)


def test_where_there_is_no_gradient_there_is_no_step():
    product = product_of([[4.0, 1.0], [1.0, 3.0]])
    x = conjugate_gradients(product, torch.zeros(2, dtype=torch.float64), 10)
    assert longest_step(x, product, 0.01).tolist() == [0.0, 0.0]


def test_fisher_matrix_of_a_gaussian():
    """1 / sigma^2 of the mean, 2 of the log standard deviation."""
    mean, log_std = (torch.nn.Parameter(torch.tensor([x], dtype=torch.float64)) for x in (0.7, math.log(0.3)))
    kl = Gaussian(mean.detach(), log_std.detach()).kl(Gaussian(mean, log_std))
    product = fisher_product(kl, [mean, log_std], 0.0)
    columns = [product(v) for v in torch.eye(2, dtype=torch.float64)]
    np.testing.assert_allclose(torch.stack(columns), [[1 / 0.09, 0.0], [0.0, 2.0]], atol=1e-9)
    damped = fisher_product(Gaussian(mean.detach(), log_std.detach()).kl(Gaussian(mean, log_std)), [mean, log_std], 0.1)
    np.testing.assert_allclose(damped(torch.ones(2, dtype=torch.float64)), [1 / 0.09 + 0.1, 2.1], atol=1e-9)


def test_natural_gradient_of_a_bandit():
    logits = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    reward = torch.tensor([1.0, 0.0], dtype=torch.float64)
    gradient = flatten(torch.autograd.grad(logits.softmax(-1) @ reward, [logits]))
    np.testing.assert_allclose(gradient, [0.25, -0.25])
    product = fisher_product(Categorical(logits.detach()).kl(Categorical(logits)), [logits], 0.0)
    x = conjugate_gradients(product, gradient, 10)
    np.testing.assert_allclose(x, [0.5, -0.5])
    np.testing.assert_allclose(longest_step(x, product, 0.01), 0.2828427125 * x, rtol=1e-9)


def test_a_trpo_step_stays_within_its_divergence_and_improves():
    learner = make("trpo", Finite(TWO_STATES, 16, max_steps=4))
    for _ in range(5):
        before = {name: value.clone() for name, value in learner.actor.named_parameters()}
        figures = learner.iterate()
        assert 0.0 < figures["policy/kl"] <= 0.01
        assert figures["loss/surrogate"] > 0.0
        assert any(not torch.equal(value, before[name]) for name, value in learner.actor.named_parameters())


def test_a_line_search_that_finds_nothing_leaves_the_policy():
    learner = make("trpo", Finite(TWO_STATES, 16, max_steps=4))
    parameters = list(learner.actor.policy_parameters())
    before = torch.nn.utils.parameters_to_vector(parameters).clone()
    worse = lambda: (torch.tensor(-1.0), torch.tensor(0.0))  # noqa: E731
    assert learner.search(parameters, torch.ones_like(before), torch.tensor(0.0), worse) == (0.0, 0.0, 0.0)
    assert torch.equal(torch.nn.utils.parameters_to_vector(parameters), before)
    divergences = iter([0.03, 0.011, 0.009])  # 0.01 are allowed: the third is taken, .8^2 of the step
    found = learner.search(
        parameters, torch.ones_like(before), torch.tensor(0.0), lambda: (torch.tensor(1.0), torch.tensor(next(divergences)))
    )
    assert found == pytest.approx((0.64, 1.0, 0.009))
    torch.testing.assert_close(torch.nn.utils.parameters_to_vector(parameters), before + 0.64)
