"""Critics in the place of likelihoods: what moves the policy, how far, and what half of a batch is."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from locomotion.algorithms.replay import from_arrays
from locomotion.config import compose
from locomotion.finetuning import leash
from locomotion.finetuning.batch import joined
from locomotion.finetuning.rlpd import RLPD, RLPDSettings
from locomotion.schema import check
from robots.errors import InputError
from tests.locomotion.finetuning.standing import recipe, standing_base
from tests.locomotion.finetuning.test_learner import NOISE, walked

QUICK = {
    "gamma": 0.0, "n_steps": 1, "hidden": 32, "warm_up_updates": 150, "updates": 150, "critic_learning_rate": 0.003,
    "learning_rate": 0.002, "kl_price": 0.0, "kl_round": 0.05, "kl_limit": 100.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory):
    return standing_base(tmp_path_factory.mktemp("base"), weight=1.0)


def learner_of(base, data=None, **changes) -> RLPD:
    settings = check(RLPDSettings, compose("finetune", ["policy=p", "output=o", "learner=rlpd"])["learner"] | QUICK | changes)
    return RLPD(settings, base, NOISE, seed=0, data=data)


def run(base, learner: RLPD, rounds: int, **changes) -> torch.Tensor:
    """[12] how far the mean action has moved from the base's in a world that pays for action 2 alone."""
    for seed in range(rounds):
        batch = walked(base, learner, seed)  # type: ignore[arg-type]
        learner.take(replace(batch, **{name: change(batch) for name, change in changes.items()}))
        if learner.adapter is None:
            learner.warm_up()
        learner.figures = learner.update()
    observation = torch.randn(500, base.spaces.groups["actor"], generator=torch.Generator().manual_seed(99))
    with torch.no_grad():
        return (learner.candidate()(observation) - base.actor(observation)).mean(dim=0)


def test_it_climbs_to_what_is_paid_for_no_further_a_round_than_it_may(base) -> None:
    learner = learner_of(base, warm_up_updates=600, updates=300)
    moved = run(base, learner, 2)
    assert moved[2] > 0.02
    assert moved[2] > 2.0 * moved[torch.arange(12) != 2].abs().max()
    assert 0.01 < learner.figures["policy/kl"] <= 0.05 * 1.001


def test_the_leash_holds_it(base) -> None:
    learner = learner_of(base, kl_limit=0.01)
    run(base, learner, 2)
    observation = joined(learner.batches).observation
    with torch.no_grad():
        far = leash.distance(learner.candidate()(observation), base.actor(observation), learner.std)
    assert 0.005 < float(far) <= 0.01 * 1.001


def test_steps_that_filters_changed_teach_it_nothing(base) -> None:
    learner = learner_of(base)
    assert run(base, learner, 1, changed=lambda batch: torch.ones_like(batch.changed)).abs().max() == 0.0


def test_a_fall_is_worth_no_more_than_going_on_under_penalties_alone_and_less_where_there_is_more_to_earn(base) -> None:
    learner = learner_of(base, gamma=0.9, warm_up_updates=1)
    batch = walked(base, learner, 0)  # type: ignore[arg-type]
    learner.take(batch)
    learner.warm_up()
    last = batch.done
    for shift, falls_less in ((-10.0, False), (10.0, True)):
        shifted = replace(batch, reward=batch.reward + shift)
        on, fallen = learner._rewards(shifted), learner._rewards(replace(shifted, terminated=last))
        assert torch.equal(on[~last], fallen[~last])
        mean = shifted.reward.view(4, -1).mean(dim=1)
        missed = (fallen - on)[last] - (0.9 / 0.1) * learner._scaled(mean)  # against what it would have gone on to earn
        assert (missed < -1.0).all() if falls_less else torch.allclose(missed, torch.zeros(4), atol=1e-3)


def test_half_of_a_batch_is_the_datasets(base) -> None:
    generator = torch.Generator().manual_seed(3)
    groups = {name: torch.randn(50, base.spaces.groups[name], generator=generator) for name in ("actor", "critic")}
    groups["critic"][:, : groups["actor"].shape[1]] = groups["actor"]
    never = torch.zeros(50, dtype=torch.bool)
    data = from_arrays(groups, torch.zeros(50, 12), torch.full((50,), 777.0), groups, never, never)
    learner = learner_of(base, data, warm_up_updates=1)
    learner.take(walked(base, learner, 0))  # type: ignore[arg-type]
    learner.warm_up()
    replays, keep = learner._replays()
    batch = learner._sample(replays, keep)
    theirs = batch.reward > 10.0
    assert len(batch.reward) == 128
    assert int(theirs.sum()) == 64
    with torch.no_grad():
        mean = base.actor(groups["actor"])
    assert torch.isin(batch.action[theirs], -mean).all()  # as far from the base's mean as the dataset's action is


def test_it_goes_on_bit_for_bit(base) -> None:
    one, other = learner_of(base, updates=20), learner_of(base, updates=20)
    run(base, one, 2)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for learner in (one, other):
        learner.take(walked(base, learner, 7))  # type: ignore[arg-type]
        learner.update()
    assert torch.equal(one.policy, other.policy)
    assert one.moved


def test_a_learner_is_chosen_by_name() -> None:
    assert recipe().learner.name == "ppo"
    with pytest.raises(InputError, match=r"learner\.name"):
        recipe(learner={"name": "sarsa"})
    other = compose("finetune", ["policy=p", "output=o", "learner=rlpd"])["learner"]
    assert check(type(recipe()), recipe().model_dump() | {"learner": other}).learner.name == "rlpd"
    with pytest.raises(InputError, match=r"learner\.clip"):
        check(type(recipe()), recipe().model_dump() | {"learner": other | {"clip": 0.1}})
