"""Build the MuJoCo model of a robot: its MJCF, with motors that follow the actuator law."""

from __future__ import annotations

import mujoco
import numpy as np

from robots.errors import InputError
from robots.robot import Robot


def build_spec(robot: Robot, max_delay_steps: int = 0) -> mujoco.MjSpec:
    """An editable model of the robot alone: one PD motor a joint, in canonical order.

    Control is ``joint_pos_target`` [J] (rad). MuJoCo's affine actuator with force limits is the actuator law of
    :func:`robots.actuator.motor_torque`; a test holds the two together. ``max_delay_steps`` is the largest delay of the
    control, in physics steps, that ``actuator_delay`` may later ask for.
    """
    spec = mujoco.MjSpec.from_file(str(robot.model))
    names = {joint.name for joint in spec.joints}
    for joint in robot.joint_names:
        if joint not in names:
            raise InputError("joint_names", joint, f"a joint of {robot.model.name}", f"Its joints: {sorted(names)}.")
    for i, joint in enumerate(robot.joint_names):
        gain, bias = np.zeros((2, mujoco.mjNGAIN))
        gain[0] = robot.kp[i]
        bias[1:3] = -robot.kp[i], -robot.kd[i]
        limit = robot.effort_limit[i]
        actuator = spec.add_actuator(
            name=joint,
            target=joint,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            gaintype=mujoco.mjtGain.mjGAIN_FIXED,
            biastype=mujoco.mjtBias.mjBIAS_AFFINE,
            gainprm=gain,
            biasprm=bias,
            forcelimited=True,
            forcerange=(-limit, limit),
        )
        if max_delay_steps:
            actuator.nsample = max_delay_steps
            actuator.delay = 0.0
    return spec


def add_ground(spec: mujoco.MjSpec, robot: Robot) -> None:
    """A flat, checkered floor with a light: the only thing that the robot's shapes touch."""
    spec.add_texture(
        name="grid", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.72, 0.75, 0.78], rgb2=[0.60, 0.64, 0.68], width=256, height=256,
    )  # fmt: skip
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.92, 0.95, 0.98], rgb2=[0.55, 0.66, 0.80], width=64, height=384,
    )  # fmt: skip
    material = spec.add_material(name="grid", texrepeat=[2, 2], texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "grid"
    spec.worldbody.add_geom(
        name="ground", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.05], material="grid", contype=1, conaffinity=0,
        friction=[1.0, 0.005, 0.0001],
    )  # fmt: skip
    # the light moves with the robot, so that its shadow map stays small and sharp
    spec.body(robot.base_body).add_light(
        pos=[-0.5, -0.8, 2.5], dir=[0.2, 0.32, -1], mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM, type=mujoco.mjtLightType.mjLIGHT_SPOT,
        cutoff=40, exponent=1, attenuation=[1, 0, 0], diffuse=[0.6, 0.6, 0.6], castshadow=True,
    )  # fmt: skip
    spec.visual.headlight.ambient = [0.4, 0.4, 0.4]
    spec.visual.headlight.diffuse = [0.4, 0.4, 0.4]
    spec.visual.quality.shadowsize = 2048
