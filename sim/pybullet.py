"""A second opinion: PyBullet, with the robot built from the compiled MuJoCo model's bodies, joints and primitive shapes.

One physics client an environment, stepped one after the other in Python: right for scoring, not for training. What Bullet
cannot express is approximated: a rotor's reflected inertia is added to its link's inertia about the joint's axis, and dry
friction is a velocity motor with that little force.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import mujoco
import numpy as np
import torch

from robots import InputError, Robot
from robots.actuator import motor_torque
from sim.mujoco_batch import GRAVITY, build_model
from sim.simulator import PARAMETERS, InitialState, Signals, Tensor, rotate_inverse

SHELL = "_shell"  # the root link carries no mass, so that its frame is the robot's base frame
SOLVER_ITERATIONS = 50


class PybulletSimulator:
    """See :class:`sim.simulator.Simulator`. Supports the nominal robot on level ground; randomizes friction and gains."""

    def __init__(self, robot: Robot, num_envs: int, physics_dt: float) -> None:
        try:
            with _quiet_stdout():
                import pybullet
        except ImportError as error:
            raise InputError(
                "sim.engine", "pybullet", "an installed engine", "Install it: pip install 'sim2real-locomotion[pybullet]'."
            ) from error
        self._bullet: Any = pybullet
        self.robot, self.num_envs, self.physics_dt = robot, num_envs, physics_dt
        n, j, f = num_envs, robot.num_joints, len(robot.feet)
        self._model = build_model(robot, physics_dt)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{robot.name}.urdf"
            path.write_text(to_urdf(self._model, robot))
            self._clients = [self._build(path) for _ in range(num_envs)]
        self._gains = {"kp": np.tile(robot.kp, (n, 1)), "kd": np.tile(robot.kd, (n, 1)), "limit": np.tile(robot.effort_limit, (n, 1))}
        self._torque = np.zeros((n, j))
        self._vectors = torch.zeros(n, 3, 3)  # base velocities and gravity, world frame
        self._vectors[:, 2, 2] = -1.0
        self.signals = Signals.zeros(n, j, f)
        self.faults = torch.zeros(n, dtype=torch.bool)
        self._refresh()

    def reset(self, ids: Tensor, state: InitialState) -> None:
        bullet, (x, y, z, w) = self._bullet, (1, 2, 3, 0)
        for row, env in enumerate(ids.tolist()):
            client = self._clients[env]
            base = (state.base_pos[row].tolist(), state.base_quat[row, [x, y, z, w]].tolist())
            bullet.resetBasePositionAndOrientation(self._body, *base, physicsClientId=client)
            rotation = np.array(bullet.getMatrixFromQuaternion(base[1])).reshape(3, 3)
            spin = rotation @ state.base_ang_vel[row].numpy()
            bullet.resetBaseVelocity(self._body, state.base_lin_vel[row].tolist(), spin.tolist(), physicsClientId=client)
            for joint, q, dq in zip(self._joints, state.joint_pos[row].tolist(), state.joint_vel[row].tolist(), strict=True):
                bullet.resetJointState(self._body, joint, q, dq, physicsClientId=client)
        self.faults[ids] = False
        self._refresh()

    def step(self, joint_pos_target: Tensor, substeps: int) -> None:
        bullet, targets = self._bullet, joint_pos_target.numpy().astype(np.float64)
        self.faults.zero_()
        for env, client in enumerate(self._clients):
            kp, kd, limit = (self._gains[name][env] for name in ("kp", "kd", "limit"))
            torque = self._torque[env]
            for _ in range(substeps):
                states = bullet.getJointStates(self._body, self._joints, physicsClientId=client)
                q, dq = np.array([state[:2] for state in states]).T
                torque = motor_torque(targets[env], q, dq, kp, kd, limit)
                bullet.setJointMotorControlArray(
                    self._body, self._joints, bullet.TORQUE_CONTROL, forces=torque.tolist(), physicsClientId=client
                )
                bullet.stepSimulation(physicsClientId=client)
            self._torque[env] = torque
        self._refresh()
        for value in (self.signals.base_pos, self.signals.joint_pos, self.signals.joint_vel):
            self.faults |= ~torch.isfinite(value).all(dim=-1)

    def push(self, ids: Tensor, velocity: Tensor) -> None:
        for row, env in enumerate(ids.tolist()):
            linear, angular = self._bullet.getBaseVelocity(self._body, physicsClientId=self._clients[env])
            pushed = [linear[0] + float(velocity[row, 0]), linear[1] + float(velocity[row, 1]), linear[2]]
            self._bullet.resetBaseVelocity(self._body, pushed, angular, physicsClientId=self._clients[env])
        self._refresh()

    def randomize(self, ids: Tensor, values: dict[str, Tensor]) -> None:
        rows = ids.numpy()
        for name in values.keys() - {"friction", "kp_scale", "kd_scale", "motor_strength"}:
            if not torch.all(values[name] == PARAMETERS[name][2]):
                raise InputError(
                    name, values[name].flatten()[0].item(), "its nominal value with engine pybullet", "Randomize it in mujoco only."
                )
        ones = torch.ones(len(ids), self.robot.num_joints)
        strength = values.get("motor_strength", ones).numpy()
        self._gains["kp"][rows] = self.robot.kp * values.get("kp_scale", ones).numpy() * strength
        self._gains["kd"][rows] = self.robot.kd * values.get("kd_scale", ones).numpy() * strength
        self._gains["limit"][rows] = self.robot.effort_limit * strength
        for row, env in enumerate(rows.tolist()):
            for link in self._feet if "friction" in values else ():
                self._bullet.changeDynamics(
                    self._body, link, lateralFriction=float(values["friction"][row]), physicsClientId=self._clients[env]
                )

    def state_dict(self) -> dict[str, Any]:
        raise InputError("sim.engine", "pybullet", "an engine that can be resumed bit for bit", "Train with sim=mujoco.")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise InputError("sim.engine", "pybullet", "an engine that can be resumed bit for bit", "Train with sim=mujoco.")

    def close(self) -> None:
        for client in self._clients:
            self._bullet.disconnect(client)
        self._clients = []

    def _build(self, urdf: Path) -> int:
        bullet = self._bullet
        client = bullet.connect(bullet.DIRECT)
        bullet.setGravity(0, 0, -GRAVITY, physicsClientId=client)
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=self.physics_dt, numSubSteps=0, numSolverIterations=SOLVER_ITERATIONS, physicsClientId=client
        )
        shape = bullet.createCollisionShape(bullet.GEOM_PLANE, physicsClientId=client)
        self._ground = bullet.createMultiBody(0, shape, physicsClientId=client)
        bullet.changeDynamics(self._ground, -1, lateralFriction=1.0, physicsClientId=client)
        self._body = bullet.loadURDF(str(urdf), flags=bullet.URDF_USE_INERTIA_FROM_FILE, physicsClientId=client)
        infos = [bullet.getJointInfo(self._body, i, physicsClientId=client) for i in range(bullet.getNumJoints(self._body, client))]
        joints = {info[1].decode(): i for i, info in enumerate(infos)}
        links = {info[12].decode(): i for i, info in enumerate(infos)}
        self._joints = [joints[name] for name in self.robot.joint_names]
        self._feet = [links[foot] for foot in self.robot.feet]
        for link in range(-1, len(infos)):
            bullet.changeDynamics(self._body, link, linearDamping=0, angularDamping=0, lateralFriction=0.6, physicsClientId=client)
        for foot in self.robot.feet:
            friction = float(self._model.geom(foot).friction[0])
            bullet.changeDynamics(self._body, links[foot], lateralFriction=friction, physicsClientId=client)
        for name, joint in zip(self.robot.joint_names, self._joints, strict=True):
            dof = self._model.joint(name)
            # local inertia is diagonal in the link's inertial frame; the rotor turns about the joint's axis
            _, _, inertia, _, frame, *_ = bullet.getDynamicsInfo(self._body, joint, physicsClientId=client)
            rotation = np.array(bullet.getMatrixFromQuaternion(frame)).reshape(3, 3)
            rotor = float(dof.armature[0]) * np.square(rotation.T @ self._model.jnt_axis[dof.id])
            bullet.changeDynamics(
                self._body, joint, jointDamping=float(dof.damping[0]), localInertiaDiagonal=(inertia + rotor).tolist(),
                physicsClientId=client,
            )  # fmt: skip
            bullet.setJointMotorControl2(
                self._body, joint, bullet.VELOCITY_CONTROL, targetVelocity=0, force=float(dof.frictionloss[0]), physicsClientId=client
            )
        return client

    def _refresh(self) -> None:
        bullet, s = self._bullet, self.signals
        for env, client in enumerate(self._clients):
            position, (x, y, z, w) = bullet.getBasePositionAndOrientation(self._body, physicsClientId=client)
            linear, angular = bullet.getBaseVelocity(self._body, physicsClientId=client)
            joints = bullet.getJointStates(self._body, self._joints, physicsClientId=client)
            feet = bullet.getLinkStates(self._body, self._feet, computeLinkVelocity=1, physicsClientId=client)
            s.base_pos[env], s.base_quat[env] = torch.tensor(position), torch.tensor([w, x, y, z])
            self._vectors[env, :2] = torch.tensor([linear, angular])
            s.joint_pos[env] = torch.tensor([joint[0] for joint in joints])
            s.joint_vel[env] = torch.tensor([joint[1] for joint in joints])
            s.foot_pos[env] = torch.tensor([foot[0] for foot in feet])
            s.foot_vel[env] = torch.tensor([foot[6] for foot in feet])
            self._read_contacts(env, client)
        base = rotate_inverse(s.base_quat, self._vectors)
        s.base_lin_vel[:], s.base_ang_vel[:], s.projected_gravity[:] = base.unbind(1)
        s.joint_torque.copy_(torch.from_numpy(self._torque))

    def _read_contacts(self, env: int, client: int) -> None:
        s = self.signals
        s.foot_contact_force[env] = 0.0
        s.body_contacts[env] = 0.0
        for contact in self._bullet.getContactPoints(self._body, self._ground, physicsClientId=client):
            link, normal, force = contact[3], np.array(contact[7]), contact[9]
            if link not in self._feet:
                s.body_contacts[env] += 1.0
                continue
            friction = contact[10] * np.array(contact[11]) + contact[12] * np.array(contact[13])
            s.foot_contact_force[env, self._feet.index(link)] += torch.from_numpy(force * normal + friction).float()


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Bullet's library prints its build time when it is loaded."""
    before, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C has buffered would come out later
        os.dup2(before, 1)
        os.close(before)
        os.close(nowhere)


