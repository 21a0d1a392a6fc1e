"""Every physical parameter reaches the physics: an analytic consequence each; nominal values are no change, and nothing accumulates."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest
import torch

import sim
from robots.robot import GRAVITY
from sim.mujoco_model import PAYLOAD, build_model
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
    """The nominal model changed by hand, and its mass matrix in the robot's pose."""
    model = build_model(simulator.robot, DT, payload=True)
    edit(model)
    if simulator.engine == "pybullet":
        _carry_rotors(model)
    data = mujoco.MjData(model)
    mujoco.mj_setConst(model, data)
    s = simulator.signals
    data.qpos[:] = torch.cat([s.base_pos[0], s.base_quat[0], s.joint_pos[0]]).double().numpy()
    mujoco.mj_forward(model, data)
    matrix = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, matrix)
    return model, data, matrix


def _carry_rotors(model):
    """What Bullet has instead of rotors: links with their inertia about the joints' axes, split over the principal axes."""
    for joint in range(1, model.njnt):
        body, dof, rotation = model.jnt_bodyid[joint], model.jnt_dofadr[joint], np.zeros(9)
        mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
        model.body_inertia[body] += model.dof_armature[dof] * np.square(rotation.reshape(3, 3).T @ model.jnt_axis[joint])
    model.dof_armature[:] = 0.0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_gravity_is_the_acceleration_of_free_fall(make, go2, engine, scale):
    simulator = make(engine, gravity_scale=scale)
    for _ in range(10):
        simulator.step(pose(go2), 10)
    assert simulator.signals.base_lin_vel_world[0, 2].item() == pytest.approx(-scale * GRAVITY * 0.1, abs=0.01)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_force_changes_momentum_and_a_torque_turns(make, go2, engine):
    """F t = m v of the whole robot's centre of mass; it goes on until set again and ends with a reset."""
    simulator = make(engine, gravity_scale=0.0)
    simulator.wrench(ONE, torch.tensor([[30.0, 0.0, 0.0, 0.0, 0.0, 0.5]]))
    for _ in range(20):
        simulator.step(pose(go2), 1)
    assert simulator.signals.base_ang_vel[0, 2].item() > 0.01
    if engine == "mujoco":
        model, data = simulator.mj_model_data(0)
        mujoco.mj_subtreeVel(model, data)
        assert data.subtree_linvel[0] * simulator.total_mass == pytest.approx([30.0 * 0.02, 0.0, 0.0], abs=0.02)
    simulator.reset(ONE, standing(go2, 1, height=2.0))
    simulator.step(pose(go2), 20)
    assert simulator.signals.base_ang_vel.abs().max().item() < 1e-3


