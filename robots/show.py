"""A robot for the eye: its figures as a table, its default pose as a picture."""

from __future__ import annotations

import mujoco
import numpy as np

from robots.check import foot_positions, joint_pose
from robots.model import add_ground, build_spec, hip_positions, total_mass
from robots.robot import Robot

WIDTH, HEIGHT = 720, 480  # pixels
DISTANCE = 3.5  # from camera to robot, in standing heights


def table(robot: Robot) -> str:
    """Figures of the robot, its feet and its joints, one line each. Raises InputError where description and model do not fit."""
    model = build_spec(robot).compile()
    data = joint_pose(model, robot, robot.default_joint_pos)
    lines = [
        f"{robot.name}: {total_mass(model):.2f} kg, base {robot.standing_height:g} m above the ground, {robot.num_joints} joints",
        f"model {robot.model}",
        f"base {robot.base_body}, IMU {robot.imu_site}, gaits {', '.join(robot.gaits)}",
        "",
        f"{'foot':<28}{'mirror image':<28}{'place in the default pose, m':>30}{'hip, m':>26}",
    ]
    hips = hip_positions(model, robot)
    for i, (foot, centre) in enumerate(zip(robot.feet, foot_positions(robot, data), strict=True)):
        place = np.add(centre, (0.0, 0.0, robot.standing_height))
        lines.append(f"{foot:<28}{robot.feet[robot.mirror.foot_index[i]]:<28}{_vector(place):>30}{_vector(hips[i]):>26}")
    columns = ("default", "lower", "upper", "kp", "kd", "scale", "effort", "speed", "armature")
    lines += ["", f"{'joint':<28}{'mirror image':<28}" + "".join(f"{name:>10}" for name in columns)]
    lines.append(f"{'':56}" + "".join(f"{unit:>10}" for unit in ("rad", "rad", "rad", "Nm/rad", "Nms/rad", "rad", "Nm", "rad/s", "kg m^2")))
    armature = model.dof_armature[[model.joint(name).dofadr[0] for name in robot.joint_names]]
    for i, name in enumerate(robot.joint_names):
        image = ("-" if robot.mirror.joint_sign[i] < 0 else "+") + robot.joint_names[robot.mirror.joint_index[i]]
        figures = (
            robot.default_joint_pos, *robot.joint_pos_limit.T, robot.kp, robot.kd, robot.action_scale,
            robot.effort_limit, robot.joint_vel_limit, armature,
        )  # fmt: skip
        lines.append(f"{name:<28}{image:<28}" + "".join(f"{figure[i]:>10.4g}" for figure in figures))
    return "\n".join(lines)


def _vector(values: np.ndarray) -> str:
    return " ".join(f"{value:.3f}" for value in np.round(values, 3) + 0.0)


def picture(robot: Robot) -> np.ndarray:
    """[HEIGHT, WIDTH, 3] uint8: the robot in its default pose. Needs a GL that renders; what is raised without one depends on it."""
    spec = build_spec(robot)
    add_ground(spec, robot)
    model = spec.compile()
    model.vis.global_.offwidth, model.vis.global_.offheight = WIDTH, HEIGHT
    data = joint_pose(model, robot, robot.default_joint_pos)
    data.qpos[2] = robot.standing_height
    mujoco.mj_forward(model, data)
    camera = mujoco.MjvCamera()
    camera.distance, camera.elevation, camera.azimuth = DISTANCE * robot.standing_height, -14.0, 125.0
    camera.lookat[:] = 0.0, 0.0, 0.6 * robot.standing_height
    with mujoco.Renderer(model, HEIGHT, WIDTH) as renderer:
        renderer.update_scene(data, camera)
        return np.array(renderer.render())
