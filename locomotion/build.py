"""From settings to objects: the one place where a configuration becomes a task, a learner or a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

import robots
import sim
from locomotion import distributed, plugins
from locomotion.algorithms import ALGORITHMS, Algorithm
from locomotion.algorithms.distill import Teacher
from locomotion.algorithms.replay import Replay
from locomotion.environment import Environment, Spaces
from locomotion.models.policy import Policy
from locomotion.runs import checkpoint
from locomotion.runs.train import refuse_other_robot
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.task.actions import ActionDecoder
from locomotion.task.gait import Gait
from locomotion.task.observations import Context, Encoder
from locomotion.task.settings import TaskSettings, make_commands, make_encoder, make_privileged
from locomotion.task.spaces import make_spaces
from locomotion.task.task import Task
from robots import Robot
from robots.errors import InputError, nearest

KIB_PER_DOF = 2.5  # memory of an environment, by its degrees of freedom: 50 KiB of a Go2, 90 of a G1, measured


def environment(settings: TrainSettings) -> Environment:
    """What is learned on: the training task, or an environment of Gymnasium or Isaac Gym."""
    if settings.env is None:
        return task(settings)
    num_envs, seed = _num_envs(settings), distributed.seed(settings.seed)
    kind, _, name = settings.env.partition(":")
    if kind == "isaacgym":
        from locomotion.adapters import isaac_process

        return isaac_process.make(name, num_envs, seed)
    from locomotion.adapters import vector_environment

    return vector_environment.make(settings.env, num_envs, seed)


def _num_envs(settings: TrainSettings) -> int:
    num_envs = settings.algorithm.get("num_envs", 1 if "dataset" in settings.algorithm else None)  # offline, to be scored in
    if not isinstance(num_envs, int) or isinstance(num_envs, bool) or not 1 <= num_envs <= 1_000_000:
        raise InputError("algorithm.num_envs", num_envs, "an integer from 1 to 1000000", "For example 256.")
    return num_envs


def task(settings: TrainSettings) -> Task:
    """The training task."""
    engine, num_envs = settings.sim, _num_envs(settings)
    robot = robots.load(settings.robot)
    _refuse_beyond_memory(num_envs, robot)
    simulator = sim.make(
        engine.engine, robot, num_envs, engine.physics_dt, engine.threads,
        actuator=engine.actuator, self_collision=settings.task.self_collision, device=engine.device, contacts=engine.contacts,
    )  # fmt: skip
    return Task(settings.task, simulator, settings.randomization, seed=distributed.seed(settings.seed))


def _refuse_beyond_memory(num_envs: int, robot: Robot) -> None:
    """Raises InputError where so many do not fit: Linux gives memory away, and ends the process without a word once it is used."""
    each, free = KIB_PER_DOF * (robot.num_joints + 6), _free_memory()
    if free is not None and num_envs * each > free:
        allowed = f"as many {robot.name} as fit into the memory that is free, {free / 2**20:.1f} GiB: {int(free / each)}"
        raise InputError("algorithm.num_envs", num_envs, allowed, f"They need {num_envs * each / 2**20:.1f} GiB at least.")


def _free_memory() -> int | None:
    """KiB that may be used without swapping; None where nobody says (as on what is no Linux)."""
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def algorithm(settings: TrainSettings, env: Environment) -> Algorithm:
    """The learner. One whose settings name a teacher or a dataset gets it, too."""
    cls, own = algorithm_settings(settings)
    given: dict[str, Any] = {"teacher": teacher(own.teacher, settings, env.spaces)} if hasattr(own, "teacher") else {}
    if getattr(own, "dataset", None) is not None:
        given["data"] = data(own, settings, env)
    return cls(own, env, settings.seed, settings.iterations, **given)


def data(own: Any, settings: TrainSettings, env: Environment) -> Replay:
    """The dataset that the settings ``own`` of an algorithm name, checked against what is learned on."""
    from locomotion.data.load import replay_of

    groups = {"actor", getattr(own, "critic_group", "actor")}
    fingerprint = robots.load(settings.robot).fingerprint() if settings.env is None else None
    reward: Any = getattr(own, "reward", "recorded")
    scale: Any = getattr(own, "reward_scale", 1.0)
    return replay_of(own.dataset, env, groups, reward, scale, fingerprint, name=settings.env)


def actor_group(settings: TrainSettings) -> str:
    """Which observation group the algorithm's policy sees; none but "actor" can be exported."""
    return getattr(algorithm_settings(settings)[1], "actor_group", "actor")


