"""A frame with chosen signals, for exact values."""

from __future__ import annotations

import torch

from locomotion.task.frame import Frame
from locomotion.task.past import Past
from locomotion.task.task import Task
from sim import Signals
from tests.conftest import make_task

_TASKS: dict[tuple[str, ...], Task] = {}


# a plain trot, whatever the default task's may come to be
PLAIN = (
    "task.gait.swing_height=0.07", "task.gait.frequency=[2.0,2.0]", "task.gait.swing_power=1.0", "task.gait.tolerance=0.7",
    "task.gait.excess=0.8", "task.gait.excess_tolerance=0.8", "task.gait.soft=false", "task.gait.reach=null", "task.gait.gate=0.75",
)  # fmt: skip


def shared_task(*overrides: str) -> Task:
    """A small task without randomization, made once: for its robot, gait and constants."""
    if overrides not in _TASKS:
        _TASKS[overrides] = make_task("randomization=none", *PLAIN, *overrides)
    return _TASKS[overrides]


def make_frame(task: Task | None = None, n: int = 1, phase: float = 0.0, **values) -> Frame:
    """``n`` robots in the default pose at standing height, feet on the ground; ``values`` are signals (``before_...`` those before
    the step, ``past_...`` of what was before the frame), ``action``, ``previous_action``, ``command`` or ``terminated``."""
    task = task or shared_task()
    j, f = task.robot.num_joints, len(task.robot.feet)
    past = Past(n, j, f, torch.device("cpu"))
    after, before = (Signals.zeros(n, j, f) for _ in range(2))
    for signals in (after, before):
        signals.joint_pos[:] = task.robot_tensors.default_joint_pos
        signals.base_pos[:, 2] = task.robot.standing_height
        signals.foot_pos[..., 2] = task.robot_tensors.foot_radius
    rest = {
        "action": torch.zeros(n, j), "previous_action": torch.zeros(n, j), "command": torch.zeros(n, len(task.commands.channels)),
        "terminated": torch.zeros(n, dtype=torch.bool), "ended": torch.zeros(n, dtype=torch.bool),
    }  # fmt: skip
    for name, value in values.items():
        value = torch.as_tensor(value)
        if name in rest:
            rest[name] = value.expand_as(rest[name]).clone()
        elif name.startswith("past_"):
            getattr(past, name.removeprefix("past_"))[:] = value
        elif name.startswith("before_"):
            getattr(before, name.removeprefix("before_"))[:] = value
        else:
            getattr(after, name)[:] = value
    memory = {"gait_clock": torch.full((n, 1), phase)}
    return Frame(
        robot=task.robot_tensors, signals=after, before=before, command_names=task.commands.channels, memory=memory, gait=task.gait,
        past=past, terrain=task.simulator.terrain, control_dt=task.step_seconds, **rest,
    )  # fmt: skip
