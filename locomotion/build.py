"""From settings to objects: the one place where a configuration becomes a task, a learner or a policy."""

from __future__ import annotations

from typing import Any

import torch

import robots
import sim
from locomotion.algorithms import ALGORITHMS, Algorithm
from locomotion.environment import ActionSpace, Environment, Spaces, Symmetry
from locomotion.models.policy import Policy
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.task.actions import ActionDecoder
from locomotion.task.gait import Gait
from locomotion.task.observations import Context, Encoder
from locomotion.task.settings import make_commands, make_encoder
from locomotion.task.task import Task
from robots.errors import InputError, nearest


def task(settings: TrainSettings) -> Task:
    """The training task."""
    engine = settings.sim
    if engine.engine == "pybullet":
        raise InputError("sim", "pybullet", "an engine that can train: mujoco", "PyBullet is for 'locomotion evaluate'.")
    num_envs = settings.algorithm.get("num_envs")
    if not isinstance(num_envs, int) or isinstance(num_envs, bool) or not 1 <= num_envs <= 1_000_000:
        raise InputError("algorithm.num_envs", num_envs, "an integer from 1 to 1000000", "For example 256.")
    robot = robots.load(settings.robot)
    simulator = sim.make(
        engine.engine, robot, num_envs, engine.physics_dt, engine.threads,
        actuator=engine.actuator, self_collision=settings.task.self_collision,
    )  # fmt: skip
    return Task(settings.task, simulator, settings.randomization, seed=settings.seed)


def algorithm(settings: TrainSettings, env: Environment) -> Algorithm:
    """The learner."""
    cls, own = _algorithm(settings)
    return cls(own, env, settings.seed, settings.iterations)


def _algorithm(settings: TrainSettings) -> tuple[Any, Any]:
    data = dict(settings.algorithm)
    name = data.pop("name", None)
    if name not in ALGORITHMS:
        raise InputError(
            "algorithm.name", name, "the name of an algorithm", f"{nearest(str(name), ALGORITHMS)} One of your own needs plugins=[FILE.py]."
        )
    return ALGORITHMS[name], check(ALGORITHMS[name].settings_type, data, "algorithm")


def encoder(settings: TrainSettings, robot: robots.Robot) -> Encoder:
    """The policy's observation, without a simulator."""
    device = torch.device("cpu")
    commands = make_commands(settings.task, device)
    gait = Gait(settings.task.gait, robot, settings.task.control_dt, device, commands) if settings.task.gait else None
    return make_encoder(settings.task, Context(robot, commands, gait, settings.task.control_dt))


def policy(settings: TrainSettings, actor_state: dict[str, Any]) -> Policy:
    """The policy of a checkpoint, as it acts, on the CPU."""
    robot = robots.load(settings.robot)
    observed, decoder = encoder(settings, robot), ActionDecoder(robot, settings.task.control_dt)
    mirror, symmetry = observed.mirror, None
    if mirror is not None:
        symmetry = Symmetry({"actor": mirror}, (robot.mirror.joint_index, robot.mirror.joint_sign))
    cls, own = _algorithm(settings)
    actor = cls.make_actor(own, Spaces({"actor": observed.size}, ActionSpace(*decoder.bounds), symmetry), torch.Generator())
    actor.load_state_dict(actor_state)
    return Policy(observed, actor.eval(), decoder)