def to_urdf(model: mujoco.MjModel, robot: Robot) -> str:
    """URDF of a compiled MuJoCo model: its bodies, hinges and colliding boxes, spheres and capsules; each foot a link."""
    root = xml.Element("robot", name=robot.name)
    base = model.body(robot.base_body).id
    shell = xml.SubElement(root, "link", name=model.body(base).name + SHELL)
    _inertial(shell, 1e-6, np.zeros(3), 1e-9 * np.eye(3))
    for body in range(base, model.nbody):
        name = model.body(body).name
        link = xml.SubElement(root, "link", name=name)
        _inertial(link, float(model.body_mass[body]), model.body_ipos[body], _inertia_in_body_frame(model, body))
        joint_id = model.body_jntadr[body] if body != base else -1
        parent = model.body(model.body_parentid[body]).name if body != base else name + SHELL
        _joint(root, model, body, joint_id, parent)
        for geom in range(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body]):
            if model.geom_conaffinity[geom] == 0 and model.geom_contype[geom] == 0:
                continue
            if model.geom(geom).name in robot.feet:
                _foot(root, model, geom, name)
            else:
                _collision(link, model, geom, model.geom_pos[geom], model.geom_quat[geom])
    xml.indent(root)  # Bullet reads lines of limited length
    return xml.tostring(root, encoding="unicode")


