"""Learning from few walks: what it moves, which way, and no further than the leash."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from locomotion import build
from locomotion.finetuning import base as bases
from locomotion.finetuning import leash
from locomotion.finetuning.adapter import hidden_of
from locomotion.finetuning.batch import Batch
from locomotion.finetuning.exploring import Noise
from locomotion.finetuning.learner import Learner, trusted
from locomotion.runs import checkpoint
from tests.conftest import tiny
from tests.locomotion.finetuning.standing import recipe, standing_base, state_of

NOISE = Noise(0.1, 0.1, 0.02)
WALKS, STEPS = 4, 400


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory):
    return standing_base(tmp_path_factory.mktemp("base"), weight=1.0)


def walked(base, learner: Learner, seed: int, goal: float = 0.3) -> Batch:
    """Walks in a world that pays for action 2 to be ``goal`` higher than the base has it, and for nothing else."""
    generator = torch.Generator().manual_seed(seed)
    size = WALKS * STEPS
    with torch.no_grad():
        observation = torch.randn(size, base.spaces.groups["actor"], generator=generator)
        mean = learner.candidate()(observation)
        noise = torch.cat([NOISE.sequence(STEPS, 12, seed * WALKS + walk) for walk in range(WALKS)])
        action = mean + noise
        off = action[:, 2] - base.actor(observation)[:, 2] - goal
    first = torch.zeros(size, dtype=torch.bool)
    first[::STEPS] = True
    done, never = first.roll(-1), torch.zeros(size, dtype=torch.bool)
    critic = torch.randn(size, base.spaces.groups["critic"], generator=generator)
    final = torch.randn(WALKS, base.spaces.groups["critic"], generator=generator)
    return Batch(observation, mean, action, critic, final, -off.square(), never, done, first, never)


def learner_of(base, **changes) -> Learner:
    return Learner(recipe(learner=changes).learner, base, NOISE, seed=0)


def run(base, learner: Learner, rounds: int, changed: bool = False) -> torch.Tensor:
    """[12] how far the mean action has moved from the base's."""
    for seed in range(rounds):
        batch = walked(base, learner, seed)
        learner.take(replace(batch, changed=batch.done | True) if changed else batch)
        if learner.adapter is None:
            learner.warm_up()
        learner.update()
    observation = torch.randn(500, base.spaces.groups["actor"], generator=torch.Generator().manual_seed(99))
    with torch.no_grad():
        return (learner.candidate()(observation) - base.actor(observation)).mean(dim=0)


