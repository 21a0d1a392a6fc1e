"""A task of isaacgymenvs or legged_gym as one of ours: what becomes what, what only resembles it, and what has no counterpart.

Rewards there are weight times term times the control period, their sum clipped at 0, as here: weights carry over where terms are the same.
Facts that stand in those programs' code and not in their settings are told apart as notes.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

import robots
from locomotion.adapters import isaac_randomization, isaac_rewards
from locomotion.adapters.isaac_settings import LEARN, SCALES, Imported, Source
from robots import Robot
from robots.errors import InputError
from robots.model import build_spec

GRAVITY_THERE = [0.0, 0.0, -9.81]
INIT = "env.baseInitState"
KEYS = {  # of what both have
    "isaacgymenvs": {
        "episode": f"{LEARN}.episodeLength_s", "forward": "env.randomCommandVelocityRanges.linear_x",
        "left": "env.randomCommandVelocityRanges.linear_y", "yaw": "env.randomCommandVelocityRanges.yaw",
        "heading": "env.randomCommandVelocityRanges.yaw", "pose": "env.defaultJointAngles", "kp": "env.control.stiffness",
        "kd": "env.control.damping", "scale": "env.control.actionScale", "pos": f"{INIT}.pos", "rot": f"{INIT}.rot",
        "lin_vel": f"{INIT}.vLinear", "ang_vel": f"{INIT}.vAngular", "see_lin_vel": f"{LEARN}.linearVelocityScale",
        "see_ang_vel": f"{LEARN}.angularVelocityScale", "see_joint_pos": f"{LEARN}.dofPositionScale",
        "see_joint_vel": f"{LEARN}.dofVelocityScale", "clip_observation": "env.clipObservations", "clip_action": "env.clipActions",
        "terrain": "env.terrain.terrainType",
    },
    "legged_gym": {
        "episode": "env.episode_length_s", "forward": "commands.ranges.lin_vel_x", "left": "commands.ranges.lin_vel_y",
        "yaw": "commands.ranges.ang_vel_yaw", "heading": "commands.ranges.heading", "pose": "init_state.default_joint_angles",
        "kp": "control.stiffness", "kd": "control.damping", "scale": "control.action_scale", "pos": "init_state.pos",
        "rot": "init_state.rot", "lin_vel": "init_state.lin_vel", "ang_vel": "init_state.ang_vel", "see_lin_vel": f"{SCALES}.lin_vel",
        "see_ang_vel": f"{SCALES}.ang_vel", "see_joint_pos": f"{SCALES}.dof_pos", "see_joint_vel": f"{SCALES}.dof_vel",
        "clip_observation": "normalization.clip_observations", "clip_action": "normalization.clip_actions",
        "terrain": "terrain.mesh_type",
    },
}  # fmt: skip


def import_task(source: Source, robot: Robot, name: str | None = None) -> Imported:
    """Translate ``source`` for ``robot``.

    Raises:
        InputError: a setting that is missing or impossible, joints that are not the robot's, or motors that take no position targets.
    """
    keys = KEYS[source.kind]
    source.take("name", "task.name", None)
    dt = source.number("sim.dt", "sim.physics_dt")
    rough = source.kind == "isaacgymenvs" and "env.control.decimation" in source.values
    step = (
        {True: "env.control.decimation", False: "env.controlFrequencyInv"}[rough] if source.kind == "isaacgymenvs" else "control.decimation"
    )
    decimation = source.number(step, "task.control_dt", 1)
    substeps = source.number("sim.substeps", "sim.physics_dt", 2 if source.kind == "isaacgymenvs" else 1)
    if min(dt, decimation, substeps) <= 0 or decimation != int(decimation) or substeps != int(substeps):
        raise InputError("sim.dt", [dt, decimation, substeps], "a period and whole numbers of steps above 0", f"See {step}, sim.substeps.")
    found = Imported(source, name or _snake(source.name), round(dt / substeps, 9), round(dt * decimation, 9))
    _robot(found, robot, keys)
    heading = rough or source.flag("commands.heading_command", "commands", False)
    _task(found, robot, keys, heading, rough)
    isaac_randomization.translate(found, robot, rough)
    _policy(found, robot, keys, rough)
    return found


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _robot(found: Imported, robot: Robot, keys: dict[str, str]) -> None:
    """Pose, gains and action scale, by joint."""
    source = found.source
    pose = {joint: f"{keys['pose']}.{joint}" for joint in source.under(keys["pose"])}
    if set(pose) != set(robot.joint_names):
        fits = [name for name in robots.available() if set(robots.load(name).joint_names) == set(pose)]
        remedy = f"These have such joints: {', '.join(fits)}." if fits else "Import it first: locomotion robots import FILE.urdf."
        raise InputError("robot", robot.name, f"a robot whose joints are {', '.join(pose)}", remedy)
    kind = source.take("control.control_type", "joint position targets", "P")
    if kind != "P":
        raise InputError("control.control_type", kind, "P: targets of joint positions", "There are no other actions here.")
    found.robot = {
        "default_joint_pos": {joint: source.number(pose[joint], "robot default_joint_pos") for joint in robot.joint_names},
        "kp": _gains(source, keys["kp"], robot),
        "kd": _gains(source, keys["kd"], robot),
        "action_scale": source.number(keys["scale"], "robot action_scale"),
    }


def _gains(source: Source, key: str, robot: Robot) -> dict[str, float] | float:
    """One number, or numbers by what is part of a joint's name, of which the last counts, as there."""
    became = f"robot {'kp' if 'stiff' in key else 'kd'}"
    parts = {part: source.number(f"{key}.{part}", became) for part in source.under(key)}
    if not parts:
        return source.number(key, became)
    result: dict[str, float] = {}
    for joint in robot.joint_names:
        matching = [part for part in parts if part in joint]
        if not matching:
            raise InputError(key, list(parts), f"a part of the name of {joint}", "Without one its motor has no gains.")
        result[joint] = parts[matching[-1]]
    return result


