"""Whether a robot's description and its MuJoCo model belong together."""

from __future__ import annotations

import re
from collections.abc import Iterable

import mujoco
import numpy as np

from robots.errors import InputError, nearest
from robots.robot import GRAVITY, Robot

LIMIT_TOLERANCE = 1e-4  # rad, for limits rounded differently in the two files
HEIGHT_TOLERANCE = 0.06  # share of the height
MIRROR_TOLERANCE = 0.005  # m; published link lengths differ by less between left and right


def check_model(robot: Robot, spec: mujoco.MjSpec) -> None:
    """Compare ``robot`` with the model in ``spec``, which holds the robot alone, without motors or ground.

    Raises:
        InputError: a name is not in the model, or the two do not fit.
    """
    check_names("base_body", [robot.base_body], (body.name for body in spec.bodies if body.name != "world"), "body")
    check_names("imu_site", [robot.imu_site], (site.name for site in spec.sites), "site")
    check_names("feet", [shape for shapes in robot.foot_geoms for shape in shapes], (geom.name for geom in spec.geoms), "geom")
    check_names("joint_names", robot.joint_names, (joint.name for joint in spec.joints), "joint")
    if spec.actuators:
        names = [actuator.name for actuator in spec.actuators]
        raise InputError("model", names, "no actuators: the toolkit adds the motors", f"Remove <actuator> from {robot.model.name}.")
    if spec.worldbody.geoms:
        names, allowed = [geom.name for geom in spec.worldbody.geoms], "the robot alone: the toolkit adds the ground"
        raise InputError("model", names, allowed, f"Remove the world's geoms from {robot.model.name}.")
    check_masses(robot, spec)
    model = _compiled(robot, spec)
    if not np.allclose(model.opt.gravity, (0.0, 0.0, -GRAVITY), atol=0.02):
        allowed = f"no gravity of the model's own: training sets 0 0 -{GRAVITY:g} m/s^2 and randomizes it (gravity_scale, ground_slope)"
        raise InputError("model: gravity", model.opt.gravity.tolist(), allowed, f"Remove gravity= from <option> of {robot.model.name}.")
    floating = [model.body(body).name for body in np.flatnonzero(model.body_gravcomp)]
    if floating:
        allowed = "bodies that weigh what their mass says: no gravcomp"
        raise InputError("model: gravity", floating, allowed, f"Remove gravcomp= from {robot.model.name}: it holds them up.")
    check_joints(robot, model)
    check_feet(robot, model)
    check_mirror(robot, model)
    check_height(robot, model)


def lock_joints(robot: Robot, spec: mujoco.MjSpec) -> None:
    """Take the joints that a variant locks out of ``spec``: their bodies stay as they stand at the locked angles.

    Raises:
        InputError: a locked joint is not in the model, is no hinge, or is not its body's only joint.
    """
    if not robot.locked:
        return
    check_names("lock", robot.locked, (joint.name for joint in spec.joints), "joint")
    model = _compiled(robot, spec)
    for name, angle in robot.locked.items():
        joint = model.joint(name)
        if joint.type[0] != mujoco.mjtJoint.mjJNT_HINGE or model.body_jntnum[joint.bodyid[0]] != 1:
            raise InputError("lock", name, "a hinge that is the only joint of its body", f"Do not lock {name}.")
        body, turn, moved, quat = spec.joint(name).parent, np.zeros(4), np.zeros(3), np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, joint.axis, angle - model.qpos0[joint.qposadr[0]])  # from where the model is drawn
        mujoco.mju_rotVecQuat(moved, joint.pos, turn)
        mujoco.mju_rotVecQuat(moved, joint.pos - moved, model.body_quat[joint.bodyid[0]])  # of the origin, about the hinge's anchor
        mujoco.mju_mulQuat(quat, model.body_quat[joint.bodyid[0]], turn)
        body.pos, body.quat = model.body_pos[joint.bodyid[0]] + moved, quat
        body.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT
        spec.delete(spec.joint(name))


def weigh_links(robot: Robot, spec: mujoco.MjSpec) -> None:
    """Give the links that the description weighs their mass, centre and inertia in place of the model's.

    Raises:
        InputError: there is no such link.
    """
    check_names("links", robot.links, (body.name for body in spec.bodies), "body")
    for name, figures in robot.links.items():
        body, weighs = spec.body(name), figures[0] > 0.0
        body.explicitinertial, body.mass, body.ipos, body.inertia = True, figures[0], figures[1:4], np.zeros(3)
        body.fullinertia = figures[4:] if weighs else np.full(6, np.nan)  # not given


