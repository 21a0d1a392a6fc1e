"""SAC, TD3 and DQN: losses against formulas in double precision, exact values, and exact resumption."""

import copy
import io
import math

import numpy as np
import pytest
import torch

from locomotion.algorithms.dqn import double_value
from locomotion.algorithms.experience import Mirror
from locomotion.algorithms.replay import Replay
from locomotion.environment import ActionSpace, Spaces, Symmetry
from locomotion.models.distributions import squashed_log_prob
from locomotion.models.ensemble import Ensemble
from locomotion.models.squashed import SquashedActor, make_squashed_actor
from robots.errors import InputError
from tests.locomotion.algorithms.point import Points, make

ALL = ["sac", "td3", "ddpg", "dqn"]
ROBOT = ("num_envs=4", "symmetric=false", "n_steps=3", "activation=elu")


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


# exact values


def test_squashed_log_density_is_the_exact_value():
    zero = tensor(0.0)
    assert squashed_log_prob(tensor(0.5), tensor(0.5), zero).item() == pytest.approx(-0.8037095193, abs=1e-10)
    assert squashed_log_prob(tensor(0.5), tensor(0.5), zero).item() - math.log(2) == pytest.approx(-1.4968566999, abs=1e-10)  # scale 2


@pytest.mark.parametrize(("u", "correction"), [(10.0, -18.61), (15.0, -28.61), (-15.0, -28.61), (60.0, -118.61)])
def test_squashed_log_density_is_exact_far_out(u, correction):
    """log(1 - tanh^2 + 1e-6) ends at -13.82, which spoils the temperature's tuning where actions saturate."""
    value = squashed_log_prob(tensor(0.0), tensor(u), tensor(0.0)).item()
    assert -0.5 * math.log(2 * math.pi) - value == pytest.approx(correction, abs=0.01)
    x = torch.tensor(u, dtype=torch.float64, requires_grad=True)
    squashed_log_prob(tensor(0.0), x[None], tensor(0.0)).backward()
    assert x.grad.item() == pytest.approx(2.0 * math.tanh(u), abs=1e-9)  # the derivative of -log(1 - tanh^2)


def test_the_density_is_one_of_actions():
    """It sums to 1 over (-1, 1), and its entropy is that of tanh(N(0, 1)): .6698041182 = 1.4189385332 - .7491344150."""
    u = torch.linspace(-12, 12, 200_001, dtype=torch.float64)[:, None]
    action, log_prob = torch.tanh(u[:, 0]), squashed_log_prob(u, u, torch.zeros_like(u))
    assert torch.trapezoid(log_prob.exp(), action).item() == pytest.approx(1.0, abs=1e-6)
    assert torch.trapezoid(-log_prob.exp() * log_prob, action).item() == pytest.approx(0.6698041182, abs=1e-5)


