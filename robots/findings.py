"""What is wrong with a robot's description: every finding in one report, each with its field and its remedy.

A check is one function of the description and its compiled model. It yields errors (the robot cannot be used so) and warnings
(it can, but look). :data:`CHECKS` look at figures and kinematics; :mod:`robots.standing` lets the robot stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import mujoco
import numpy as np

from robots import check
from robots.errors import Finding, InputError
from robots.joint_findings import JOINT_CHECKS
from robots.model import build_spec, total_mass
from robots.robot import Robot, load
from robots.standing import check_gains, check_standing

# Mass over height cubed: Bolt 20, Talos 90, ANYmal C 310, Go2 510, B1 740. A slip of the decimal point is a factor of 10.
DENSITY = (8.0, 2500.0)  # kg/m^3
TURNED = 0.02  # rad, of the IMU's axes against the base's
LIGHTEST = 1e-4  # share of the robot's mass that a link weighs at least: G1's lightest 2.2e-3
GROUND_BIT = 1


Findings = Iterator[Finding]


def findings(name: str | Path) -> list[Finding]:
    """All that is wrong with the robot called ``name``, errors first. Figures that cannot be read end the report: mend them first."""
    try:
        robot = load(name)
    except InputError as error:
        return [Finding(True, error)]
    try:
        spec = mujoco.MjSpec.from_file(str(robot.model))
    except ValueError as error:
        remedy = f"MuJoCo says: {' '.join(str(error).split())}."
        return [Finding(True, InputError("model", str(robot.model), "an MJCF that MuJoCo reads", remedy))]
    found = [Finding(False, problem) for problem in _bodies_without_inertia(spec)]
    try:
        check.lock_joints(robot, spec)
        check.weigh_links(robot, spec)
        check.check_model(robot, spec)
    except InputError as error:
        found.append(Finding(True, error))
    try:
        model = spec.compile()
    except ValueError:
        return found  # check_model has said so
    missing = _missing(robot, model)
    if not missing:
        found += [finding for one in CHECKS for finding in one(robot, model)]
    errors = {str(finding.problem): finding for finding in found}
    if not any(finding.error for finding in found):
        model = build_spec(robot).compile()
        errors |= {str(finding.problem): finding for finding in (*check_gains(robot, model), *check_standing(robot))}
    return sorted(errors.values(), key=lambda finding: not finding.error)


def _missing(robot: Robot, model: mujoco.MjModel) -> bool:
    """Whether a name of the description, or the base's free joint, is not in the model: nothing can be measured then."""
    kinds = (
        (mujoco.mjtObj.mjOBJ_BODY, [robot.base_body]),
        (mujoco.mjtObj.mjOBJ_GEOM, [shape for shapes in robot.foot_geoms for shape in shapes]),
        (mujoco.mjtObj.mjOBJ_JOINT, robot.joint_names),
    )
    known = all(mujoco.mj_name2id(model, kind, name) >= 0 for kind, names in kinds for name in names)
    return not known or model.njnt == 0 or model.jnt_type[0] != mujoco.mjtJoint.mjJNT_FREE


def _raised(function: Callable[[Robot, mujoco.MjModel], None]) -> Callable[[Robot, mujoco.MjModel], Findings]:
    def run(robot: Robot, model: mujoco.MjModel) -> Findings:
        try:
            function(robot, model)
        except InputError as error:
            yield Finding(True, error)

    return run


def _bodies_without_inertia(spec: mujoco.MjSpec) -> Iterator[InputError]:
    for body in spec.bodies:
        if body.joints and not body.explicitinertial:
            allowed = "an <inertial> in every body that moves: MuJoCo guesses it from shapes at the density of water"
            yield InputError("model", body.name, allowed, f"Give {body.name} its <inertial mass= pos= fullinertia=>.")


def _mass(robot: Robot, model: mujoco.MjModel) -> Findings:
    mass, (low, high) = total_mass(model), DENSITY
    lightest, heaviest = low * robot.standing_height**3, high * robot.standing_height**3
    if not lightest <= mass <= heaviest:
        allowed = f"a total of {lightest:.2g} to {heaviest:.2g} kg, as robots of height {robot.standing_height:g} m weigh"
        worst = model.body(int(model.body_mass.argmax())).name
        yield Finding(
            True, InputError("model: mass", round(mass, 3), allowed, f"The heaviest body is {worst}. Check masses (kg) and lengths (m).")
        )


