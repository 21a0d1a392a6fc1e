"""A simulated robot that trots, open loop: what its sensors say, and what only the simulator knows."""

from __future__ import annotations

import numpy as np

from deploy.hil.simulated_robot import PERFECT, Conditions, SimulatedRobot
from deploy.interface import MotorCommand, SimulatedTime
from locomotion.data.kinematics import Kinematics
from robots import Robot

DT = 0.02
MEASURED = ("joint_pos", "joint_vel", "base_ang_vel", "projected_gravity", "joint_torque")
FREQUENCY, STANCE, LIFT = 2.0, 0.6, 0.06  # Hz, share, m


def trot(
    robot: Robot, seconds: float, conditions: Conditions = PERFECT, velocity: tuple[float, float] = (0.4, 0.0)
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Signals [T, ...] as measured and as they were, from a standing start; ``velocity`` ahead and to the left is meant (m/s)."""
    clock = SimulatedTime()
    plant = SimulatedRobot(robot, clock, conditions)
    plant.data.qpos[:7] = (0.0, 0.0, robot.standing_height, 1.0, 0.0, 0.0, 0.0)
    plant.data.qpos[7:] = robot.default_joint_pos
    samples = []
    for step, target in enumerate(_targets(robot, round(seconds / DT), np.array([*velocity, 0.0]))):
        plant.write(MotorCommand(target, 3.0 * robot.kp, 3.0 * robot.kd, np.zeros(robot.num_joints)))
        clock.sleep_until((step + 1) * DT)
        samples.append(plant.read())
    measured = {name: np.array([getattr(sample, name) for sample in samples]) for name in MEASURED}
    return measured, {name: np.array([sample.truth[name] for sample in samples]) for name in samples[0].truth}


def _targets(robot: Robot, steps: int, velocity: np.ndarray) -> np.ndarray:
    """[T, J] rad. Feet stand under the base as it moves on, and swing back in an arc; by Newton's method."""
    kinematics, down = Kinematics(robot), np.tile([0.0, 0.0, -1.0], (steps, 1))
    pos = np.tile(robot.default_joint_pos, (steps, 1))
    time = np.arange(steps) * DT - 0.5  # it stands at first
    phase = np.mod(FREQUENCY * time[:, None] + robot.gaits["trot"], 1.0)
    swing = ((phase - STANCE) / (1.0 - STANCE)).clip(0.0)
    reach = STANCE / FREQUENCY * np.where(swing > 0.0, swing - 0.5, 0.5 - phase / STANCE)  # s ahead of the middle
    going = (time / 1.0).clip(0.0, 1.0)[:, None, None]
    goal = kinematics.feet(pos, down).pos + going * (reach[..., None] * velocity + LIFT * np.sin(np.pi * swing)[..., None] * [0, 0, 1])
    for _ in range(8):
        feet = kinematics.feet(pos, down)
        pos = pos + np.einsum("tfjx,tfx->tj", np.linalg.pinv(feet.jacobian, rcond=1e-3), goal - feet.pos)
    return pos
