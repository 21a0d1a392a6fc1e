"""One robot in a world of Bullet's own: every call of Bullet's interface that concerns it."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from robots import InputError
from robots.robot import GRAVITY
from sim.pybullet_model import BulletRobot

SOLVER_ITERATIONS = 50
FAR = 1000.0  # m
SURFACE = (
    "friction", "restitution", "gravity_scale", "ground_slope", "joint_friction_scale", "joint_damping_scale", "armature_scale",
)  # fmt: skip
MASSES = ("base_mass_offset", "base_com_offset", "payload_mass", "payload_pos", "link_mass_scale", "inertia_scale")

Values = Mapping[str, np.ndarray]  # the physical parameters of one robot


class World:
    """A robot on its ground. What Bullet forgets between two steps (forces) is given again with every step."""

    def __init__(self, bullet: Any, robot: BulletRobot, physics_dt: float, self_collision: bool, values: Values) -> None:
        self._bullet, self._robot = bullet, robot
        meeting = bullet.URDF_USE_SELF_COLLISION | bullet.URDF_USE_SELF_COLLISION_EXCLUDE_PARENT if self_collision else 0
        self._flags = bullet.URDF_USE_INERTIA_FROM_FILE | meeting
        self._client = client = bullet.connect(bullet.DIRECT)
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=physics_dt, numSubSteps=0, numSolverIterations=SOLVER_ITERATIONS,
            enableFileCaching=0,  # else Bullet remembers what a path has held, and paths come again
            physicsClientId=client,
        )  # fmt: skip
        shape = bullet.createCollisionShape(bullet.GEOM_PLANE, physicsClientId=client)
        seen = bullet.createVisualShape(bullet.GEOM_BOX, halfExtents=[0.01] * 3, physicsClientId=client)  # else Bullet draws the plane
        self._ground = bullet.createMultiBody(0, shape, seen, physicsClientId=client)
        self._load(values)

    def load(self, values: Values) -> None:
        """Begin anew, with the robot at the origin: what other masses, or a state that is no number, need."""
        self._bullet.removeBody(self._body, physicsClientId=self._client)
        self._load(values)

    def _load(self, values: Values) -> None:
        bullet, client = self._bullet, self._client
        with scratch(self._robot.urdf(values).encode()) as path:
            self._body = bullet.loadURDF(path, flags=self._flags, physicsClientId=client)
        infos = [bullet.getJointInfo(self._body, i, physicsClientId=client) for i in range(bullet.getNumJoints(self._body, client))]
        joints = {info[1].decode(): i for i, info in enumerate(infos)}
        links = {info[12].decode(): i for i, info in enumerate(infos)}
        self._joints = [joints[name] for name in self._robot.joint_names]
        self._feet = [links[foot] for foot in self._robot.feet]
        self._foot_of_link = {link: foot for foot, link in enumerate(self._feet)}
        for link in range(-1, len(infos)):
            bullet.changeDynamics(self._body, link, linearDamping=0, angularDamping=0, physicsClientId=client)
            # in a call of its own: beside the damping Bullet passes it over
            bullet.changeDynamics(self._body, link, lateralFriction=1.0, physicsClientId=client)
            bullet.changeDynamics(self._body, link, restitution=1.0, physicsClientId=client)
        self._com = (self._robot.com[0] + values["base_com_offset"]).tolist()  # of the base without its payload
        self._inertia = [self._principal(*one) for one in zip(self._joints, self._robot.axis, strict=True)]
        self.set_surface(values)

    def set_surface(self, values: Values) -> None:
        """Ground, gravity, and what joints have of their own: friction and rotors."""
        bullet, client, robot = self._bullet, self._client, self._robot
        # Bullet multiplies the frictions and restitutions of two shapes: 1 on the robot, so that the ground's decides
        bullet.changeDynamics(self._ground, -1, lateralFriction=float(values["friction"]), physicsClientId=client)
        bullet.changeDynamics(self._ground, -1, restitution=float(values["restitution"]), physicsClientId=client)
        gravity = GRAVITY * float(values["gravity_scale"]) * gravity_direction(values["ground_slope"])
        bullet.setGravity(*gravity.tolist(), physicsClientId=client)
        damping = (robot.damping * values["joint_damping_scale"]).tolist()
        force = (robot.dry_friction * values["joint_friction_scale"]).tolist()
        rotors = robot.armature * values["armature_scale"]
        for joint, one, (inertia, share), rotor in zip(self._joints, damping, self._inertia, rotors, strict=True):
            bullet.changeDynamics(self._body, joint, jointDamping=one, physicsClientId=client)
            bullet.changeDynamics(self._body, joint, localInertiaDiagonal=(inertia + rotor * share).tolist(), physicsClientId=client)
        still = [0.0] * len(force)
        bullet.setJointMotorControlArray(
            self._body, self._joints, bullet.VELOCITY_CONTROL, targetVelocities=still, forces=force, physicsClientId=client
        )

    def place(self, state: np.ndarray) -> None:
        """Put the robot into ``state`` [13 + 2 J] (:class:`sim.signals.InitialState`)."""
        bullet, client, n = self._bullet, self._client, len(self._joints)
        values = state.tolist()
        position, (w, x, y, z), joint_pos = values[:3], values[3:7], values[7 : 7 + n]
        linear, spin, joint_vel = values[7 + n : 10 + n], state[10 + n : 13 + n].astype(np.float64), values[13 + n :]
        rotation = np.array(bullet.getMatrixFromQuaternion((x, y, z, w))).reshape(3, 3)
        # contacts of the old episode would stay: Bullet forgets them where nothing touches
        bullet.resetBasePositionAndOrientation(self._body, [0.0, 0.0, FAR], (x, y, z, w), physicsClientId=client)
        bullet.performCollisionDetection(physicsClientId=client)
        self._put(position, (x, y, z, w), linear, (rotation @ spin).tolist(), joint_pos, joint_vel)
        bullet.performCollisionDetection(physicsClientId=client)

    def reload(self, values: Values) -> None:
        """Other masses; the motion goes on."""
        bullet, client = self._bullet, self._client
        position, quat = bullet.getBasePositionAndOrientation(self._body, physicsClientId=client)
        linear, angular = bullet.getBaseVelocity(self._body, physicsClientId=client)
        joint_pos, joint_vel = self.joints()
        self.load(values)
        self._put(position, quat, linear, angular, joint_pos, joint_vel)

    def joints(self) -> tuple[list[float], list[float]]:
        """Positions and velocities [J]."""
        states = self._bullet.getJointStates(self._body, self._joints, physicsClientId=self._client)
        return [state[0] for state in states], [state[1] for state in states]

    def step(self, torque: list[float], pressed: list[float] | None) -> None:
        """One physics step under ``torque`` [J] (N m), and force and torque [6] at the base's centre of mass (world)."""
        bullet, client = self._bullet, self._client
        bullet.setJointMotorControlArray(self._body, self._joints, bullet.TORQUE_CONTROL, forces=torque, physicsClientId=client)
        if pressed is not None:
            origin, quat = bullet.getBasePositionAndOrientation(self._body, physicsClientId=client)
            at, _ = bullet.multiplyTransforms(origin, quat, self._com, (0.0, 0.0, 0.0, 1.0))
            bullet.applyExternalForce(self._body, -1, pressed[:3], at, bullet.WORLD_FRAME, physicsClientId=client)
            bullet.applyExternalTorque(self._body, -1, pressed[3:], bullet.WORLD_FRAME, physicsClientId=client)
        bullet.stepSimulation(physicsClientId=client)

    def push(self, x: float, y: float) -> None:
        """Add to the base's velocity (m/s, world)."""
        linear, angular = self._bullet.getBaseVelocity(self._body, physicsClientId=self._client)
        pushed = [linear[0] + x, linear[1] + y, linear[2]]
        self._bullet.resetBaseVelocity(self._body, pushed, angular, physicsClientId=self._client)

    def read(self, joint_pos: list[float], joint_vel: list[float], torque: list[float]) -> tuple[list[float], tuple[float, ...]]:
        """The packed row up to ``ground_contacts`` (:func:`sim.signals.signal_shapes`) and the base's angular velocity, world frame."""
        bullet, client = self._bullet, self._client
        position, (x, y, z, w) = bullet.getBasePositionAndOrientation(self._body, physicsClientId=client)
        linear, angular = bullet.getBaseVelocity(self._body, physicsClientId=client)
        feet = bullet.getLinkStates(self._body, self._feet, computeLinkVelocity=1, physicsClientId=client)
        force, count, total = self._contacts()
        at, speed = ([value for foot in feet for value in foot[part]] for part in (0, 6))
        row = [*position, w, x, y, z, *joint_pos, *linear, *angular, *joint_vel, *torque, *force, *at, *speed, *count, total]
        return row, angular

    def save(self) -> bytes:
        """Bullet's own snapshot: positions, velocities, and the contacts that its solver begins from."""
        with scratch() as path:
            self._bullet.saveBullet(path, physicsClientId=self._client)
            with open(path, "rb") as stream:
                return stream.read()

    def restore(self, snapshot: bytes) -> None:
        """Into a world of the same parameters."""
        with scratch(snapshot) as path:
            self._bullet.restoreState(fileName=path, physicsClientId=self._client)

    def close(self) -> None:
        self._bullet.disconnect(self._client)

    def _put(self, position: Any, quat: Any, linear: Any, angular: Any, joint_pos: Any, joint_vel: Any) -> None:
        bullet, client = self._bullet, self._client
        bullet.resetBasePositionAndOrientation(self._body, position, quat, physicsClientId=client)
        bullet.resetBaseVelocity(self._body, linear, angular, physicsClientId=client)
        for joint, q, dq in zip(self._joints, joint_pos, joint_vel, strict=True):
            bullet.resetJointState(self._body, joint, q, dq, physicsClientId=client)

    def _principal(self, joint: int, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Principal inertia [3] of a joint's link, and the share [3] of a rotor about ``axis`` [3] (link frame) that goes to each."""
        _, _, inertia, _, frame, *_ = self._bullet.getDynamicsInfo(self._body, joint, physicsClientId=self._client)
        rotation = np.array(self._bullet.getMatrixFromQuaternion(frame)).reshape(3, 3)
        return np.array(inertia), np.square(rotation.T @ axis)

    def _contacts(self) -> tuple[list[float], list[float], float]:
        """Force of the ground on each foot [3 F] (N, world), contacts of each foot [F], contacts of anything."""
        n = len(self._feet)
        force, count = [0.0] * (3 * n), [0.0] * n
        contacts = self._bullet.getContactPoints(self._body, self._ground, physicsClientId=self._client)
        for contact in contacts:
            foot = self._foot_of_link.get(contact[3])
            if foot is None:
                continue
            count[foot] += 1.0
            for axis in range(3):
                force[3 * foot + axis] += contact[9] * contact[7][axis] + contact[10] * contact[11][axis] + contact[12] * contact[13][axis]
        return force, count, float(len(contacts))


def gravity_direction(slope: np.ndarray) -> np.ndarray:
    """Unit vector [..., 3] of gravity over ground that is inclined by ``slope`` [..., 2] (rad): a slope is a tilt of gravity."""
    tangent = np.tan(np.asarray(slope, dtype=np.float64))
    down = np.concatenate([-tangent, -np.ones_like(tangent[..., :1])], axis=-1)
    return down / np.linalg.norm(down, axis=-1, keepdims=True)


@contextlib.contextmanager
def scratch(content: bytes = b"") -> Iterator[str]:
    """The path of a file that is in no folder, since Bullet speaks through files: nothing is left of it, whatever ends this process."""
    with open(os.memfd_create("pybullet"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def load_bullet() -> Any:
    """Bullet's module. Raises InputError where it is not installed."""
    try:
        with _quiet():
            import pybullet
    except ImportError as error:
        raise InputError(
            "sim.engine", "pybullet", "an installed engine", "Install it: pip install 'sim2real-locomotion[pybullet]'."
        ) from error
    return pybullet


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Bullet's library prints its build time when it is loaded."""
    before, nowhere = [os.dup(1), os.dup(2)], os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C has buffered would come out later
        for stream, copy in enumerate(before, 1):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)