def _joint(root: xml.Element, model: mujoco.MjModel, body: int, joint_id: int, parent: str) -> None:
    kind = "revolute" if joint_id >= 0 else "fixed"
    name = model.joint(joint_id).name if joint_id >= 0 else f"{model.body(body).name}_mount"
    joint = xml.SubElement(root, "joint", name=name, type=kind)
    xml.SubElement(joint, "parent", link=parent)
    xml.SubElement(joint, "child", link=model.body(body).name)
    if joint_id >= 0:
        _origin(joint, model.body_pos[body], model.body_quat[body])
        xml.SubElement(joint, "axis", xyz=_text(model.jnt_axis[joint_id]))
        low, high = model.jnt_range[joint_id]
        xml.SubElement(joint, "limit", lower=str(low), upper=str(high), effort="1000", velocity="100")


def _foot(root: xml.Element, model: mujoco.MjModel, geom: int, parent: str) -> None:
    name = model.geom(geom).name
    link = xml.SubElement(root, "link", name=name)
    _inertial(link, 1e-6, np.zeros(3), 1e-9 * np.eye(3))
    _collision(link, model, geom, np.zeros(3), np.array([1.0, 0, 0, 0]))
    joint = xml.SubElement(root, "joint", name=f"{name}_mount", type="fixed")
    xml.SubElement(joint, "parent", link=parent)
    xml.SubElement(joint, "child", link=name)
    _origin(joint, model.geom_pos[geom], model.geom_quat[geom])


