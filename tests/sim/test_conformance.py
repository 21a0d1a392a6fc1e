"""Engines keep the table of answers, and an engine that is wrong in one thing is found out by the check of that thing."""

import json
from dataclasses import replace

import pytest
import torch

import robots
import sim
from locomotion.cli import main
from sim import conformance
from sim.conformance import CHECKS, Bench, judge
from tests.conftest import only

BY_NAME = {check.name: check for check in CHECKS}
SLOW = ("mujoco_warp",)  # many minutes on a CPU
EVERY = [pytest.param(engine, marks=pytest.mark.slow) if engine in SLOW else engine for engine in sim.ENGINES]
LACKING = {"mujoco": {"restitution"}}  # an engine that is to do everything else


@pytest.fixture(scope="module")
def benches(go2):
    return {engine: Bench(engine, go2) for engine in sim.ENGINES}


@pytest.mark.parametrize("engine", EVERY)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name.replace(" ", "_"))
def test_engines_keep_the_table(benches, engine, check):
    pytest.importorskip(engine)
    result = judge(check, benches[engine])
    assert result.passed, f"{result.measured} {check.unit}, at most {result.tolerance}: {check.text}"
    if engine in LACKING:
        assert (result.measured is None) == (check.name in LACKING[engine])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unitree_go1", "anymal_c", "unitree_g1.legs", "unitree_g1"])
@pytest.mark.parametrize("engine", [engine for engine in sim.ENGINES if engine not in SLOW])
def test_engines_keep_the_table_with_every_robot(engine, name):
    pytest.importorskip(engine)
    results = list(conformance.run([Bench(engine, robots.load(name))]))
    assert [(result.check.name, result.measured) for result in results if not result.passed] == []


def test_every_parameter_of_the_table_has_a_check():
    assert {name for check in CHECKS for name in check.proves} == set(sim.PARAMETERS)


class Wrong:
    """An engine that differs from the right one in what a test puts over its calls."""

    def __init__(self, right, **calls):
        self._right, self._calls = right, calls

    def __getattr__(self, name):
        return self._calls[name].__get__(self._right) if name in self._calls else getattr(self._right, name)


def found(go2, check, engine="mujoco", **calls):
    """Whether ``check`` finds out an engine with other ``calls``."""
    if engine == "pybullet":
        pytest.importorskip(engine)
    return not judge(BY_NAME[check], Bench(engine, go2, lambda *args, **more: Wrong(sim.make(*args, **more), **calls))).passed


@pytest.mark.parametrize("name", sim.PARAMETERS)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.25])
def test_a_parameter_that_does_not_reach_the_physics_as_it_should_is_found(go2, name, share):
    """Its change from nominal is passed on by a share only, from not at all to a quarter too much."""

    def set_parameters(self, mask, values):
        nominal = sim.PARAMETERS[name].nominal
        self.set_parameters(mask, values | ({name: nominal + share * (values[name] - nominal)} if name in values else {}))

    assert found(go2, name, "pybullet" if name == "restitution" else "mujoco", set_parameters=set_parameters)


def test_wrong_calls_are_found(go2):
    def longer(self, target, substeps):
        self.step(target, substeps + 1)

    def weaker(self, target, substeps):
        self.step(target * 0.99, substeps)

    def shuffled(self, target, substeps):
        self.step(target[:, [1, 0, *range(2, 12)]], substeps)

    def late(self, target, substeps):
        held, self.held = getattr(self, "held", torch.tensor(go2.default_joint_pos).float().expand_as(target)), target
        self.step(held, substeps)

    assert found(go2, "free fall", step=longer)
    assert found(go2, "driven joint", step=longer)
    assert found(go2, "PD hold", step=weaker)
    assert found(go2, "motor law", step=weaker)
    assert found(go2, "driven joint", step=shuffled)
    assert found(go2, "target acts at once", step=late)
    assert found(go2, "push", push=lambda self, mask, velocity: self.push(mask, velocity.flip(1)))
    assert found(go2, "push", push=lambda self, mask, velocity: self.push(~mask, velocity))
    assert found(go2, "force on the base", wrench=lambda self, mask, wrench: self.wrench(mask, -wrench))
    assert found(go2, "torque on the base", wrench=lambda self, mask, wrench: self.wrench(mask, wrench[:, [0, 1, 2, 4, 3, 5]]))


