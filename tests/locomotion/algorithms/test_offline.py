"""Offline algorithms: exact values of their losses, what they learn, and that nothing of a run is lost."""

from __future__ import annotations

import functools
import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from locomotion.algorithms import ALGORITHMS
from locomotion.algorithms.offline import advantage_weight, behaviour_scale, conservative_gap, cosine, expectile_loss
from locomotion.algorithms.replay import Replay, from_arrays
from locomotion.config import compose
from locomotion.environment import ActionSpace, Spaces, Symmetry, fixed
from locomotion.schema import check
from robots.errors import InputError
from tests.locomotion.algorithms.point import Points

NAMES = ("bc", "iql", "iql_gymnasium", "cql", "td3_bc")
TARGET = 1.7  # the action that pays best, inside the bounds [-1, 3] and off their middle


def data(rows: int = 400, seed: int = 0) -> Replay:
    """One-step episodes: uniform actions, the better the nearer to the TARGET; the reward does not depend on the state."""
    generator = torch.Generator().manual_seed(seed)
    seen = torch.rand(rows, 1, generator=generator) * 2 - 1
    action = torch.rand(rows, 1, generator=generator) * 4 - 1
    groups = {"actor": seen, "critic": torch.cat([seen, torch.zeros(rows, 1)], dim=-1)}
    ends = torch.ones(rows, dtype=torch.bool)
    return from_arrays(groups, action, -(action[:, 0] - TARGET).square(), groups, ends, ~ends)


@functools.cache
def composed(name: str) -> dict[str, Any]:
    return compose("train", [f"algorithm={name}"])["algorithm"]


def make(name: str, replay: Replay | None = None, env: Points | None = None, iterations: int = 10, **changes: Any) -> Any:
    """The learner of configs/algorithm/``name``.yaml, small, on points."""
    small: dict[str, Any] = {"dataset": "x", "actor_hidden": [16, 16], "symmetric": False, "updates": 20, "batch_size": 32}
    small |= {} if name == "bc" else {"critic_hidden": [16, 16]}
    small |= {} if name in ("bc", "iql_gymnasium") else {"reward_scale": 1.0}
    settings = {**composed(name), **small, **changes}
    cls = ALGORITHMS[settings.pop("name")]
    return cls(check(cls.settings_type, settings, "algorithm"), env or Points(4), 1, iterations, data() if replay is None else replay)


# losses


@pytest.mark.parametrize(("tau", "expectile"), [(0.5, 4.5), (0.7, 43 / 8), (0.8, 6.0), (0.9, 41 / 6), (0.99, 401 / 51)])
def test_the_expectile_loss_is_least_at_the_expectile(tau: float, expectile: float) -> None:
    samples = torch.tensor([2.0, 3.0, 5.0, 8.0], dtype=torch.float64)
    value = torch.tensor(expectile, dtype=torch.float64, requires_grad=True)
    expectile_loss(samples - value, tau).backward()
    assert value.grad is not None
    assert abs(value_of(value.grad)) < 1e-12


def test_the_expectile_loss_has_its_exact_value() -> None:
    samples = torch.tensor([2.0, 3.0, 5.0, 8.0], dtype=torch.float64)
    assert float(expectile_loss(samples - 41 / 6, 0.9)) == pytest.approx(1.34166667, abs=1e-8)
    assert float(expectile_loss(samples - 7.2, 0.9)) == pytest.approx(1.3820, abs=1e-8)  # the mistake of reading it as a quantile


