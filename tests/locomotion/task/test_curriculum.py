"""A command's range grows with success, from the start to what the task's file says, and goes on where it was."""

import pytest
import torch

from robots import InputError
from tests.conftest import make_task


def grown(level):
    """The range of the forward command at ``level``, from [-0.5, 1] to [-1, 4] m/s."""
    return [-0.5 - 0.5 * level, 1.0 + 3.0 * level]


def drawn(task):
    u = torch.rand(20000, task.commands.draws, generator=torch.Generator().manual_seed(0))
    forward = task.commands.sample(u)[:, 0]
    return [forward.min().item(), forward.max().item()]


def test_the_range_of_commands_grows_with_success_and_goes_on():
    task, other = (make_task("task=fast", "task.curricula.grow_commands.rollouts=4") for _ in range(2))
    growth = task.curricula[list(task.settings.curricula).index("grow_commands")]
    assert drawn(task) == pytest.approx(grown(0.0), abs=2e-3)
    growth.update(torch.tensor(0.59))
    assert growth.level.item() == 0.0
    growth.update(torch.tensor(0.61))
    assert drawn(task) == pytest.approx(grown(0.25), abs=2e-3)
    assert task.statistics()["curriculum/grow_commands"] == 0.25
    other.load_state_dict(task.state_dict())
    assert drawn(other) == drawn(task)
    for _ in range(9):
        growth.update(torch.tensor(0.9))
    assert drawn(task) == pytest.approx(grown(1.0), abs=2e-3)
    assert task.commands.limits[0] == (-1.0, 4.0)  # what the contract says
    assert drawn(task)[1] > 3.9


@pytest.mark.parametrize(
    ("override", "message"),
    [("channel=foward", "Did you mean forward"), ("start=[-0.5,5.0]", "a range within"), ("score=1.5", "less than or equal")],
)
def test_a_growth_that_cannot_be_is_refused(override, message):
    with pytest.raises(InputError, match=message):
        make_task("task=fast", f"task.curricula.grow_commands.{override}")