def _task(found: Imported, robot: Robot, keys: dict[str, str], heading: bool, rough: bool) -> None:
    source = found.source
    episode = source.number(keys["episode"], "task.episode_seconds")
    gravity = source.numbers("sim.gravity", "gravity", 3, GRAVITY_THERE)
    if gravity != GRAVITY_THERE:
        found.resembles["sim.gravity"] = f"{gravity} m/s²: here randomization.parameters.gravity_scale, downward only"
    every = source.number("commands.resampling_time", "task.command_seconds", episode)
    yaw = [-1.0, 1.0] if heading else source.range(keys["yaw"], "task.commands.velocity.yaw")
    if heading:
        source.range(keys["heading"], "task.commands.velocity.yaw")
        found.resembles[keys["heading"]] = "a heading to turn to, by a yaw rate clipped at ±1 rad/s: here yaw rates of ±1 rad/s"
        found.why["commands.ranges.ang_vel_yaw"] = "no effect there either: heading_command is true"
    else:
        found.why["commands.ranges.heading"] = "no effect there either: heading_command is false"
    forward, left = (source.range(keys[name], f"task.commands.velocity.{name}") for name in ("forward", "left"))
    smallest = {"isaacgymenvs": 0.25 if rough else 0.0, "legged_gym": 0.2}[source.kind]
    if smallest:
        found.notes.append(f"commands below {smallest} m/s become zero there; set task.commands.velocity.standing for a share that stands")
    positive = source.flag("rewards.only_positive_rewards", "task.reward_floor", True)
    touch = source.take("asset.terminate_after_contacts_on", "task.terminations", ["base"])
    knees = (not rough and source.kind == "isaacgymenvs") or not source.flag(f"{LEARN}.allowKneeContacts", "task.terminations", True)
    if knees or list(touch) != ["base"]:
        terminations: dict[str, Any] = {"body_contact": {}}
        found.notes.append(
            f"contacts of {'base and thighs' if knees else ', '.join(map(str, touch))} end an episode there, of anything but a foot here"
        )
    else:
        terminations = {"tilt": {"limit": 1.05}, "low_base": {"share": 0.5}}
        found.notes.append("contact of the base ends an episode there, a tilt of 1.05 rad or half the standing height here")
    self_collision = rough or (source.kind == "legged_gym" and source.number("asset.self_collisions", "task.self_collision", 0) == 0)
    found.task = {
        "name": found.name, "protocol": "velocity", "self_collision": bool(self_collision), "control_dt": found.control_dt,
        "episode_seconds": episode, "command_seconds": [every, every], "gait": None,
        "commands": {"velocity": {"forward": forward, "left": left, "yaw": yaw, "standing": 0.0}},
        "observations": {
            "actor": {name: {} for name in ("base_ang_vel", "projected_gravity", "command", "joint_pos", "joint_vel", "previous_action")},
            "critic": {name: {} for name in ("base_lin_vel", "base_height", "foot_contact", "foot_height", "physics")},
        },
        "rewards": isaac_rewards.rewards_of(found, robot), "reward_floor": 0.0 if positive else None, "terminations": terminations,
        "resets": {"standing": _reset(found, robot, keys)}, "metrics": {"tracking": {}, "yaw": {}}, "score": ["tracking", "yaw"],
        "curricula": {},
    }  # fmt: skip


