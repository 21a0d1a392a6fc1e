"""Axes have the units and ends that their text says, every point of a grid is the world it names, and verdicts count what they say."""

import math
from dataclasses import replace

import pytest
import torch

import robots
import sim
from locomotion.cli import main
from locomotion.evaluation import falsify, robustness
from locomotion.evaluation.robustness import Axis
from locomotion.evaluation.rollout import World, load_policy
from locomotion.task.randomization import NOMINAL, RandomizationSettings
from sim.parameters import nominal_values
from tests.conftest import tiny
from tests.deploy import bundles


@pytest.fixture
def simulator(go2):
    return sim.make("mujoco", go2, 4, 0.002)


@pytest.fixture
def chosen(simulator):
    return {axis.name: axis for axis in robustness.axes(simulator, tiny().randomization)}


FRICTION = Axis("friction", "friction", None, "1", 0.8, (0.3, 1.5), (0.1, 2.0))
DELAY = Axis("action_delay", "action_delay", None, "s", 0.0, (0.0, 0.02), (0.0, 0.06))
PUSH = [Axis(f"push.{'xy'[i]}", "push", i, "m/s", 0.0, (-0.5, 0.5), (-1.5, 1.5)) for i in range(2)]


def test_a_distance_of_one_is_the_edge_of_the_range_on_either_side():
    values = robustness.to_values([FRICTION, DELAY], torch.tensor([[0.0, 0.0], [-1.0, 1.0], [1.0, 3.0]], dtype=torch.float64))
    torch.testing.assert_close(values, torch.tensor([[0.8, 0.0], [0.3, 0.02], [1.5, 0.06]], dtype=torch.float64))
    assert FRICTION.reach == pytest.approx((-0.7 / 0.5, 1.2 / 0.7))
    assert DELAY.reach == pytest.approx((0.0, 3.0))
    unranged = replace(FRICTION, edges=FRICTION.span)
    assert unranged.reach == pytest.approx((-1.0, 1.0))


@pytest.mark.parametrize("axis", [FRICTION, DELAY, *PUSH])
def test_a_grid_goes_through_nominal_to_the_ends(axis):
    grid = axis.grid()
    assert len(grid) == robustness.VALUES
    assert grid == sorted(set(grid))
    assert axis.nominal in grid
    assert (grid[0], grid[-1]) == axis.span


def test_every_parameter_is_an_axis_and_spans_are_what_is_asked(simulator, chosen):
    assert {axis.parameter for axis in chosen.values()} == {*tiny().randomization.parameters, "push"}
    assert chosen["friction"].span == (0.1, 2.0)
    assert chosen["action_delay"].span == (0.0, 0.06)
    assert chosen["motor_strength"].span == (0.6, 1.2)
    assert chosen["base_mass_offset"].span[1] == pytest.approx(0.4 * simulator.total_mass)
    assert chosen["push.y"].span == (-1.5, 1.5)
    assert chosen["base_com_offset.z"].span == pytest.approx((-0.09, 0.09))
    without = {axis.name: axis for axis in robustness.axes(simulator, NOMINAL)}
    assert set(without) == {"friction", "base_mass_offset", "motor_strength", "action_delay", "push.x", "push.y"}
    assert without["friction"].edges == without["friction"].span


