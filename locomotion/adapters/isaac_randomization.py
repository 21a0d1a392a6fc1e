"""What isaacgymenvs and legged_gym randomize, as ours: friction, masses, gains, sensor noise, pushes."""

from __future__ import annotations

import math
from typing import Any

from locomotion.adapters.isaac_settings import LEARN, Imported
from robots import Robot
from robots.model import build_spec

DRAWN = "task.randomization_params"
NOISE = {  # sensor: setting, less the prefix
    "isaacgymenvs": {"joint_pos": "dofPositionNoise", "joint_vel": "dofVelocityNoise", "base_ang_vel": "angularVelocityNoise",
                     "projected_gravity": "gravityNoise"},
    "legged_gym": {"joint_pos": "dof_pos", "joint_vel": "dof_vel", "base_ang_vel": "ang_vel", "projected_gravity": "gravity"},
}  # fmt: skip
SEEN = {"base_ang_vel": "angularVelocityScale", "joint_pos": "dofPositionScale", "joint_vel": "dofVelocityScale"}


def translate(found: Imported, robot: Robot, rough: bool) -> None:
    """Fill ``found.randomization``, which is that of ``configs/randomization/none.yaml`` where nothing is drawn."""
    found.randomization = {"parameters": {}, "noise": {}, "events": {}, "graded": False}
    _friction(found)
    if found.source.kind == "legged_gym":
        _added_mass(found)
    elif not rough:
        _drawn(found, robot)
    _noise(found)
    _pushes(found)


def _off(found: Imported, switch: str, *keys: str) -> None:
    for key in keys:
        if key in found.source.values:
            found.why[key] = f"off: {switch} is false"


def _friction(found: Imported) -> None:
    """A contact's friction is the mean of foot's and ground's there (PhysX averages by default), the ground's alone here."""
    source = found.source
    gym = source.kind == "isaacgymenvs"
    place = ("env.terrain" if "env.terrain.staticFriction" in source.values else "env.plane") if gym else "terrain"
    static, dynamic = (
        f"{place}.{name}" for name in (("staticFriction", "dynamicFriction") if gym else ("static_friction", "dynamic_friction"))
    )
    ground = source.number(dynamic, "randomization.parameters.friction", 1.0)
    if source.number(static, "randomization.parameters.friction", ground) != ground:
        found.resembles[static] = "one coefficient here, the dynamic"
    bounce = f"{place}.restitution"
    restitution = source.number(bounce, "randomization.parameters.restitution", 0.0)
    if restitution:
        found.randomization["parameters"]["restitution"] = [restitution, restitution]
    switch, key = (
        (f"{LEARN}.randomizeFriction", f"{LEARN}.frictionRange")
        if gym
        else ("domain_rand.randomize_friction", "domain_rand.friction_range")
    )
    low, high = 1.0, 1.0  # of a foot
    if source.flag(switch, "randomization.parameters.friction", False):
        low, high = source.range(key, "randomization.parameters.friction")
        found.resembles[key] = "a foot's there, whose mean with the ground's counts; that mean here"
    else:
        _off(found, switch, key)
    found.randomization["parameters"]["friction"] = [round(0.5 * (foot + ground), 6) for foot in (low, high)]


def _added_mass(found: Imported) -> None:
    source = found.source
    if source.flag("domain_rand.randomize_base_mass", "randomization.parameters.base_mass_offset", False):
        added = source.range("domain_rand.added_mass_range", "randomization.parameters.base_mass_offset")
        found.randomization["parameters"]["base_mass_offset"] = added
    else:
        _off(found, "domain_rand.randomize_base_mass", "domain_rand.added_mass_range")


def _noise(found: Imported) -> None:
    """Uniform, ± the figure times the level, in physical units: theirs are scaled as the observation is."""
    source = found.source
    gym = source.kind == "isaacgymenvs"
    switch, level = (f"{LEARN}.addNoise", f"{LEARN}.noiseLevel") if gym else ("noise.add_noise", "noise.noise_level")
    prefix = LEARN if gym else "noise.noise_scales"
    if not source.flag(switch, "randomization.noise", False):
        _off(found, switch, level, *(key for key in source.values if key.startswith(f"{prefix}.") and (not gym or key.endswith("Noise"))))
        return
    factor = source.number(level, "randomization.noise", 1.0)
    for sensor, name in NOISE[source.kind].items():
        found.randomization["noise"][sensor] = round(factor * source.number(f"{prefix}.{name}", f"randomization.noise.{sensor}", 0.0), 9)


