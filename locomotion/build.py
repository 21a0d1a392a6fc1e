"""From composed configuration to objects: the one place where configuration is read and checked."""

from __future__ import annotations

from typing import Any

import torch

import robots
import sim
from locomotion.algorithms.ppo import PPO, PPOConfig
from locomotion.models.actor_critic import Actor
from locomotion.models.policy import Policy
from locomotion.task.actions import ActionDecoder
from locomotion.task.commands import CommandConfig
from locomotion.task.observations import ObservationEncoder
from locomotion.task.randomization import Noise, Randomization
from locomotion.task.ranges import Range
from locomotion.task.rewards import GaitConfig
from locomotion.task.velocity import ResetConfig, TaskConfig, VelocityTask
from robots.errors import InputError

Config = dict[str, Any]


def randomization(data: Config) -> Randomization:
    """From a ``configs/randomization`` file."""
    ranges = {name: Range.parse(f"randomization.{name}", value) for name, value in data.items() if name != "noise"}
    return Randomization(**ranges, noise=Noise(**data["noise"]))


def task_config(data: Config, physics_dt: float) -> TaskConfig:
    """From a ``configs/task`` file, for an engine that steps by ``physics_dt``."""
    substeps = round(data["control_dt"] / physics_dt)
    if substeps < 1 or abs(substeps * physics_dt - data["control_dt"]) > 1e-9:
        raise InputError("sim.physics_dt", physics_dt, f"a divisor of task.control_dt = {data['control_dt']}", "Try 0.01, 0.005 or 0.002.")
    command = data["command"]
    ranges = {name: Range.parse(f"task.command.{name}", command[name]) for name in ("forward", "left", "yaw", "duration")}
    return TaskConfig(
        control_dt=data["control_dt"],
        substeps=substeps,
        episode_seconds=data["episode_seconds"],
        gait_frequency=data["gait_frequency"],
        max_tilt=data["max_tilt"],
        min_height=data["min_height"],
        command=CommandConfig(**ranges, standing=command["standing"]),
        reset=ResetConfig(**data["reset"]),
        gait=GaitConfig(**{**data["gait"], "phase_offset": tuple(data["gait"]["phase_offset"])}),
        reward_weights=dict(data["reward"]["weights"]),
        fall_penalty=data["reward"]["fall_penalty"],
    )


def task(config: Config) -> VelocityTask:
    """The training task that ``config`` (the whole of ``configs/train.yaml``) describes."""
    engine = config["sim"]
    if engine["engine"] == "pybullet":
        raise InputError("sim", "pybullet", "an engine that can train: mujoco", "PyBullet is for 'locomotion evaluate'.")
    settings, physics = task_config(config["task"], engine["physics_dt"]), randomization(config["randomization"])
    if config["algorithm"]["num_envs"] < 1:
        raise InputError("algorithm.num_envs", config["algorithm"]["num_envs"], "an integer of at least 1", "Choose a positive number.")
    simulator = sim.make(
        engine["engine"], robots.load(config["robot"]["name"]), config["algorithm"]["num_envs"], engine["physics_dt"], engine["threads"]
    )
    return VelocityTask(settings, simulator, physics, seed=config["seed"])


def algorithm(config: Config, task: VelocityTask) -> PPO:
    """The learner that ``config`` describes."""
    data = {name: value for name, value in config["algorithm"].items() if name != "name"}
    for name in ("learning_rate_range", "actor_hidden", "critic_hidden"):
        data[name] = tuple(data[name])
    return PPO(PPOConfig(**data), task, seed=config["seed"])


def policy(config: Config, actor_state: dict[str, Any]) -> tuple[Policy, TaskConfig]:
    """The policy of a checkpoint, as it acts, and the task that it learned."""
    robot = robots.load(config["robot"]["name"])
    settings = task_config(config["task"], config["sim"]["physics_dt"])
    encoder = ObservationEncoder(robot, settings.gait_frequency, settings.control_dt)
    data = config["algorithm"]
    action = (robot.mirror.joint_index, robot.mirror.joint_sign)
    generator = torch.Generator()
    actor = Actor(encoder.mirror, action, data["actor_hidden"], data["symmetric"], data["initial_std"], generator)
    actor.load_state_dict(actor_state)
    return Policy(encoder, actor, ActionDecoder(robot)), settings
