"""The MuJoCo engine: frames, forces, resets, randomization, delays, faults and exact continuation."""

import math

import numpy as np
import pytest
import torch
from mujoco.batch import SimulationError

import sim
from robots import InputError
from robots.model import KP
from tests.conftest import only, standing

ALL = only(4)

ENGINES = ["mujoco", "pybullet"]
WEIGHT = 15.206 * 9.81  # N


@pytest.fixture
def simulator(go2):
    return sim.make("mujoco", go2, 4, 0.005, threads=1)


def make(engine, robot, n, physics_dt):
    if engine == "pybullet":
        pytest.importorskip("pybullet")
    return sim.make(engine, robot, n, physics_dt, threads=1)


def target(go2, n=4):
    return torch.tensor(go2.default_joint_pos, dtype=torch.float32).repeat(n, 1)


def settle(simulator, go2, steps=150):
    for _ in range(steps):
        simulator.step(target(go2, simulator.num_envs), 4)


def test_lying_on_the_belly_is_a_body_contact(simulator, go2):
    simulator.reset(ALL, standing(go2, 4, height=0.05))
    s = simulator.signals
    assert (s.ground_contacts > s.foot_contacts.sum(1)).all()


def test_reset_touches_only_the_given_environments(simulator, go2):
    simulator.reset(ALL, standing(go2, 4))
    settle(simulator, go2, 20)
    before = simulator.signals.joint_pos.clone(), simulator.signals.base_pos.clone()
    simulator.reset(only(4, 1, 3), standing(go2, 4, height=0.9))
    np.testing.assert_array_equal(simulator.signals.joint_pos[[0, 2]], before[0][[0, 2]])
    np.testing.assert_array_equal(simulator.signals.base_pos[[0, 2]], before[1][[0, 2]])
    np.testing.assert_allclose(simulator.signals.base_pos[[1, 3], 2], 0.9)


def test_randomization_starts_from_the_nominal_model_each_time(simulator, go2):
    n = 4
    for _ in range(3):
        simulator.set_parameters(ALL, {"base_mass_offset": torch.full((n,), 2.0), "base_com_offset": torch.full((n, 3), 0.02)})
        simulator.set_parameters(ALL, {"kp_scale": torch.full((n, 12), 1.1), "motor_strength": torch.full((n, 12), 0.9)})
    model, _ = simulator.mj_model_data(2)
    base = model.body("base").id
    assert model.body_mass[base] == pytest.approx(6.921 + 2.0)
    assert model.body_ipos[base] == pytest.approx(simulator.model.body_ipos[base] + 0.02)
    assert model.actuator_gainprm[:, KP] == pytest.approx(go2.kp * 1.1 * 0.9)
    assert model.actuator_forcerange[:, 1] == pytest.approx(go2.effort_limit * 0.9)
    simulator.reset(ALL, standing(go2, 4))
    settle(simulator, go2)
    np.testing.assert_allclose(simulator.signals.foot_contact_force.sum(1)[:, 2], WEIGHT + 2 * 9.81, rtol=0.02)