def _reset(found: Imported, robot: Robot, keys: dict[str, str]) -> dict[str, float]:
    source, spread = found.source, 0.5 if found.source.kind == "legged_gym" else 0.0
    pos = source.numbers(keys["pos"], "task.resets.standing.drop", 3, [0.0, 0.0, 0.0])
    x, y, z, w = source.numbers(keys["rot"], "upright, any heading", 4, [0.0, 0.0, 0.0, 1.0])
    if abs(abs(w) - 1.0) > 1e-6:
        found.resembles[keys["rot"]] = f"begins turned by the quaternion w x y z = [{w:g}, {x:g}, {y:g}, {z:g}] there; upright here"
    for name in ("lin_vel", "ang_vel"):
        if any(source.numbers(keys[name], "at rest", 3, [0.0, 0.0, 0.0])):
            found.resembles[keys[name]] = f"a mean there; here the episode begins with ±{spread} about rest"
    half = round(0.5 * float(np.mean(np.abs(list(found.robot["default_joint_pos"].values())))), 3)
    found.notes.append(f"episodes begin there with joints at 0.5 to 1.5 times the pose; here at the pose ±{half} rad, any heading")
    drop = round(max(0.0, pos[2] - robot.standing_height), 3)
    return {"base_lin_vel": spread, "base_ang_vel": spread, "joint_pos": half, "tilt": 0.0, "drop": drop}


def isaac_order(robot: Robot) -> list[str]:
    """The robot's joints as Isaac Gym numbers those of a URDF: depth first, what hangs on one link by name."""
    model = build_spec(robot).compile()
    below: dict[int, list[tuple[str, int]]] = {}
    for body in range(1, model.nbody):
        joints = [name for name in robot.joint_names if int(model.joint(name).bodyid[0]) == body]
        below.setdefault(int(model.body_parentid[body]), []).append((joints[0] if joints else "", body))

    def walk(body: int) -> list[str]:
        return [name for joint, child in sorted(below.get(body, [])) for name in ([joint] if joint else []) + walk(child)]

    return walk(0)


def _policy(found: Imported, robot: Robot, keys: dict[str, str], rough: bool) -> None:
    """The description of a checkpoint that was trained on the task."""
    source = found.source
    see = {
        name: source.number(keys[f"see_{name}"], "the policy's description") for name in ("lin_vel", "ang_vel", "joint_pos", "joint_vel")
    }
    clip = {name: source.take(keys[name], "the policy's description", None) for name in ("clip_observation", "clip_action")}
    flat = source.take(keys["terrain"], "a plane", "plane") == "plane"
    if not flat:
        found.resembles[keys["terrain"]] = "its ground there; a plane here"
    blind = 12 + 3 * robot.num_joints
    seen = (
        blind
        if source.kind == "isaacgymenvs" and not rough
        else source.values.get("env.num_observations", source.values.get("env.numObservations"))
    )
    if seen != blind:
        found.notes.append(f"its policies see {seen} numbers, not the {blind} of a blind walk (a scan of the ground?): "
                           "no description of a policy is written")  # fmt: skip
        return
    here = found.robot
    gravity: dict[str, Any] = {"term": "projected_gravity"}
    if source.kind == "isaacgymenvs":  # anymal.py turns the world's down by the base's rotation, not by its inverse
        gravity["scale"] = [0.0, 0.0, 1.0]
        found.notes.append(
            "isaacgymenvs' Anymal shows its policy gravity rotated the wrong way: x and y depend on the heading, which no robot knows; "
            "the description gives it their mean, 0"
        )
    rl_games = source.kind == "isaacgymenvs"  # whose players clip actions at 1 before the task does
    found.policy = {
        "policy": "model.pth" if rl_games else "model.pt",
        "activation": source.take("ppo.policy.activation", "the policy's description", "elu"),
        "robot": robot.name, "control_dt": found.control_dt, "joint_names": isaac_order(robot),
        "observation": [
            {"term": "base_lin_vel", "scale": see["lin_vel"]}, {"term": "base_ang_vel", "scale": see["ang_vel"]}, gravity,
            {"term": "command", "channels": ["forward", "left", "yaw"], "scale": [see["lin_vel"], see["lin_vel"], see["ang_vel"]]},
            {"term": "joint_pos", "scale": see["joint_pos"]}, {"term": "joint_vel", "scale": see["joint_vel"]}, {"term": "previous_action"},
        ],
        **({"clip_observation": float(clip["clip_observation"])} if clip["clip_observation"] is not None else {}),
        "commands": {name: found.task["commands"]["velocity"][name] for name in ("forward", "left", "yaw")},
        "action": {"scale": here["action_scale"], "clip": min(float(clip["clip_action"] or 1.0), 1.0 if rl_games else math.inf)},
        **{name: here[name] for name in ("default_joint_pos", "kp", "kd")},
    }  # fmt: skip
    found.notes.append("its policies see the base's linear velocity, which few robots measure: the bundle asks for base_lin_vel")
