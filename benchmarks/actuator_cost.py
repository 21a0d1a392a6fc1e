"""What an actuator network costs a task's step, against the motors' own law: blocks of steps with either, in turn, in CPU time.

``python -m benchmarks.actuator_cost fitted/actuator.json``; without a file a network of the default size that learned nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

import robots
from benchmarks.common import machine, make_task
from locomotion.task.task import Task
from sim.actuator_network import Rest, document

WARM_UP, BLOCKS, STEPS, ENVIRONMENTS = 8, 30, 16, 256


def unlearned(folder: Path) -> Path:
    """A network of the default size, one for each group of joints."""
    robot = robots.load("unitree_go2")
    parts = {name: (tuple(joints.tolist()), Rest(6, (16, 16))) for name, joints in robot.joint_groups.items()}
    path = folder / "actuator.json"
    path.write_text(json.dumps(document(robot, parts, 3, 0.01, {})))
    return path


def block(task: Task, actions: torch.Tensor) -> float:
    """us of all CPUs a step."""
    began = time.process_time()
    for action in actions:
        task.step(action)
    task.ended()
    task.rewards()
    return 1e6 * (time.process_time() - began) / len(actions)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else unlearned(Path(folder))
        tasks = {"law": make_task(ENVIRONMENTS), "network": make_task(ENVIRONMENTS, f"sim.actuator={path}")}
    joints = tasks["law"].robot.num_joints
    actions = 0.3 * torch.randn(STEPS, ENVIRONMENTS, joints, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        rows = [{name: block(task, actions) for name, task in tasks.items()} for _ in range(WARM_UP + BLOCKS)][WARM_UP:]
    print(f"{machine()}, {ENVIRONMENTS} robots, {tasks['law'].substeps} physics steps a task step")
    for name in tasks:
        print(f"{name:8} {median(row[name] for row in rows):6.0f} us a step")
    print(f"network over law: {median(row['network'] / row['law'] for row in rows):.2f}")


if __name__ == "__main__":
    main()