@pytest.mark.parametrize(("advantage", "weight"), [(-1, 0.0497870684), (0.5, 4.4816890703), (1.5, 90.0171313), (2, 100), (1e4, 100)])
def test_weights_of_advantages(advantage: float, weight: float) -> None:
    assert float(advantage_weight(torch.tensor(advantage, dtype=torch.float64), 3.0)) == pytest.approx(weight, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_relative_weights_do_not_depend_on_the_scale_of_rewards(scale: float) -> None:
    advantage = scale * torch.tensor([-1.0, 1.0], dtype=torch.float64)  # of standard deviation sqrt(2) times the scale
    assert advantage_weight(advantage, 3.0, relative=True).tolist() == pytest.approx([math.exp(-3.0 / 2**0.5), math.exp(3.0 / 2**0.5)])
    assert advantage_weight(torch.zeros(4), 3.0, relative=True).tolist() == [1.0] * 4  # nothing is better than anything


def test_the_cosine_of_a_learning_rate() -> None:
    values = [cosine(3e-4, share) for share in (0.25, 0.5, 0.75)]
    assert values == pytest.approx([2.5606602e-4, 1.5e-4, 4.3933983e-5], rel=1e-7)
    assert cosine(3e-4, 0.0) == 3e-4
    assert cosine(3e-4, 2.0) == 0.0


def test_the_conservative_gap_and_its_gradient() -> None:
    for chosen, gap in ((0, 2.4076059644), (2, 0.4076059644)):
        q = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
        result = conservative_gap(q, torch.zeros(3, dtype=torch.float64), q[chosen])
        assert float(result.detach()) == pytest.approx(gap, abs=1e-9)
        (gradient,) = torch.autograd.grad(result, q)
        expected = torch.tensor([0.0900305732, 0.2447284711, 0.6652409558], dtype=torch.float64)
        expected[chosen] -= 1.0
        assert torch.allclose(gradient, expected, atol=1e-9)


@pytest.mark.parametrize(("dims", "expected"), [(1, 2.9957322736), (6, 6.4614681764)])
def test_importance_sampling_of_a_constant_value(dims: int, expected: float) -> None:
    values = torch.full((10,), 4.0, dtype=torch.float64)
    density = torch.full((10,), -dims * math.log(2.0), dtype=torch.float64)
    assert float(conservative_gap(values, density, torch.tensor(4.0))) == pytest.approx(expected, abs=1e-9)
    three = conservative_gap(values.repeat(3), density.repeat(3), torch.tensor(4.0))
    assert float(three) == pytest.approx(expected + math.log(3.0), abs=1e-9)


def test_the_scale_of_values_against_imitation() -> None:
    value = torch.tensor([1.0, -3.0], requires_grad=True)
    assert float(behaviour_scale(value, 2.5)) == 1.25
    assert not behaviour_scale(value, 2.5).requires_grad


# policies


def test_a_bounded_policy_is_a_plain_gaussian_around_the_tanh_of_its_mean_and_judges_the_actions_of_the_data() -> None:
    learner = make("iql_gymnasium")
    with torch.no_grad():
        learner.log_std.fill_(math.log(0.3))
    seen, action = torch.tensor([[0.2], [0.2]]), torch.tensor([[2.9], [-0.5]])
    mean = torch.tanh(learner.actor.outputs(seen)[0])
    expected = torch.distributions.Normal(mean, 0.3).log_prob((action - 1.0) / 2.0).squeeze(-1)
    assert torch.allclose(learner.log_prob(seen, action), expected, atol=1e-6)
    assert len({round(float(x), 4) for x in learner.log_prob(seen, action)}) == 2


@pytest.mark.parametrize("name", NAMES)
def test_the_policy_sees_the_normalised_data(name: str) -> None:
    learner = make(name, normalize=True)
    normalizer, seen = learner.actor.normalizer, data().newest(400)["actor"]
    assert torch.allclose(normalizer.mean.float(), seen.mean(dim=0), atol=1e-6)
    assert torch.allclose(normalizer.var.float(), seen.var(dim=0, correction=0), rtol=1e-5)


# updates


def reference_iql(learner, batch) -> tuple[Tensor, Tensor, Tensor]:
    """The three losses by the letter of the paper, from the values before the update."""
    s, seen, follows = learner.settings, batch.observations["actor"], batch.following["actor"]
    action = (batch.action - 1.0) / 2.0
    net = lambda critic, x: torch.cat([layer(critic, x, i) for i in range(2)], dim=-1)  # noqa: E731

    def layer(critic, x: Tensor, i: int) -> Tensor:
        for k, (w, b) in enumerate(zip(critic.weights, critic.biases, strict=True)):
            x = x @ w[i] + b[i]
            x = torch.relu(x) if k < len(critic.weights) - 1 else x
        return x

    n = learner.value.normalizer
    pairs = torch.cat([n(seen), action], dim=-1)
    q = net(learner.target, pairs).min(dim=-1).values.detach()
    v, v_next = learner.value(seen), learner.value(follows).detach()
    diff = q - v
    value_loss = (torch.abs(s.expectile - (diff < 0).float()) * diff**2).mean()
    goal = batch.reward + batch.discount * v_next
    critic_loss = ((net(learner.critic, pairs) - goal[:, None]) ** 2).mean()
    weight = torch.exp(s.temperature * diff.detach()).clamp(max=100.0)
    mean = torch.tanh(learner.actor.outputs(seen)[0])
    log_prob = torch.distributions.Normal(mean, 1.0).log_prob(action).sum(dim=-1)
    return critic_loss, value_loss, -(weight * log_prob).mean()


def test_iql_is_the_paper_s() -> None:
    learner = make("iql_gymnasium")
    learner.iterate()
    with torch.no_grad():
        learner.log_std.zero_()
    (batch,) = learner.samples.batches(1, learner.generator)
    expected = reference_iql(learner, batch)
    before = learner.target.weights[0].detach().clone()
    figures = learner.update(batch)
    assert torch.allclose(figures[:3], torch.stack(expected), rtol=1e-5)
    moved = before + learner.settings.tau * (learner.critic.weights[0].detach() - before)
    assert torch.allclose(learner.target.weights[0], moved, atol=1e-7)  # the targets follow, and are not the critics


def test_cql_holds_down_what_the_data_lack() -> None:
    """All actions earn the same, and the data know few of them: values at large fall against those of the data, with the weight of it."""
    seen, ends = {"actor": torch.zeros(64, 1)}, torch.ones(64, dtype=torch.bool)
    replay = from_arrays(seen, torch.linspace(1.5, 1.9, 64)[:, None], torch.zeros(64), seen, ends, ~ends)
    actions = torch.linspace(-1, 1, 41)[:, None]
    beside = []
    for conservatism in (0.0, 5.0):
        learner = make("cql", replay=replay, conservatism=conservatism, updates=80, critic_learning_rate=0.01, actions=4)
        learner.iterate()
        with torch.no_grad():
            values = learner.critic(torch.cat([torch.zeros_like(actions), actions], dim=-1)).amin(dim=0)[:, 0]
        beside.append(float(values[:20].mean() - values[27]))  # actions below 1, less 1.7
    assert abs(beside[0]) < 0.3
    assert beside[1] < -2.0


def test_cql_weighs_samples_by_their_density() -> None:
    learner = make("cql")
    (batch,) = learner.samples.batches(1, learner.generator)
    noise = torch.randn(2 * 5, 32, 1, generator=torch.Generator().manual_seed(3))
    uniform = torch.rand(5, 32, 1) * 2 - 1
    actions, density = learner._tried(batch, noise, uniform)
    assert torch.equal(actions[:5], uniform)
    assert torch.allclose(density[:5], torch.tensor(-math.log(2.0)))
    mean, log_std = learner.actor.outputs(batch.following["actor"])
    base = torch.distributions.Normal(mean, log_std.exp())
    squashed = torch.distributions.TransformedDistribution(base, [torch.distributions.TanhTransform()])
    assert torch.allclose(density[10:], squashed.log_prob(actions[10:].clamp(-0.999999, 0.999999)).squeeze(-1), atol=1e-3)


def test_td3_bc_with_little_weight_clones_and_with_much_climbs() -> None:
    """From the same critics, that know by then what actions are worth."""
    seen, small = torch.zeros(1, 1), {"updates": 200, "learning_rate": 5e-3, "tau": 0.05, "critic_hidden": [64, 64]}
    cloned, climbed = (make("td3_bc", weight=weight, **small) for weight in (1e-6, 20.0))
    cloned.iterate()
    climbed.load_state_dict(cloned.state_dict())
    climbed.iterate()
    assert abs(value_of(cloned.actor(seen)) - 1.0) < 0.3  # the mean of the data
    assert abs(value_of(climbed.actor(seen)) - TARGET) < 0.3
    assert value_of(climbed.actor(seen)) > value_of(cloned.actor(seen)) + 0.3


@pytest.mark.parametrize("name", ["iql", "iql_gymnasium"])
def test_iql_follows_the_better_actions_alone(name: str) -> None:
    cloned, followed = (make(name, temperature=t, updates=200, learning_rate=1e-2, tau=0.05) for t in (0.0, 3.0))
    for learner in (cloned, followed):
        learner.iterate()
    seen = torch.zeros(1, 1)
    assert abs(value_of(cloned.actor(seen)) - 1.0) < 0.3  # the mean of the data, of which there are few
    assert abs(value_of(followed.actor(seen)) - TARGET) < 0.45
    assert value_of(followed.actor(seen)) > value_of(cloned.actor(seen)) + 0.3


def test_critics_hear_the_actions_of_the_data_alike_whatever_their_units() -> None:
    """Of unbounded policies; those of the data have a standard deviation of 4 / sqrt(12)."""
    learner, batch = make("iql"), data().sample(4000, 1, 1.0, torch.Generator().manual_seed(3))
    assert float(learner._scaled(batch.action).std()) == pytest.approx(1.0, abs=0.03)
    assert learner.samples.action_std == pytest.approx(4 / 12**0.5, abs=0.05)


def test_cql_learns_the_best_action() -> None:
    learner = make("cql", conservatism=0.1, updates=300, learning_rate=1e-2, critic_learning_rate=1e-2, actions=4)
    learner.iterate()
    assert abs(value_of(learner.actor(torch.zeros(1, 1))) - TARGET) < 0.4


def test_behaviour_cloning_learns_the_mean_of_what_was_done() -> None:
    learner = make("bc", updates=200, learning_rate=1e-2)
    assert learner.iterate()["loss/imitation"] > 1.0  # 4/3 is the variance
    assert abs(value_of(learner.actor(torch.zeros(1, 1))) - 1.0) < 0.15


# bootstraps


@pytest.mark.parametrize("name", ["iql_gymnasium", "cql", "td3_bc"])
def test_a_termination_ends_the_return_and_a_truncation_does_not(name: str) -> None:
    """Reward 1 a step, one state: the value is 1 where it terminates, and 1 / (1 - gamma) where it is cut off."""
    for terminated, value in ((True, 1.0), (False, 2.0)):
        seen, ends = {"actor": torch.ones(64, 1)}, torch.full((64,), terminated)
        action = torch.rand(64, 1, generator=torch.Generator().manual_seed(0)) * 4 - 1
        replay = from_arrays(seen, action, torch.ones(64), seen, ends, ~ends)
        more = {"conservatism": 0.0, "critic_learning_rate": 0.02, "actions": 1} if name == "cql" else {}
        learner = make(name, gamma=0.5, learning_rate=0.02, reward_scale=1.0, tau=0.2, updates=80, normalize=False, **more, replay=replay)
        assert learner.iterate() is not None
        assert learner.iterate()["loss/q"] == pytest.approx(value, abs=0.1)


# runs


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_goes_on_bit_for_bit(name: str) -> None:
    one = make(name)
    one.iterate()
    state = {key: value for key, value in one.state_dict().items()}
    state = torch.load(_saved(state), weights_only=True)
    other = make(name)
    other.load_state_dict(state)
    first, second = one.iterate(), other.iterate()
    assert first == second
    for a, b in zip(_tensors(one.state_dict()), _tensors(other.state_dict()), strict=True):
        assert torch.equal(a, b)


def test_the_temperature_goes_on_moving_after_a_resume() -> None:
    one, other = make("cql"), make("cql")
    one.iterate()
    other.load_state_dict(one.state_dict())
    before = float(other.log_temperature.detach())
    other.iterate()
    assert float(other.log_temperature.detach()) != before


@pytest.mark.parametrize("name", NAMES)
def test_a_run_does_not_go_on_with_other_data(name: str) -> None:
    state = make(name).state_dict()
    with pytest.raises(InputError, match="its dataset has changed"):
        make(name, replay=data(seed=1)).load_state_dict(state)


CHANGES = {
    "gamma": 0.5, "n_steps": 2, "learning_rate": 0.1, "max_grad_norm": 1e-6, "tau": 0.5, "critics": 3, "critic_group": "critic",
    "actor_hidden": [8], "critic_hidden": [8], "activation": "elu", "expectile": 0.99,
    "temperature": 0.1, "initial_std": 0.77, "weight": 9.0, "smoothing": 0.9, "smoothing_limit": 0.01, "actor_every": 3, "batch_size": 8,
    "critic_learning_rate": 0.1, "temperature_learning_rate": 0.1, "initial_temperature": 9.0, "log_std_range": [-1.0, -0.5],
    "conservatism": 99.0, "action_limit": 0.5,
    "actions": 3, "updates": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_setting_is_dead(name: str) -> None:
    """A policy's dropout that builds none is known elsewhere: here every setting changes what is learned."""
    seen, episodes = torch.randn(60, 2, generator=torch.Generator().manual_seed(1)), torch.zeros(60, dtype=torch.bool)
    episodes[9::10] = True
    groups, follows = ({"actor": x[:, :1], "critic": x} for x in (seen, seen.roll(-1, 0)))
    replay = from_arrays(groups, seen[:, :1].clamp(-1, 1), seen[:, 1], follows, torch.zeros(60, dtype=torch.bool), episodes)

    def learned(**changes: Any) -> Tensor:
        learner = make(name, replay=replay, **{"updates": 4, "learning_rate": 0.01, **changes})
        learner.iterate()
        return torch.cat([x.double().flatten() for x in _tensors({k: v for k, v in learner.state_dict().items() if k != "generator"})])

    base, settings = learned(), make(name).settings
    others = {"dataset", "reward", "reward_scale", "symmetric"}  # of the data, and of the mirror (below)
    if name == "iql_gymnasium":
        others.add("initial_std")  # of a policy that is not bounded
    if name == "iql":
        others.add("action_limit")  # of one that is
    for field in set(type(settings).model_fields) - others:
        present = getattr(settings, field)
        change = not present if isinstance(present, bool) else CHANGES[field]
        if change == present:
            change = {"critic_group": "actor", "activation": "relu"}[field]
        other = learned(**{field: change})
        assert base.shape != other.shape or not torch.equal(base, other), field


class Mirrored(Points):
    """The line in a mirror: position and action change sign."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs)
        groups = {"actor": fixed(-1.0), "critic": fixed(-1.0, 1.0)}
        bounds = ActionSpace(torch.tensor([-2.0]), torch.tensor([2.0]))
        self.spaces = Spaces({"actor": 1, "critic": 2}, bounds, Symmetry(groups, fixed(-1.0)))


@pytest.mark.parametrize("name", NAMES)
def test_symmetric_policies_act_in_the_mirror_as_its_image(name: str) -> None:
    learner = make(name, symmetric=True, env=Mirrored(4))
    learner.iterate()
    seen = torch.linspace(-1, 1, 9)[:, None]
    assert torch.allclose(learner.actor(seen), -learner.actor(-seen), atol=1e-6)
    assert float(learner.actor(seen).detach().abs().max()) > 0.0


@pytest.mark.parametrize("name", NAMES)
def test_choices_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="choices"):
        make(name, env=Points(4, discrete=True))


def test_batches_are_the_data() -> None:
    learner = make("iql")
    (batch,) = learner.samples.batches(1, learner.generator)
    assert torch.allclose(batch.reward, -(batch.action[:, 0] - TARGET).square())
    assert torch.equal(replace(batch).observations["critic"][:, :1], batch.observations["actor"])


def value_of(x: Tensor) -> float:
    return float(x.detach())


def _saved(state: dict):
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return stream


def _tensors(state) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, dict):
        return [tensor for key in sorted(state, key=str) for tensor in _tensors(state[key])]
    if isinstance(state, list | tuple):
        return [tensor for value in state for tensor in _tensors(value)]
    return []


# offline to online


def test_half_of_every_batch_is_the_dataset_s() -> None:
    settings = composed("sac") | {"num_envs": 4, "warm_up": 8, "capacity": 40, "dataset": "x", "batch_size": 8}
    settings |= {"actor_hidden": [8], "critic_hidden": [8]}
    cls = ALGORITHMS[settings.pop("name")]
    learner = cls(check(cls.settings_type, settings, "algorithm"), Points(4), 1, 10, data())
    rows = torch.full((10, 4, 1), 77.0)
    never = torch.zeros(10, 4, dtype=torch.bool)
    learner.replay.extend({"actor": rows}, rows, torch.full((10, 4), 77.0), {"actor": rows}, never, never)
    own = learner.sample(3 * 8).reward == 77.0
    assert own.view(3, 8).sum(dim=-1).tolist() == [4, 4, 4]
    assert own[::2].sum() == own[1::2].sum()  # of those that a mirror takes, half too
    with pytest.raises(InputError, match="multiple of 4"):
        check(cls.settings_type, settings | {"batch_size": 6}, "algorithm")


@pytest.mark.parametrize(("source", "online"), [("cql", "sac"), ("iql_gymnasium", "sac"), ("td3_bc", "td3"), ("iql", "ppo"), ("bc", "ppo")])
def test_online_learning_begins_where_offline_learning_ended(source: str, online: str) -> None:
    first = make(source, normalize=True) if "normalize" in composed(source) else make(source)
    first.iterate()
    settings = composed(online) | {"num_envs": 4, "actor_hidden": [16, 16], "critic_hidden": [16, 16], "symmetric": False}
    settings |= {} if online == "ppo" else {"normalize": True, "capacity": 400}
    cls = ALGORITHMS[settings.pop("name")]
    learner = cls(check(cls.settings_type, settings, "algorithm"), Points(4), 7, 10)
    learner.initialize(first.state_dict())
    seen = torch.linspace(-1, 1, 9)[:, None]
    assert torch.allclose(learner.actor(seen), first.actor(seen), atol=1e-6)  # an ulp of alignment
    if source == "cql":
        assert torch.equal(learner.target.weights[0], first.target.weights[0])
    if source == "iql":  # the value of a state is that of PPO's critic
        critic = torch.cat([seen, torch.zeros(9, 1)], dim=-1)
        assert torch.allclose(learner.critic(critic), first.value(critic), atol=1e-6)
