"""A gate between engines: it finds the engine that is another, says in what, and tells by its exit status."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from locomotion.cli import main
from locomotion.evaluation import scorecard, sim_to_sim
from locomotion.evaluation.rollout import load_policy, make_simulator
from locomotion.evaluation.sim_to_sim import BEYOND, HELD, diverged, matrix, shortfalls, sort, spread_of
from locomotion.settings import GateSettings
from locomotion.task.randomization import RandomizationSettings
from sim.parameters import nominal_values

DRAWN = RandomizationSettings(parameters={"kp_scale": (0.95, 1.05), "base_mass_offset": (-0.2, 0.2), "action_delay": (0.0, 0.002)})


def scores(**engines):
    """Of tracking, yaw and falls by engine."""
    names = ("tracking_score", "yaw_score", "fall_rate")
    return {engine: {"nominal": dict(zip(names, values, strict=True))} for engine, values in engines.items()}


def gate(**asked):
    return GateSettings(**{"tracking": None, "yaw": None, "falls": None} | asked)


def test_the_matrix_holds_each_engine_against_the_first():
    rows = matrix(scores(mujoco=(0.8, 0.9, 0.0), pybullet=(0.6, 0.9, 0.25)))
    assert [row["tracking_ratio"] for row in rows] == pytest.approx([1.0, 0.75])
    assert [row["yaw_ratio"] for row in rows] == pytest.approx([1.0, 1.0])
    assert [row["falls"] for row in rows] == [0.0, 0.25]


def test_the_gate_asks_of_every_further_engine():
    rows = matrix(scores(mujoco=(0.8, 0.9, 0.1), pybullet=(0.75, 0.8, 0.1), other=(0.9, 0.9, 0.3)))
    assert shortfalls(rows, gate()) == []
    assert shortfalls(rows, gate(tracking=0.93)) == []
    assert [line.split(":")[0] for line in shortfalls(rows, gate(tracking=0.95))] == ["pybullet"]
    assert [line.split(":")[0] for line in shortfalls(rows, gate(yaw=0.9))] == ["pybullet"]
    assert "0.200 more of the robots fall" in shortfalls(rows, gate(falls=0.1))[0]
    assert shortfalls(rows, gate(falls=0.2)) == []
    lost = matrix(scores(mujoco=(0.0, 0.0, 1.0), pybullet=(0.0, 0.0, 1.0)))
    assert len(shortfalls(lost, gate(tracking=0.9, yaw=0.9, falls=0.0))) == 2  # a share of nothing is no pass
    broken = matrix(scores(mujoco=(0.8, 0.9, 0.0), pybullet=(float("nan"), 0.9, float("nan"))))
    assert len(shortfalls(broken, gate(tracking=0.9, falls=0.0))) == 2


def test_a_signal_has_diverged_where_it_stays_beyond_its_spread():
    first, spread = np.zeros((50, 2)), np.array([0.1, 10.0])
    other = first.copy()
    other[:, 1] = 1.01 * BEYOND  # far, but not in spreads
    other[10 : 10 + HELD - 1, 0] = 1.01 * BEYOND * 0.1  # not for long
    assert diverged("joint_vel", ["a", "b"], first, other, spread, 0.02).seconds is None
    other[20 : 20 + HELD, 0] = -1.01 * BEYOND * 0.1
    found = diverged("joint_vel", ["a", "b"], first, other, spread, 0.02)
    assert (found.component, found.seconds) == ("a", pytest.approx(21 * 0.02))
    assert found.ratio == pytest.approx(1.01 * BEYOND)
    other[20, 0] = 0.99 * BEYOND * 0.1
    assert diverged("joint_vel", ["a", "b"], first, other, spread, 0.02).seconds is None
    other[5:, 1] = float("nan")
    assert diverged("joint_vel", ["a", "b"], first, other, spread, 0.02).component == "b"
    assert spread_of(first, [first + 0.3, first - 0.4]) == pytest.approx([0.35355] * 2, rel=1e-3)
    late, early, far = (SimpleNamespace(seconds=s, ratio=r) for s, r in ((0.4, 9.0), (0.2, 4.0), (0.2, 5.0)))
    assert sort([late, early, far, SimpleNamespace(seconds=None, ratio=99.0)])[:3] == [far, early, late]


@pytest.fixture
def another(monkeypatch):
    """An engine "other": MuJoCo's, with the parameters that the test puts here."""
    values = {}

    def make(robot, count, dt, actuator, engine="mujoco", **more):
        simulator = make_simulator(robot, count, dt, actuator, "mujoco", threads=1, **more)
        if engine == "other":
            right, own = simulator.set_parameters, nominal_values(count, robot.num_joints)
            for name, value in values.items():
                own[name][:] = torch.as_tensor(value)
            simulator.set_parameters = lambda mask, given: right(mask, given | {name: own[name] for name in values})
        return simulator

    monkeypatch.setattr(sim_to_sim, "make_simulator", make)
    monkeypatch.setattr(sim_to_sim, "SECONDS", 1.0)
    monkeypatch.setattr(sim_to_sim, "COMMANDS", ((0.0, 0.0, 0.0), (0.5, 0.0, 0.0)))
    return values


def compare(bundle):
    return sim_to_sim.compare(load_policy(bundle), {"mujoco": (None, None), "other": (None, None)}, DRAWN, 0)


def test_an_engine_that_is_the_first_one_does_not_part_from_it(standing_bundle, another):
    for one in compare(standing_bundle):
        assert all(found.seconds is None and found.ratio == 0.0 for found in one.divergences["other"])
        assert all((spread > 0).any() for name, spread in one.spread.items() if name != "action")