def test_each_row_is_the_world_that_it_names(standing_bundle, simulator, chosen, monkeypatch):
    """All points and commands in one batch: points one after the other, each under every command."""
    policy, told = load_policy(standing_bundle), {}
    monkeypatch.setattr(simulator, "push", lambda mask, velocity: told.update(push=velocity.clone()))
    monkeypatch.setattr(robustness, "PUSH_EVERY", 0.02)
    axes = [chosen[name] for name in ("friction", "base_com_offset.y", "kp_scale", "ground_slope.x", "push.x")]
    values = torch.tensor([[0.2, 0.05, 1.3, 0.1, 1.0], [1.7, -0.05, 0.7, 0.0, 0.0]])
    robustness.trial(policy, simulator, axes, values, [(0, 0, 0), (0.5, 0, 0)], 0.06, seed=3)
    assert simulator.values["friction"].tolist() == pytest.approx([0.2, 0.2, 1.7, 1.7])
    assert simulator.values["base_com_offset"][:, 1].tolist() == pytest.approx([0.05, 0.05, -0.05, -0.05])
    assert not simulator.values["base_com_offset"][:, [0, 2]].any()
    assert simulator.values["kp_scale"][1].tolist() == pytest.approx([1.3] * 12)
    assert simulator.values["motor_strength"].unique().tolist() == [1.0]
    assert simulator.values["ground_slope"][:2].tan().norm(dim=1).tolist() == pytest.approx([math.tan(0.1)] * 2)
    # a slope that rises ahead leans gravity backwards, and a push goes forward, whatever the heading
    gravity = simulator.signals.projected_gravity
    assert gravity[:2, 0].tolist() == pytest.approx([-math.sin(0.1)] * 2, abs=0.01)
    assert gravity[:2, 1].tolist() == pytest.approx([0.0] * 2, abs=0.02)
    heading = robustness._heading(simulator.signals.base_quat)
    assert heading[0] != heading[1]
    torch.testing.assert_close(told["push"][:2], torch.stack([heading.cos(), heading.sin()], dim=-1)[:2], atol=1e-3, rtol=0)
    assert not told["push"][2:].any()


def test_standing_tracks_what_arithmetic_says_and_a_shove_is_a_fall(standing_bundle, go2):
    policy = load_policy(standing_bundle)
    simulator = sim.make("mujoco", go2, 4, 0.002)
    points = torch.tensor([[0.0, 0.0], [0.0, 6.0]])
    outcome = robustness.trial(policy, simulator, PUSH, points, [(0, 0, 0), (0.5, 0, 0)], 4.0, seed=0, record=True)
    assert outcome.tracking[0].tolist() == pytest.approx([1.0, math.exp(-1.0)], abs=0.01)
    assert outcome.fallen.tolist() == [[False, False], [True, True]]
    assert outcome.tracking[1].tolist() == [0.0, 0.0]
    assert outcome.closeness[1].tolist() == [1.0, 1.0]
    assert (outcome.closeness[0] < 0.3).all()
    assert outcome.motion is not None
    assert outcome.motion.shape == (200, 2, 2, 7 + 12)
    assert abs(outcome.motion[0, 0, 0, 2] - go2.standing_height) < 0.05


def curves(tracking, fallen):
    """Of a friction's values; robots' figures [values, robots]."""
    mean = [[sum(row) / len(row) for row in rows] for rows in (tracking, fallen)]
    trials = {"tracking": tracking, "fallen": fallen}
    panel = {"unit": "1", "nominal": 0.8, "values": [0.1, 0.8, 2.0], "tracking": mean[0], "falls": mean[1], "trials": trials}
    return {"axes": {"friction": panel}}


def test_a_verdict_counts_off_nominal_alone_and_what_is_sure():
    spread = [-0.1, 0.0, 0.1, 0.0] * 8  # of starts, met by both alike

    def about(mean):
        return [mean + one for one in spread]

    none, half = [0] * 32, [1, 0] * 16
    first = curves([about(0.9), about(0.1), about(0.70)], [none, [1] * 32, none])
    second = curves([about(0.5), about(0.9), about(0.71)], [half, none, none])
    verdict = robustness.compare(first, second)
    assert verdict == {
        "values": 2, "better": 1, "equal": 1, "worse": 0, "fewer_falls": 1, "more_falls": 0, "dominates": True, "worse_at": [],
        "mean_tracking": pytest.approx([0.8, 0.605]), "mean_falls": [0.0, 0.25],
    }  # fmt: skip
    back = robustness.compare(second, first)
    assert (back["worse"], back["more_falls"], back["dominates"], back["worse_at"]) == (1, 1, False, ["friction = 0.1"])
    assert not robustness.compare(first, first)["dominates"]
    # a mean difference of 0.1 that one robot in eight makes is not sure; one that half of them make is
    few, many = [0.8] * 4 + [0.0] * 28, [0.2] * 16 + [0.0] * 16
    for gain, sure in ((few, False), (many, True)):
        better = curves([about(0.5), about(0.9), [a + b for a, b in zip(about(0.7), gain, strict=True)]], [none] * 3)
        assert bool(robustness.compare(better, curves([about(0.5), about(0.9), about(0.7)], [none] * 3))["better"]) == sure


