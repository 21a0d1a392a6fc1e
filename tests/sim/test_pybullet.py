"""The second engine presents the same robot."""

import builtins
import math

import numpy as np
import pytest
import torch

import robots
import sim
from robots import InputError
from robots.actuator import motor_torque
from tests.conftest import only, standing

pytest.importorskip("pybullet")


@pytest.fixture
def pair(go2):
    engines = [sim.make(name, go2, 1, 0.002) for name in ("mujoco", "pybullet")]
    yield engines
    for engine in engines:
        engine.close()


def test_mass_and_standing_height_agree(pair, go2):
    target = torch.tensor(go2.default_joint_pos, dtype=torch.float32)[None]
    for engine in pair:
        engine.reset(only(1), standing(go2, 1))
        for _ in range(100):
            engine.step(target, 10)
    mujoco, bullet = (engine.signals for engine in pair)
    assert float(bullet.foot_contact_force[0, :, 2].sum()) == pytest.approx(15.206 * 9.81, rel=0.02)
    assert float(bullet.base_pos[0, 2]) == pytest.approx(float(mujoco.base_pos[0, 2]), abs=0.025)
    assert bullet.ground_contacts.item() == bullet.foot_contacts.sum().item() > 0


def test_kinematics_agree_in_any_pose(pair, go2):
    rng = np.random.default_rng(0)
    state = standing(go2, 1, yaw=0.7, height=1.0)
    state.joint_pos += torch.from_numpy(rng.normal(0, 0.3, (1, 12))).float()
    for engine in pair:
        engine.reset(only(1), state)
    np.testing.assert_allclose(pair[0].signals.foot_pos, pair[1].signals.foot_pos, atol=1e-5)


def test_free_flight_agrees(pair, go2):
    """Without contact both engines integrate the same masses, inertias and motors."""
    state = standing(go2, 1, yaw=math.pi / 2, height=2.0)
    state.base_lin_vel_world[:] = torch.tensor([0.3, 0.8, 0.0])
    state.base_ang_vel[:] = torch.tensor([0.2, -0.4, 0.6])
    target = state.joint_pos + 0.2
    for engine in pair:
        engine.reset(only(1), state)
        for _ in range(10):
            engine.step(target, 10)
    mujoco, bullet = (engine.signals for engine in pair)
    np.testing.assert_allclose(bullet.base_pos, mujoco.base_pos, atol=0.01)
    np.testing.assert_allclose(bullet.base_lin_vel, mujoco.base_lin_vel, atol=0.1)
    np.testing.assert_allclose(bullet.projected_gravity, mujoco.projected_gravity, atol=0.05)
    np.testing.assert_allclose(bullet.joint_pos, mujoco.joint_pos, atol=0.05)


def test_motors_follow_the_actuator_law(pair, go2):
    bullet = pair[1]
    state = standing(go2, 1, height=2.0)
    bullet.reset(only(1), state)
    target = state.joint_pos + 1.5
    q, dq = bullet.signals.joint_pos.numpy().copy(), bullet.signals.joint_vel.numpy().copy()
    bullet.step(target, 1)
    expected = motor_torque(target.numpy(), q, dq, go2.kp, go2.kd, go2.effort_limit)
    np.testing.assert_allclose(bullet.signals.joint_torque, expected, atol=1e-4)


def test_a_delay_longer_than_the_history_is_refused(pair):
    with pytest.raises(InputError, match=r"up to 0\.06"):
        pair[1].set_parameters(only(1), {"action_delay": torch.tensor([0.07])})


def test_what_is_no_parameter_is_refused(pair):
    with pytest.raises(InputError, match="friction"):
        pair[1].set_parameters(only(1), {"frictoin": torch.tensor([0.5])})


def test_a_reset_forgets_the_torque_and_contacts_of_the_old_episode(pair, go2):
    for engine in pair:
        engine.reset(only(1), standing(go2, 1))
        for _ in range(20):
            engine.step(standing(go2, 1).joint_pos + 0.3, 10)
        assert engine.signals.joint_torque.abs().max() > 1.0
        engine.reset(only(1), standing(go2, 1, height=1.0))
        s = engine.signals
        assert s.joint_torque.abs().max() < 1e-6
        assert s.foot_contact_force.abs().max() == s.ground_contacts.max() == 0


def test_values_set_by_name_stay_set(pair, go2):
    bullet = pair[1]
    bullet.set_parameters(only(1), {"kp_scale": torch.full((1, 12), 1.2)})
    bullet.set_parameters(only(1), {"friction": torch.tensor([0.5])})
    bullet.set_parameters(only(1), {"motor_strength": torch.full((1, 12), 0.9)})
    bullet.reset(only(1), standing(go2, 1, height=2.0))
    bullet.step(standing(go2, 1).joint_pos + 0.1, 1)
    np.testing.assert_allclose(bullet.signals.joint_torque[0], go2.kp * 1.2 * 0.9 * 0.1, rtol=1e-3)


def test_not_installed_says_how_to_install(go2, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pybullet":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'sim2real-locomotion\[pybullet\]'"):
        sim.make("pybullet", go2, 1, 0.002)


