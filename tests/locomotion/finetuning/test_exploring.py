"""Exploration: its statistics, its probabilities, and that it goes the way of every policy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.policy import load
from locomotion.export import example_inputs
from locomotion.finetuning.exploring import ExploringPolicy, Noise
from locomotion.finetuning.keeping import base_bundle
from tests.locomotion.finetuning.standing import standing_base

NOISE = Noise(0.1, 0.2, 0.02)


def test_noise_has_its_spread_and_its_correlation() -> None:
    values = NOISE.sequence(20_000, 20, seed=0)[100:]
    assert values.std(dim=0).numpy() == pytest.approx(0.1, rel=0.05)
    a = values - values.mean(dim=0)
    for lag in (1, 5, 10):
        correlation = float((a[lag:] * a[:-lag]).mean() / a.square().mean())
        assert correlation == pytest.approx(math.exp(-lag * 0.02 / 0.2), abs=0.04)
    white = Noise(0.1, 0.0, 0.02).sequence(5_000, 10, seed=0)
    assert abs(float((white[1:] * white[:-1]).mean() / white.square().mean())) < 0.02
    assert torch.equal(NOISE.sequence(10, 2, 3), NOISE.sequence(10, 2, 3))


def test_what_is_new_in_a_step_is_found_again_and_a_walk_begins_anew() -> None:
    """The density of a sequence is the product of those of its innovations: of a Gaussian AR(1) process, equation by equation."""
    mean = torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
    noise = torch.cat([NOISE.sequence(30, 3, seed) for seed in (1, 2)])
    first = torch.zeros(60, dtype=torch.bool)
    first[[0, 30]] = True
    white = torch.cat([torch.randn(30, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)])
    found = NOISE.off(mean + noise, mean, first)
    assert torch.allclose(found, NOISE.innovation * white, atol=1e-6)
    again = NOISE.off(mean + noise, mean, torch.zeros(60, dtype=torch.bool))  # as if the second walk went on from the first
    assert not torch.allclose(again[30], found[30], atol=1e-3)
    assert torch.equal(again[31:], found[31:])


def test_without_noise_it_is_the_bundle(tmp_path: Path) -> None:
    base = standing_base(tmp_path, weight=30.0)
    bundle = load(base_bundle(base, tmp_path), base.robot)
    exploring = ExploringPolicy(bundle.contract, base.policy(base.actor))
    exploring.begin(base.actor, torch.zeros(0, 12))
    for policy in (exploring, bundle):
        policy.reset()
    signals = example_inputs(base.policy(base.actor), base.robot, bundle.contract.command_range, 1, 20, seed=0)
    for t in range(20):
        now = {name: value[t] for name, value in signals.items()}
        for ours, theirs in zip(exploring.step(now), bundle.step(now), strict=True):
            assert ours == pytest.approx(theirs, abs=1e-4)
    assert float(torch.stack(exploring.records[-1].action).abs().max()) > 0.3  # it said something


def test_noise_is_added_to_the_action_before_all_limits_and_what_was_asked_is_kept(tmp_path: Path) -> None:
    base = standing_base(tmp_path)
    exploring = ExploringPolicy(load(base_bundle(base, tmp_path)).contract, base.policy(base.actor))
    noise = torch.zeros(3, 12)
    noise[1] = 50.0  # far beyond what joints can do
    exploring.begin(base.actor, noise)
    exploring.reset()
    signals = example_inputs(base.policy(base.actor), base.robot, [[-1, 1]] * 3, 1, 3, seed=0)
    robot, targets = base.robot, []
    for t in range(3):
        now = {name: value[t] for name, value in signals.items()} | {"joint_vel": np.zeros((1, 12), np.float32)}
        targets.append(exploring.step(now)[0][0])
    low, high = robot.joint_pos_limit.T
    assert ((targets[1] >= low) & (targets[1] <= high)).all()
    reach = robot.effort_limit / robot.kp
    assert (np.abs(targets[1] - signals["joint_pos"][1, 0]) <= reach + 1e-5).all()
    record = exploring.records[-1]
    assert torch.allclose(record.action[1] - record.mean[1], torch.tensor(50.0))


def test_where_another_actor_takes_over_the_walk_is_no_longer_its_own(tmp_path: Path) -> None:
    base = standing_base(tmp_path)
    exploring = ExploringPolicy(load(base_bundle(base, tmp_path)).contract, base.policy(base.actor))
    other = base.new_actor()
    other.network[-1].bias.data += 1.0
    exploring.begin(other, torch.full((9, 12), 0.1))
    exploring.reset()
    signals = example_inputs(base.policy(base.actor), base.robot, [[-1, 1]] * 3, 1, 4, seed=0)
    for t in range(4):
        if t == 2:
            exploring.take_over(base.actor)
        exploring.step({name: value[t] for name, value in signals.items()})
    record = exploring.records[-1]
    assert record.own == 2
    assert torch.allclose(torch.stack(record.action)[:2], torch.tensor(1.1))
    assert torch.allclose(torch.stack(record.action)[2:], torch.tensor(0.0))


def test_a_rehearsal_leaves_nothing_behind(tmp_path: Path) -> None:
    base = standing_base(tmp_path, weight=0.5)
    contract = load(base_bundle(base, tmp_path)).contract
    exploring, other = (ExploringPolicy(contract, base.policy(base.actor)) for _ in range(2))
    exploring.rehearse(base.actor)
    assert [len(record.mean) for record in exploring.records] == [0]
    signals = {name: value[:1] for name, value in contract.golden_vectors[0].inputs.items()}
    for ours, theirs in zip(exploring.step(signals), other.step(signals), strict=True):
        assert np.array_equal(ours, theirs)