def _pushes(found: Imported) -> None:
    source = found.source
    gym = source.kind == "isaacgymenvs"
    switch, every = (
        (f"{LEARN}.pushRobots", f"{LEARN}.pushInterval_s") if gym else ("domain_rand.push_robots", "domain_rand.push_interval_s")
    )
    if not source.flag(switch, "randomization.events.push", False):
        _off(found, switch, every, "domain_rand.max_push_vel_xy")
        return
    speed = source.number("domain_rand.max_push_vel_xy", "randomization.events.push.velocity", 1.0)
    interval = source.number(every, "randomization.events.push.interval")
    found.randomization["events"]["push"] = {"velocity": [-speed, speed], "interval": [interval, interval]}
    found.resembles[every] = (
        f"all robots at once get a new horizontal velocity of ±{speed:g} m/s there; here each its own, added to what it has"
    )


def _drawn(found: Imported, robot: Robot) -> None:
    """isaacgymenvs' table of randomizations: what of it has a parameter here."""
    source = found.source
    if not source.flag("task.randomize", "randomization", False):
        _off(found, "task.randomize", *(key for key in source.values if key.startswith(f"{DRAWN}.")))
        return
    actors = {key.split(".")[3] for key in source.values if key.startswith(f"{DRAWN}.actor_params.")}
    parameters = found.randomization["parameters"]
    for actor in sorted(actors):
        base = f"{DRAWN}.actor_params.{actor}"
        for name, ours in (("dof_properties.stiffness", "kp_scale"), ("dof_properties.damping", "kd_scale")):
            if factors := _factors(found, f"{base}.{name}", ours):
                parameters[ours] = factors
        if factors := _factors(found, f"{base}.rigid_body_properties.mass", "link_mass_scale, base_mass_offset"):
            mass = float(build_spec(robot).compile().body(robot.base_body).mass[0])
            parameters["link_mass_scale"] = factors
            parameters["base_mass_offset"] = [round((factor - 1.0) * mass, 3) for factor in factors]
        if factors := _factors(found, f"{base}.rigid_shape_properties.friction", "friction"):
            low, high = parameters["friction"]  # the mean of a foot's 1 and the ground's
            parameters["friction"] = [round(low + 0.5 * (factors[0] - 1.0), 6), round(high + 0.5 * (factors[1] - 1.0), 6)]
    _white_noise(found)
    for key in source.left():
        if key.startswith(f"{DRAWN}.") and "schedule" in key:
            found.why[key] = "no schedule here; 'graded' draws for each episode how severe it is"


def _factors(found: Imported, base: str, ours: str) -> list[float] | None:
    """A uniform factor [low, high]; None where there is none, or another law is drawn from."""
    source = found.source
    law: tuple[Any, Any] = source.values.get(f"{base}.operation"), source.values.get(f"{base}.distribution")
    if law != ("scaling", "uniform"):
        return None
    for name in ("operation", "distribution"):
        source.take(f"{base}.{name}", f"randomization.parameters: {ours}")
    return source.range(f"{base}.range", f"randomization.parameters: {ours}")


def _white_noise(found: Imported) -> None:
    """Gaussian noise [mean, deviation] of the scaled observation, as the uniform noise of the same deviation in physical units."""
    source, base = found.source, f"{DRAWN}.observations"
    if (source.values.get(f"{base}.operation"), source.values.get(f"{base}.distribution")) != ("additive", "gaussian"):
        return
    mean, deviation = source.numbers(f"{base}.range", "randomization.noise", 2)
    for name in ("operation", "distribution"):
        source.take(f"{base}.{name}", "randomization.noise")
    for sensor in NOISE["isaacgymenvs"]:
        scale = source.number(f"{LEARN}.{SEEN[sensor]}", "the policy's description") if sensor in SEEN else 1.0
        found.randomization["noise"][sensor] = round(math.sqrt(3.0) * deviation / scale, 9)
    found.resembles[f"{base}.range"] = "gaussian there; uniform of the same deviation here" + (
        f", without the mean of {mean:g}" if mean else ""
    )
