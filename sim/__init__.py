"""Physics engines behind one :class:`~sim.simulator.Simulator` protocol."""

from __future__ import annotations

from robots import Robot
from robots.errors import InputError, nearest
from sim.simulator import PARAMETERS, InitialState, Signals, Simulator

__all__ = ["ENGINES", "PARAMETERS", "InitialState", "Signals", "Simulator", "make"]

ENGINES = ("mujoco", "pybullet")


def make(engine: str, robot: Robot, num_envs: int, physics_dt: float, threads: int = 0) -> Simulator:
    """A simulator of ``num_envs`` copies of ``robot``.

    Raises:
        InputError: unknown engine, an engine that is not installed, or a bad number of environments or time step.
    """
    if engine not in ENGINES:
        raise InputError("sim.engine", engine, f"one of {', '.join(ENGINES)}", nearest(engine, ENGINES))
    if num_envs < 1:
        raise InputError("num_envs", num_envs, "an integer of at least 1", "Give the number of robots to simulate.")
    if not 0.0001 <= physics_dt <= 0.02:
        raise InputError("physics_dt", physics_dt, "seconds between 0.0001 and 0.02", "Training uses 0.01, scoring 0.002.")
    if engine == "mujoco":
        from sim.mujoco_batch import MujocoSimulator

        return MujocoSimulator(robot, num_envs, physics_dt, threads)
    from sim.pybullet import PybulletSimulator

    return PybulletSimulator(robot, num_envs, physics_dt)
