"""Distributions, normaliser and networks against exact values and symmetries."""

import math

import numpy as np
import pytest
import torch

from locomotion.models.actor_critic import Actor, Critic
from locomotion.models.distributions import Categorical, Gaussian, gaussian_entropy, gaussian_kl, gaussian_log_prob
from locomotion.models.flat import FlatAdam
from locomotion.models.mlp import SymmetricMLP
from locomotion.models.normalizer import Normalizer, mean_and_var, merge

MIRROR = (np.array([1, 0, 2, 3]), np.array([1.0, 1.0, -1.0, 1.0]))
ACTION = (np.array([1, 0]), np.array([-1.0, -1.0]))


def mirrored(x, mirror):
    return torch.as_tensor(mirror[1], dtype=x.dtype) * x[..., mirror[0]]


def test_gaussian_exact_values():
    log_std = torch.full((7,), math.log(0.3), dtype=torch.float64)
    assert gaussian_entropy(log_std).item() == pytest.approx(1.5047601021511567)
    for std, entropy in ((1.0, 9.93256973), (0.5, 5.08053947), (0.1, -6.18552592)):
        assert gaussian_entropy(torch.full((7,), math.log(std), dtype=torch.float64)).item() == pytest.approx(entropy, abs=1e-8)
    at_one_sigma = gaussian_log_prob(torch.full((7,), 0.3, dtype=torch.float64), torch.zeros(7, dtype=torch.float64), log_std)
    assert at_one_sigma.item() == pytest.approx(-1.5047601, abs=1e-6)
    one = torch.ones(1, dtype=torch.float64)
    kl = gaussian_kl(0 * one, math.log(0.5) * one, 0.2 * one, math.log(0.6) * one)
    assert kl.item() == pytest.approx(0.0850993345717)
    assert gaussian_kl(torch.zeros(12), torch.zeros(12), torch.full((12,), 0.1), torch.zeros(12)).item() == pytest.approx(0.06)


def test_normaliser_merges_moments_and_does_not_average_variances():
    empty = torch.zeros((), dtype=torch.float64), torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    batches = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64), torch.tensor([[10.0], [20.0]], dtype=torch.float64)
    first = merge(*empty, torch.tensor(3.0), *mean_and_var(batches[0]))
    count, mean, var = merge(*first, torch.tensor(2.0), *mean_and_var(batches[1]))
    assert (count.item(), mean.item(), var.item()) == pytest.approx((5, 7.2, 50.96))


def test_symmetric_normaliser_has_the_moments_of_states_and_their_mirror_images():
    normalizer = Normalizer(4, MIRROR)
    batches = [torch.randn(n, 4, dtype=torch.float64) * 2 + 1 for n in (50, 7, 200)]
    for batch in batches:
        normalizer.update(batch)
    data = torch.cat(batches)
    union = torch.cat([data, mirrored(data, MIRROR)])
    torch.testing.assert_close(normalizer.mean, union.mean(0))
    torch.testing.assert_close(normalizer.var, union.var(0, correction=0))


def test_symmetric_actor_and_critic_commute_with_the_mirror():
    generator = torch.Generator().manual_seed(0)
    actor = Actor((4, 2), (16, 16), (MIRROR, ACTION), 0.5, generator)
    critic = Critic(4, (16, 16), MIRROR, generator)
    x = torch.randn(64, 4)
    for module in (actor, critic):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        module.normalizer.update(torch.randn(100, 4) + 0.5)
    torch.testing.assert_close(actor(mirrored(x, MIRROR)), mirrored(actor(x), ACTION))
    torch.testing.assert_close(critic(mirrored(x, MIRROR)), critic(x))
    assert actor(x).std() > 0.1
    assert actor.log_std[0] == actor.log_std[1]
    torch.testing.assert_close(actor.frozen()(x), actor(x))
    copy = Actor((4, 2), (16, 16), (MIRROR, ACTION), 0.5, generator)
    copy.load_state_dict(actor.state_dict())
    assert torch.equal(copy(x), actor(x))  # the normaliser's float32 figures follow its moments


@pytest.mark.parametrize("mirrors", [None, (MIRROR, ACTION)])
@pytest.mark.parametrize(("name", "function"), [("tanh", torch.tanh), ("relu", torch.relu)])
def test_networks_have_the_activation_that_is_asked_for_while_they_act_too(mirrors, name, function):
    actor = Actor((4, 2), (16, 16), mirrors, 0.5, torch.Generator().manual_seed(0), activation=name)
    critic = Critic(4, (16, 16), mirrors and mirrors[0], torch.Generator().manual_seed(0), name)
    x = seen = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    for module, given in ((actor, actor(x)), (critic, critic(x)[:, None])):
        seen = module.normalizer(x)
        *hidden, last = module.network.layers()
        for weight, bias in hidden:
            seen = function(seen @ weight.T + bias)
        torch.testing.assert_close(given, seen @ last[0].T + last[1])
    torch.testing.assert_close(actor.frozen()(x), actor(x))


