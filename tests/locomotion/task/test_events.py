"""What happens to a robot now and then has the size that it is told, scaled by how severe the episode is."""

from types import SimpleNamespace

import pytest
import torch

from locomotion.task.events import push, wrench

MASK = torch.tensor([True, False, True])
SEVERITY = torch.tensor([[1.0], [0.5], [0.0]])


def told(event, u, severity=1.0):
    """The call that reaches the simulator: its mask, and its values."""
    calls = []
    simulator = SimpleNamespace(push=lambda *values: calls.append(values), wrench=lambda *values: calls.append(values))
    event.apply(simulator, MASK, torch.tensor(u), severity)
    ((mask, values),) = calls
    assert mask is MASK
    return values.tolist()


def test_a_push_goes_from_one_end_of_its_range_to_the_other():
    event = push(velocity=(-0.5, 1.0), interval=(1.0, 2.0))
    u = [[0.0, 1.0], [0.0, 1.0], [0.5, 0.5]]
    assert told(event, u) == [[-0.5, 1.0], [-0.5, 1.0], [0.25, 0.25]]
    assert told(event, u, SEVERITY) == [[-0.5, 1.0], [-0.25, 0.5], [0.0, 0.0]]
    assert (event.draws, event.interval) == (2, (1.0, 2.0))


def test_a_wrench_presses_in_its_share_of_the_intervals_and_else_lets_go():
    event = wrench(force=(-20.0, 40.0), torque=(-2.0, 1.0), share=0.25, interval=(0.5, 2.0))
    ends = [0.0, 1.0, 0.5, 1.0, 0.0, 0.5]
    u = [[*ends, 0.24], [*ends, 0.24], [*ends, 0.25]]
    pressed = [-20.0, 40.0, 10.0, 1.0, -2.0, -0.5]
    assert told(event, u) == [pressed, pressed, [0.0] * 6]
    assert told(event, u, SEVERITY)[1] == pytest.approx([0.5 * value for value in pressed])
    assert (event.draws, event.interval) == (7, (0.5, 2.0))
    assert told(wrench(force=(1.0, 2.0), interval=(1.0, 1.0)), [[0.0] * 7] * 3)[0] == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    many = torch.rand(4000, 7, generator=torch.Generator().manual_seed(0))
    pressing = torch.tensor(told(wrench(force=(1.0, 2.0), interval=(1.0, 1.0)), many.tolist()))[:, 0] > 0
    assert pressing.float().mean().item() == pytest.approx(0.2, abs=0.02)