def check_masses(robot: Robot, spec: mujoco.MjSpec) -> None:
    """What moves, and says what it weighs, weighs something; of ``links`` that weigh nothing, what is fixed to them does."""
    for body in spec.bodies:
        if body.name not in robot.links and body.joints and body.explicitinertial and not body.mass > 0.0:
            allowed = f"more than 0 kg for {body.name}, which {body.joints[0].name or 'a joint'} moves"
            raise InputError("model: mass", float(body.mass), allowed, f"Mend <inertial mass=> of {body.name} in {robot.model.name}.")


def _compiled(robot: Robot, spec: mujoco.MjSpec) -> mujoco.MjModel:
    try:
        return spec.compile()
    except ValueError as error:
        lost = re.search(r"opening file '(.*?)'", str(error))
        if lost:
            allowed = f"files that are there: {robot.model.name} names them, from its own folder or its compiler's meshdir"
            raise InputError("model: mesh", lost[1], allowed, f"Copy {lost[1]} there, or use primitive shapes.") from error
        remedy = f"MuJoCo says: {' '.join(str(error).split())}."
        raise InputError("model", str(robot.model), "an MJCF that MuJoCo compiles", remedy) from error


def joint_pose(model: mujoco.MjModel, robot: Robot, joint_pos: np.ndarray) -> mujoco.MjData:
    """The robot with its base upright in the origin and its joints at ``joint_pos`` [J] (rad)."""
    data = mujoco.MjData(model)
    data.qpos[:7] = 0, 0, 0, 1, 0, 0, 0
    data.qpos[[model.joint(name).qposadr[0] for name in robot.joint_names]] = joint_pos
    mujoco.mj_kinematics(model, data)
    return data


def foot_positions(robot: Robot, data: mujoco.MjData) -> np.ndarray:
    """[F, 3] m, world: the centre of each foot's shape, or the mean of its shapes' centres."""
    return np.array([np.mean([data.geom(shape).xpos for shape in shapes], axis=0) for shapes in robot.foot_geoms])


