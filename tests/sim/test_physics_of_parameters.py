"""Every physical parameter reaches the physics: an analytic consequence each; nominal values are no change, and nothing accumulates."""

from __future__ import annotations

import copy
import math

import mujoco
import numpy as np
import pytest
import torch

import sim
from sim.parameters import nominal_values
from tests.conftest import only, standing

ONE = only(1)
DT = 0.001  # s
ENGINES = ["mujoco", "pybullet"]


@pytest.fixture
def make(go2):
    """A robot at rest in the air with parameters, given as numbers or lists."""
    made = []

    def build(engine="mujoco", height=2.0, limp=False, **values):
        if engine == "pybullet":
            pytest.importorskip("pybullet")
        simulator = sim.make(engine, go2, 1, DT, threads=1)
        made.append(simulator)
        if limp:
            values = {"motor_strength": 0.0, "joint_friction_scale": 0.0, "joint_damping_scale": 0.0, **values}
        given = nominal_values(1, 12)
        for name, value in values.items():
            given[name][:] = torch.tensor(value)
        simulator.set_parameters(ONE, {name: given[name] for name in values})
        simulator.reset(ONE, standing(go2, 1, height=height))
        return simulator

    yield build
    for simulator in made:
        simulator.close()


def pose(go2):
    return torch.tensor(go2.default_joint_pos, dtype=torch.float32)[None]


def edited(simulator, edit):
    """The nominal model changed by hand, and its mass matrix in the default pose."""
    model = copy.copy(simulator.model)
    edit(model)
    data = mujoco.MjData(model)
    mujoco.mj_setConst(model, data)
    data.qpos[:] = simulator._qpos[0]
    mujoco.mj_forward(model, data)
    matrix = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, matrix)
    return model, data, matrix


@pytest.mark.parametrize(
    ("values", "edit"),
    [
        ({"inertia_scale": 5.0}, lambda m: m.body_inertia.__imul__(5.0)),
        ({"inertia_scale": 0.2}, lambda m: m.body_inertia.__imul__(0.2)),
        ({"link_mass_scale": [1.0] * 2 + [2.0] + [1.0] * 9}, lambda m: _links(m, "FL_calf", 2.0)),
        ({"armature_scale": 2.0}, lambda m: m.dof_armature.__imul__(2.0)),
    ],
)
def test_the_period_of_a_joint_on_its_motors_spring_is_that_of_its_inertia(make, go2, values, edit):
    """All other joints limp, in weightlessness, a small swing: M ddq = -kp q e_j, so T = 2 pi / sqrt(kp (M^-1)_jj)."""
    j, kp, swing, cycles = 2, go2.kp[2], 0.01, 5
    alone = [float(i == j) for i in range(12)]
    simulator = make(gravity_scale=0.0, motor_strength=alone, kd_scale=0.0, joint_damping_scale=0.0, joint_friction_scale=0.0, **values)
    period, nominal = (2 * math.pi / math.sqrt(kp * np.linalg.inv(edited(simulator, e)[2])[6 + j, 6 + j]) for e in (edit, lambda m: None))
    assert abs(period / nominal - 1) > 0.02
    target, angle = pose(go2), []
    target[0, j] += swing
    while len(angle) * DT < (cycles + 1) * period:
        simulator.step(target, 1)
        angle.append(simulator.signals.joint_pos[0, j].item() - target[0, j].item())
    up = [i - angle[i] / (angle[i] - angle[i - 1]) for i in range(1, len(angle)) if angle[i - 1] < 0 <= angle[i]]  # steps
    assert (up[cycles - 1] - up[0]) * DT / (cycles - 1) == pytest.approx(period, rel=2e-3)


def _links(model, name, factor):
    body = model.body(name).id
    model.body_mass[body] *= factor
    model.body_inertia[body] *= factor


