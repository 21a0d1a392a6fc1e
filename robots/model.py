"""Build the MuJoCo model of a robot: its MJCF, with motors that follow the actuator law, on a ground."""

from __future__ import annotations

import mujoco
import numpy as np

from robots.actuator import stall_torque
from robots.check import check_model, foot_positions, joint_pose, lock_joints, sole_heights, weigh_links
from robots.errors import InputError
from robots.robot import Robot

__all__ = ["GROUND", "add_ground", "build_spec", "check_model", "foot_radius", "total_mass"]

RESISTANCE, KP, KD = 0, 4, 6  # where gainprm of MuJoCo's DC motor has them
GROUND = "ground"  # the geom's name
ACROSS = 0.7  # least sideways part of the axis of a joint that swings a leg fore and aft
FRICTION = (0.8, 0.005, 0.0001)  # sliding, torsional (m), rolling (m): rubber on a hard floor


def build_spec(robot: Robot, max_delay_steps: int = 0, actuator: str = "pd") -> mujoco.MjSpec:
    """An editable model of the robot alone: one motor a joint, in canonical order.

    Control is ``joint_pos_target`` [J] (rad). MuJoCo's affine actuator with force limits is the actuator law of
    :func:`robots.actuator.motor_torque` without a torque-speed curve ("pd"), its DC motor with a position controller the law
    with the curve ("dc_motor"); a test holds engine and law together.
    ``max_delay_steps`` is the largest delay of the control, in physics steps, that ``actuator_delay`` may later ask for.

    Raises:
        InputError: the model cannot be read, or description and model do not belong together.
    """
    try:
        spec = mujoco.MjSpec.from_file(str(robot.model))
    except ValueError as error:
        raise InputError("model", str(robot.model), "an MJCF that MuJoCo reads", f"MuJoCo says: {' '.join(str(error).split())}.") from error
    lock_joints(robot, spec)
    weigh_links(robot, spec)
    check_model(robot, spec)
    _mark_feet(spec, robot)
    for i, joint in enumerate(robot.joint_names):
        limit = robot.effort_limit[i]
        motor = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        if actuator == "dc_motor":
            _set_dc_motor(motor, robot, i)
        else:
            gain, bias = np.zeros((2, mujoco.mjNGAIN))
            gain[0] = robot.kp[i]
            bias[1:3] = -robot.kp[i], -robot.kd[i]
            motor.gaintype, motor.biastype = mujoco.mjtGain.mjGAIN_FIXED, mujoco.mjtBias.mjBIAS_AFFINE
            motor.gainprm, motor.biasprm = gain, bias
            motor.forcelimited, motor.forcerange = True, (-limit, limit)
        if max_delay_steps:
            motor.nsample = max_delay_steps
            motor.delay = 0.0
    return spec


def _set_dc_motor(motor: mujoco.MjsActuator, robot: Robot, joint: int) -> None:
    """MuJoCo's DC motor behind a driver that delivers the PD loop's torque until its voltage or its current ends.

    Only the ratio of voltage to motor constant, the no-load speed, shows in the torque: at one unit of voltage a rad/s the voltage
    is the no-load speed. MuJoCo's changelog and XML reference, actuator/dcmotor.
    """
    curve = robot.torque_speed
    if curve is None:
        allowed, remedy = "pd for a robot without a torque-speed curve", f"Add speed_at_full_effort and no_load_speed to {robot.name}."
        raise InputError("sim.actuator", "dc_motor", allowed, remedy)
    limit, no_load = robot.effort_limit[joint], curve[1][joint]
    motor.set_to_dcmotor(
        motorconst=[0.0, 0.0],
        resistance=0.0,
        nominal=[no_load, stall_torque(robot.effort_limit, curve)[joint], no_load],
        saturation=[limit, 0.0, 0.0],
        controller=[robot.kp[joint], 0.0, robot.kd[joint], 0.0, 0.0, no_load],
        ctrlspec=mujoco.mjtCtrlInput.mjINPUT_POS.value,
    )


