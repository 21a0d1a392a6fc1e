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
    """The ideal PD loop as a network that looks at the newest moment alone."""

    history, spacing = 2, 0.004

    def __init__(self, robot):
        self.kp, self.kd = torch.tensor(robot.kp).float(), torch.tensor(robot.kd).float()

    def __call__(self, error, joint_vel):
        return self.kp * error[:, -1] - self.kd * joint_vel[:, -1]


class Weak(Pd):
    """A motor that gives 0.7 of what it is asked for, and 0.2 of what it was asked for 4 ms before."""

    def __call__(self, error, joint_vel):
        return 0.7 * super().__call__(error, joint_vel) + 0.2 * super().__call__(error[:, :-1], joint_vel[:, :-1])


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


HARSH = {
    "kp_scale": torch.full((N, 12), 0.9), "kd_scale": torch.full((N, 12), 1.3), "motor_strength": torch.full((N, 12), 0.8),
    "effort_limit_scale": torch.full((N, 12), 0.3), "joint_zero_offset": torch.full((N, 12), 0.05),
    "action_delay": torch.tensor([0.0, 0.004, 0.0131]),
}  # fmt: skip


@pytest.mark.parametrize("values", [{}, HARSH], ids=["nominal", "drawn"])
def test_a_network_that_is_the_law_is_the_engine_s_motor(values, go2, network):
    """Under whatever is drawn, limits, delays and all: it moves the robots as the engine's own motors do, at any step size."""
    state, after = fast(go2), {}
    for actuator in (None, "test"):
        simulator = sim.make("mujoco", go2, N, 0.004, threads=1, actuator=actuator)
        simulator.set_parameters(ALL, values)
        simulator.reset(ALL, state)
        for k in range(6):
            simulator.step(targets(go2, seed=k), 5)
        after[actuator] = simulator.signals.packed.clone()
    assert (simulator.signals.joint_pos - state.joint_pos).abs().max() > 0.1
    np.testing.assert_allclose(after["test"][:, :19], after[None][:, :19], atol=1e-4)


def test_a_network_s_torque_is_what_moves_the_joints_within_the_motors_limits(go2):
    """At every physics step, of the history that it asked for."""
    NETWORKS["weak"] = weak = Weak(go2)
    simulator = sim.make("mujoco", go2, N, 0.002, threads=1, actuator="weak")
    del NETWORKS["weak"]
    kp, kd, limit = (torch.tensor(x).float() for x in (go2.kp, go2.kd, go2.effort_limit))
    simulator.reset(ALL, standing(go2, N, height=2.0))
    errors, speeds, q = [torch.zeros(N, 12)] * 2, [torch.zeros(N, 12)] * 2, simulator.signals.joint_pos.clone()
    for k in range(8):
        target, dq = targets(go2, seed=k // 3), simulator.signals.joint_vel.clone()
        errors.append(target - q)
        speeds.append(dq)
        simulator.step(target, 1)
        asked = weak(torch.stack([errors[-3], errors[-1]], dim=1), torch.stack([speeds[-3], speeds[-1]], dim=1))
        law = motor_torque(
            target, q, dq, kp, kd, limit, asked - kp * (target - q) + kd * dq, tuple(torch.tensor(c) for c in go2.torque_speed)
        )
        np.testing.assert_allclose(simulator.signals.joint_torque, law, atol=2e-3)
        assert (asked.abs() > limit).any() or k > 2  # limits have mattered
        q = simulator.signals.joint_pos.clone()


def test_a_network_goes_on_exactly_where_it_was(go2, network):
    simulator, other = (sim.make("mujoco", go2, N, 0.002, threads=1, actuator="test") for _ in range(2))
    simulator.set_parameters(ALL, HARSH)
    simulator.reset(ALL, standing(go2, N))
    simulator.step(targets(go2), 3)
    other.load_state_dict(simulator.state_dict())
    for one in (simulator, other):
        one.step(targets(go2, seed=2), 3)
    assert torch.equal(simulator.signals.packed, other.signals.packed)


def test_a_network_sees_moments_of_its_own_spacing_the_newest_last(go2):
    class Last:
        history, spacing = 3, 0.004

        def __call__(self, error, joint_vel):
            self.seen = error[..., 0].tolist(), joint_vel[..., 0].tolist()
            return torch.zeros(2, 12)

    network, rows, at_rest = Last(), torch.arange(2), torch.zeros(2, 12)
    actuator = LearnedActuator(network, go2, 2, 0.002)
    actuator.delay(rows, torch.tensor([0.0, 0.003]))
    actuator.reset(rows, at_rest, at_rest)
    for k in range(1, 7):
        actuator.target(at_rest + k, at_rest, at_rest - k)
    assert network.seen == ([[2.0, 4.0, 6.0], [0.0, 2.0, 4.0]], [[-2.0, -4.0, -6.0]] * 2)
    actuator.reset(rows[1:], at_rest[1:] + 9.0, at_rest[1:] + 8.0)
    actuator.target(at_rest, at_rest, at_rest)
    assert network.seen == ([[3.0, 5.0, 0.0], [0.0, 0.0, 9.0]], [[-3.0, -5.0, 0.0], [8.0, 8.0, 0.0]])


def test_wrong_actuators_are_refused(go2, network):
    with pytest.raises(InputError, match=r"sim.actuator.*dc_motor"):
        sim.make("mujoco", go2, 1, 0.002, actuator="dcmotor")
    with pytest.raises(InputError, match="learned actuators"):
        sim.make("pybullet", go2, 1, 0.002, actuator="test")
    with pytest.raises(InputError, match=r"sim.physics_dt: got 0.003; expected 0.004 s"):
        sim.make("mujoco", go2, 1, 0.003, actuator="test")
    with pytest.raises(InputError, match=r"sim.actuator.*absent.json.*looked for"):
        sim.make("mujoco", go2, 1, 0.002, actuator="absent.json")
