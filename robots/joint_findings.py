"""What is wrong with the figures of a robot's joints and motors: part of :mod:`robots.findings`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mujoco
import numpy as np

from robots import check
from robots.errors import Finding, InputError, doubtful, wrong
from robots.fields import Bounds
from robots.model import leg_joints
from robots.robot import Robot

TWIN = 0.02  # share by which a limb's mass, gain or limit may differ from its mirror image's
APART = 0.03  # share of the standing height by which the centres of mass of a limb and of its mirror image may differ
ASIDE = 0.05  # share of the standing height by which the robot's centre of mass may lie beside its middle
# kg m^2 a N m of effort of a rotor, seen through its gear: G1's hips 1.2e-4, its wrists 8.5e-4, ANYmal C 1.3e-3
ROTOR = Bounds(6e-5, 6e-3, "kg m^2")
NO_LOAD = Bounds(0.7, 1.6, "")  # no-load speed over joint_vel_limit: Go2 1.0, G1's ankles 1.34
KNEE = 0.1  # of the no-load speed, up to which a motor has its whole effort at least: Go2 0.35, G1 0.55 to 0.84
NARROW = 0.5  # share of the model's range that limits keep at least

Findings = Iterator[Finding]


def _twins(robot: Robot, model: mujoco.MjModel) -> Findings:
    """Left and right are mirror images in pose, limits, gains and mass."""
    mirror = robot.mirror
    index, sign = mirror.joint_index, mirror.joint_sign
    limit = robot.joint_pos_limit
    image = np.where(sign[:, None] > 0, limit[index], -limit[index][:, ::-1])
    both = {
        "default_joint_pos": (robot.default_joint_pos, sign * robot.default_joint_pos[index]),
        "lie_joint_pos": (robot.lie_joint_pos, sign * robot.lie_joint_pos[index]),
        "joint_pos_limit": (limit, image),
    }
    both |= {
        key: (getattr(robot, key), getattr(robot, key)[index]) for key in ("kp", "kd", "action_scale", "effort_limit", "joint_vel_limit")
    }
    joint = np.array([model.joint(name).id for name in robot.joint_names])
    bodies = model.jnt_bodyid[joint]
    masses, places = model.body_mass[bodies], check.joint_pose(model, robot, robot.default_joint_pos).xipos
    if abs(left := float(model.body_mass @ places[:, 1] / model.body_mass.sum())) > ASIDE * robot.standing_height:
        allowed = f"a centre of mass within {ASIDE * robot.standing_height:.2g} m of the middle between left and right, in the default pose"
        yield doubtful("model: inertia", round(left, 4), allowed, "Check the <inertial pos=> of the base.")
    centres = places[bodies]
    for i in np.flatnonzero(np.linalg.norm(centres[index] * (1, -1, 1) - centres, axis=1) > APART * robot.standing_height):
        if i <= index[i]:
            one, other = (model.body(bodies[k]).name for k in (i, index[i]))
            allowed = f"centres of mass of {one} and {other} as mirror images, in the base's frame (m)"
            came = centres[[i, index[i]]].round(4).tolist()
            yield wrong("model: inertia", came, allowed, "Check the signs of their <inertial pos=>.")
    both |= {
        "model: mass": (masses, masses[index]),
        "model: armature": (armature := model.dof_armature[model.jnt_dofadr[joint]], armature[index]),
    }
    for field, (here, there) in both.items():
        off = np.abs(here - there) > TWIN * np.maximum(np.abs(here), np.abs(there)) + 1e-6
        for i in np.flatnonzero(off.reshape(len(index), -1).any(axis=1)):
            if i <= index[i]:
                one, other = robot.joint_names[i], robot.joint_names[index[i]]
                came = np.round([here[i], there[i]], 6).tolist()
                yield wrong(field, came, f"{one} and {other} as mirror images", "Mend the one or the other.")


def _limits(robot: Robot, model: mujoco.MjModel) -> Findings:
    for i, name in enumerate(robot.joint_names):
        joint = model.joint(name).id
        limited, (low, high) = model.jnt_actfrclimited[joint], model.jnt_actfrcrange[joint]
        if limited and robot.effort_limit[i] > max(-low, high) * 1.001:
            allowed = f"at most the model's actuatorfrcrange of {name}, {high:g} N m"
            yield wrong("effort_limit", float(robot.effort_limit[i]), allowed, "Lower it, or mend the model.")
        lower, upper = robot.joint_pos_limit[i]
        margin = min(robot.default_joint_pos[i] - lower, upper - robot.default_joint_pos[i])
        if margin < 0.02 * (upper - lower):
            allowed = f"an angle of {name} away from its limits, {lower:g} to {upper:g} rad"
            yield doubtful("default_joint_pos", float(robot.default_joint_pos[i]), allowed, "Bend it, or widen the limit.")
        narrowest = NARROW * float(min(np.ptp(model.jnt_range[joint]), 2.0 * np.pi))
        if not model.jnt_limited[joint]:
            remedy = f"Give {name} range= in {robot.model.name}: nothing else stops the simulated joint."
            yield doubtful("model: range", None, f"[lower, upper] of {name}, rad", remedy)
        elif upper - lower < narrowest:
            allowed = f"at least {narrowest:.3g} rad of the model's range of {name}, {np.round(model.jnt_range[joint], 3).tolist()} rad"
            yield doubtful("joint_pos_limit", [float(lower), float(upper)], allowed, "In rad? Widen it, if it is a slip.")
        reach = robot.action_scale[i] * robot.kp[i] / robot.effort_limit[i]
        if not 0.05 <= reach <= 2.0:
            allowed = f"0.05 to 2 times effort_limit / kp of {name}, {robot.effort_limit[i] / robot.kp[i]:.3g} rad"
            yield doubtful("action_scale", float(robot.action_scale[i]), allowed, "0.25-0.5 times is usual.")


def _motors(robot: Robot, model: mujoco.MjModel) -> Findings:
    """What a motor has to overcome before it moves its link, and how fast it gets, are figures of the same motor."""
    dof = model.jnt_dofadr[[model.joint(name).id for name in robot.joint_names]]
    resistance = model.dof_frictionloss[dof] + 0.5 * model.dof_damping[dof] * robot.joint_vel_limit
    for i, name in enumerate(robot.joint_names):
        effort, free = robot.effort_limit[i], robot.no_load_speed[i] if robot.no_load_speed is not None else robot.joint_vel_limit[i]
        if resistance[i] > 0.5 * effort:
            allowed = f"less than half the effort limit of {name}, {0.5 * effort:g} N m: frictionloss + damping * joint_vel_limit / 2"
            yield Finding(
                bool(resistance[i] > effort),
                InputError("model: friction", round(float(resistance[i]), 3), allowed, "Check both units: N m and N m s/rad."),
            )
        armature = float(model.dof_armature[dof[i]])
        if not ROTOR.low * effort <= armature <= ROTOR.high * effort:
            allowed = f"{ROTOR.low * effort:.2g} to {ROTOR.high * effort:.2g} kg m^2 at {name}, by its effort limit"
            yield doubtful("model: armature", armature, allowed, "The rotor's inertia times the gear squared.")
        if min(model.dof_damping[dof[i]], model.dof_frictionloss[dof[i]]) < 0.0:
            came = [float(model.dof_damping[dof[i]]), float(model.dof_frictionloss[dof[i]])]
            yield wrong("model: friction", came, f"damping and frictionloss of {name} that are not negative", "They brake.")
        if not NO_LOAD.low <= free / robot.joint_vel_limit[i] <= NO_LOAD.high:
            limit = robot.joint_vel_limit[i]
            allowed = f"{NO_LOAD.low * limit:.3g} to {NO_LOAD.high * limit:.3g} rad/s, by joint_vel_limit of {name}, {limit:g} rad/s"
            yield doubtful("no_load_speed", float(free), allowed, "Check both: rad/s at the joint, behind the gear.")
        if robot.speed_at_full_effort is not None and robot.speed_at_full_effort[i] < KNEE * free:
            allowed = f"at least {KNEE * free:.3g} rad/s, {KNEE:g} of no_load_speed of {name}: drivers end it earlier"
            yield doubtful("speed_at_full_effort", float(robot.speed_at_full_effort[i]), allowed, "Check the unit: rad/s.")


def _groups(robot: Robot, model: mujoco.MjModel) -> Findings:
    """Joints that move a leg sideways turn about a forward axis; a knee is further from the base than the hip of its leg."""
    axes = check.joint_pose(model, robot, robot.default_joint_pos).xaxis
    groups = {name: [model.joint(robot.joint_names[i]).id for i in joints] for name, joints in robot.joint_groups.items()}
    for joint in groups.get("abduction", ()):
        if abs(axes[joint][0]) < 0.5:
            allowed = f"joints that turn about a forward axis; this one's is {axes[joint].round(2).tolist()}"
            yield wrong("joint_groups: abduction", model.joint(joint).name, allowed, "Move it to its own group.")
    legs = leg_joints(model, robot)
    for foot, leg in zip(robot.feet, legs, strict=True):
        hip, knee = ([leg.index(joint) for joint in groups.get(name, ()) if joint in leg] for name in ("hip", "knee"))
        if hip and knee and max(hip) > min(knee):
            name = model.joint(leg[min(knee)]).name
            yield wrong("joint_groups: knee", name, f"a joint below the hip of {foot}", "Are hip and knee exchanged?")
    for name, joints in groups.items():
        count = {sum(joint in leg for joint in joints) for leg in legs}
        if len(count) > 1:
            missing = next(foot for foot, leg in zip(robot.feet, legs, strict=True) if sum(j in leg for j in joints) == min(count))
            came = [model.joint(joint).name for joint in joints]
            yield doubtful(f"joint_groups: {name}", came, f"as many joints of every leg; {missing} has fewer", "Add its own.")


def _motor_order(robot: Robot, model: mujoco.MjModel) -> Findings:
    """A vendor counts the motors of both sides alike: within a limb and within its mirror image they follow each other in one order."""
    if robot.motor_index is None:
        return
    place, image = np.asarray(robot.motor_index), robot.mirror.joint_index
    pairs = np.flatnonzero(image != np.arange(len(image)))
    limb = {i: _limb(model, *(robot.joint_names[j] for j in (i, image[i]))) for i in pairs}
    for i, k in ((i, k) for i in pairs for k in pairs if limb[i] == limb[k]):
        if (place[i] < place[k]) != (place[image[i]] < place[image[k]]):
            names = [robot.joint_names[j] for j in (i, k, image[i], image[k])]
            allowed = f"motors of both sides in one order; {names[0]} and {names[1]} do not stand as {names[2]} and {names[3]}"
            yield doubtful("motor_order", names[:2], allowed, "Check it against the vendor's list.")
            return


def _limb(model: mujoco.MjModel, joint: str, image: str) -> int:
    """The body with which the way to ``joint`` parts from that to its mirror image."""
    body, shared = int(model.joint(joint).bodyid[0]), check.ancestors(model, int(model.joint(image).bodyid[0]))
    return next(one for one in reversed(check.ancestors(model, body)) if one not in shared)


JOINT_CHECKS: tuple[Callable[[Robot, mujoco.MjModel], Findings], ...] = (_twins, _limits, _motors, _groups, _motor_order)