def centre_site(foot: str) -> str:
    """The name of the site at the centre of a foot of several shapes."""
    return f"{foot}_centre"


def _mark_feet(spec: mujoco.MjSpec, robot: Robot) -> None:
    """A site where a foot of several shapes is measured: the mean of their centres."""
    several = [(foot, shapes) for foot, shapes in zip(robot.feet, robot.foot_geoms, strict=True) if len(shapes) > 1]
    if not several:
        return
    model = spec.compile()  # a shape given by its ends has its centre only then
    for foot, shapes in several:
        centre = np.mean([model.geom(shape).pos for shape in shapes], axis=0)
        spec.geom(shapes[0]).parent.add_site(name=centre_site(foot), pos=centre)


def add_ground(spec: mujoco.MjSpec, robot: Robot) -> None:
    """A flat, checkered floor with a light: the only thing that the robot's shapes touch.

    Its priority is above that of every shape, so that the ground's friction alone is a contact's friction. Otherwise MuJoCo takes
    the larger of the two, and a slippery ground under rubber feet would not be slippery.
    """
    spec.add_texture(
        name=GROUND, type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.72, 0.75, 0.78], rgb2=[0.60, 0.64, 0.68], width=256, height=256,
    )  # fmt: skip
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.92, 0.95, 0.98], rgb2=[0.55, 0.66, 0.80], width=64, height=384,
    )  # fmt: skip
    material = spec.add_material(name=GROUND, texrepeat=[2, 2], texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = GROUND
    spec.worldbody.add_geom(
        name=GROUND, type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.05], material=GROUND, contype=1, conaffinity=0,
        condim=3, friction=FRICTION, priority=1 + max(geom.priority for geom in spec.geoms),
    )  # fmt: skip
    # the light moves with the robot, so that its shadow map stays small and sharp
    spec.body(robot.base_body).add_light(
        pos=[-0.5, -0.8, 2.5], dir=[0.2, 0.32, -1], mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM, type=mujoco.mjtLightType.mjLIGHT_SPOT,
        cutoff=40, exponent=1, attenuation=[1, 0, 0], diffuse=[0.6, 0.6, 0.6], castshadow=True,
    )  # fmt: skip
    spec.visual.headlight.ambient = [0.4, 0.4, 0.4]
    spec.visual.headlight.diffuse = [0.4, 0.4, 0.4]
    spec.visual.quality.shadowsize = 2048


def foot_radius(model: mujoco.MjModel, robot: Robot) -> np.ndarray:
    """[F] m: height of each foot's centre above its sole, with the base upright and the joints in the default pose."""
    data = joint_pose(model, robot, robot.default_joint_pos)
    return foot_positions(robot, data)[:, 2] - sole_heights(robot, model, data)


def total_mass(model: mujoco.MjModel) -> float:
    """Mass of the robot, kg. The ground has none."""
    return float(model.body_mass.sum())


def leg_joints(model: mujoco.MjModel, robot: Robot) -> list[list[int]]:
    """Of each foot, the ids of the joints from the base to it."""
    base, result = model.body(robot.base_body).id, []
    for shapes in robot.foot_geoms:
        body, joints = int(model.geom(shapes[0]).bodyid[0]), []
        while body not in (base, 0):
            joints = [*range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body]), *joints]
            body = int(model.body_parentid[body])
        result.append(joints)
    return result


def hip_positions(model: mujoco.MjModel, robot: Robot) -> np.ndarray:
    """[F, 3] m, base frame, default pose: where each leg swings fore and aft from.

    That is the leg's first joint whose axis lies across the robot, or its first joint where none does.
    """
    data = joint_pose(model, robot, robot.default_joint_pos)
    base, result = model.body(robot.base_body).id, []
    for joints in leg_joints(model, robot):
        across = [joint for joint in joints if abs(data.xaxis[joint][1]) > ACROSS]
        result.append(data.xanchor[(across or joints)[0]] - data.xpos[base])
    return np.array(result)