def constant(network, value):
    """Networks whose output is ``value``, whatever they see."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.biases[-1].copy_(torch.tensor(value).view(-1, 1, 1))


def batch_of(learner, size=16):
    learner.iterate()
    generator = torch.Generator().manual_seed(5)
    return learner.replay.sample(size, learner.settings.n_steps, learner.settings.gamma, generator)


def seen_goal(learner, batch, noise=None):
    """What the critics were asked to become: from the loss of critics that say 0."""
    asked = []
    inner = learner.critic_optimizer.descend
    learner.critic_optimizer.descend = lambda loss, norm: asked.append(loss.item()) or inner(loss, norm)
    constant(learner.critic, [0.0] * learner.settings.critics)
    learner.update(batch, noise)
    return asked[0]


def test_soft_target_is_the_exact_value():
    """r 1, gamma .99, critics that say 5 and 6, temperature .2, log-density -1.5: 6.247; nothing follows a termination: 1."""
    for discount, goal in ((0.99, 6.247), (0.0, 1.0)):
        learner = make("sac", "initial_temperature=0.2")
        batch = batch_of(learner).part(slice(0, 1))
        with torch.no_grad():
            learner.log_temperature.fill_(math.log(0.2))
        batch.reward.fill_(1.0)
        batch.discount.fill_(discount)
        constant(learner.target, [6.0, 5.0])
        learner.actor.sample = lambda seen, noise, actor=learner.actor: (
            torch.tanh(actor.outputs(seen)[0]), torch.full((len(seen),), -1.5) + 0.0 * actor.outputs(seen)[0].sum(-1)
        )  # fmt: skip
        assert seen_goal(learner, batch) == pytest.approx(2 * 0.5 * goal**2, rel=1e-5)


def test_gradient_of_the_temperature_is_the_exact_value():
    """-(log pi + H) of the loss that is -log alpha (log pi + H): log-density -1.5 and target entropy -2 give 3.5, times alpha .2 the .7 of
    the loss -alpha (log pi + H). Both have the same zero; Adam sees the same sign."""
    learner = make("sac")
    batch = batch_of(learner)
    noise = torch.randn(2, 16, 1)
    log_prob = learner.actor.sample(batch.observations["actor"], noise[0])[1].mean().item()
    learner.update(batch, noise)
    assert learner.log_temperature.grad.item() == pytest.approx(-(log_prob + learner.target_entropy), rel=1e-5)
    learner.actor.sample = lambda seen, noise: (noise, torch.full((len(seen),), -1.5) + 0.0 * learner.actor.outputs(seen)[0].sum(-1))
    type(learner).target_entropy, own = -2.0, type(learner).target_entropy
    try:
        learner.update(batch, noise)
    finally:
        type(learner).target_entropy = own
    assert learner.log_temperature.grad.item() == pytest.approx(3.5)
    assert learner.target_entropy == -1.0
    assert make("sac", "target_std=0.15").target_entropy == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 0.15**2))


def test_targets_follow_by_the_exact_share():
    """.005, 100 times from 0 to 1: .3942295636."""
    learner = make("sac", "critic_learning_rate=1.0e-30", "learning_rate=1.0e-30")
    batch = batch_of(learner)
    learner._target_vector.zero_()
    with torch.no_grad():
        learner.critic_optimizer.flat.fill_(1.0)
    for _ in range(100):
        learner.update(batch)
    torch.testing.assert_close(learner.target.weights[0], torch.full_like(learner.target.weights[0], 0.3942295636))


def test_double_q_learning_is_the_exact_value():
    """r 1, gamma .99, target values (2, 4): 4.96; where the online network would choose the first: 2.98."""
    values, chooser = tensor(2.0, 4.0)[None], tensor(1.0, 0.0)[None]
    assert (1 + 0.99 * double_value(values, values)).item() == pytest.approx(4.96)
    assert (1 + 0.99 * double_value(values, chooser)).item() == pytest.approx(2.98)


@pytest.mark.parametrize(("initial_std", "gain"), [(1.0, 1.0), (0.3, 1.0), (0.03, 1.0), (0.3, 8.0)])
def test_the_critics_hear_the_first_actions_however_little_they_explore(initial_std, gain):
    """What they see of the untrained policy's actions varies by ``action_gain``; normalised observations vary by 1.

    In shares of the range it was as little as ``initial_std``, and SAC learned several times as slowly on the Go2.
    """
    learner = make("sac", f"initial_std={initial_std}", f"action_gain={gain}")
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(4000, 1, generator=generator)
    action, _ = learner.actor.sample(seen, torch.randn(4000, 1, generator=generator))
    heard = learner._critic_sees({"actor": seen}, action)[:, 1:]
    assert 0.5 < heard.std().item() / gain < 1.1


def test_an_action_limit_narrows_the_bounds_and_never_widens_them():
    learner = make("sac", "action_limit=2")  # the space's: -1 and 3
    low, high = (learner.actor.unscale(torch.tensor([[end]])).item() for end in (-1.0, 1.0))
    assert (low, high) == pytest.approx((-1.0, 2.0))


def test_the_mean_of_critics_counts_where_that_is_asked():
    learner = make("sac", "value=mean", "initial_temperature=1.0e-12")
    batch = batch_of(learner)
    batch.reward.fill_(0.0)
    batch.discount.fill_(1.0)
    constant(learner.target, [6.0, 4.0])
    assert seen_goal(learner, batch) == pytest.approx(2 * 0.5 * 5.0**2, rel=1e-4)


def test_the_actor_waits_for_its_turn():
    learner = make("sac", "actor_every=3")
    batch = batch_of(learner)
    learner.updates = 0
    before = [learner.actor_optimizer.flat.clone(), learner.log_temperature.clone()]
    for turn in (1, 2, 3):
        figures = learner.update(batch)
        moved = [not torch.equal(a, b) for a, b in zip(before, (learner.actor_optimizer.flat, learner.log_temperature), strict=True)]
        assert moved == [turn == 3] * 2
        assert (figures[3] != 0.0) == (turn == 3)


def test_figures_are_means_of_the_updates_that_were_due():
    learner = make("sac", "actor_every=2")
    learner.update = lambda batch: (
        setattr(learner, "updates", learner.updates + 1)
        or torch.tensor([1.0, 2.0 * (learner.updates % 2 == 0), 3.0, 4.0 * (learner.updates % 2 == 0), 5.0])
    )
    learner.iterate()
    names = ("loss/critic", "loss/actor", "loss/value", "policy/entropy", "policy/temperature")
    figures = learner.iterate()
    assert [figures[name] for name in names] == [1.0, 2.0, 3.0, 4.0, 5.0]


# losses against independent formulas


def dense(ensemble, k, x):
    """The k-th network of an ensemble in double precision, by hand."""
    for i, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
        x = x @ weight[k].detach().double() + bias[k, 0].detach().double()
        if i < len(ensemble.weights) - 1:
            if ensemble.layer_norm:
                x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, correction=0, keepdim=True) + 1e-5)
            x = ensemble.activation(x)
    return x[:, 0]


def policy(learner, seen):
    actor = copy.deepcopy(learner.actor).double()
    out = actor.network(seen.double())
    return out[:, :1] + actor.rest, out[:, 1:]


@pytest.mark.parametrize("changes", [(), ("layer_norm=true", "n_steps=3", "critics=3", "critic_group=critic")])
def test_sac_s_losses_are_its_papers(changes):
    """Haarnoja et al. (2018), equations 5 to 9 and 18, in double precision, with the log-density by the change of variables."""
    learner = make("sac", *changes)
    batch, noise = batch_of(learner), torch.randn(2, 16, 1, generator=torch.Generator().manual_seed(1))
    before, temperature = copy.deepcopy((learner.critic, learner.target)), learner.log_temperature.exp().item()
    group, critics = learner.settings.critic_group, range(learner.settings.critics)

    def act(seen, eps):
        mean, log_std = policy(learner, seen)
        u = mean + log_std.exp() * eps.double()
        density = torch.distributions.Normal(mean, log_std.exp()).log_prob(u) - torch.log(1 - torch.tanh(u) ** 2)
        return torch.tanh(u), density[:, 0]

    with torch.no_grad():
        then, then_log = act(batch.following["actor"], noise[1])
        now, now_log = act(batch.observations["actor"], noise[0])
        follows = torch.cat([batch.following[group].double(), then], -1)
        value = torch.stack([dense(before[1], k, follows) for k in critics]).amin(0) - temperature * then_log
        goal = batch.reward.double() + batch.discount.double() * value
        done = torch.cat([batch.observations[group].double(), (batch.action.double() - 1.0) / 2.0], -1)  # bounds -1 and 3
        critic_loss = sum(0.5 * ((dense(before[0], k, done) - goal) ** 2).mean() for k in critics)
    figures = learner.update(batch, noise)
    with torch.no_grad():  # the actor learns from critics that have taken their step
        least = torch.stack([dense(learner.critic, k, torch.cat([batch.observations[group].double(), now], -1)) for k in critics]).amin(0)
        actor_loss = (temperature * now_log - least).mean()
    expected = [critic_loss.item(), actor_loss.item(), goal.mean().item(), -now_log.mean().item(), temperature]
    np.testing.assert_allclose(figures, expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["td3", "ddpg"])
def test_td3_s_losses_are_its_papers(name):
    """Fujimoto et al. (2018), algorithm 1, in double precision: smoothing .2 clipped at .5, then to bounds; the actor every 2nd time."""
    learner = make(name)
    batch, noise = batch_of(learner), 4 * torch.randn(16, 1, generator=torch.Generator().manual_seed(1))
    if learner.updates % learner.settings.actor_every == learner.settings.actor_every - 1 and name == "td3":
        learner.update(batch)
    with torch.no_grad():
        learner.critic.biases[-1][0] += 1.0  # so that the first is not the least
    before = copy.deepcopy((learner.critic, learner.target, learner.target_actor, learner.actor))
    with torch.no_grad():
        u = before[2].double().network(batch.following["actor"].double()) + before[2].rest
        smooth = (0.2 * noise.double()).clamp(-0.5, 0.5) if name == "td3" else 0.0
        then = (torch.tanh(u) + smooth).clamp(-1, 1)
        follows = torch.cat([batch.following["actor"].double(), then], -1)
        critics = range(learner.settings.critics)
        goal = batch.reward.double() + batch.discount.double() * torch.stack([dense(before[1], k, follows) for k in critics]).amin(0)
        done = torch.cat([batch.observations["actor"].double(), (batch.action.double() - 1.0) / 2.0], -1)
        loss = sum(((dense(before[0], k, done) - goal) ** 2).mean() for k in critics)
    assert learner.settings.critics == (2 if name == "td3" else 1)
    figures = learner.update(batch, noise)
    assert figures[0].item() == pytest.approx(loss.item(), rel=2e-5)
    weights = learner.actor.network[0].weight
    assert torch.equal(weights, before[3].network[0].weight) == (name == "td3")  # not due yet
    if name == "td3":
        assert figures[1].item() == 0.0
        figures, seen = learner.update(batch, noise), batch.observations["actor"].double()
        with torch.no_grad():  # of the critics as they are by then, the first
            critic, now = copy.deepcopy(learner.critic), torch.tanh(before[3].double().network(seen) + before[3].rest)
            each = torch.stack([dense(critic, k, torch.cat([seen, now], -1)) for k in critics])
        assert each.amin(0).mean().item() != pytest.approx(each[0].mean().item(), rel=1e-3)
        assert figures[1].item() == pytest.approx(-each[0].mean().item(), rel=2e-5)
        assert not torch.equal(weights, before[3].network[0].weight)


def test_dqn_s_target_follows_when_it_is_due():
    learner = make("dqn", "target_every=3", "tau=0.25", "prioritized=null")
    learner.iterate()
    batch = learner.replay.sample(16, 1, 0.99, learner.generator)
    while learner.updates % 3:
        learner.update(batch)
    before = learner._target_vector.clone()
    for due in (False, False, True):
        learner.update(batch)
        expected = torch.lerp(before, learner.optimizer.flat.data, 0.25) if due else before
        assert torch.equal(learner._target_vector, expected)
    assert not torch.equal(learner._target_vector, before)


@pytest.mark.parametrize(("double", "prioritized"), [("true", "null"), ("false", "null"), ("true", "{alpha: 0.6, beta: 0.4}")])
def test_dqn_s_loss_is_its_papers(double, prioritized):
    learner = make("dqn", f"double={double}", f"prioritized={prioritized}", "target_every=1000000")
    for _ in range(2):
        learner.iterate()
    batch = learner.replay.sample(64, 3, 0.99, learner.generator, learner.beta)
    online, target = copy.deepcopy(learner.actor).double(), copy.deepcopy(learner.target).double()
    with torch.no_grad():
        q, follows, rows = online(batch.observations["actor"].double()), batch.following["actor"].double(), torch.arange(64)
        choice = (online if double == "true" else target)(follows).argmax(-1)
        error = batch.reward.double() + batch.discount.double() * target(follows)[rows, choice] - q[rows, batch.action[:, 0].long()]
        huber = torch.where(error.abs() < 1, 0.5 * error**2, error.abs() - 0.5)
    loss = learner.update(batch)[0].item()
    assert loss == pytest.approx((batch.weight.double() * huber).mean().item(), rel=1e-5)
    if prioritized != "null":
        leaves = learner.replay._tree.leaves[batch.rows]
        torch.testing.assert_close(leaves, (error.abs() + 1e-6) ** 0.6, rtol=1e-3, atol=1e-4)
        assert (batch.weight < 1).any()


# networks


def test_an_ensemble_is_its_members_and_frozen_it_gives_no_gradient_of_its_own():
    ensemble = Ensemble(3, [4, 8, 1], "silu", True, torch.Generator().manual_seed(0))
    x = torch.randn(5, 4, requires_grad=True)
    for k in range(3):
        torch.testing.assert_close(ensemble(x)[k, :, 0].double(), dense(ensemble, k, x.double()), rtol=1e-4, atol=1e-5)
    ensemble(x, frozen=True).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in ensemble.parameters())


def test_actions_stay_within_bounds_that_they_reach_and_begin_at_rest():
    space = ActionSpace(tensor(-1.0, 0.5, -2.0).float(), tensor(3.0, 1.0, 0.1).float())
    network = torch.nn.Linear(2, 6)
    actor = SquashedActor(network, None, space, True)
    torch.nn.init.zeros_(network.weight)
    torch.nn.init.zeros_(network.bias)
    seen = torch.ones(1, 2)
    torch.testing.assert_close(actor(seen)[0], torch.tensor([0.0, 0.75, 0.0]), atol=1e-6, rtol=0)  # 0 where it is allowed
    for value, bound in ((50.0, space.high), (-50.0, space.low)):
        torch.nn.init.constant_(network.bias, value)
        torch.testing.assert_close(actor(seen)[0], bound)
    action = torch.rand(9, 3) * 2 - 1
    torch.testing.assert_close(actor.scale(actor.unscale(action)), action)


def test_in_a_mirror_policy_and_samples_are_the_mirrored_ones():
    """mirror(actor(s)) = actor(mirror(s)), spread included; every second sample is mirrored whole, and twice is not at all."""
    swap = (np.array([1, 0]), np.array([-1.0, -1.0]))
    bounds = ActionSpace(torch.tensor([-1.0, -3.0]), torch.tensor([3.0, 1.0]))
    spaces = Spaces({"actor": 2, "critic": 2}, bounds, Symmetry({"actor": swap, "critic": swap}, swap))
    generator = torch.Generator().manual_seed(0)
    actor = make_squashed_actor(spaces, "sac", [8, 8], "elu", True, True, generator, True)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        seen = torch.randn(6, 2, generator=generator)
        actor.normalizer.update(seen)
        torch.testing.assert_close(actor(-seen.flip(-1)), -actor(seen).flip(-1))
        torch.testing.assert_close(actor.outputs(-seen.flip(-1))[1], actor.outputs(seen)[1].flip(-1))
    row = torch.randn(1, 6, 2, generator=generator)
    buffer = Replay({"actor": 2}, 2, 6, 6, "cpu")
    buffer.extend({"actor": row}, 2 * row, row[..., 0], {"actor": 3 * row}, row[..., 0] > 9, row[..., 0] > 9)
    mirror, batch = Mirror(spaces, torch.device("cpu")), buffer.windows(torch.arange(6), 1, 0.9, torch.ones(6))
    once = mirror(batch)
    for a, b in (
        (once.observations, batch.observations),
        (once.following, batch.following),
        ({"actor": once.action}, {"actor": batch.action}),
    ):
        assert torch.equal(a["actor"][::2], -b["actor"][::2].flip(-1))
        assert torch.equal(a["actor"][1::2], b["actor"][1::2])
    assert torch.equal(mirror(once).action, batch.action)
    assert torch.equal(once.reward, batch.reward)


# going on


def state_of(learner):
    stream = io.BytesIO()
    torch.save({"own": learner.state_dict(), "replay": learner.replay.state_dict(), "env": learner.env.state_dict()}, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


def flat(value, path=""):
    if isinstance(value, dict):
        return {name: one for key, part in value.items() for name, one in flat(part, f"{path}.{key}").items()}
    if isinstance(value, list | tuple):
        return {name: one for i, part in enumerate(value) for name, one in flat(part, f"{path}.{i}").items()}
    return {path: value}


@pytest.mark.parametrize(
    ("name", "changes"),
    [("sac", ()), ("sac", ("normalize=true", *ROBOT)), ("sac", ("actor_every=2", "rounds=21")), ("td3", ()), ("dqn", ())],
)
def test_a_resumed_learner_equals_one_that_never_stopped(name, changes):
    """To the last bit. CORL's does not: it rebuilds targets from the online networks, and leaves its optimizer an old temperature."""
    whole = make(name, *changes)
    for _ in range(2):
        whole.iterate()
    state = state_of(whole)
    parts = make(name, *changes)
    parts.load_state_dict(copy.deepcopy(state["own"]))
    parts.replay.load_state_dict(state["replay"])
    parts.env.load_state_dict(state["env"])
    for learner in (whole, parts):
        learner.iterate()
    then, a, b = flat(state), flat(state_of(whole)), flat(state_of(parts))
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert torch.equal(value, b[key]) if isinstance(value, torch.Tensor) else value == b[key], key
    optimizers = [key for key in a if "optimizer." in key and not key.endswith("learning_rate")]
    assert len(optimizers) == 3 * {"sac": 3, "td3": 2, "dqn": 1}[name]
    assert not any(torch.equal(then[key], a[key]) for key in optimizers)
    if name == "sac":
        assert parts.log_temperature != state["own"]["log_temperature"]  # CORL's CQL stays where it was loaded
        assert not torch.equal(parts.target.weights[0], parts.critic.weights[0])