def _collision(link: xml.Element, model: mujoco.MjModel, geom: int, pos: np.ndarray, quat: np.ndarray) -> None:
    collision = xml.SubElement(link, "collision")
    _origin(collision, pos, quat)
    shape, size = xml.SubElement(collision, "geometry"), model.geom_size[geom]
    match mujoco.mjtGeom(model.geom_type[geom]):
        case mujoco.mjtGeom.mjGEOM_SPHERE:
            xml.SubElement(shape, "sphere", radius=str(size[0]))
        case mujoco.mjtGeom.mjGEOM_CAPSULE:
            xml.SubElement(shape, "capsule", radius=str(size[0]), length=str(2 * size[1]))
        case mujoco.mjtGeom.mjGEOM_BOX:
            xml.SubElement(shape, "box", size=_text(2 * size))
        case other:
            raise InputError(model.geom(geom).name, other.name, "a box, sphere or capsule", "Use primitive shapes for collisions.")


def _inertia_in_body_frame(model: mujoco.MjModel, body: int) -> np.ndarray:
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
    rotation = rotation.reshape(3, 3)
    return rotation @ np.diag(model.body_inertia[body]) @ rotation.T


def _inertial(link: xml.Element, mass: float, com: np.ndarray, inertia: np.ndarray) -> None:
    inertial = xml.SubElement(link, "inertial")
    xml.SubElement(inertial, "origin", xyz=_text(com))
    xml.SubElement(inertial, "mass", value=str(mass))
    entries = {f"i{a}{b}": str(inertia["xyz".index(a), "xyz".index(b)]) for a, b in ("xx", "xy", "xz", "yy", "yz", "zz")}
    xml.SubElement(inertial, "inertia", entries)


def _origin(element: xml.Element, pos: np.ndarray, quat: np.ndarray) -> None:
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, np.asarray(quat, dtype=np.float64))
    r = rotation.reshape(3, 3)
    roll, pitch, yaw = np.arctan2(r[2, 1], r[2, 2]), np.arcsin(np.clip(-r[2, 0], -1, 1)), np.arctan2(r[1, 0], r[0, 0])
    xml.SubElement(element, "origin", xyz=_text(pos), rpy=_text((roll, pitch, yaw)))


def _text(values: Any) -> str:
    return " ".join(repr(float(value)) for value in values)