def test_a_base_says_what_its_checkpoint_says_whatever_its_networks_are_made_of(tmp_path) -> None:
    words = ("algorithm.activation=tanh", "algorithm.normalize_values=true")
    state = state_of(*words, weight=1.0)
    settings = tiny(*words)
    learner = build.algorithm(settings, build.task(settings))
    learner.critic.targets.update(torch.tensor([[3.0], [5.0]]))
    learner.actor.load_state_dict(state["learner"]["actor"])
    state["learner"]["critic"] = learner.critic.state_dict()
    checkpoint.save(tmp_path / "best.pt", state)
    base = bases.load(str(tmp_path))
    for ours, theirs, group in ((base.actor, learner.actor, "actor"), (base.critic, learner.critic, "critic")):
        observation = torch.randn(20, base.spaces.groups[group], generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            torch.testing.assert_close(ours(observation), theirs(observation), rtol=1e-4, atol=1e-5)


def test_it_moves_towards_what_is_paid_for_and_little_else(base) -> None:
    learner = learner_of(base, kl_price=0.0, kl_limit=100.0)
    moved = run(base, learner, 6)
    assert moved[2] > 0.05
    assert moved[2] > 3.0 * moved[torch.arange(12) != 2].abs().max()


def test_the_leash_holds_it_and_its_price_slows_it(base) -> None:
    free, short, dear = (learner_of(base, **changes) for changes in (
        {"kl_price": 0.0, "kl_limit": 100.0}, {"kl_price": 0.0, "kl_limit": 0.01}, {"kl_price": 10.0, "kl_limit": 100.0},
    ))  # fmt: skip
    moved = {name: run(base, learner, 4) for name, learner in (("free", free), ("short", short), ("dear", dear))}
    observation = torch.cat([batch.observation for batch in short.batches])
    with torch.no_grad():
        far = leash.distance(short.candidate()(observation), base.actor(observation), short.std)
    assert float(far) <= 0.01 * 1.001
    assert moved["short"][2] < 0.5 * moved["free"][2]
    assert moved["dear"].norm() < 0.5 * moved["free"].norm()


def test_steps_that_filters_changed_teach_the_policy_nothing(base) -> None:
    learner = learner_of(base, kl_price=0.0)
    assert run(base, learner, 2, changed=True).abs().max() < 1e-6


def test_an_update_is_as_long_as_the_clip_and_folding_changes_the_last_layer_alone(base) -> None:
    learner = learner_of(base, kl_price=0.0, updates=1)
    batch = walked(base, learner, 0)
    learner.take(batch)
    learner.warm_up()
    learner.update()
    with torch.no_grad():
        change = learner.candidate()(batch.observation) - base.actor(batch.observation)
        new = NOISE.off(change, torch.zeros_like(change), batch.first) / NOISE.innovation
        assert 0.3 * 0.05 < float(new.square().sum(dim=-1).mean().sqrt()) <= 0.05 * 1.001
        features = learner.adapter.features(hidden_of(base.actor, batch.observation))
        assert torch.allclose(change, learner.adapter(features), atol=1e-5)
        assert float(features[:, :-1].var(dim=0).sub(1.0).abs().max()) < 0.01  # each direction varies as much as another
    ours, theirs = learner.candidate().state_dict(), base.actor.state_dict()
    last = max(name for name in theirs if name.startswith("network"))[: len("network.4")]
    assert {name for name in theirs if not torch.equal(ours[name], theirs[name])} == {f"{last}.weight", f"{last}.bias"}


def test_noise_is_not_believed_and_a_signal_is() -> None:
    noise = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    kept = trusted(noise) * noise
    # the integral of (x - 2 / x)^2 over a normal x beyond sqrt(2) is 0.145, of the 1 that it was
    assert float(kept.square().mean()) == pytest.approx(0.145, abs=0.005)
    assert float(trusted(noise[:100] + 10.0).min()) > 0.95
    assert trusted(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_a_world_that_pays_for_nothing_teaches_little(base) -> None:
    blind, seeing = learner_of(base, kl_price=0.0), learner_of(base, kl_price=0.0)
    for learner, sees in ((blind, False), (seeing, True)):
        for seed in range(2):
            batch = walked(base, learner, seed)
            random = torch.randn(len(batch), generator=torch.Generator().manual_seed(seed))
            learner.take(batch if sees else replace(batch, reward=random))
            if learner.adapter is None:
                learner.warm_up()
            figures = learner.update()
        learner.figures = figures
    assert blind.figures["policy/trusted"] < 0.3
    assert seeing.figures["policy/gain"] > blind.figures["policy/gain"]


def test_it_goes_on_bit_for_bit(base) -> None:
    one, other = learner_of(base), learner_of(base)
    run(base, one, 2)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for learner in (one, other):
        learner.take(walked(base, learner, 7))
        learner.update()
    assert torch.equal(one.policy, other.policy)
    assert one.moved
    assert not learner_of(base).moved


def test_a_policy_that_is_no_number_goes_all_the_way_back(base) -> None:
    learner = learner_of(base)
    run(base, learner, 1)
    kept = learner.policy
    for share in (0.0, 0.5):
        with torch.no_grad():
            learner.adapter.weight.fill_(torch.nan)
        learner.go_back(kept, share)
        assert torch.equal(learner.policy, kept)


def test_a_fall_is_worth_no_more_than_going_on_under_penalties_alone(base) -> None:
    learner = learner_of(base)
    batch = walked(base, learner, 0)
    _, going_on = learner._advantages(batch)
    _, falling = learner._advantages(replace(batch, terminated=batch.done.clone()))
    assert (falling <= going_on + 1e-5).all()