def test_mass_reaches_the_constants_that_derive_from_it(simulator):
    simulator.set_parameters(ALL, {"base_mass_offset": torch.full((4,), 3.0)})
    model, _ = simulator.mj_model_data(0)
    assert model.body_subtreemass[0] == pytest.approx(15.206 + 3.0, abs=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("delay", [0.0, 0.010, 0.013, 0.020])
def test_a_new_target_takes_the_delay_to_reach_the_motors(go2, engine, delay):
    simulator = make(engine, go2, 4, 0.005)
    simulator.set_parameters(ALL, {"action_delay": torch.full((4,), delay)})
    simulator.reset(ALL, standing(go2, 4, height=1.0))
    held = simulator.signals.joint_torque.clone()
    moved = target(go2) + 0.3
    quiet = 0
    for _ in range(10):
        simulator.step(moved, 1)
        if (simulator.signals.joint_torque - held).abs().max() > 3.0:
            break
        held = simulator.signals.joint_torque.clone()
        quiet += 1
    assert quiet == math.ceil(delay / 0.005)
    simulator.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_sloped_ground_is_felt_as_tilted_gravity(go2, engine):
    simulator = make(engine, go2, 4, 0.005)
    slope = torch.tensor([[0.1, 0.0], [0.0, -0.2], [0.0, 0.0], [0.1, 0.1]])
    simulator.set_parameters(ALL, {"ground_slope": slope})
    simulator.reset(ALL, standing(go2, 4))
    gravity = simulator.signals.projected_gravity
    np.testing.assert_allclose(gravity.norm(dim=-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(gravity[:, :2] / -gravity[:, 2:], -np.tan(slope), atol=1e-6)


def test_a_diverged_environment_leaves_no_log_file(simulator, go2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = standing(go2, 4)
    bad.joint_vel[:] = 1e9
    simulator.reset(ALL, bad)
    simulator.step(target(go2), 4)
    assert simulator.faults.all()
    assert not list(tmp_path.iterdir())


def test_a_diverged_environment_is_reported_and_the_others_go_on(simulator, go2):
    simulator.reset(ALL, standing(go2, 4))
    bad = standing(go2, 4)
    bad.base_lin_vel_world[:] = float("nan")
    simulator.reset(only(4, 1), bad)
    simulator.step(target(go2), 4)
    assert simulator.faults.tolist() == [False, True, False, False]
    assert torch.isfinite(simulator.signals.joint_pos[[0, 2, 3]]).all()
    simulator.reset(only(4, 1), standing(go2, 4))
    simulator.step(target(go2), 4)
    assert not simulator.faults.any()
    np.testing.assert_array_equal(simulator.signals.foot_contact_force.isfinite(), True)


def test_continuation_is_exact_and_threads_do_not_matter(go2):
    a, b = sim.make("mujoco", go2, 4, 0.01, threads=1), sim.make("mujoco", go2, 4, 0.01, threads=2)
    generator = torch.Generator().manual_seed(0)
    a.set_parameters(ALL, {"base_mass_offset": torch.rand(4, generator=generator), "action_delay": torch.full((4,), 0.015)})
    a.reset(ALL, standing(go2, 4))
    actions = target(go2) + 0.3 * torch.randn(30, 4, 12, generator=generator)
    for action in actions[:15]:
        a.step(action, 2)
    b.load_state_dict(a.state_dict())
    for action in actions[15:]:
        a.step(action, 2)
        b.step(action, 2)
        assert torch.equal(a.signals.packed, b.signals.packed)


@pytest.mark.parametrize("count", [0, -3])
def test_number_of_environments_is_checked(go2, count):
    with pytest.raises(InputError, match="num_envs"):
        sim.make("mujoco", go2, count, 0.01)


def test_unknown_engine_names_the_nearest(go2):
    with pytest.raises(InputError, match="Did you mean mujoco"):
        sim.make("mujocco", go2, 1, 0.01)


def test_values_set_by_name_stay_set_until_set_again(simulator, go2):
    """A later call that names another parameter does not undo an earlier one."""
    simulator.set_parameters(ALL, {"kp_scale": torch.full((4, 12), 1.2)})
    simulator.set_parameters(ALL, {"motor_strength": torch.full((4, 12), 0.9)})
    simulator.set_parameters(only(4, 0, 1), {"kp_scale": torch.full((4, 12), 0.8)})
    gains = [simulator.mj_model_data(env)[0].actuator_gainprm[0, KP] for env in range(4)]
    assert gains == pytest.approx([go2.kp[0] * 0.8 * 0.9] * 2 + [go2.kp[0] * 1.2 * 0.9] * 2)
    simulator.set_parameters(ALL, {"base_com_offset": torch.full((4, 3), 0.02)})
    simulator.set_parameters(ALL, {"base_mass_offset": torch.full((4,), 1.0)})
    model, _ = simulator.mj_model_data(3)
    assert model.body_ipos[model.body("base").id] == pytest.approx(simulator.model.body_ipos[model.body("base").id] + 0.02)


def test_a_delay_longer_than_the_history_is_refused(simulator):
    with pytest.raises(InputError, match=r"up to 0\.06"):
        simulator.set_parameters(ALL, {"action_delay": torch.full((4,), 0.07)})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("friction", [0.15, 0.4])
def test_a_sliding_robot_stops_after_the_distance_that_friction_gives(go2, engine, friction):
    """v^2 / (2 mu g), whatever friction and priority the robot's own shapes have."""
    simulator = make(engine, go2, 1, 0.002)
    simulator.set_parameters(only(1), {"friction": torch.tensor([friction])})
    pose, height = go2.lie_joint_pos, 0.12
    state = standing(go2, 1, height=height)
    state.joint_pos[:] = torch.tensor(pose)
    simulator.reset(only(1), state)
    hold = torch.tensor(pose, dtype=torch.float32)[None]
    for _ in range(100):
        simulator.step(hold, 5)
    start = simulator.signals.base_pos[0, 0].item()
    simulator.push(only(1), torch.tensor([[1.0, 0.0]]))
    for _ in range(150):
        simulator.step(hold, 5)
    assert simulator.signals.base_pos[0, 0].item() - start == pytest.approx(1.0 / (2 * friction * 9.81), rel=0.15)


def test_terrain_raises_the_ground(go2):
    heights = torch.full((21, 21), 0.3)
    terrain = sim.Terrain(heights, spacing=0.2)
    simulator = sim.make("mujoco", go2, 2, 0.005, threads=1, terrain=terrain)
    simulator.reset(only(2), standing(go2, 2, height=go2.standing_height + 0.3))
    settle(simulator, go2)
    assert simulator.signals.base_pos[:, 2].tolist() == pytest.approx([go2.standing_height + 0.3] * 2, abs=0.03)
    np.testing.assert_allclose(simulator.signals.foot_contact_force.sum(1)[:, 2], WEIGHT, rtol=0.03)


def test_terrain_height_is_bilinear_and_goes_on_beyond_the_border():
    terrain = sim.Terrain(torch.tensor([[0.0, 1.0], [2.0, 5.0]]), spacing=1.0)  # corners at +-0.5
    xy = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.0, 0.0], [9.0, 9.0], [0.25, -0.5]])
    assert terrain.height(xy).tolist() == pytest.approx([0.0, 2.0, 1.0, 2.0, 5.0, 1.5])
    assert sim.Terrain().height(xy).tolist() == [0.0] * 6
    with pytest.raises(InputError, match="finite heights"):
        sim.Terrain(torch.tensor([[float("nan"), 0.0], [0.0, 0.0]]))


def test_joints_in_an_order_of_their_own_are_read_by_name(go2, tmp_path):
    """A robot whose canonical order is not the model's."""
    from dataclasses import replace

    order = [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]
    shuffled = replace(
        go2,
        joint_names=tuple(go2.joint_names[i] for i in order),
        **{
            name: getattr(go2, name)[order]
            for name in (
                "default_joint_pos",
                "lie_joint_pos",
                "kp",
                "kd",
                "action_scale",
                "joint_pos_limit",
                "joint_vel_limit",
                "effort_limit",
            )
        },
    )
    a, b = sim.make("mujoco", go2, 2, 0.005, threads=1), sim.make("mujoco", shuffled, 2, 0.005, threads=1)
    start = standing(go2, 2)
    start.joint_pos += 0.1 * torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    for simulator, columns in ((a, list(range(12))), (b, order)):
        state = sim.InitialState(start.packed.clone(), 12)
        state.joint_pos[:] = start.joint_pos[:, columns]
        simulator.reset(only(2), state)
        for _ in range(5):
            simulator.step(start.joint_pos[:, columns] + 0.1, 4)
        simulator.push(only(2, 1), torch.ones(2, 2))
    for name in ("joint_pos", "joint_vel", "joint_torque"):
        torch.testing.assert_close(getattr(b.signals, name), getattr(a.signals, name)[:, order], atol=1e-5, rtol=1e-4)


def test_firm_friction_does_not_let_loaded_feet_creep(go2):
    """Standing under PD for half a minute, the stance of the soft default widens by centimetres; the firm one holds."""
    spread = {}
    for firm in (False, True):
        simulator = sim.make("mujoco", go2, 1, 0.005, threads=1, firm=firm)
        simulator.reset(only(1), standing(go2, 1))
        for _ in range(50):
            simulator.step(target(go2, 1), 4)
        before = simulator.signals.foot_pos[0, 0, 0] - simulator.signals.foot_pos[0, 2, 0]
        for _ in range(500):
            simulator.step(target(go2, 1), 4)
        spread[firm] = (simulator.signals.foot_pos[0, 0, 0] - simulator.signals.foot_pos[0, 2, 0] - before).item()
    assert abs(spread[True]) < 0.003
    assert spread[False] > 3 * abs(spread[True])


def test_environments_that_the_engine_raises_on_are_faults(simulator, go2, monkeypatch):
    def step(nstep):
        raise SimulationError(np.array([1, 3]), "out of memory")

    simulator.reset(ALL, standing(go2, 4))
    monkeypatch.setattr(simulator._batch, "step", step)
    simulator.step(target(go2), 4)
    assert simulator.faults.tolist() == [False, True, False, True]
