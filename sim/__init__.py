"""Physics engines behind one :class:`~sim.simulator.Simulator` protocol."""

from __future__ import annotations

from robots import Robot
from robots.errors import InputError, nearest
from sim.actuation import choose
from sim.parameters import PARAMETERS, Parameter
from sim.signals import InitialState, Signals
from sim.simulator import Simulator
from sim.terrain import Terrain

__all__ = ["ENGINES", "PARAMETERS", "InitialState", "Parameter", "Signals", "Simulator", "Terrain", "engines_with", "make"]

ENGINES = ("mujoco", "mujoco_warp", "pybullet")


def make(
    engine: str,
    robot: Robot,
    num_envs: int,
    physics_dt: float,
    threads: int = 0,
    terrain: Terrain | None = None,
    firm: bool = False,
    actuator: str | None = None,
    self_collision: bool = False,
    device: str | None = None,
    contacts: int | None = None,
) -> Simulator:
    """A simulator of ``num_envs`` copies of ``robot`` on ``terrain`` (None: flat ground).

    ``firm`` asks MuJoCo for friction under which loaded feet do not creep; see :func:`sim.mujoco_model.build_model`. ``actuator``
    is "pd", "dc_motor", or a network's file or name; None: the DC motor where the robot's figures are known; see :mod:`sim.actuation`.
    ``self_collision``: the robot's shapes meet each other, not the ground alone. ``device`` and ``contacts`` are of
    :class:`sim.mujoco_warp.WarpSimulator`.

    Raises:
        InputError: unknown engine, an engine that is not installed or lacks what is asked, or a bad number or time step.
    """
    if engine not in ENGINES:
        raise InputError("sim.engine", engine, f"one of {', '.join(ENGINES)}", nearest(engine, ENGINES))
    if num_envs < 1:
        raise InputError("num_envs", num_envs, "an integer of at least 1", "Give the number of robots to simulate.")
    if not 0.0001 <= physics_dt <= 0.02:
        raise InputError("physics_dt", physics_dt, "seconds between 0.0001 and 0.02", "Training uses 0.01, scoring 0.002.")
    if threads < 0:
        raise InputError("sim.threads", threads, "an integer of at least 0", "0 uses every CPU.")
    motor, network = choose(robot, actuator)
    if engine == "mujoco":
        from sim.mujoco_batch import MujocoSimulator

        return MujocoSimulator(robot, num_envs, physics_dt, threads, terrain, firm, motor, self_collision, network)
    if network is not None:
        raise InputError("sim.engine", engine, "an engine with learned actuators: mujoco", "Use sim=mujoco, or sim.actuator=pd.")
    if terrain is not None and not terrain.flat:
        raise InputError("sim.engine", engine, "an engine with terrain: mujoco", "Use sim=mujoco, or flat ground.")
    if engine == "mujoco_warp":
        from sim.mujoco_warp import WarpSimulator

        return WarpSimulator(robot, num_envs, physics_dt, device, firm, motor, self_collision, contacts)
    from sim.pybullet import PybulletSimulator

    return PybulletSimulator(robot, num_envs, physics_dt, threads, motor, self_collision)


def engines_with(feature: str) -> list[str]:
    """The engines that support a parameter, or a feature such as "terrain", whether they are installed or not."""
    from sim.mujoco_batch import MujocoSimulator
    from sim.mujoco_warp import WarpSimulator
    from sim.pybullet import PybulletSimulator

    return [one.engine for one in (MujocoSimulator, WarpSimulator, PybulletSimulator) if feature in one.supports]