def _light_links(robot: Robot, model: mujoco.MjModel) -> Findings:
    """What moves weighs something, alone or with what is fixed to it."""
    mass = np.bincount(model.body_weldid, model.body_mass, model.nbody)
    for name in robot.joint_names:
        body = model.body(model.jnt_bodyid[model.joint(name).id])
        if mass[body.id] < LIGHTEST * total_mass(model):
            allowed = f"at least {LIGHTEST * total_mass(model):.2g} kg for {body.name}, which {name} moves"
            yield Finding(True, InputError("model: mass", float(mass[body.id]), allowed, f"Check the <inertial> of {body.name}: kg."))


def _inertia(robot: Robot, model: mujoco.MjModel) -> Findings:
    """A body's mass lies within its shapes and joints: the radius of gyration is no longer than these, nor vanishingly short."""
    for body in range(1, model.nbody):
        geoms = range(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body])
        if model.body_mass[body] < 0.005 * total_mass(model) or not geoms:
            continue
        name = model.body(body).name
        joints = [np.zeros(3), *model.body_pos[np.flatnonzero(model.body_parentid == body)]]  # it reaches from its joint to the next
        corners = np.array([*joints, *(corner for geom in geoms for corner in _box(model, geom))])
        low, high = corners.min(axis=0), corners.max(axis=0)
        extent = float(np.linalg.norm(high - low))
        radius = float(np.sqrt(model.body_inertia[body].max() / model.body_mass[body]))
        if not extent / 40.0 <= radius <= extent:
            allowed = f"a radius of gyration from {extent / 40.0:.2g} to {extent:.2g} m, within the shapes of {name}"
            yield Finding(
                True, InputError("model: inertia", round(radius, 4), allowed, f"Check mass and inertia of {name}: kg and kg m^2.")
            )
        outside = float(np.maximum(low - model.body_ipos[body], model.body_ipos[body] - high).max())
        if outside > 0.5 * extent:
            allowed = f"a centre of mass within the shapes of {name}"
            yield Finding(
                True, InputError("model: inertia", model.body_ipos[body].tolist(), allowed, f"Check the <inertial> of {name}: metres?")
            )


