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
from robots.errors import Finding, InputError, doubtful, wrong
from robots.joint_findings import JOINT_CHECKS
from robots.model import build_spec, total_mass
from robots.plausible import PLAUSIBLE, outside
from robots.pose_findings import GROUND_BIT, POSE_CHECKS
from robots.robot import Robot, load
from robots.standing import check_gains, check_rising, check_standing

# Mass over height cubed: Bolt 20, Talos 90, ANYmal C 310, Go2 510, B1 740. A slip of the decimal point is a factor of 10.
DENSITY = (8.0, 2500.0)  # kg/m^3
TURNED = 0.02  # rad, of the IMU's axes against the base's
LIGHTEST = 1e-4  # share of the robot's mass that a link weighs at least: G1's lightest 2.2e-3
FAR = 0.2  # share of the standing height that the IMU may be outside of the base's shapes

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
        found += [*_named(robot), *(finding for one in CHECKS for finding in one(robot, model))]
    errors = {str(finding.problem): finding for finding in found}
    if not any(finding.error for finding in found):
        model = build_spec(robot).compile()
        stood = [*check_gains(robot, model), *check_standing(robot)]
        stood += [] if any(finding.error for finding in stood) else check_rising(robot)
        errors |= {str(finding.problem): finding for finding in stood}
    return sorted(errors.values(), key=lambda finding: not finding.error)


def _named(robot: Robot) -> Findings:
    """A robot is found by its folder's name, and policies know it by its own."""
    name, folder = robot.name.partition(".")[0], robot.model.parent.name
    if name != folder:
        yield doubtful("name", name, f"the folder's name, {folder}", "Rename the one or the other.")


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
        yield wrong("model: mass", round(mass, 3), allowed, f"The heaviest body is {worst}. Check masses (kg) and lengths (m).")


def _light_links(robot: Robot, model: mujoco.MjModel) -> Findings:
    """What moves weighs something, alone or with what is fixed to it."""
    mass = np.bincount(model.body_weldid, model.body_mass, model.nbody)
    for name in robot.joint_names:
        body = model.body(model.jnt_bodyid[model.joint(name).id])
        if mass[body.id] < LIGHTEST * total_mass(model):
            allowed = f"at least {LIGHTEST * total_mass(model):.2g} kg for {body.name}, which {name} moves"
            yield wrong("model: mass", float(mass[body.id]), allowed, f"Check the <inertial> of {body.name}: kg.")


def _shapes(robot: Robot, model: mujoco.MjModel) -> Findings:
    base = model.body(robot.base_body).id
    touching = (model.geom_conaffinity & GROUND_BIT) != 0
    if not touching[model.geom_bodyid == base].any():
        allowed = "a base with a shape that touches the ground: falls are seen by it"
        yield wrong("model", robot.base_body, allowed, f'Give a geom of {robot.base_body} contype="0" conaffinity="1".')
    for geom in np.flatnonzero(touching | (model.geom_contype != 0)):
        name = model.geom(geom).name or f"a shape of {model.body(model.geom_bodyid[geom]).name}"
        kind = mujoco.mjtGeom(model.geom_type[geom])
        if model.geom_contype[geom] & model.geom_conaffinity.max():
            remedy = 'Give shapes contype="0" conaffinity="1".'
            yield doubtful("model", name, "shapes that touch the ground, and not each other", remedy)
        if kind in (mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_ELLIPSOID):
            allowed = "boxes, spheres, capsules and cylinders as shapes that collide: engine pybullet has no others"
            yield doubtful("model", name, allowed, "Fit a primitive, or train in engine mujoco alone.")


def _sensor(robot: Robot, model: mujoco.MjModel) -> Findings:
    if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, robot.imu_site) < 0:
        return  # check_model has said so
    body = model.body(model.site_bodyid[model.site(robot.imu_site).id]).name
    if body != robot.base_body:
        yield wrong("imu_site", robot.imu_site, "a site on the base", f"It sits on {body}: move it to {robot.base_body}.")
    far = outside(model, model.body(robot.base_body).id, model.site(robot.imu_site).pos)
    if far > FAR * robot.standing_height:
        allowed = f"a site in or near the shapes of {robot.base_body}; it is {far:.3g} m outside"
        yield doubtful("imu_site", model.site(robot.imu_site).pos.tolist(), allowed, "Check its pos: metres, base frame?")
    turned = 2.0 * np.arccos(min(1.0, abs(model.site(robot.imu_site).quat[0])))
    if turned > TURNED:
        allowed = f"axes along the base's, in whose frame gyroscope and gravity are; they are turned by {np.degrees(turned):.0f} degrees"
        yield wrong("imu_site", robot.imu_site, allowed, "Remove its quat or euler; the driver turns its readings.")


CHECKS: tuple[Callable[[Robot, mujoco.MjModel], Findings], ...] = (
    _raised(check.check_joints), _raised(check.check_feet), _raised(check.check_mirror), _raised(check.check_height),
    _mass, _light_links, _shapes, _sensor, *POSE_CHECKS, *JOINT_CHECKS, *PLAUSIBLE,
)  # fmt: skip