def test_wrong_physics_is_found(go2):
    def with_parameter(name, value):
        def reset(self, mask, state):
            own = self.values[name].clone()
            own[:] = torch.as_tensor(value)
            self.set_parameters(only(self.num_envs), {name: own})
            self.reset(mask, state)

        return reset

    crooked = torch.ones(12)
    crooked[0] = 1.3
    assert found(go2, "free fall", reset=with_parameter("gravity_scale", 0.999))
    assert found(go2, "effort limit", reset=with_parameter("effort_limit_scale", 0.999))
    assert found(go2, "PD hold", reset=with_parameter("kp_scale", 1.05))
    assert found(go2, "PD hold", reset=with_parameter("kd_scale", 1.1))
    assert found(go2, "passive swing", reset=with_parameter("joint_damping_scale", 1.0))
    assert found(go2, "rotors", reset=with_parameter("armature_scale", 1.01))
    assert found(go2, "resting forces", reset=with_parameter("gravity_scale", 1.03))
    assert found(go2, "friction beyond its cone", reset=with_parameter("friction", 0.36))
    assert found(go2, "grip within the cone", reset=with_parameter("friction", 0.2))
    assert found(go2, "symmetry in the air", reset=with_parameter("kp_scale", crooked))
    assert found(go2, "symmetry on the ground", reset=with_parameter("kp_scale", crooked))


def test_what_is_not_the_same_to_the_last_bit_is_found(go2):
    def noisy(self, target, substeps):
        self.step(target + 1e-6 * torch.rand(target.shape), substeps)

    def leaking(self, target, substeps):
        self.step(target + 1e-6 * target.mean(dim=0), substeps)

    def everyone(self, mask, state):
        self.reset(torch.ones_like(mask), state)

    def half(self, mask, values):
        self.set_parameters(mask, {name: value * 1.0001 if name == "kp_scale" else value for name, value in values.items()})

    def forgets(self, state):
        self.load_state_dict(state | {"actuator_gainprm": self.state_dict()["actuator_gainprm"]})

    assert found(go2, "same seed, same bytes", step=noisy)
    assert found(go2, "neighbours do not matter", step=leaking)
    assert found(go2, "neighbours do not matter", reset=everyone)
    assert found(go2, "nothing accumulates", set_parameters=half)
    assert found(go2, "continuation", load_state_dict=forgets)


def test_wrong_signals_are_found(go2):
    class Misread(Wrong):
        """Signals with one of them changed."""

        def __init__(self, right, name, change):
            super().__init__(right)
            self._name, self._change = name, change

        @property
        def signals(self):
            s = self._right.signals
            copy = sim.Signals(s.packed.clone(), s.num_joints, s.num_feet)
            getattr(copy, self._name).copy_(self._change(getattr(s, self._name)))
            return copy

    def misread(check, name, change):
        return not judge(BY_NAME[check], Bench("mujoco", go2, lambda *args, **more: Misread(sim.make(*args, **more), name, change))).passed

    frames = ("foot_pos", "foot_vel", "projected_gravity", "base_lin_vel", "base_quat")
    for name in frames:
        assert misread("kinematics and frames", name, lambda value: value * 1.01)
        assert misread("kinematics and frames", name, lambda value: value.roll(1, dims=-1))
    assert misread("resting forces", "foot_contact_force", lambda value: value * 1.05)
    assert misread("resting forces", "foot_contacts", lambda value: value * 0.0)
    assert misread("motor law", "joint_torque", lambda value: value * 1.001)
    assert misread("free fall", "base_lin_vel_world", lambda value: -value)


def test_what_is_no_number_does_not_pass(go2):
    def nowhere(self, mask, state):
        state.base_pos[:] = float("nan")
        self.reset(mask, state)

    assert found(go2, "free fall", reset=nowhere) or found(go2, "resting forces", reset=nowhere)


def test_the_command_prints_the_table_and_tells_by_its_status(monkeypatch, capsys, tmp_path):
    chosen = tuple(BY_NAME[name] for name in ("free fall", "restitution", "effort limit"))
    monkeypatch.setattr(conformance, "CHECKS", chosen)
    path = tmp_path / "conformance.json"
    assert main(["conformance", "sim=mujoco", f"output={path}"]) == 0
    out = capsys.readouterr().out
    assert "free fall" in out
    assert "mujoco, the engine cannot: restitution" in out
    results = json.loads(path.read_text())["results"]
    assert [result["measured"] is None for result in results] == [False, True, False]
    assert main(["conformance", "sim=[mujoco]", f"output={tmp_path / 'table.md'}"]) == 0
    assert (tmp_path / "table.md").read_text().startswith("| check | unit | tolerance | mujoco |\n| --- |")
    monkeypatch.setattr(conformance, "CHECKS", (replace(chosen[0], tolerance=0.0),))
    assert main(["conformance", "sim=mujoco"]) == 1
    assert "failed: free fall in mujoco" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sim=mujocco"], "Did you mean mujoco"),
        (["sim=[mujoco,bullet]"], "Did you mean pybullet"),
        (["sim=[mujoco,mujoco]"], "different engines"),
        (["sim=[]"], "different engines"),
        (["robot=unitree_go3"], "unitree_go"),
        (["output=table.txt"], ".json or .md"),
    ],
)
def test_bad_input_is_one_clear_error(words, message, capsys):
    assert main(["conformance", *words]) == 2
    assert message in capsys.readouterr().err