def _box(model: mujoco.MjModel, geom: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of a shape's bounding box in its body's frame, m."""
    rotation, box = np.zeros(9), model.geom_aabb[geom]
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    rotation = rotation.reshape(3, 3)
    center, half = model.geom_pos[geom] + rotation @ box[:3], np.abs(rotation) @ box[3:]
    return center - half, center + half


def _shapes(robot: Robot, model: mujoco.MjModel) -> Findings:
    base = model.body(robot.base_body).id
    touching = (model.geom_conaffinity & GROUND_BIT) != 0
    if not touching[model.geom_bodyid == base].any():
        allowed = "a base with a shape that touches the ground: falls are seen by it"
        yield Finding(True, InputError("model", robot.base_body, allowed, f'Give a geom of {robot.base_body} contype="0" conaffinity="1".'))
    for geom in np.flatnonzero(touching | (model.geom_contype != 0)):
        name = model.geom(geom).name or f"a shape of {model.body(model.geom_bodyid[geom]).name}"
        kind = mujoco.mjtGeom(model.geom_type[geom])
        if model.geom_contype[geom] & model.geom_conaffinity.max():
            remedy = 'Give shapes contype="0" conaffinity="1".'
            yield Finding(False, InputError("model", name, "shapes that touch the ground, and not each other", remedy))
        if kind in (mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_ELLIPSOID):
            allowed = "boxes, spheres, capsules and cylinders as shapes that collide: engine pybullet has no others"
            yield Finding(False, InputError("model", name, allowed, "Fit a primitive, or train in engine mujoco alone."))


def _sensor(robot: Robot, model: mujoco.MjModel) -> Findings:
    if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, robot.imu_site) < 0:
        return  # check_model has said so
    body = model.body(model.site_bodyid[model.site(robot.imu_site).id]).name
    if body != robot.base_body:
        yield Finding(
            True, InputError("imu_site", robot.imu_site, "a site on the base", f"It sits on {body}: move it to {robot.base_body}.")
        )
    turned = 2.0 * np.arccos(min(1.0, abs(model.site(robot.imu_site).quat[0])))
    if turned > TURNED:
        allowed = f"axes along the base's, in whose frame gyroscope and gravity are; they are turned by {np.degrees(turned):.0f} degrees"
        yield Finding(True, InputError("imu_site", robot.imu_site, allowed, "Remove its quat or euler; the driver turns its readings."))


def _lowest(robot: Robot, model: mujoco.MjModel) -> Findings:
    """In the default pose nothing reaches lower than the feet, and all feet stand on one level."""
    data = check.joint_pose(model, robot, robot.default_joint_pos)
    low = {geom: float(data.geom_xpos[geom][2]) - check.half_height(model, data, geom) for geom in range(model.ngeom)}
    feet = dict(zip(robot.feet, check.sole_heights(robot, model, data).tolist(), strict=True))
    tolerance = 0.02 * robot.standing_height
    for foot, height in feet.items():
        if height - min(feet.values()) > max(2.0 * tolerance, 0.01):
            allowed = f"feet on one level in the default pose; {foot} hangs {height - min(feet.values()):.3f} m above the lowest"
            yield Finding(True, InputError("default_joint_pos", foot, allowed, "Mend the pose of its leg."))
    for geom, height in low.items():
        if model.geom_conaffinity[geom] & GROUND_BIT and height < min(feet.values()) - tolerance:
            name = model.geom(geom).name or f"a shape of {model.body(model.geom_bodyid[geom]).name}"
            allowed = f"feet that are the lowest shapes; {name} reaches {min(feet.values()) - height:.3f} m lower in the default pose"
            yield Finding(True, InputError("feet", list(robot.feet), allowed, f"Is {name} the foot?"))
    bodies = [int(model.geom(shapes[0]).bodyid[0]) for shapes in robot.foot_geoms]
    ancestors = [_ancestors(model, body) for body in bodies]
    for i, foot in enumerate(robot.feet):
        if any(bodies[i] in chain[1:] for chain in ancestors):
            yield Finding(True, InputError("feet", foot, "the last body of each leg", f"Another foot hangs below {foot}."))


def _ancestors(model: mujoco.MjModel, body: int) -> list[int]:
    chain = [body]
    while chain[-1]:
        chain.append(int(model.body_parentid[chain[-1]]))
    return chain


def _foot_order(robot: Robot, model: mujoco.MjModel) -> Findings:
    """A gait's name says which of four feet step together; phases stand in the order of ``feet``."""
    if len(robot.feet) != 4:
        return
    data = check.joint_pose(model, robot, robot.default_joint_pos)
    place = check.foot_positions(robot, data)
    front, left = place[:, 0] > place[:, 0].mean(), place[:, 1] > place[:, 1].mean()
    together = {"trot": front == left, "pace": left, "bound": front}
    for name, side in together.items():
        if name in robot.gaits and any(len(set(robot.gaits[name][side == which].round(6))) > 1 for which in (True, False)):
            pairs = [[foot for foot, one in zip(robot.feet, side, strict=True) if one == which] for which in (True, False)]
            allowed = f"one phase for {pairs[0]} and one for {pairs[1]}"
            yield Finding(True, InputError(f"gaits: {name}", robot.gaits[name].tolist(), allowed, "Phases stand in the order of feet."))


def _lying(robot: Robot, model: mujoco.MjModel) -> Findings:
    lie, stand = (check.joint_pose(model, robot, q) for q in (robot.lie_joint_pos, robot.default_joint_pos))
    low, high = (-check.foot_positions(robot, pose)[:, 2].mean() for pose in (lie, stand))
    if low > 0.95 * high:
        yield Finding(
            False, InputError("lie_joint_pos", robot.name, "a pose with the base lower than in the default pose", "Fold the legs.")
        )


CHECKS: tuple[Callable[[Robot, mujoco.MjModel], Findings], ...] = (
    _raised(check.check_joints), _raised(check.check_feet), _raised(check.check_mirror), _raised(check.check_height),
    _mass, _light_links, _inertia, _shapes, _sensor, _lowest, _foot_order, *JOINT_CHECKS, _lying,
)  # fmt: skip