def test_what_is_left_alone_is_a_robots_or_a_simulators(simulator):
    ranges = tiny().randomization
    assert robustness.world_of("simulator", ranges) == (NOMINAL, {})
    conditions, usual = robustness.world_of("robot", ranges)
    assert (conditions.noise, conditions.delay, conditions.bias) == (ranges.noise, ranges.delay, ranges.bias)
    assert (conditions.parameters, conditions.events, conditions.graded) == ({}, {}, False)
    low, high = ranges.parameters["action_delay"]
    assert usual == {"action_delay": pytest.approx(0.5 * (low + high))}
    delay = next(axis for axis in robustness.axes(simulator, ranges, usual) if axis.name == "action_delay")
    assert delay.nominal == usual["action_delay"]
    assert delay.nominal in delay.grid()
    assert delay.span == (0.0, 0.06)


def test_robots_of_a_sweep_live_in_the_world_it_says(standing_bundle, simulator, chosen, monkeypatch):
    policy, seen = load_policy(standing_bundle), []
    monkeypatch.setattr(robustness, "World", lambda *given: seen.append(given[1]) or World(*given))
    conditions, usual = robustness.world_of("robot", tiny().randomization)
    values = torch.tensor([[0.2], [1.7]])
    given = {"conditions": conditions, "usual": usual}
    robustness.trial(policy, simulator, [chosen["friction"]], values, [(0, 0, 0), (0.5, 0, 0)], 0.06, 3, **given)
    assert seen == [conditions]
    assert simulator.values["action_delay"].unique().tolist() == pytest.approx([usual["action_delay"]])
    assert simulator.values["friction"].tolist() == pytest.approx([0.2, 0.2, 1.7, 1.7])


class HalfSpace(falsify.Search):
    """A world where the robot falls in a half-space: 0.6 x + 0.8 y > 1.2, the nearest of which is (0.72, 0.96)."""

    def __init__(self):
        self.axes, self.best = PUSH, None
        self.reach = torch.tensor([axis.reach for axis in self.axes], dtype=torch.float64)

    def falls(self, points):
        lean = (points @ torch.tensor([0.6, 0.8], dtype=torch.float64)) / 1.2
        self._keep(points[lean > 1])
        return lean > 1, lean.clamp(0, 1)


def test_margins_of_each_axis_are_where_the_border_is():
    single = falsify.margins(HalfSpace())
    assert single["push.x"]["up"] == pytest.approx(2.0, rel=0.01)
    assert single["push.y"]["up"] == pytest.approx(1.5, rel=0.02)
    assert single["push.y"]["up_value"] == pytest.approx(0.75, rel=0.02)
    assert single["push.x"]["down"] is single["push.x"]["down_value"] is None


def test_the_search_finds_the_nearest_fall():
    search, again = HalfSpace(), HalfSpace()
    for one in (search, again):
        falsify._evolve(one, 0, lambda share: None)
        falsify._shrink(one, lambda share: None)
    assert search.best is not None
    assert search.best.tolist() == again.best.tolist()
    assert robustness.distance(search.best).item() == pytest.approx(1.2, abs=0.02)
    assert search.best.tolist() == pytest.approx([0.72, 0.96], abs=0.1)


@pytest.fixture
def short(monkeypatch):
    for module in (robustness, falsify):
        monkeypatch.setattr(module, "SECONDS", 0.1)
    monkeypatch.setattr(robustness, "UNSCORED_SECONDS", 0.02)
    monkeypatch.setattr(robustness, "VALUES", 3)
    monkeypatch.setattr(falsify, "GENERATIONS", 2)
    monkeypatch.setattr(falsify, "HALVINGS", 1)


def test_nothing_that_falls_has_no_margin(standing_bundle, short):
    report, motion = falsify.falsify(load_policy(standing_bundle), "mujoco", RandomizationSettings(), 0)
    assert motion is report["margin"] is None
    assert all(single["up"] is single["down"] is None for single in report["single"].values())