def test_normaliser_scales_and_clips():
    normalizer = Normalizer(1, None)
    normalizer.update(torch.tensor([[1.0], [2.0], [3.0], [10.0], [20.0]]))
    scale = 1 / math.sqrt(50.96 + 1e-4)
    x = torch.tensor([[7.2], [17.2], [1000.0], [-1000.0]])
    assert normalizer(x).flatten().tolist() == pytest.approx([0.0, 10 * scale, 10.0, -10.0], abs=1e-5)
    torch.testing.assert_close(normalizer.inverse(normalizer(x[:2])), x[:2])


def test_plain_actor_does_not():
    actor = Actor((4, 2), (16, 16), None, 0.5, torch.Generator().manual_seed(0))
    x = torch.randn(64, 4)
    assert not torch.allclose(actor(mirrored(x, MIRROR)), mirrored(actor(x), ACTION))


def test_symmetric_network_can_tell_a_state_from_its_mirror_image():
    """It is equivariant, not blind: a target that changes sign under the mirror can be fitted."""
    network = SymmetricMLP([4, 32, 1], 1.0, torch.Generator().manual_seed(1), MIRROR, (np.array([0]), np.array([-1.0])))
    x = torch.randn(256, 4, generator=torch.Generator().manual_seed(2))
    y = (x[:, :1] - x[:, 1:2]) + x[:, 2:3]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(300):
        loss = (network(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02 * y.square().mean().item()


def test_choices_exact_values():
    """softmax of (1, 2, 3), whose log of the sum is 3.4076059644."""
    choice = Categorical(torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64))
    p = torch.tensor([0.0900305732, 0.2447284711, 0.6652409558], dtype=torch.float64)
    for k in range(3):
        assert choice.log_prob(torch.tensor([[float(k)]])).item() == pytest.approx(k + 1 - 3.4076059644)
    assert choice.entropy().item() == pytest.approx(-(p * p.log()).sum().item())
    even = Categorical(torch.zeros(1, 3, dtype=torch.float64))
    assert even.entropy().item() == pytest.approx(math.log(3.0))
    assert choice.kl(even).item() == pytest.approx(math.log(3.0) - choice.entropy().item())
    assert choice.kl(choice).item() == pytest.approx(0.0, abs=1e-12)


def test_exploration_samples_what_the_distribution_says():
    generator = torch.Generator().manual_seed(0)
    choices = Actor((2, 3), [4], None, None, generator)
    logits = torch.tensor([1.0, 2.0, 3.0]).expand(60_000, 3)
    taken = choices.act(logits, choices.noise(logits.shape, generator))
    frequency = torch.bincount(taken.flatten().long(), minlength=3) / len(taken)
    torch.testing.assert_close(frequency, torch.softmax(logits[0], -1), atol=0.006, rtol=0.0)
    numbers = Actor((2, 3), [4], None, 0.3, generator)
    taken = numbers.act(logits, numbers.noise(logits.shape, generator))
    torch.testing.assert_close(taken.mean(0), logits[0], atol=0.006, rtol=0.0)
    torch.testing.assert_close(taken.std(0), torch.full((3,), 0.3), atol=0.006, rtol=0.0)
    present = numbers.present_distribution()
    with torch.no_grad():
        numbers.log_std_parameter.fill_(0.0)
    assert present(logits).log_std.exp().tolist() == pytest.approx([0.3] * 3)
    assert isinstance(numbers.distribution(logits), Gaussian)
    assert "log_std_parameter" not in choices.state_dict()


def test_adam_on_one_vector_is_torch_s_clipped_as_torch_clips_and_goes_on_from_torch_s_state():
    generator = torch.Generator().manual_seed(0)
    start, goals = torch.randn(40, generator=generator), torch.randn(30, 40, generator=generator)
    theirs, mine = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    adam, flat = torch.optim.Adam([theirs], lr=0.01, fused=True), FlatAdam([mine], 0.01)
    for k, goal in enumerate(goals):
        if k == 15:  # as an older checkpoint has it
            again = FlatAdam([mine], 1.0)
            again.load_state_dict(adam.state_dict())
            assert again.learning_rate == 0.01
            flat = again
        adam.zero_grad()
        (theirs - goal).square().sum().backward()
        torch.nn.utils.clip_grad_norm_([theirs], 0.7)
        adam.step()
        flat.descend((mine - goal).square().sum(), 0.7)
        assert torch.equal(mine, theirs)
    other = FlatAdam([torch.nn.Parameter(start.clone())], 1.0)
    other.load_state_dict(flat.state_dict())
    assert other.learning_rate == 0.01
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in flat.state_dict().items() if name != "learning_rate")
