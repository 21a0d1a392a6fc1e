"""The scorecard is the protocol that its text says, runs what the contract says, and tells standing, walking and falling apart."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from locomotion.evaluation import scorecard
from locomotion.evaluation.rollout import load_policy
from locomotion.task.randomization import NOMINAL, RandomizationSettings
from robots import InputError
from robots.model import total_mass
from sim import Signals
from sim.mujoco_model import build_model
from tests.conftest import tiny, tiny_policy
from tests.deploy import bundles


@pytest.fixture
def short(monkeypatch):
    """A protocol of half a second."""
    monkeypatch.setattr(scorecard, "SECONDS", 0.5)
    monkeypatch.setattr(scorecard, "QUICK_SECONDS", 0.5)
    monkeypatch.setattr(scorecard, "UNSCORED_SECONDS", 0.1)


def evaluate(policy, condition=NOMINAL, episodes=4, seed=0):
    return scorecard.evaluate(policy, policy.robot, "mujoco", condition, episodes, seed)


def test_grid():
    assert len(scorecard.GRID) == 36
    assert set(scorecard.GRID) == set(itertools.product((-0.5, 0, 0.5, 0.8), (-0.3, 0, 0.3), (-0.6, 0, 0.6)))
    assert scorecard.grid(72)[:36] == scorecard.grid(72)[36:] == scorecard.GRID
    with pytest.raises(InputError, match="episodes"):
        scorecard.grid(0)


def test_standing_still_scores_what_arithmetic_says(standing_bundle, monkeypatch):
    """exp(-|command|^2 / 0.25) over the grid, no falls, no saturation, no slip."""
    monkeypatch.setattr(scorecard, "SECONDS", 2.5)
    scores = evaluate(load_policy(standing_bundle), episodes=36)
    command = torch.tensor(scorecard.GRID)
    assert scores["tracking_score"] == pytest.approx(torch.exp(-command[:, :2].square().sum(1) / 0.25).mean().item(), abs=0.01)
    assert scores["yaw_score"] == pytest.approx(torch.exp(-command[:, 2].square() / 0.25).mean().item(), abs=0.01)
    assert scores["lin_vel_error"] == pytest.approx(command[:, :2].norm(dim=1).mean().item(), abs=0.01)
    assert scores["ang_vel_error"] == pytest.approx(0.4, abs=0.01)
    assert scores["fall_rate"] == scores["torque_saturation"] == scores["action_rate"] == 0
    assert scores["foot_slip"] < 0.01
    assert scores["episodes"] == 36


def test_every_figure_is_what_its_definition_says():
    tally = scorecard.Tally(torch.tensor([[10.0, 20.0], [9.0, 18.0], [1.0, 1.0]]), torch.tensor([100.0, 50.0, 7.0]), dt=0.02)
    s = Signals.zeros(3, 2, 2)
    s.base_lin_vel[0], s.base_lin_vel[1] = torch.tensor([0.5, 0.0, 9.0]), torch.tensor([0.3, 0.4, 0.0])
    s.base_ang_vel[:2, 2] = torch.tensor([0.5, -0.2])
    s.joint_torque[:2], s.joint_vel[:2] = torch.tensor([[10.0, -17.0], [9.0, -18.0]]), torch.tensor([[1.0, 3.0], [-2.0, 1.0]])
    s.foot_contact_force[0, 0, 2], s.foot_contact_force[1, 1, 2] = 50.0, 0.5
    s.foot_contact_force[1, 0, 2] = 30.0
    s.foot_vel[0, 0], s.foot_vel[1, 0] = torch.tensor([0.03, 0.04, 1.0]), torch.tensor([0.0, 0.15, 0.0])
    s.foot_vel[1, 1] = 7.0  # in the air
    s.packed[2] = math.nan  # fallen, and no numbers
    asked = torch.tensor([[0.8, -0.4, 0.0], [0.3, 0.4, 0.2], [0.0, 0.0, 0.0]])
    tally.add(s, asked, torch.tensor([2.0, 4.0, math.nan]), torch.tensor([True, True, False]))
    expected = {
        "tracking_score": (math.exp(-1.0) + 1.0) / 3,  # errors 0.5 and 0 m/s
        "yaw_score": (math.exp(-1.0) + math.exp(-0.64)) / 3,
        "lin_vel_error": 0.25,
        "ang_vel_error": 0.45,
        "cost_of_transport": (10 + 51 + 18 + 18) / (100 * 0.5 + 50 * 0.5),  # each at its own weight
        "torque_saturation": (1 + 2) / 4,  # each at its own limit
        "action_rate": 3.0,
        "foot_slip": 0.1,
    }
    assert tally.scores() == pytest.approx(expected, abs=1e-6)


def test_collapsing_is_a_fall_and_scores_nothing(go2, tmp_path, monkeypatch):
    monkeypatch.setattr(scorecard, "SECONDS", 3.0)
    lying = bundles.tiny_policy(go2, weight=0.0)
    lying.figures["default_joint_pos"] = np.array(go2.lie_joint_pos)
    path = bundles.write(tmp_path / "lying.onnx", bundles.graph(lying), bundles.contract(bundles.tiny_policy(go2, weight=0.0), go2) | {
        "golden_vectors": [bundles.golden_vector(lying, 0)],
    })  # fmt: skip
    scores = evaluate(load_policy(path))
    assert scores["fall_rate"] == 1
    assert scores["tracking_score"] == scores["yaw_score"] == 0


def test_the_order_of_a_bundles_joints_changes_nothing(go2, tmp_path, short):
    order = [4, 0, 9, 1, 11, 2, 3, 5, 10, 6, 8, 7]
    first, second = (
        load_policy(bundles.write_tiny(tmp_path / f"{name}.onnx", go2, weight=0.02, order=given))
        for name, given in (("a", None), ("b", order))
    )
    assert evaluate(second) == pytest.approx(evaluate(first), rel=1e-3)


def test_gains_are_the_contracts(go2, standing_bundle, tmp_path, short):
    stiff = bundles.rewrite(standing_bundle, tmp_path / "stiff.onnx", lambda data: data.update(kp=[10 * kp for kp in data["kp"]]))
    assert evaluate(load_policy(stiff)) != evaluate(load_policy(standing_bundle))


def test_commands_are_clipped_as_deployment_clips_and_scored_as_clipped(go2, tmp_path, short):
    policy = load_policy(
        bundles.write_tiny(
            tmp_path / "slow.onnx", go2, weight=0.0, commands={"forward": (-0.2, 0.2), "left": (-0.1, 0.1), "yaw": (-0.3, 0.3)}
        )
    )
    seen, step = [], policy._policy.step
    policy._policy.step = lambda signals: (seen.append(signals["command"].copy()), step(signals))[1]
    scores = evaluate(policy, episodes=36)
    assert np.abs(np.concatenate(seen)).max(axis=0) == pytest.approx([0.2, 0.1, 0.3])
    assert scores["ang_vel_error"] == pytest.approx(0.2, abs=0.02)
    assert scores["outside"] == 36 - 1  # all but standing


def test_same_seed_same_scores_and_the_condition_matters(go2, standing_bundle, short):
    pushed = RandomizationSettings(
        parameters={"base_mass_offset": (2.0, 3.0)}, events={"push": {"velocity": (-1.0, 1.0), "interval": (0.1, 0.2)}}
    )
    policy = load_policy(standing_bundle)
    a, b, c = (evaluate(policy, pushed, seed=seed) for seed in (5, 5, 6))
    assert a == b != c
    assert a["tracking_score"] != evaluate(policy, seed=5)["tracking_score"]


@pytest.mark.parametrize("dt", [0.005, 0.0125])
def test_a_control_step_that_physics_does_not_divide_is_run_exactly(standing_bundle, tmp_path, short, monkeypatch, dt):
    policy = load_policy(bundles.rewrite(standing_bundle, tmp_path / "other.onnx", lambda data: data.update(control_dt=dt)))
    made, make = [], scorecard.make_simulator
    monkeypatch.setattr(scorecard, "make_simulator", lambda *a, **k: made.append(make(*a, **k)) or made[0])
    evaluate(policy)
    assert made[0].mj_model_data(0)[1].time == pytest.approx(round(0.5 / dt) * dt, abs=1e-6)


def test_transport_is_counted_at_each_robots_own_weight_and_limits(go2, standing_bundle, short, monkeypatch):
    told = []

    class Spy(scorecard.Tally):
        def __init__(self, limit, weight, dt):
            told.extend([limit, weight])
            super().__init__(limit, weight, dt)

    monkeypatch.setattr(scorecard, "Tally", Spy)
    evaluate(load_policy(standing_bundle), RandomizationSettings(parameters={"base_mass_offset": (2.0, 2.0), "motor_strength": (0.9, 0.9)}))
    limit, weight = told
    assert weight.numpy() == pytest.approx((total_mass(build_model(go2, 0.002)) + 2.0) * 9.81, rel=1e-5)
    assert limit[0].numpy() == pytest.approx(0.9 * go2.effort_limit)


def test_quick_is_the_module_on_the_nominal_grid(go2, short):
    """The same figures as from the exported bundle, before chaos sets in."""
    policy = tiny_policy(
        *(f"task.{part}=null" for part in ("gait", "observations.actor.gait_clock", "rewards.gait", "metrics.gait")), seed=1
    )
    policy.train()
    figures = scorecard.quick(policy, go2, 0.02)
    assert policy.training
    contract = SimpleNamespace(protocol="velocity", control_dt=0.02, command_names=("forward", "left", "yaw"), command_rest=(0, 0, 0))
    memory = []

    def step(signals):
        with torch.no_grad():
            target, action, memory[-1] = policy(*(torch.from_numpy(signals[name]) for name in policy.inputs), memory[-1])
        return target.numpy(), action.numpy()

    def reset(batch):
        memory.append(torch.zeros(batch, policy.memory_size))

    bound = SimpleNamespace(robot=go2, inputs=policy.inputs, contract=contract, reset=reset, step=step, clip_command=lambda x: x)
    scores = evaluate(bound, episodes=36)
    assert figures["tracking"] == pytest.approx(scores["tracking_score"], abs=1e-3)
    assert figures["falls"] == scores["fall_rate"]


def test_a_policy_is_chosen_by_its_worse_score_less_its_falls(go2, monkeypatch):
    monkeypatch.setattr(scorecard, "_run", lambda *a: {"tracking_score": 0.9, "yaw_score": 0.8, "fall_rate": 0.25})
    figures = scorecard.quick(tiny_policy(), go2, 0.02)
    assert figures == {"tracking": 0.9, "yaw": 0.8, "falls": 0.25, "selection": pytest.approx(0.55)}


def test_score_file_names_engines_and_conditions(standing_bundle, short, monkeypatch):
    monkeypatch.setattr(scorecard.gait_trial, "measure", lambda policy, randomization, progress, actuator: {"feet": []})
    said = []
    card = scorecard.score_file(standing_bundle, {"mujoco": 2}, tiny().randomization, 0, lambda label, share: said.append(label))
    assert list(card["scores"]["mujoco"]) == ["nominal", "randomized"]
    assert card["gait"] == {"feet": []}
    assert {"mujoco, nominal", "mujoco, randomized"} <= set(said)
    # a simulator that was used before is as good as a new one
    assert card["scores"]["mujoco"]["randomized"] == evaluate(load_policy(standing_bundle), tiny().randomization, 2)
    assert list(scorecard.score_file(standing_bundle, {"mujoco": 1}, NOMINAL, 0)["scores"]["mujoco"]) == ["nominal"]