@pytest.mark.parametrize("engine", ENGINES)
def test_a_wrench_acts_at_the_centre_of_mass_of_the_base(make, go2, engine):
    """M dv = dt J^T (f, tau) from rest, the base's centre of mass being moved; a payload is no part of it."""
    moved = {"base_com_offset": [0.1, 0.05, -0.05], "payload_mass": 2.0, "payload_pos": [0.2, 0.0, 0.1]}
    simulator = make(engine, limp=True, gravity_scale=0.0, **moved)

    def edit(model):
        model.body_ipos[1] += moved["base_com_offset"]
        _payload(model, 2.0, moved["payload_pos"])

    model, data, matrix = edited(simulator, edit)
    force, torque, expected = np.array([30.0, -10.0, 20.0]), np.array([0.5, 1.0, -2.0]), np.zeros(18)
    mujoco.mj_applyFT(model, data, force, torque, data.xipos[1], 1, expected)
    simulator.wrench(ONE, torch.tensor([[*force, *torque]]).float())
    simulator.step(pose(go2), 1)
    s = simulator.signals
    got = torch.cat([s.base_lin_vel_world[0], s.base_ang_vel[0], s.joint_vel[0]]).numpy()
    assert got == pytest.approx(np.linalg.solve(matrix, expected) * DT, rel=0.02, abs=2e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("values", "edit"),
    [
        ({"base_mass_offset": 2.0}, lambda m: _base(m, 2.0)),
        ({"link_mass_scale": [1.0] * 2 + [2.0] + [1.0] * 9}, lambda m: _links(m, "FL_calf", 2.0)),
        ({"inertia_scale": 3.0}, lambda m: m.body_inertia.__imul__(3.0)),
        ({"armature_scale": [5.0] * 12}, lambda m: m.dof_armature.__imul__(5.0)),
        ({"base_com_offset": [0.1, 0.05, -0.05]}, lambda m: m.body_ipos[1].__iadd__([0.1, 0.05, -0.05])),
        ({"payload_mass": 4.0, "payload_pos": [0.2, -0.1, 0.15]}, lambda m: _payload(m, 4.0, [0.2, -0.1, 0.15])),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_masses_and_inertias_divide_the_motors_torque(make, go2, engine, values, edit):
    """M dv = dt tau with the joint-space inertia M of a model changed by hand."""
    simulator = make(engine, gravity_scale=0.0, kd_scale=0.0, joint_damping_scale=0.0, joint_friction_scale=0.0, **values)
    target = pose(go2)
    target[:, 2] += 0.2
    _, _, matrix = edited(simulator, edit)
    torque = np.zeros(18)
    torque[8] = go2.kp[2] * 0.2
    _, _, nominal = edited(simulator, lambda model: None)
    simulator.step(target, 1)
    # implicit in velocity only, so that the first step's torque is that at the start
    expected = np.linalg.solve(matrix, torque) * DT
    s = simulator.signals
    got = torch.cat([s.base_lin_vel_world[0], s.base_ang_vel[0], s.joint_vel[0]]).numpy()
    assert got == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert np.abs(np.linalg.solve(nominal, torque) * DT - expected).max() > 1e-3


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("values", "edit"),
    [
        ({"inertia_scale": 5.0}, lambda m: m.body_inertia.__imul__(5.0)),
        ({"inertia_scale": 0.2}, lambda m: m.body_inertia.__imul__(0.2)),
        ({"link_mass_scale": [1.0] * 2 + [2.0] + [1.0] * 9}, lambda m: _links(m, "FL_calf", 2.0)),
        ({"armature_scale": 2.0}, lambda m: m.dof_armature.__imul__(2.0)),
    ],
)
def test_the_period_of_a_joint_on_its_motors_spring_is_that_of_its_inertia(make, go2, engine, values, edit):
    """All other joints limp, in weightlessness, a small swing: M ddq = -kp q e_j, so T = 2 pi / sqrt(kp (M^-1)_jj)."""
    j, kp, swing, cycles = 2, go2.kp[2], 0.004, 5
    alone = [float(i == j) for i in range(12)]
    frictionless = {"kd_scale": 0.0, "joint_damping_scale": 0.0, "joint_friction_scale": 0.0}
    simulator = make(engine, gravity_scale=0.0, motor_strength=alone, **frictionless, **values)
    period, nominal = (2 * math.pi / math.sqrt(kp * np.linalg.inv(edited(simulator, e)[2])[6 + j, 6 + j]) for e in (edit, lambda m: None))
    assert abs(period / nominal - 1) > 0.02
    target, angle = pose(go2), []
    target[0, j] += swing
    while len(angle) * DT < (cycles + 1) * period:
        simulator.step(target, 1)
        angle.append(simulator.signals.joint_pos[0, j].item() - target[0, j].item())
    up = [i - angle[i] / (angle[i] - angle[i - 1]) for i in range(1, len(angle)) if angle[i - 1] < 0 <= angle[i]]  # steps
    assert (up[cycles - 1] - up[0]) * DT / (cycles - 1) == pytest.approx(period, rel=2e-3)


def _base(model, offset):
    factor = (model.body_mass[1] + offset) / model.body_mass[1]
    model.body_mass[1] *= factor
    model.body_inertia[1] *= factor


def _payload(model, mass, at):
    body = model.body(PAYLOAD).id
    model.body_mass[body], model.body_ipos[body] = mass, at


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


@pytest.mark.parametrize("engine", ENGINES)
def test_motors_are_at_rest_after_a_reset_whatever_their_zero(make, go2, engine):
    simulator = make(engine, gravity_scale=0.0, joint_zero_offset=0.1, action_delay=0.02)
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
def test_jitter_adds_to_the_delay_of_one_command(make, go2, engine):
    simulator = make(engine, action_delay=0.005)
    simulator.set_parameters(ONE, {"action_jitter": torch.tensor([0.003])})
    simulator.reset(ONE, standing(go2, 1, height=2.0))
    steps = 0
    while simulator.signals.joint_torque.abs().max() < 3.0:
        simulator.step(pose(go2) + 0.3, 1)
        steps += 1
    assert steps == 1 + 8
    assert simulator.values["action_delay"].item() == pytest.approx(0.005)


def test_restitution_returns_its_share_of_the_speed_in_bullet(make, go2):
    def rebound(restitution):  # m/s
        simulator = make("pybullet", restitution=restitution, height=0.45)
        state = standing(go2, 1, height=0.45)
        state.joint_pos[:] = torch.tensor(go2.lie_joint_pos)
        simulator.reset(ONE, state)
        up = 0.0
        for _ in range(500):
            simulator.step(state.joint_pos, 1)
            up = max(up, simulator.signals.base_lin_vel_world[0, 2].item())
        return up

    dead, bouncy, bouncier = (rebound(restitution) for restitution in (0.0, 0.6, 0.9))
    assert dead + 0.2 < bouncy
    assert bouncy + 0.2 < bouncier


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