def sole_heights(robot: Robot, model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """[F] m, world: the lowest point of each foot."""
    ids = [[model.geom(shape).id for shape in shapes] for shapes in robot.foot_geoms]
    return np.array([min(data.geom_xpos[geom][2] - half_height(model, data, geom) for geom in foot) for foot in ids])


def ancestors(model: mujoco.MjModel, body: int) -> list[int]:
    """``body`` and all that it hangs on, up to the world."""
    chain = [body]
    while chain[-1]:
        chain.append(int(model.body_parentid[chain[-1]]))
    return chain


def lowest(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """m, world: the lowest point of all shapes that touch the ground."""
    shapes = np.flatnonzero(model.geom_conaffinity & 1 & (model.geom_bodyid > 0)).tolist()
    return min((float(data.geom_xpos[geom][2]) - half_height(model, data, geom) for geom in shapes), default=np.inf)


def check_feet(robot: Robot, model: mujoco.MjModel) -> None:
    """Feet touch the ground; several shapes of a foot are all that touches it of one body."""
    for foot, shapes in zip(robot.feet, robot.foot_geoms, strict=True):
        for shape in shapes:
            if not model.geom(shape).conaffinity[0] & 1:
                raise InputError("feet", shape, "shapes that touch the ground", f'Give {shape} conaffinity="1" in {robot.model.name}.')
        body = model.geom(shapes[0]).bodyid[0]
        touching = {model.geom(i).name for i in range(model.ngeom) if model.geom_bodyid[i] == body and model.geom_conaffinity[i] & 1}
        if len(shapes) > 1 and set(shapes) != touching:
            allowed = f"the shapes of one body that touch the ground; {model.body(body).name} has {sorted(touching)}"
            raise InputError("feet", foot, allowed, f"List all of these as {foot}, and no others.")


def check_height(robot: Robot, model: mujoco.MjModel) -> None:
    """The soles are near the ground when the base is at ``standing_height`` in the default pose; a robot sags a little."""
    data = joint_pose(model, robot, robot.default_joint_pos)
    touching = -sole_heights(robot, model, data).min()
    if abs(robot.standing_height - touching) > HEIGHT_TOLERANCE * touching:
        allowed = f"near {touching:.3f} m, where the soles touch the ground in the default pose"
        raise InputError("standing_height", robot.standing_height, allowed, "Mend it, or default_joint_pos.")


def half_height(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> float:
    """How far a shape reaches below its centre, m."""
    kind, size, vertical = model.geom_type[geom], model.geom_size[geom], np.abs(data.geom_xmat[geom].reshape(3, 3)[2])
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return float(size[0])
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return float(size[0] + size[1] * vertical[2])
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return float(size[0] * np.hypot(vertical[0], vertical[1]) + size[1] * vertical[2])
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return float(np.linalg.norm(size * vertical))
    box = model.geom_aabb[geom]  # centre and half extents, in the geom's frame: exact for a box, and near for a mesh
    return float(vertical @ box[3:] - data.geom_xmat[geom].reshape(3, 3)[2] @ box[:3])


def check_names(field: str, wanted: Iterable[str], known: Iterable[str], kind: str) -> None:
    names = {name for name in known if name}
    for name in wanted:
        if name not in names:
            remedy = nearest(name, names) if names else f"It has no named {kind}."
            raise InputError(field, name, f"the name of a {kind} in the model", remedy)


def check_joints(robot: Robot, model: mujoco.MjModel) -> None:
    free = [i for i in range(model.njnt) if model.jnt_type[i] == mujoco.mjtJoint.mjJNT_FREE]
    if [model.body(model.jnt_bodyid[i]).name for i in free] != [robot.base_body]:
        found = [model.body(model.jnt_bodyid[i]).name for i in free]
        allowed = "the one body with a free joint"
        raise InputError("base_body", robot.base_body, allowed, f"Add <freejoint/> to it, and to no other; found on {found or 'none'}.")
    if free != [0]:
        allowed = "the free joint before all others"
        raise InputError("base_body", robot.base_body, allowed, "Move the base to the top of <worldbody>.")
    for i in range(1, model.njnt):
        name = model.joint(i).name
        if name not in robot.joint_names:
            raise InputError("joint_names", name, "every joint of the model", f"List '{name}', or remove it from the model.")
        if model.jnt_type[i] != mujoco.mjtJoint.mjJNT_HINGE:
            raise InputError("joint_names", name, "hinge joints", f"'{name}' slides or is a ball: replace it by hinges.")
    for joint, (low, high) in zip(robot.joint_names, robot.joint_pos_limit, strict=True):
        (lower, upper), limited = model.joint(joint).range, model.jnt_limited[model.joint(joint).id]
        if lower > upper:  # MuJoCo takes that for no limit
            raise InputError(
                "model: range", [float(lower), float(upper)], f"[lower, upper] of {joint}", f"Swap them in {robot.model.name}."
            )
        if limited and (low < lower - LIMIT_TOLERANCE or high > upper + LIMIT_TOLERANCE):
            allowed = f"limits of {joint} within its range in the model, {lower:g} to {upper:g} rad"
            raise InputError("joint_pos_limit", [float(low), float(high)], allowed, "Narrow them, or widen the model's.")


def check_mirror(robot: Robot, model: mujoco.MjModel) -> None:
    """Mirrored joint angles put each foot at the mirrored place of its partner."""
    mirror = robot.mirror
    turned = robot.default_joint_pos + 0.1 + 0.2 * np.sin(1.0 + 2.0 * np.arange(robot.num_joints))  # no two joints alike
    here, there = (joint_pose(model, robot, q) for q in (turned, mirror.joint_sign * turned[mirror.joint_index]))
    expected = foot_positions(robot, here)[mirror.foot_index] * (1.0, -1.0, 1.0)
    error = np.linalg.norm(foot_positions(robot, there) - expected, axis=1)
    worst = int(error.argmax())
    if error[worst] > MIRROR_TOLERANCE:
        name = robot.feet[worst]
        if mirror.foot_index[worst] == worst:
            remedy = f"Add the beginning of the name '{name}', and of its partner's."
            raise InputError("mirror: swap", name, "a foot beside the middle to change places with another", remedy)
        allowed = f"feet that mirror each other; {name} misses its place by {error[worst]:.3f} m"
        raise InputError("mirror", robot.name, allowed, "Negate the joints that turn about a forward or an upright axis, and no others.")