def test_an_engine_whose_motor_is_another_parts_at_that_leg(standing_bundle, another, go2):
    weak = torch.ones(12)
    weak[go2.joint_names.index("RL_calf_joint")] = 0.3
    another["kp_scale"] = weak
    for one in compare(standing_bundle):
        first = one.divergences["other"][0]
        assert first.seconds < 0.3
        by = {found.signal: found for found in one.divergences["other"]}
        assert by["joint_pos"].component.startswith("RL_")  # the weak joint, or the one above it that gives way
        assert by["joint_pos"].seconds is not None
        assert by["joint_pos"].ratio > 10.0


def test_an_engine_without_gravity_is_found_in_its_forces(standing_bundle, another):
    another["gravity_scale"] = 0.0
    for one in compare(standing_bundle):
        by = {found.signal: found for found in one.divergences["other"]}
        assert by["base_height"].seconds is not None
        assert by["foot_contact_force"].seconds is not None
        assert not one.runs["other"].fell


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(scorecard, "SECONDS", 0.3)
    monkeypatch.setattr(scorecard, "UNSCORED_SECONDS", 0.1)
    monkeypatch.setattr(scorecard, "GRID", scorecard.GRID[:2])
    monkeypatch.setattr(sim_to_sim, "SECONDS", 0.3)
    monkeypatch.setattr(sim_to_sim, "COMMANDS", ((0.5, 0.0, 0.0),))


def test_the_command_writes_the_page_and_tells_by_its_status(standing_bundle, short, tmp_path, capsys):
    pytest.importorskip("pybullet")
    words = [
        "evaluate",
        f"policy={standing_bundle}",
        "sim=[mujoco,pybullet]",
        "episodes=2",
        "gait=false",
        f"output={tmp_path}/engines.json",
    ]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "gate.tracking=0.5", "gate.falls=0"]) == 0
    out = capsys.readouterr().out
    assert "gate: passed" in out
    assert "parts first in pybullet" in out
    page = (tmp_path / "engines.html").read_text()
    assert "The gate is passed." in page
    assert page.count("<img") == 1
    assert main([*words, "gate.tracking=2", "gate.yaw=2"]) == 1
    assert "gate: pybullet: tracking is" in capsys.readouterr().out
    assert "The gate is not passed." in (tmp_path / "engines.html").read_text()
    data = json.loads((tmp_path / "engines.json").read_text())
    assert len(data["engines"]["failed"]) == 2
    assert set(data["scores"]) == {"mujoco", "pybullet"}
    assert len(data["engines"]["matched"][0]["divergences"]["pybullet"]) == len(sim_to_sim.SIGNALS)
    (tmp_path / "again.html").mkdir()  # the page cannot be written: the scores are kept
    assert main([*words[:-1], f"output={tmp_path}/again.json"]) == 2
    assert set(json.loads((tmp_path / "again.json").read_text())["scores"]) == {"mujoco", "pybullet"}


def test_an_engine_that_is_missing_is_told_before_the_first_is_scored(standing_bundle, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pybullet", None)
    monkeypatch.setattr(scorecard, "_evaluate", None)
    assert main(["evaluate", f"policy={standing_bundle}", "sim=[mujoco,pybullet]", "gate.falls=0"]) == 2
    assert "sim2real-locomotion[pybullet]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "gate.tracking=0.9"], "gate.tracking"),
        (["evaluate", "sim=[mujoco,pybullet]", "gate.falls=2"], "gate.falls"),
        (["evaluate", "sim=[mujoco,pybullet]", "gate.speed=1"], "gate.speed"),
        (["evaluate", "sim=[mujoco,bullet]"], "Did you mean pybullet"),
        (["evaluate", "sim=[mujoco,mujoco]"], "different engines"),
        (["evaluate", "sim=[mujoco,pybullet]", "sweep=falsify"], "one engine, in a sweep"),
    ],
)
def test_bad_input_is_one_clear_error(standing_bundle, words, message, capsys):
    assert main([*words, f"policy={standing_bundle}"]) == 2
    assert message in capsys.readouterr().err


def test_other_commands_take_one_engine(capsys):
    assert main(["play", "sim=[mujoco,pybullet]", "policy=x"]) == 2
    assert "one engine" in capsys.readouterr().err


def test_a_policy_that_cannot_be_told_to_walk_is_compared_by_its_own_protocol(short, monkeypatch, standing_bundle):
    policy = load_policy(standing_bundle)
    object.__setattr__(policy.contract, "protocol", "stand")
    assert len(sim_to_sim._commands(policy)) == 1


def test_export_writes_no_bundle_that_does_not_pass(standing_bundle, short, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pybullet")
    monkeypatch.setattr("locomotion.commands.export.find", lambda text, field: text)
    monkeypatch.setattr("locomotion.commands.export.export_checkpoint", lambda path, to, scores=None: shutil.copy(standing_bundle, to))
    words = ["export", "checkpoint=best.pt", f"output={tmp_path}/policy.onnx", "sim=[mujoco,pybullet]"]
    assert main([*words, "gate.tracking=2"]) == 1
    assert "not passed" in capsys.readouterr().out
    assert not (tmp_path / "policy.onnx").exists()
    assert main([*words, "gate.tracking=0.5", "gate.falls=0"]) == 0
    assert (tmp_path / "policy.onnx").exists()
    assert main(words) == 2  # several engines, and nothing asked of them
    assert main([*words[:3], "gate.falls=0"]) == 2  # asked, of one engine