@pytest.mark.parametrize("engine", ENGINES)
def test_the_effort_limit_is_apart_from_the_curve(make, go2, engine):
    """At 20 rad/s a hip's curve has 23.7 (30 - 20) / (30 - 10.64) = 12.24 N m: a limit at 0.75 of the effort leaves that alone."""
    torques = []
    for scale in (1.0, 0.75):
        simulator = make(engine, effort_limit_scale=scale, gravity_scale=0.0)
        state = standing(go2, 1, height=2.0)
        state.joint_vel[0, 0] = 20.0
        simulator.reset(ONE, state)
        simulator.step(pose(go2) + 10.0, 1)
        torques.append(simulator.signals.joint_torque[0, 0].item())
    assert torques[1] == pytest.approx(torques[0], rel=1e-3)
    assert torques[0] == pytest.approx(12.24, abs=1.0)


def test_a_base_keeps_some_of_its_mass(make, go2):
    simulator = make(base_mass_offset=-100.0)
    model, _ = simulator.mj_model_data(0)
    assert model.body("base").mass[0] == pytest.approx(0.2 * simulator.model.body("base").mass[0])
    assert (model.body("base").inertia > 0).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_joint_stands_off_by_its_zero_offset(make, go2, engine):
    """The motor's PD acts on what the encoder reads, q + offset: at rest q = target - offset."""
    offset = torch.linspace(-0.1, 0.1, 12)
    simulator = make(engine, gravity_scale=0.0, joint_friction_scale=0.0, joint_zero_offset=offset.tolist())
    for _ in range(100):
        simulator.step(pose(go2), 10)
    assert simulator.signals.joint_pos[0].numpy() == pytest.approx((pose(go2)[0] - offset).numpy(), abs=2e-3)


def test_motors_are_at_rest_after_a_reset_whatever_their_zero(make, go2):
    simulator = make(gravity_scale=0.0, joint_zero_offset=0.1, action_delay=0.02)
    assert simulator.signals.joint_torque.abs().max().item() < 1e-6
    simulator.step(pose(go2), 1)
    assert simulator.signals.joint_torque.abs().max().item() < 1e-6


@pytest.mark.parametrize("engine", ENGINES)
def test_a_motor_without_strength_gives_no_torque(make, go2, engine):
    strength = [1.0] * 12
    strength[4] = 0.0
    simulator = make(engine, motor_strength=strength)
    simulator.step(pose(go2) + 0.3, 1)
    assert simulator.signals.joint_torque[0, 4].item() == 0.0
    assert (simulator.signals.joint_torque[0, [0, 1, 2, 3, 5, 6]].abs() > 1.0).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_nominal_values_change_nothing_and_resets_do_not_accumulate(go2, engine):
    """2000 random settings, then nominal ones: bit for bit what a new simulator does."""
    if engine == "pybullet":
        pytest.importorskip("pybullet")
    n, rounds = (20, 100) if engine == "mujoco" else (1, 20)
    simulators = [sim.make(engine, go2, n, 0.005, threads=1) for _ in range(3)]
    fresh, told, used = simulators
    nominal = {name: value for name, value in nominal_values(n, 12).items() if name in fresh.supports}
    told.set_parameters(only(n), nominal)
    generator = torch.Generator().manual_seed(0)
    for _ in range(rounds):
        random = {}
        for name, value in nominal.items():
            low, high = (max(min(x, 0.3), -0.3) + (name.endswith("scale")) for x in sim.PARAMETERS[name].bounds)
            low, high = (0.01, 0.04) if "delay" in name else (0.001, 0.01) if "jitter" in name else (max(low, 0.01), high)
            random[name] = low + (high - low) * torch.rand(value.shape, generator=generator)
        mask = torch.rand(n, generator=generator) < 0.7
        mask[0] = True
        used.set_parameters(mask, random)
        used.wrench(mask, torch.ones(n, 6))
        used.reset(mask, standing(go2, n, height=1.0))
    used.set_parameters(only(n), nominal)
    for simulator in simulators:
        simulator.reset(only(n), standing(go2, n))
    target = pose(go2).repeat(n, 1)
    for t in range(30):
        for simulator in simulators:
            simulator.step(target + 0.2 * math.sin(t), 4)
        assert torch.equal(told.signals.packed, fresh.signals.packed)
        assert torch.equal(used.signals.packed, fresh.signals.packed)
    if engine == "mujoco":
        for name, value in fresh._expanded.items():
            np.testing.assert_array_equal(used._expanded[name], value)
    for simulator in simulators:
        simulator.close()
