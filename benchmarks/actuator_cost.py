"""What an actuator network costs a task's step, against the motors' own law: blocks of steps with either, in turn.

``python -m benchmarks.actuator_cost fitted/actuator.json``; without a file a network of the default size that learned nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch

import robots
from benchmarks.common import machine
from benchmarks.randomization_cost import Timed
from sim.actuator_network import Rest, document

WARM_UP, BLOCKS, STEPS = 10, 40, 16


def unlearned(folder: Path) -> Path:
    """A network of the default size, one for each group of joints."""
    robot = robots.load("unitree_go2")
    parts = {name: (tuple(joints.tolist()), Rest(6, (16, 16))) for name, joints in robot.joint_groups.items()}
    path = folder / "actuator.json"
    path.write_text(json.dumps(document(robot, parts, 3, 0.01, {})))
    return path


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else unlearned(Path(folder))
        tasks = {"law": Timed(), "network": Timed(f"sim.actuator={path}")}
    joints = tasks["law"].task.robot.num_joints
    actions = 0.3 * torch.randn(STEPS, tasks["law"].task.num_envs, joints, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        rows = [{name: timed.block(actions) for name, timed in tasks.items()} for _ in range(WARM_UP + BLOCKS)][WARM_UP:]
    print(f"{machine()}, {tasks['law'].task.num_envs} robots, {tasks['law'].task.substeps} physics steps a task step")
    for name in tasks:
        print(f"{name:8} {median(row[name][0] for row in rows):6.0f} us a step")
    print(f"network over law: {median(row['network'][0] / row['law'][0] for row in rows):.2f}")


if __name__ == "__main__":
    main()