def algorithm_settings(settings: TrainSettings) -> tuple[Any, Any]:
    """The algorithm's class, and its settings as that has them. Raises InputError where it is unknown, or has no such settings."""
    data = dict(settings.algorithm)
    name = data.pop("name", None)
    if str(name) not in ALGORITHMS:
        raise InputError(
            "algorithm.name", name, "the name of an algorithm", f"{nearest(str(name), ALGORITHMS)} One of your own needs plugins=[FILE.py]."
        )
    if settings.env is not None and data.get("symmetric"):
        data["symmetric"] = False  # no such environment tells what it looks like in a mirror
    return ALGORITHMS[name], check(ALGORITHMS[name].settings_type, data, "algorithm")


def modules(robot: Robot, task: TaskSettings) -> tuple[Encoder, ActionDecoder, Spaces]:
    """What surrounds an actor, and its spaces, on the CPU, without a simulator."""
    device = torch.device("cpu")
    commands = make_commands(task, device)
    gait = Gait(task.gait, robot, task.control_dt, device, commands) if task.gait else None
    context = Context(robot, commands, gait, task.control_dt)
    encoder, decoder = make_encoder(task, context), ActionDecoder(robot, task.control_dt)
    return encoder, decoder, make_spaces(encoder, make_privileged(task, context), decoder, robot, task.constraints)


def actor(settings: TrainSettings, spaces: Spaces, state: dict[str, Any]) -> nn.Module:
    """The actor of a checkpoint, on the CPU."""
    cls, own = algorithm_settings(settings)
    result = cls.make_actor(own, spaces, torch.Generator())
    result.load_state_dict(state)
    return result.eval()


def policy(settings: TrainSettings, actor_state: dict[str, Any]) -> Policy:
    """The policy of a checkpoint, as it acts, on the CPU. Raises InputError where it sees what no robot measures."""
    if actor_group(settings) != "actor":
        seen = ", ".join(settings.task.observations.critic)
        remedy = "Teach it to a student: algorithm=distill algorithm.teacher=RUN (docs/teacher_student.md)."
        raise InputError("algorithm.actor_group", actor_group(settings), f"a policy of what a robot measures; this one sees {seen}", remedy)
    encoder, decoder, spaces = modules(robots.load(settings.robot), settings.task)
    return Policy(encoder, actor(settings, spaces, actor_state), decoder)


def teacher(path: str, settings: TrainSettings, spaces: Spaces) -> Teacher:
    """The policy of a run, which finds what it sees in what the critic of ``settings`` sees. Raises InputError where it cannot."""
    field = "algorithm.teacher"
    source = checkpoint.find(path, field)
    state = checkpoint.load(source)
    refuse_other_robot(state, field)
    plugins.load(state["config"]["plugins"])
    theirs, task = check(TrainSettings, state["config"]), settings.task
    if theirs.env or settings.env:
        raise InputError(field, path, "a robot's policy, taught to a robot's", f"Here is {theirs.env or settings.env}.")
    for name, a, b in (
        ("robot", theirs.robot, settings.robot),
        ("task.control_dt", theirs.task.control_dt, task.control_dt),
        ("task.gait", theirs.task.gait, task.gait),
        ("task.commands", list(theirs.task.commands), list(task.commands)),
    ):
        if a != b:
            raise InputError(field, path, f"a teacher with the same {name}: {b}", f"It has {a}.")
    if getattr(algorithm_settings(theirs)[1], "memory", 0):
        raise InputError(field, path, "a teacher without a memory", "Train one with algorithm.memory=0.")
    group, ours = actor_group(theirs), task.observations
    seen = {"actor": theirs.task.observations.actor, "critic": theirs.task.observations.critic if group == "critic" else {}}
    for table, entries in seen.items():
        for name, entry in entries.items():
            if getattr(ours, table).get(name) != entry:
                allowed, remedy = (
                    "a teacher that sees what this task's critic sees",
                    f"Set task.observations.{table}.{name}={entry or '{}'}.",
                )
                raise InputError(field, path, allowed, f"It also sees {name}. {remedy}")
    names = [name for entries in seen.values() for name in entries]
    return Teacher(
        actor(theirs, modules(robots.load(theirs.robot), theirs.task)[2], state["learner"]["actor"]), spaces.columns(field, "critic", names)
    )
