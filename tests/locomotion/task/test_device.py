"""Every tensor is made on the simulator's device, and nothing in a step needs the host.

There may be no GPU here, so the task runs on torch's ``meta`` device: its tensors have no values, so that any look at one from the
host (``.item()``, ``bool()``, ``nonzero()``, a copy from the CPU) raises.
"""

import torch

from locomotion.task.task import Task
from robots import load
from sim import PARAMETERS, Signals, Terrain
from tests.conftest import tiny

META = torch.device("meta")


class MetaSimulator:
    """An engine on a device without values."""

    engine, device, terrain = "meta", META, Terrain()
    supports = frozenset(PARAMETERS)

    def __init__(self, n):
        self.robot, self.num_envs, self.physics_dt, self.total_mass = load("unitree_go2"), n, 0.01, 15.0
        self.signals = Signals.zeros(n, 12, 4, device=META)
        self.faults = torch.zeros(n, dtype=torch.bool, device=META)
        self.foot_radius, self.hip_pos = torch.zeros(4, device=META), torch.zeros(4, 3, device=META)
        self.calls = []

    def reset(self, mask, state):
        assert mask.device == state.packed.device == META
        self.calls.append("reset")

    def step(self, joint_pos_target, substeps):
        assert joint_pos_target.device == META
        self.calls.append("step")

    def push(self, mask, velocity):
        assert mask.device == velocity.device == META
        self.calls.append("push")

    def wrench(self, mask, force_torque):
        assert mask.device == force_torque.device == META
        self.calls.append("wrench")

    def set_parameters(self, mask, values):
        assert all(value.device == META for value in values.values())
        self.calls.append("set_parameters")


def test_a_rollout_never_looks_at_a_value():
    settings = tiny()
    simulator = MetaSimulator(5)
    task = Task(settings.task, simulator, settings.randomization, seed=1)
    for _ in range(20):
        transition = task.step(torch.zeros(5, 12, device=META))
    assert {"reset", "step", "push", "set_parameters"} <= set(simulator.calls)
    tensors = [*transition.observations.values(), transition.terminated, transition.truncated, *vars(task).values()]
    assert all(tensor.device == META for tensor in tensors if isinstance(tensor, torch.Tensor))


def test_rewards_of_a_rollout_are_worked_out_on_the_device():
    settings = tiny()
    task = Task(settings.task, MetaSimulator(5), settings.randomization, seed=1)
    for _ in range(4):
        task.step(torch.zeros(5, 12, device=META))
    frame = task.recorded_frame()
    reward, terms = task.rewards_function(frame, ~torch.zeros(4, 5, dtype=torch.bool, device=META))
    assert reward.device == terms.device == META
    assert reward.shape == (4, 5)
