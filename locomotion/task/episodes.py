"""Episodes drawn ahead: initial states, physics, biases, commands and times of many episodes in one vector call."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from locomotion.task.commands import Commands
from locomotion.task.randomization import PhysicsSampler
from locomotion.task.sensors import Sensors
from sim import InitialState
from sim.signals import initial_shapes, width


class Beginning(NamedTuple):
    """A row for every environment."""

    initial: InitialState  # [N, ...]
    physics: Tensor  # [N, P] flat values of the randomized parameters
    carried: Tensor  # [N, ...] what the task carries from step to step: told, previous action, command, memory, severity, sensors
    steps: Tensor  # [N, 1 + I] int64, until the episode's end, the next command and each event


class Episodes:
    """A pool of N next episodes, one packed row each. A row is taken when an episode begins; the pool is drawn anew now and then."""

    def __init__(
        self,
        num_envs: int,
        num_joints: int,
        memory_size: int,
        resets: list,  # reset terms
        shares: list[float],  # of the episodes that begin by each
        physics: PhysicsSampler,
        sensors: Sensors,
        commands: Commands,
        intervals: Tensor,  # [I, 2] steps until a new command and events
        max_steps: int,
        graded: bool,
        generator: torch.Generator | None,
    ) -> None:
        self._n, self._j, self._resets, self._physics, self._commands = num_envs, num_joints, resets, physics, commands
        self._generator, self._sensors, device = generator, sensors, intervals.device
        self._device, self._intervals = device, intervals
        self._thresholds = torch.tensor(shares, device=device).cumsum(0)[:-1]
        # one block of uniform numbers an episode, in this order
        self._draws = [*(term.draws for term in resets), 1, 1, physics.draws, sensors.draws, commands.draws, len(intervals)]
        self._graded = graded
        carried = len(commands.channels) + memory_size + len(physics.nominal_told) + num_joints + 1 + sensors.width
        self._widths = [width(initial_shapes(num_joints)), physics.width, carried]
        self._memory, self._action = (torch.zeros(num_envs, size, device=device) for size in (memory_size, num_joints))
        self.rows = torch.zeros(num_envs, sum(self._widths), device=device)
        self.steps = torch.full((num_envs, 1 + len(intervals)), max_steps, dtype=torch.int64, device=device)
        self.used = torch.zeros((), dtype=torch.int64, device=device)
        self._taken, self._taken_steps = torch.zeros_like(self.rows), torch.zeros_like(self.steps)

    def refill(self) -> None:
        """Draw all rows anew."""
        u = torch.rand(self._n, sum(self._draws), device=self._device, generator=self._generator).split(self._draws, dim=-1)
        *for_resets, choice, severity, physics, sensing, command, times = u
        severity = severity if self._graded else torch.ones_like(severity)
        starts = []
        for term, numbers in zip(self._resets, for_resets, strict=True):
            state = InitialState(torch.zeros(self._n, self._widths[0], device=self._device), self._j)
            term(numbers, state)
            starts.append(state.packed)
        start = starts[0]
        for i, other in enumerate(starts[1:]):
            start = torch.where(choice > self._thresholds[i], other, start)
        values = self._physics.sample(physics, severity)
        offset = self._physics.named(values).get("joint_zero_offset")
        told, held = self._physics.told(values), self._sensors.hold(sensing, severity, offset)
        parts = [start, values, told, self._action, self._commands.sample(command), self._memory, severity, held]
        torch.cat(parts, dim=-1, out=self.rows)
        self.steps[:, 1:] = draw_steps(self._intervals, times)
        self.used.zero_()

    def take(self, mask: Tensor) -> Beginning:
        """A row for every environment where ``mask`` [N] is true, any row elsewhere.

        Should more episodes begin than the pool holds, it gives its rows a second time.
        """
        if self._device.type == "cpu":  # a few rows, which are all that anybody looks at
            some = mask.nonzero().squeeze(-1)
            index = torch.remainder(torch.arange(len(some)) + self.used, self._n)
            self.used += len(some)
            taken, steps = self._taken.index_copy_(0, some, self.rows[index]), self._taken_steps.index_copy_(0, some, self.steps[index])
        else:
            order = mask.cumsum(0)
            index = torch.remainder(order + (self.used - 1), self._n)
            self.used += order[-1]
            taken, steps = self.rows[index], self.steps[index]
        initial, physics, carried = taken.split(self._widths, dim=-1)
        return Beginning(InitialState(initial, self._j), physics, carried, steps)


def put(mask: Tensor, values: Tensor, into: Tensor) -> None:
    """Write ``values`` [N, ...] into ``into`` [N, ...] where ``mask`` [N] is true: by rows on the CPU, elsewhere without a look at it."""
    if mask.device.type == "cpu":
        some = mask.nonzero().squeeze(-1)
        into.index_copy_(0, some, values[some])
    else:
        torch.where(mask.view(-1, *[1] * (into.dim() - 1)), values, into, out=into)


def draw_steps(intervals: Tensor, u: Tensor) -> Tensor:
    """Whole steps [n, I], at least 1, between the bounds ``intervals`` [I, 2] (steps), from uniform numbers ``u`` [n, I]."""
    return torch.lerp(intervals[:, 0], intervals[:, 1], u).round().clamp(min=1.0).to(torch.int64)
