"""Where a robot's feet are and how they move, in numpy, for whole logs at once: [T] samples, no loop over them."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from robots import Robot
from robots.model import build_spec, foot_radius, total_mass
from robots.robot import GRAVITY


@dataclass(frozen=True)
class Feet:
    """T samples of F feet in the base's frame."""

    pos: np.ndarray  # [T, F, 3] m, the centre of the foot's shape
    contact: np.ndarray  # [T, F, 3] m, the lowest point of its sole
    jacobian: np.ndarray  # [T, F, 3, J] m/rad of the contact point, as a point of the foot's link
    centre_jacobian: np.ndarray  # [T, F, 3, J] of the centre
    link_torque: np.ndarray  # [T, J] N m that hold the links behind each joint up against gravity


class Kinematics:
    """The trees of links from the base to each foot. Raises InputError where the model cannot be read."""

    def __init__(self, robot: Robot) -> None:
        self.robot, self.model = robot, build_spec(robot).compile()
        model = self.model
        self._base = model.body(robot.base_body).id
        self._joints = {model.joint(name).id: i for i, name in enumerate(robot.joint_names)}
        self.radius = foot_radius(model, robot)  # [F] m
        self.mass = total_mass(model)  # kg
        dofs = [model.joint(name).dofadr[0] for name in robot.joint_names]
        self.armature, self.damping, self.friction = (
            table[dofs].copy() for table in (model.dof_armature, model.dof_damping, model.dof_frictionloss)
        )
        self._feet = [
            (int(model.geom(shapes[0]).bodyid[0]), np.mean([model.geom(shape).pos for shape in shapes], axis=0))
            for shapes in robot.foot_geoms
        ]

    def feet(self, joint_pos: np.ndarray, down: np.ndarray) -> Feet:
        """At ``joint_pos`` [T, J] (rad) with gravity along ``down`` [T, 3], a unit vector in the base's frame."""
        samples, j = joint_pos.shape
        links, torque = self._links(joint_pos), np.zeros((samples, j))
        for body, (rotation, place, joints) in links.items():
            weight, centre = self.model.body_mass[body] * GRAVITY * down, place + rotation @ self.model.body_ipos[body]
            for i, axis, anchor in joints:
                torque[:, i] -= (np.cross(axis, centre - anchor) * weight).sum(axis=-1)
        pos, contact = np.zeros((2, samples, len(self._feet), 3))
        jacobian, centre = np.zeros((2, samples, len(self._feet), 3, j))
        for f, (body, local) in enumerate(self._feet):
            rotation, place, joints = links[body]
            pos[:, f] = place + rotation @ local
            contact[:, f] = pos[:, f] + self.radius[f] * down
            for i, axis, anchor in joints:
                jacobian[:, f, :, i] = np.cross(axis, contact[:, f] - anchor)
                centre[:, f, :, i] = np.cross(axis, pos[:, f] - anchor)
        return Feet(pos, contact, jacobian, centre, torque)

    def _links(self, joint_pos: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray, list[tuple[int, np.ndarray, np.ndarray]]]]:
        """Of each body under the base: rotation [T, 3, 3], place [T, 3], and index, axis and anchor [T, 3] of all joints before it."""
        model, samples = self.model, len(joint_pos)
        links = {self._base: (np.broadcast_to(np.eye(3), (samples, 3, 3)), np.zeros((samples, 3)), [])}
        for body in range(self._base + 1, model.nbody):  # parents come first
            if int(model.body_parentid[body]) not in links:
                continue
            rotation, place, joints = links[int(model.body_parentid[body])]
            place = place + rotation @ model.body_pos[body]
            rotation, joints = rotation @ _matrix(model.body_quat[body]), list(joints)
            first = int(model.body_jntadr[body])
            for joint in range(first, first + int(model.body_jntnum[body])):
                i, axis, local = self._joints[joint], model.jnt_axis[joint], model.jnt_pos[joint]
                anchor = place + rotation @ local
                joints.append((i, rotation @ axis, anchor))
                rotation = rotation @ _about(axis, joint_pos[:, i] - model.qpos0[model.jnt_qposadr[joint]])
                place = anchor - rotation @ local
            links[body] = rotation, place, joints
        return links


def _matrix(quat: np.ndarray) -> np.ndarray:
    """[3, 3] of a quaternion w, x, y, z."""
    result = np.zeros(9)
    mujoco.mju_quat2Mat(result, quat)
    return result.reshape(3, 3)


def _about(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotations [T, 3, 3] about a unit ``axis`` [3] by ``angle`` [T] rad: Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    sine, rest = np.sin(angle)[:, None, None], (1.0 - np.cos(angle))[:, None, None]
    return np.eye(3) + sine * cross + rest * (cross @ cross)
