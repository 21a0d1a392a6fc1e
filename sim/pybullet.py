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

import numpy as np
import torch

from robots import InputError, Robot
from robots.actuator import motor_torque
from robots.model import foot_radius, hip_positions, total_mass
from robots.robot import GRAVITY
from sim.actuation import DC_MOTOR, NETWORKS, PD
from sim.mujoco_model import build_model
from sim.parameters import check_supported, nominal_values
from sim.pybullet_model import to_urdf
from sim.signals import InitialState, Signals, Tensor, rotate_inverse
from sim.terrain import Terrain

SOLVER_ITERATIONS = 50
GAINS = {"kp_scale", "kd_scale", "motor_strength", "effort_limit_scale", "joint_zero_offset"}
CHANGEABLE = frozenset({*GAINS, "friction", "restitution", "joint_friction_scale", "joint_damping_scale", "gravity_scale", "ground_slope"})


class PybulletSimulator:
    """See :class:`sim.simulator.Simulator`. Supports the nominal robot on level ground; randomizes what costs no new robot."""

    engine = "pybullet"
    device = torch.device("cpu")
    supports = CHANGEABLE

    def __init__(self, robot: Robot, num_envs: int, physics_dt: float, actuator: str = PD, self_collision: bool = False) -> None:
        if actuator in NETWORKS:
            raise InputError("sim.engine", "pybullet", "an engine with learned actuators: mujoco", "Use sim=mujoco, or sim.actuator=pd.")
        self._curve = robot.torque_speed if actuator == DC_MOTOR else None
        self._bullet = load_bullet()
        self.robot, self.num_envs, self.physics_dt = robot, num_envs, physics_dt
        n, j, f = num_envs, robot.num_joints, len(robot.feet)
        self.terrain = Terrain()
        self._model = build_model(robot, physics_dt)
        self.foot_radius = torch.tensor(foot_radius(self._model, robot), dtype=torch.float32)
        self.hip_pos = torch.tensor(hip_positions(self._model, robot), dtype=torch.float32)
        self.total_mass = total_mass(self._model)
        self.values = nominal_values(n, j)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{robot.name}.urdf"
            path.write_text(to_urdf(self._model, robot))
            self._clients = [self._build(path, self_collision) for _ in range(num_envs)]
        self._gains = {"kp": np.tile(robot.kp, (n, 1)), "kd": np.tile(robot.kd, (n, 1)), "limit": np.tile(robot.effort_limit, (n, 1))}
        self._gains |= {"full": self._gains["limit"].copy(), "offset": np.zeros((n, j))}
        self._torque, self._applied = np.zeros((n, j)), np.zeros((n, 6))
        self._vectors = torch.zeros(n, 3, 3)  # base velocities and gravity, world frame
        self._vectors[:, 2, 2] = -1.0
        self.signals: Any = Signals.zeros(n, j, f)
        self.faults = torch.zeros(n, dtype=torch.bool)
        self._refresh()

    def reset(self, mask: Tensor, state: InitialState) -> None:
        bullet, (x, y, z, w) = self._bullet, (1, 2, 3, 0)
        for env in mask.nonzero().squeeze(-1).tolist():
            client = self._clients[env]
            base = (state.base_pos[env].tolist(), state.base_quat[env, [x, y, z, w]].tolist())
            bullet.resetBasePositionAndOrientation(self._body, *base, physicsClientId=client)
            rotation = np.array(bullet.getMatrixFromQuaternion(base[1])).reshape(3, 3)
            spin = rotation @ state.base_ang_vel[env].numpy()
            bullet.resetBaseVelocity(self._body, state.base_lin_vel_world[env].tolist(), spin.tolist(), physicsClientId=client)
            for joint, q, dq in zip(self._joints, state.joint_pos[env].tolist(), state.joint_vel[env].tolist(), strict=True):
                bullet.resetJointState(self._body, joint, q, dq, physicsClientId=client)
            bullet.performCollisionDetection(physicsClientId=client)  # contacts of the old episode would stay
            self._torque[env] = self._applied[env] = 0.0
            self.faults[env] = False
        self._refresh()

    def step(self, joint_pos_target: Tensor, substeps: int) -> None:
        bullet, targets = self._bullet, joint_pos_target.numpy().astype(np.float64)
        self.faults.zero_()
        for env, client in enumerate(self._clients):
            kp, kd, full, limit, offset = (self._gains[name][env] for name in ("kp", "kd", "full", "limit", "offset"))
            torque = self._torque[env]
            for _ in range(substeps):
                states = bullet.getJointStates(self._body, self._joints, physicsClientId=client)
                q, dq = np.array([state[:2] for state in states]).T
                torque = motor_torque(targets[env], q + offset, dq, kp, kd, full, curve=self._curve).clip(-limit, limit)
                bullet.setJointMotorControlArray(
                    self._body, self._joints, bullet.TORQUE_CONTROL, forces=torque.tolist(), physicsClientId=client
                )
                if self._applied[env].any():
                    self._press(env, client)
                bullet.stepSimulation(physicsClientId=client)
            self._torque[env] = torque
        self._refresh()
        for value in (self.signals.base_pos, self.signals.joint_pos, self.signals.joint_vel):
            self.faults |= ~torch.isfinite(value).all(dim=-1)

    def push(self, mask: Tensor, velocity: Tensor) -> None:
        for env in mask.nonzero().squeeze(-1).tolist():
            linear, angular = self._bullet.getBaseVelocity(self._body, physicsClientId=self._clients[env])
            pushed = [linear[0] + float(velocity[env, 0]), linear[1] + float(velocity[env, 1]), linear[2]]
            self._bullet.resetBaseVelocity(self._body, pushed, angular, physicsClientId=self._clients[env])
        self._refresh()

    def wrench(self, mask: Tensor, force_torque: Tensor) -> None:
        rows = mask.numpy()
        self._applied[rows] = force_torque.numpy()[rows]

    def set_parameters(self, mask: Tensor, values: dict[str, Tensor]) -> None:
        ids = mask.nonzero().squeeze(-1)
        changed = {name: value[ids] for name, value in values.items() if not torch.equal(value[ids], self.values[name][ids])}
        check_supported("pybullet", self.supports, set(changed))
        for name, value in changed.items():
            self.values[name][ids] = value
        rows = ids.numpy()
        kp, kd, strength = (self.values[name][ids].double().numpy() for name in ("kp_scale", "kd_scale", "motor_strength"))
        self._gains["kp"][rows] = self.robot.kp * kp * strength
        self._gains["kd"][rows] = self.robot.kd * kd * strength
        self._gains["full"][rows] = self.robot.effort_limit * strength  # where the torque-speed curve begins
        self._gains["limit"][rows] = self._gains["full"][rows] * self.values["effort_limit_scale"][ids].double().numpy()
        self._gains["offset"][rows] = self.values["joint_zero_offset"][ids].double().numpy()
        if changed.keys() - GAINS:
            for env in rows.tolist():
                self._set_dynamics(env)

    def state_dict(self) -> dict[str, Any]:
        raise InputError("sim.engine", "pybullet", "an engine that can be resumed bit for bit", "Train with sim=mujoco.")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise InputError("sim.engine", "pybullet", "an engine that can be resumed bit for bit", "Train with sim=mujoco.")

    def close(self) -> None:
        for client in self._clients:
            self._bullet.disconnect(client)
        self._clients = []

    def _build(self, urdf: Path, self_collision: bool) -> int:
        bullet = self._bullet
        meeting = bullet.URDF_USE_SELF_COLLISION | bullet.URDF_USE_SELF_COLLISION_EXCLUDE_PARENT if self_collision else 0
        client = bullet.connect(bullet.DIRECT)
        bullet.setGravity(0, 0, -GRAVITY, physicsClientId=client)
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=self.physics_dt, numSubSteps=0, numSolverIterations=SOLVER_ITERATIONS, physicsClientId=client
        )
        shape = bullet.createCollisionShape(bullet.GEOM_PLANE, physicsClientId=client)
        self._ground = bullet.createMultiBody(0, shape, physicsClientId=client)
        self._body = bullet.loadURDF(str(urdf), flags=bullet.URDF_USE_INERTIA_FROM_FILE | meeting, physicsClientId=client)
        infos = [bullet.getJointInfo(self._body, i, physicsClientId=client) for i in range(bullet.getNumJoints(self._body, client))]
        joints = {info[1].decode(): i for i, info in enumerate(infos)}
        links = {info[12].decode(): i for i, info in enumerate(infos)}
        self._joints = [joints[name] for name in self.robot.joint_names]
        self._feet = [links[foot] for foot in self.robot.feet]
        for link in range(-1, len(infos)):
            bullet.changeDynamics(self._body, link, linearDamping=0, angularDamping=0, physicsClientId=client)
            # in a call of its own: beside the damping Bullet passes it over
            bullet.changeDynamics(self._body, link, lateralFriction=1.0, physicsClientId=client)
            bullet.changeDynamics(self._body, link, restitution=1.0, physicsClientId=client)
        # Bullet multiplies the frictions and restitutions of two shapes: 1 on the robot, so that the ground's decides
        bullet.changeDynamics(self._ground, -1, lateralFriction=float(self.values["friction"][0]), physicsClientId=client)
        for name, joint in zip(self.robot.joint_names, self._joints, strict=True):
            dof = self._model.joint(name)
            # local inertia is diagonal in the link's inertial frame; the rotor turns about the joint's axis
            _, _, inertia, _, frame, *_ = bullet.getDynamicsInfo(self._body, joint, physicsClientId=client)
            rotation = np.array(bullet.getMatrixFromQuaternion(frame)).reshape(3, 3)
            rotor = float(dof.armature[0]) * np.square(rotation.T @ self._model.jnt_axis[dof.id])
            bullet.changeDynamics(self._body, joint, localInertiaDiagonal=(inertia + rotor).tolist(), physicsClientId=client)
            self._set_joint(client, joint, dof, 1.0, 1.0)
        return client

    def _set_dynamics(self, env: int) -> None:
        bullet, client = self._bullet, self._clients[env]
        values = {name: value[env].tolist() for name, value in self.values.items()}
        bullet.changeDynamics(self._ground, -1, lateralFriction=values["friction"], physicsClientId=client)
        bullet.changeDynamics(self._ground, -1, restitution=values["restitution"], physicsClientId=client)
        x, y = values["ground_slope"]
        down = np.array([-np.tan(x), -np.tan(y), -1.0])
        down /= np.linalg.norm(down)
        gravity = GRAVITY * float(self.values["gravity_scale"][env]) * down
        bullet.setGravity(*gravity.tolist(), physicsClientId=client)
        self._vectors[env, 2] = torch.from_numpy(down)
        scales = zip(values["joint_friction_scale"], values["joint_damping_scale"], strict=True)
        for name, joint, (friction, damping) in zip(self.robot.joint_names, self._joints, scales, strict=True):
            self._set_joint(client, joint, self._model.joint(name), friction, damping)

    def _set_joint(self, client: int, joint: int, dof: Any, friction: float, damping: float) -> None:
        """Factors on a joint's dry and viscous friction; ``dof`` is the joint in the MuJoCo model."""
        bullet = self._bullet
        bullet.changeDynamics(self._body, joint, jointDamping=float(dof.damping[0]) * damping, physicsClientId=client)
        bullet.setJointMotorControl2(
            self._body, joint, bullet.VELOCITY_CONTROL, targetVelocity=0, force=float(dof.frictionloss[0]) * friction,
            physicsClientId=client,
        )  # fmt: skip

    def _press(self, env: int, client: int) -> None:
        """Bullet forgets a force after one step."""
        bullet, value = self._bullet, self._applied[env].tolist()
        at, _ = bullet.getBasePositionAndOrientation(self._body, physicsClientId=client)
        bullet.applyExternalForce(self._body, -1, value[:3], at, bullet.WORLD_FRAME, physicsClientId=client)
        bullet.applyExternalTorque(self._body, -1, value[3:], bullet.WORLD_FRAME, physicsClientId=client)

    def _refresh(self) -> None:
        bullet, s = self._bullet, self.signals
        for env, client in enumerate(self._clients):
            position, (x, y, z, w) = bullet.getBasePositionAndOrientation(self._body, physicsClientId=client)
            linear, angular = bullet.getBaseVelocity(self._body, physicsClientId=client)
            joints = bullet.getJointStates(self._body, self._joints, physicsClientId=client)
            feet = bullet.getLinkStates(self._body, self._feet, computeLinkVelocity=1, physicsClientId=client)
            s.base_pos[env], s.base_quat[env] = torch.tensor(position), torch.tensor([w, x, y, z])
            self._vectors[env, :2] = torch.tensor([linear, angular])
            s.base_lin_vel_world[env] = self._vectors[env, 0]
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
        s.foot_contacts[env] = 0.0
        contacts = self._bullet.getContactPoints(self._body, self._ground, physicsClientId=client)
        s.ground_contacts[env] = len(contacts)
        for contact in contacts:
            link, normal, force = contact[3], np.array(contact[7]), contact[9]
            if link not in self._feet:
                continue
            foot = self._feet.index(link)
            friction = contact[10] * np.array(contact[11]) + contact[12] * np.array(contact[13])
            s.foot_contacts[env, foot] += 1.0
            s.foot_contact_force[env, foot] += torch.from_numpy(force * normal + friction).float()


def load_bullet() -> Any:
    """Bullet's module. Raises InputError where it is not installed."""
    try:
        with _quiet_stdout():
            import pybullet
    except ImportError as error:
        raise InputError(
            "sim.engine", "pybullet", "an installed engine", "Install it: pip install 'sim2real-locomotion[pybullet]'."
        ) from error
    return pybullet


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
