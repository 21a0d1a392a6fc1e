"""Actuators in the engines: the same law everywhere, under randomized gains too, and a slot for a learned one."""

import dataclasses

import numpy as np
import pytest
import torch

import sim
from robots import InputError
from robots.actuator import motor_torque
from sim.actuation import NETWORKS, LearnedActuator
from tests.conftest import only, standing

N = 3
ALL = only(N)


class Pd:
    """The ideal PD loop as a network of the last target."""

    history = 2

    def __init__(self, robot):
        self.kp, self.kd, self.limit = (torch.tensor(x).float() for x in (robot.kp, robot.kd, robot.effort_limit))

    def __call__(self, joint_pos_target, joint_pos, joint_vel):
        return motor_torque(joint_pos_target[:, -1], joint_pos, joint_vel, self.kp, self.kd, self.limit)


@pytest.fixture
def network(go2):
    NETWORKS["test"] = Pd(go2)
    yield NETWORKS["test"]
    del NETWORKS["test"]


def fast(robot, seed=0):
    """Robots in the air whose joints turn faster than their motors could drive them."""
    state = standing(robot, N, height=2.0)
    state.joint_vel[:] = 15.0 * torch.randn(N, 12, generator=torch.Generator().manual_seed(seed))
    return state


def targets(go2, seed=1):
    return torch.tensor(go2.default_joint_pos).float() + 0.6 * torch.randn(N, 12, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("engine", ["mujoco", "pybullet"])
def test_randomized_dc_motors_follow_the_law(engine, go2):
    """Gains scale the PD loop, strength the whole torque; the no-load speed stays."""
    simulator = sim.make(engine, go2, N, 0.0005)
    scale = {"kp_scale": torch.full((N, 12), 0.9), "kd_scale": torch.full((N, 12), 1.3), "motor_strength": torch.full((N, 12), 0.8)}
    simulator.set_parameters(ALL, scale)
    state = fast(go2)
    target = state.joint_pos + 0.1 * state.joint_vel
    simulator.reset(ALL, state)
    simulator.step(target, 1)
    q, dq, wanted = (x.double().numpy() for x in (state.joint_pos, state.joint_vel, target))
    law = (wanted, q, dq, go2.kp * 0.9 * 0.8, go2.kd * 1.3 * 0.8, go2.effort_limit * 0.8)
    expected = motor_torque(*law, curve=go2.torque_speed)
    np.testing.assert_allclose(simulator.signals.joint_torque, expected, atol=1e-4)
    assert (expected != motor_torque(*law)).sum() > 5  # the curve has mattered
    simulator.close()


def test_motors_drive_no_joint_past_its_no_load_speed(go2):
    """A leg in the air told to swing as fast as it can: the ideal loop passes the limit, the DC motor does not."""
    peak = {}
    for actuator in ("pd", "dc_motor"):
        simulator = sim.make("mujoco", go2, N, 0.002, threads=1, actuator=actuator)
        simulator.reset(ALL, standing(go2, N, height=2.0))
        far, fastest = torch.tensor(go2.default_joint_pos).float().repeat(N, 1), 0.0
        far[:, 2::3] -= 1.1
        for _ in range(60):
            simulator.step(far, 1)
            fastest = max(fastest, float(simulator.signals.joint_vel[:, 2::3].abs().max()))
        peak[actuator] = fastest
    assert peak["dc_motor"] <= go2.no_load_speed[2] < peak["pd"]


def test_the_dc_motor_is_the_default_where_its_figures_are_known(go2):
    plain = dataclasses.replace(go2, speed_at_full_effort=None, no_load_speed=None)
    state, target, torque = fast(go2), targets(go2), {}
    for name, robot, actuator in (("default", go2, None), ("dc", go2, "dc_motor"), ("unknown", plain, None), ("pd", go2, "pd")):
        simulator = sim.make("mujoco", robot, N, 0.002, threads=1, actuator=actuator)
        simulator.reset(ALL, state)
        simulator.step(target, 1)
        torque[name] = simulator.signals.joint_torque.clone()
    assert torch.equal(torque["default"], torque["dc"])
    assert torch.equal(torque["unknown"], torque["pd"])
    assert not torch.equal(torque["dc"], torque["pd"])


def test_a_network_drives_the_joints_at_every_physics_step(go2, network):
    """A network that is the PD law moves the robots as the engine's own PD motors do; step sizes make the integrators agree."""
    state, target, after = standing(go2, N, height=2.0), targets(go2), {}
    for actuator in ("pd", "test"):
        simulator = sim.make("mujoco", go2, N, 0.0002, threads=1, actuator=actuator)
        simulator.reset(ALL, state)
        for _ in range(5):
            simulator.step(target, 20)
        after[actuator] = simulator.signals.joint_pos.clone()
    assert (after["pd"] - state.joint_pos).abs().max() > 0.1
    np.testing.assert_allclose(after["test"], after["pd"], atol=4e-3)


def test_a_network_goes_on_exactly_where_it_was(go2, network):
    simulator, other = (sim.make("mujoco", go2, N, 0.002, threads=1, actuator="test") for _ in range(2))
    simulator.reset(ALL, standing(go2, N))
    simulator.step(targets(go2), 3)
    other.load_state_dict(simulator.state_dict())
    for one in (simulator, other):
        one.step(targets(go2, seed=2), 3)
    assert torch.equal(simulator.signals.packed, other.signals.packed)


def test_a_network_sees_its_last_targets_the_newest_last():
    class Last:
        history = 3

        def __call__(self, joint_pos_target, joint_pos, joint_vel):
            return joint_pos_target[:, 0] * 100 + joint_pos_target[:, 1] * 10 + joint_pos_target[:, 2]

    actuator, zero = LearnedActuator(Last(), 2, 1), torch.zeros(2, 1)
    actuator.reset(torch.tensor([0, 1]), torch.tensor([[1.0], [2.0]]))
    assert actuator.torque(torch.tensor([[5.0], [6.0]]), zero, zero).flatten().tolist() == [115.0, 226.0]
    actuator.reset(torch.tensor([1]), torch.tensor([[7.0]]))
    assert actuator.torque(torch.tensor([[3.0], [4.0]]), zero, zero).flatten().tolist() == [153.0, 774.0]


def test_wrong_actuators_are_refused(go2, network):
    with pytest.raises(InputError, match=r"sim.actuator.*dc_motor"):
        sim.make("mujoco", go2, 1, 0.002, actuator="dcmotor")
    with pytest.raises(InputError, match="learned actuators"):
        sim.make("pybullet", go2, 1, 0.002, actuator="test")
    assert "kp_scale" not in sim.make("mujoco", go2, 1, 0.002, actuator="test").supports