def world(engine):
    """The world of the engine's only robot, in this process."""
    return engine._robots._worlds[0]


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_links_carry_the_rotors_inertia(pair, scale):
    """The rotor's share goes to the axes of the link's inertia in proportion: their sum grows by just the armature."""
    engine, model, bullet = pair[1], pair[0].model, world(pair[1])
    engine.set_parameters(only(1), {"armature_scale": torch.full((1, 12), scale)})
    engine.reset(only(1), standing(engine.robot, 1))
    for name, joint in zip(engine.robot.joint_names, bullet._joints, strict=True):
        dof = model.joint(name)
        inertia = bullet._bullet.getDynamicsInfo(bullet._body, joint, physicsClientId=bullet._client)[2]
        assert dof.armature[0] > 0
        assert sum(inertia) == pytest.approx(model.body_inertia[model.jnt_bodyid[dof.id]].sum() + scale * dof.armature[0], rel=1e-4)


def test_a_fifth_of_the_base_stays_whatever_is_taken_off(pair, go2):
    engine, bullet = pair[1], world(pair[1])
    engine.set_parameters(only(1), {"base_mass_offset": torch.tensor([-100.0])})
    engine.reset(only(1), standing(go2, 1))
    mass, _, inertia, *_ = bullet._bullet.getDynamicsInfo(bullet._body, 0, physicsClientId=bullet._client)
    nominal = pair[0].model.body("base")
    assert mass == pytest.approx(0.2 * nominal.mass[0])
    assert sum(inertia) == pytest.approx(0.2 * nominal.inertia.sum())


def test_the_ground_has_the_nominal_friction_until_it_is_told_another(pair, go2):
    engine, bullet = pair[1], world(pair[1])

    def friction():
        return bullet._bullet.getDynamicsInfo(bullet._ground, -1, physicsClientId=bullet._client)[1]

    assert friction() == pytest.approx(sim.PARAMETERS["friction"].nominal)
    engine.set_parameters(only(1), {"friction": torch.tensor([0.55])})
    engine.reset(only(1), standing(go2, 1))
    assert friction() == pytest.approx(0.55)


@pytest.mark.parametrize("steps", [20, 200], ids=["on its feet", "fallen"])
def test_a_reset_forgets_what_touched(go2, steps):
    """A robot without strength that stands or lies on the ground, reset, is bit for bit a new one: no contact is left."""
    used, fresh = (sim.make("pybullet", go2, 1, 0.005, threads=1) for _ in range(2))
    used.set_parameters(only(1), {"motor_strength": torch.zeros(1, 12)})
    used.reset(only(1), standing(go2, 1))
    used.step(torch.zeros(1, 12), steps)
    assert used.signals.ground_contacts > 0
    used.set_parameters(only(1), {"motor_strength": torch.ones(1, 12)})
    for engine in (used, fresh):
        engine.reset(only(1), standing(go2, 1))
        engine.step(standing(go2, 1).joint_pos + 0.3, 4)
    assert torch.equal(used.signals.packed, fresh.signals.packed)


def test_other_masses_in_motion_leave_the_motion(pair, go2):
    """The robot is made anew: its pose and its velocities go on, with the new mass."""
    engine, state = pair[1], standing(go2, 1, height=2.0)
    state.base_lin_vel_world[:], state.base_ang_vel[:] = torch.tensor([0.4, -0.3, 0.2]), torch.tensor([0.5, 0.1, -0.2])
    state.joint_vel[:] = 0.5
    engine.reset(only(1), state)
    before = engine.signals.packed.clone()
    engine.set_parameters(only(1), {"base_mass_offset": torch.tensor([2.0])})
    engine._do("step", 0)
    np.testing.assert_allclose(engine.signals.packed, before, atol=1e-6)
    assert world(engine)._bullet.getDynamicsInfo(world(engine)._body, 0, physicsClientId=world(engine)._client)[0] == pytest.approx(8.921)


def test_a_state_of_another_number_of_joints_is_not_half_taken(pair):
    for engine in pair:
        with pytest.raises((ValueError, RuntimeError), match="shape"):
            engine.reset(only(1), sim.InitialState.standing(1, torch.zeros(10), 0.3))


def test_a_push_adds_to_the_velocity(pair, go2):
    for engine in pair:
        state = standing(go2, 1, height=2.0)
        state.base_lin_vel_world[:] = torch.tensor([0.3, -0.2, 0.1])
        engine.reset(only(1), state)
        engine.push(only(1), torch.tensor([[0.5, 0.4]]))
        assert engine.signals.base_lin_vel_world[0].tolist() == pytest.approx([0.8, 0.2, 0.1], abs=1e-5)


@pytest.mark.parametrize("name", ["anymal_c", "unitree_g1", "unitree_g1.legs", "unitree_go1", "unitree_go2"])
def test_robots_stand_for_ten_seconds(name):
    """Under their own gains: at their height, upright, on their feet alone, which bear their weight."""
    robot = robots.load(name)
    bullet = sim.make("pybullet", robot, 1, 0.002)
    target = torch.tensor(robot.default_joint_pos, dtype=torch.float32)[None]
    bullet.reset(only(1), standing(robot, 1))
    bullet.step(target, 5000)
    s = bullet.signals
    assert s.base_pos[0, 2].item() == pytest.approx(robot.standing_height, abs=0.02)
    assert s.base_pos[0, :2].norm() < 0.05
    assert s.projected_gravity[0, 2] < -0.999
    assert s.foot_contact_force[0, :, 2].sum().item() == pytest.approx(9.81 * bullet.total_mass, rel=0.02)
    assert s.ground_contacts.item() == s.foot_contacts.sum().item() >= 4
    assert s.joint_vel.abs().max() < 0.05
    bullet.close()