def test_a_fall_is_told_in_words_and_shown(standing_bundle, short, monkeypatch):
    """A robot that only stands, pushed again and again."""
    for module, name, value in (
        (falsify, "SECONDS", 1.2),
        (falsify, "SHRINKS", 2),
        (falsify, "STARTS", 2),
        (robustness, "PUSH_EVERY", 0.2),
    ):
        monkeypatch.setattr(module, name, value)
    report, motion = falsify.falsify(load_policy(standing_bundle), "mujoco", RandomizationSettings(), 0)
    sides = {"friction": (0.7, 1.2), "push.x": (1.5, 1.5), "push.y": (1.5, 1.5), "motor_strength": (0.4, 0.2), "action_delay": (1, 0.06)}
    mass = sim.make("mujoco", robots.load("unitree_go2"), 1, 0.002).total_mass
    sides["base_mass_offset"] = (0.1 * mass, 0.4 * mass)
    moved = {name: (row["value"] - row["nominal"], sides[name]) for name, row in report["combination"].items()}
    assert report["margin"] == pytest.approx(math.hypot(*(by / side[by > 0] for by, side in moved.values())), rel=1e-4)
    assert 0 < report["margin"] <= min(single[side] or 9 for single in report["single"].values() for side in ("down", "up"))
    assert any(words.startswith("push.") and words.endswith("m/s (nominal 0)") for words in report["words"])
    assert report["confirmed"] in (0.5, 1.0)
    assert report["command"] in [list(command) for command in falsify.COMMANDS]
    assert motion is not None
    _, x, y, _ = motion[-1, 3:7]
    assert 1 - 2 * (x * x + y * y) < 0.5 or motion[-1, 2] < 0.5 * robots.load("unitree_go2").standing_height


def test_the_command_writes_a_figure_and_its_numbers(go2, standing_bundle, tmp_path, short, capsys):
    other = bundles.write_tiny(tmp_path / "other.onnx", go2, weight=0.0)
    out = tmp_path / "out.json"
    assert main(["evaluate", f"policy={standing_bundle}", "sweep=randomization", f"against={other}", f"output={out}"]) == 0
    assert "does not dominate: it is nowhere better" in capsys.readouterr().out
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    first = out.read_bytes()
    assert main(["evaluate", f"policy={standing_bundle}", "sweep=randomization", f"against={other}", f"output={out}"]) == 0
    assert out.read_bytes() == first


def test_bad_input_is_one_clear_error(standing_bundle, tmp_path, capsys):
    foreign = bundles.write_tiny(tmp_path / "foreign.onnx", robots.load("anymal_c"), weight=0.0)
    for words, said in (
        (["sweep=everything"], "'randomization' or 'falsify'"),
        (["others=simulator"], "sweep=randomization beside it"),
        (["sweep=falsify", "others=robot"], "sweep=randomization beside it"),
        (["against=x.onnx"], "Add sweep=randomization"),
        (["sweep=falsify", "against=x.onnx"], "nothing, with sweep=falsify"),
        (["sweep=randomization", f"against={foreign}"], "This one is of anymal_c"),
        (["sweep=falsify", "output=x.txt"], "the name of a .json file"),
    ):
        assert main(["evaluate", f"policy={standing_bundle}", *words]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1, error


def test_an_encoders_offset_reaches_what_the_policy_reads(go2):
    simulator = sim.make("mujoco", go2, 1, 0.002)
    world = World(simulator, NOMINAL, 0.02, 0)
    values = nominal_values(1, 12)
    values["joint_zero_offset"][:] = 0.04
    world.set_physics(values)
    seen = world.measure(("joint_pos",))["joint_pos"]
    assert (seen - simulator.signals.joint_pos).numpy() == pytest.approx(0.04, abs=1e-6)
    simulator.close()


def test_a_range_that_is_nominal_alone_is_no_axis(go2):
    simulator = sim.make("mujoco", go2, 1, 0.002)
    randomization = RandomizationSettings(parameters={"kd_scale": (1.0, 1.0), "kp_scale": (0.9, 1.1)})
    names = {axis.parameter for axis in robustness.axes(simulator, randomization)}
    assert "kp_scale" in names
    assert "kd_scale" not in names
    simulator.close()
