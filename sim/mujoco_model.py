"""The MuJoCo model that every engine starts from: the robot on its ground, with the sensors that the signals need."""

from __future__ import annotations

import mujoco
import numpy as np

from robots import Robot
from robots.model import GROUND, add_ground, build_spec, centre_site
from sim.parameters import MAX_ACTION_DELAY
from sim.terrain import Terrain

FIRM = 100.0  # impedance of friction over that of the normal force
PAYLOAD = "payload"  # the body's name
IMMOVABLE = 1e6  # kg and kg m^2 added to a base that is held: a robot's own forces move it by nothing


def build_model(
    robot: Robot,
    physics_dt: float,
    terrain: Terrain | None = None,
    firm: bool = False,
    actuator: str = "pd",
    payload: bool = False,
    self_collision: bool = False,
    held: bool = False,
) -> mujoco.MjModel:
    """The robot on ``terrain`` (None: flat), its sensors laid out in the order of :func:`sim.signals.signal_shapes`.

    Under MuJoCo's default friction a loaded foot creeps: legs slide apart by centimetres in a minute, where rubber holds. ``firm``
    friction (elliptic cones, stiffer along the ground than across it) holds too, and takes 1.5 to 2 times as long. ``actuator`` is
    one of :func:`robots.model.build_spec`. ``payload`` adds a body without mass to the base, to be given some. Under
    ``self_collision`` the shapes that meet the ground meet each other, too. A base that is ``held`` stays where it is put, at rest.
    """
    spec = build_spec(robot, max_delay_steps=max(1, round(MAX_ACTION_DELAY / physics_dt)), actuator=actuator)
    if self_collision:
        _let_shapes_meet(spec, robot)
    add_ground(spec, robot)
    if payload:
        spec.body(robot.base_body).add_body(name=PAYLOAD, mass=0.0, inertia=[0, 0, 0], explicitinertial=True)
    if held:
        next(joint for joint in spec.body(robot.base_body).joints if joint.type == mujoco.mjtJoint.mjJNT_FREE).armature = IMMOVABLE
        spec.option.tolerance /= IMMOVABLE  # of the solver, which is in shares of the mean inertia: else dry friction is not solved for
    if terrain is not None and not terrain.flat:
        _raise_ground(spec, terrain)
    spec.option.timestep = physics_dt
    if firm:
        spec.option.cone, spec.option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, FIRM
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    contact, geom = mujoco.mjtSensor.mjSENS_CONTACT, mujoco.mjtObj.mjOBJ_GEOM
    # what touches the ground of a foot, and where it is measured: its one shape, or its body and the site amid its shapes
    feet = [(shapes, spec.geom(shapes[0]).parent.name) for shapes in robot.foot_geoms]
    touching = [(mujoco.mjtObj.mjOBJ_BODY, body) if shapes[1:] else (geom, shapes[0]) for shapes, body in feet]
    measured = [
        (mujoco.mjtObj.mjOBJ_SITE, centre_site(foot)) if shapes[1:] else (geom, shapes[0])
        for foot, (shapes, _) in zip(robot.feet, feet, strict=True)
    ]
    found, force, net = 1 << mujoco.mjtConDataField.mjCONDATA_FOUND.value, 1 << mujoco.mjtConDataField.mjCONDATA_FORCE.value, 3
    for foot, (kind, name) in zip(robot.feet, touching, strict=True):  # net force of the ground (first) on the foot (second), world frame
        spec.add_sensor(
            name=f"{foot}_force", type=contact, objtype=geom, objname=GROUND, reftype=kind, refname=name, intprm=[force, net, 1]
        )
    for sensor, suffix in ((mujoco.mjtSensor.mjSENS_FRAMEPOS, "pos"), (mujoco.mjtSensor.mjSENS_FRAMELINVEL, "vel")):
        for foot, (kind, name) in zip(robot.feet, measured, strict=True):
            spec.add_sensor(name=f"{foot}_{suffix}", type=sensor, objtype=kind, objname=name)
    for foot, (kind, name) in zip(robot.feet, touching, strict=True):
        spec.add_sensor(name=f"{foot}_found", type=contact, objtype=geom, objname=GROUND, reftype=kind, refname=name, intprm=[found, 0, 1])
    spec.add_sensor(name="ground_found", type=contact, objtype=geom, objname=GROUND, intprm=[found, 0, 1])
    return spec.compile()


def _let_shapes_meet(spec: mujoco.MjSpec, robot: Robot) -> None:
    """All shapes collide, but for a link's with its parent's (MuJoCo's own rule) and those of links that touch as the robot stands."""
    for geom in spec.geoms:
        geom.contype = geom.conaffinity
    model = spec.compile()
    data = mujoco.MjData(model)
    for joint, position in zip(robot.joint_names, robot.default_joint_pos, strict=True):
        data.joint(joint).qpos = position
    mujoco.mj_kinematics(model, data)
    mujoco.mj_collision(model, data)
    for first, second in sorted({tuple(sorted(model.geom_bodyid[contact.geom].tolist())) for contact in data.contact}):
        spec.add_exclude(bodyname1=model.body(first).name, bodyname2=model.body(second).name)


def _raise_ground(spec: mujoco.MjSpec, terrain: Terrain) -> None:
    """Turn the ground plane into a height field over the terrain's grid."""
    assert terrain.heights is not None
    heights = terrain.heights.double().numpy().T  # MuJoCo's rows run along y
    low, high = float(heights.min()), float(heights.max())
    rows, columns = heights.shape
    half_x, half_y = 0.5 * terrain.spacing * (columns - 1), 0.5 * terrain.spacing * (rows - 1)
    span = max(high - low, 1e-3)
    spec.add_hfield(
        name="terrain", nrow=rows, ncol=columns, size=[half_x, half_y, span, 0.5], userdata=np.ravel((heights - low) / span).tolist()
    )
    ground = spec.geom(GROUND)
    ground.type, ground.hfieldname, ground.pos = mujoco.mjtGeom.mjGEOM_HFIELD, "terrain", [0, 0, low]
