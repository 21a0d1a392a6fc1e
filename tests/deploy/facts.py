"""A good computer, a good wire and good samples, to spoil one thing of."""

from __future__ import annotations

from typing import Any

import numpy as np

from deploy.doctor import Computer, Facts, Network, Samples, Wire
from robots import Robot

PERIOD, COUNT = 0.002, 500


def computer(**changes: Any) -> Computer:
    good = {
        "networks": {"lo": Network(True, False, "127.0.0.1"), "eth0": Network(True, True, "192.168.123.99")},
        "libraries": {"cyclonedds": "11.0.1"}, "library_path": "", "priority": True, "memory_locked": True, "governor": "performance",
        "lateness": np.full(100, 1e-4),
    }  # fmt: skip
    return Computer(**{**good, **changes})


def wire(**changes: Any) -> Wire:
    good = {
        "seconds": COUNT * PERIOD, "arrivals": PERIOD * np.arange(COUNT), "rejected": {}, "wanted": "LowState_", "offered": ("LowState_",),
        "publishers": 1, "elsewhere": (), "commands": 0, "commanders": 0, "service": "", "version": (0, 0),
    }  # fmt: skip
    return Wire(**{**good, **changes})


def samples(robot: Robot, pose: np.ndarray | None = None, gravity: tuple[float, float, float] = (0.0, 0.0, -1.0)) -> Samples:
    """At rest, with the noise of a good robot."""
    rng, j = np.random.default_rng(0), robot.num_joints

    def noisy(value: Any, deviation: float) -> np.ndarray:
        value = np.asarray(value, dtype=np.float64)
        return value + deviation * rng.standard_normal((COUNT, *value.shape))

    return Samples(
        time=PERIOD * np.arange(COUNT),
        projected_gravity=noisy(gravity, 0.002),
        base_ang_vel=noisy(np.zeros(3), 0.01),
        accelerometer=noisy(-9.81 * np.array(gravity), 0.1),
        rpy=np.zeros((COUNT, 3)),
        rpy_of_quaternion=noisy(np.zeros(3), 0.002),
        joint_pos=noisy(robot.lie_joint_pos if pose is None else pose, 0.001),
        joint_vel=noisy(np.zeros(j), 0.05),
        temperature=np.full((COUNT, j), 25.0),
        motor_error=np.zeros((COUNT, j)),
    )


def facts(robot: Robot, **changes: Any) -> Facts:
    good = {"computer": computer(), "wire": wire(), "samples": samples(robot), "network": "eth0"}
    return Facts(robot, 0.02, **{**good, **changes})
