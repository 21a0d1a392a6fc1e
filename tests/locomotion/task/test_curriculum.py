"""A command's range grows with success, from the start to what the task's file says, and goes on where it was."""

import pytest
import torch

from locomotion.task import terms
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
    growth.update(torch.tensor(0.59), 1.0)
    assert growth.level.item() == 0.0
    growth.update(torch.tensor(0.61), 1.0)
    assert drawn(task) == pytest.approx(grown(0.25), abs=2e-3)
    assert task.statistics()["curriculum/grow_commands"] == 0.25
    other.load_state_dict(task.state_dict())
    assert drawn(other) == drawn(task)
    for _ in range(9):
        growth.update(torch.tensor(0.9), 1.0)
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


@pytest.mark.parametrize("block", [1, 4, 48])
def test_curricula_go_by_steps_however_often_rewards_are_asked_for(block, monkeypatch):
    """A learner that asks every step sees them move as fast as one that asks every rollout of 16."""

    def level(frame):
        return torch.full_like(frame.base_height, 0.8)

    monkeypatch.setitem(terms.metric.terms, "level", level)
    words = [
        "task.metrics.level={}",
        "task.score=[level]",
        "task.curricula.grow_commands.rollouts=7",
        "task.curricula.grow_commands.score=0.1",
    ]
    often, usual = (make_task("task=fast", *words) for _ in range(2))
    action = torch.zeros(6, 12)
    with torch.inference_mode():
        for task, steps in ((often, block), (usual, 16)):
            for t in range(48):
                task.step(action)
                if t % steps == steps - 1:
                    task.rewards()
    a, b = (task._outcome.smoothed_score.item() for task in (often, usual))
    assert a == pytest.approx(0.8 * (1.0 - 0.9**3), rel=1e-5)
    assert b == pytest.approx(a, rel=1e-5)
    if block == 4:  # the score passes 0.1 at step 24, and so counts from there, or from the next rollout's end
        a, b = (task.statistics()["curriculum/grow_commands"] for task in (often, usual))
        assert (a, b) == pytest.approx((7 * 0.25 / 7, 2.0 / 7))


def test_commands_of_ones_own_can_grow_where_their_ranges_are_open(monkeypatch):
    """A term with tensors ``low`` and ``high`` is grown like the toolkit's; one without is refused."""

    class pace:
        channels, rest, mirror, limits = ("pace",), (0.0,), (1.0,), [(0.0, 2.0)]

        def __init__(self, device):
            self.low, self.high = torch.tensor(self.limits, device=device).T

        def sample(self, u):
            return torch.lerp(self.low, self.high, u[:, :1])

    class closed(pace):
        def __init__(self, device):
            pass

        def sample(self, u):
            return 2.0 * u[:, :1]

    monkeypatch.setitem(terms.command.terms, "pace", pace)
    monkeypatch.setitem(terms.command.terms, "closed", closed)
    growth = "task.curricula.grow_commands={channel: pace, start: [0.0, 1.0], rollouts: 2.0}"
    task = make_task("task.commands.pace={}", growth)
    task.curricula[-1].update(torch.tensor(0.9), 1.0)
    u = torch.ones(1, task.commands.draws)
    assert task.commands.sample(u)[0, 3].item() == pytest.approx(1.5)
    with pytest.raises(InputError, match="a channel whose range can be narrowed"):
        make_task("task.commands.closed={}", growth)