def test_weights_of_another_run_come_with_optimizers_of_their_own():
    source = make("sac")
    source.iterate()
    learner = make("sac", env=Points(4))
    learner.initialize(source.state_dict())
    assert torch.equal(learner.target.weights[0], source.target.weights[0])
    assert not learner.critic_optimizer.state_dict()["exp_avg"].any()
    make("sac").initialize({"actor": source.actor.state_dict()})  # a snapshot: the policy alone


@pytest.mark.parametrize("name", ALL)
def test_a_reward_that_is_no_number_is_seen_in_the_iteration_s_figures(name):
    learner = make(name)
    learner.iterate()
    inner = learner.env.rewards
    learner.env.rewards = lambda: inner() * math.nan
    assert math.isnan(learner.iterate()["replay/reward"])


@pytest.mark.parametrize("name", ALL)
def test_the_wrong_kind_of_actions_is_one_clear_error(name):
    with pytest.raises(InputError, match=r"continuous|choices"):
        make(name, env=Points(4, discrete=name != "dqn"))


def test_unbounded_actions_and_impossible_sizes_are_clear_errors():
    spaces = Spaces({"actor": 1, "critic": 1}, ActionSpace(torch.tensor([-math.inf]), torch.tensor([1.0])), None)
    learner = make("sac")
    with pytest.raises(InputError, match="unbounded"):
        learner.make_actor(learner.settings, spaces, torch.Generator())
    with pytest.raises(InputError, match="mirror"):
        make("sac", "symmetric=true")
    with pytest.raises(InputError, match="n_steps"):
        make("sac", "n_steps=50", "capacity=100")
