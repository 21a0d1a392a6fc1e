"""How a robot stands under its own gains: by figures of its linear motion, and in a few seconds of physics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from robots.check import joint_pose, lowest
from robots.errors import Finding, doubtful, wrong
from robots.fields import Bounds
from robots.model import GROUND, add_ground, build_spec
from robots.robot import GRAVITY, Robot

PHYSICS_DT = 0.002  # s
DROP = 0.01  # m above the ground where it is let go
LYING, RISING, RISEN = 1.0, 2.0, 1.0  # s that it lies, takes to its feet, and stands then
MOTOR_DT = 0.001  # s, the loop of a motor's own PD on common drives
SAG = 0.1  # largest share of standing_height
TILT = 0.15  # largest sine of the tilt
SPEED = 0.3  # rad/s, largest root mean square of a joint's speed when all should rest
SATURATED = 0.9  # share of effort_limit that standing may take
TIME = Bounds(0.006, 0.12, "s")  # kd / kp: Go1 0.017, Talos 0.047
DAMPING_RATIO = 0.1  # least, of a joint alone in the air: Go2 0.4, ANYmal C 0.3


@dataclass(frozen=True, eq=False)
class Stood:
    """What a robot does that is let stand with its joints' targets in the default pose."""

    height: float  # m, base above the ground at the end
    tilt: float  # sine of the angle between the base's vertical and the world's
    speed: np.ndarray  # [J] rad/s, root mean square over the last second
    effort: np.ndarray  # [J] share of effort_limit at the end
    load: np.ndarray  # [F] share of the weight on each foot, mean of the last second
    other_load: float  # share of the weight on shapes that are no feet
    slid: float  # m, along the ground

    @property
    def fallen(self) -> bool:
        return not self.tilt < 0.5 or not np.isfinite(self.height)


def stand(robot: Robot, seconds: float = 5.0) -> Stood:
    """Let the robot stand on flat, firm ground.

    Raises:
        InputError: description and model do not belong together.
    """
    ground, pose = _Ground(robot), robot.default_joint_pos
    ground.place(pose, robot.standing_height + DROP)
    return ground.run(pose, pose, seconds)


def rise(robot: Robot) -> tuple[Stood, Stood]:
    """Let the robot lie as ``lie_joint_pos`` says and rise to the default pose, as in a deployment: how it lies, how it stands.

    Raises:
        InputError: description and model do not belong together.
    """
    ground, lie, pose = _Ground(robot), robot.lie_joint_pos, robot.default_joint_pos
    ground.place(lie, DROP - lowest(ground.model, joint_pose(ground.model, robot, lie)))
    lying = ground.run(lie, lie, LYING)
    ground.run(lie, pose, RISING)
    return lying, ground.run(pose, pose, RISEN)


class _Ground:
    """A robot on flat, firm ground, whose joints are told where to be."""

    def __init__(self, robot: Robot) -> None:
        spec = build_spec(robot)
        add_ground(spec, robot)
        spec.option.timestep, spec.option.integrator = PHYSICS_DT, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        spec.option.cone, spec.option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 100.0  # feet that do not creep
        self.robot, self.model = robot, spec.compile()
        self._data = mujoco.MjData(self.model)
        joint = np.array([self.model.joint(name).id for name in robot.joint_names])
        self._position, self._velocity = self.model.jnt_qposadr[joint], self.model.jnt_dofadr[joint]

    def place(self, pose: np.ndarray, height: float) -> None:
        """At rest, upright, the joints at ``pose`` [J] (rad) and the base at ``height`` (m)."""
        mujoco.mj_resetData(self.model, self._data)
        self._data.qpos[:7] = 0, 0, height, 1, 0, 0, 0
        self._data.qpos[self._position] = pose

    def run(self, start: np.ndarray, end: np.ndarray, seconds: float) -> Stood:
        """Move the targets [J] (rad) evenly from ``start`` to ``end``; figures are of the last second, or of all."""
        model, data, robot = self.model, self._data, self.robot
        steps, last = round(seconds / PHYSICS_DT), round(1.0 / PHYSICS_DT)
        feet = [[model.geom(shape).id for shape in shapes] for shapes in robot.foot_geoms]
        weight = float(model.body_mass.sum()) * GRAVITY
        square, load, count = np.zeros(robot.num_joints), np.zeros(model.ngeom), 0
        for step in range(steps):
            data.ctrl[:] = start + (step + 1) / steps * (end - start)
            mujoco.mj_step(model, data)
            if step >= steps - last:
                square += data.qvel[self._velocity] ** 2
                if step % 25 == 0:
                    load += _loads(model, data)
                    count += 1
        load /= max(count, 1) * weight
        up = data.xmat[model.body(robot.base_body).id].reshape(3, 3)[:, 2]
        return Stood(
            height=float(data.qpos[2]),
            tilt=float(np.hypot(up[0], up[1])) if up[2] > 0 else 1.0,
            speed=np.sqrt(square / min(last, steps)),
            effort=np.abs(data.actuator_force) / robot.effort_limit,
            load=(carried := np.array([load[shapes].sum() for shapes in feet])),
            other_load=float(load.sum() - carried.sum()),
            slid=float(np.hypot(data.qpos[0], data.qpos[1])),
        )


def _loads(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """[G] N: vertical force of the ground on each shape."""
    result, force, ground = np.zeros(model.ngeom), np.zeros(6), model.geom(GROUND).id
    for i, contact in enumerate(data.contact):
        if ground in contact.geom:
            mujoco.mj_contactForce(model, data, i, force)
            other = contact.geom[1] if contact.geom[0] == ground else contact.geom[0]
            result[other] += abs(contact.frame[2]) * force[0]
    return result


def check_standing(robot: Robot) -> Iterator[Finding]:
    """It stands for 5 s: upright, without sagging, shaking or motors at their limits, on its feet alone."""
    stood = stand(robot)
    if stood.fallen:
        allowed = "a pose in which it stands for 5 s under its gains; it falls"
        yield wrong("default_joint_pos", robot.name, allowed, "Put the centre of mass over the feet, or raise kp.")
        return
    sag = 1.0 - stood.height / robot.standing_height
    if sag > SAG:
        allowed = f"gains under which it sags by less than {100 * SAG:.0f} % of its height; it sags by {100 * sag:.0f} %"
        yield wrong("kp", robot.kp.tolist(), allowed, "Raise kp: effort_limit / 0.5 rad is usual.")
    if stood.tilt > TILT:
        allowed = f"a pose in which it rests level; it tilts by {np.degrees(np.arcsin(stood.tilt)):.0f} degrees"
        yield wrong("default_joint_pos", robot.name, allowed, "Put the centre of mass over the middle of the feet.")
    worst = int(stood.speed.argmax())
    if stood.speed[worst] > SPEED:
        allowed = f"gains that hold still; {robot.joint_names[worst]} shakes at {stood.speed[worst]:.2f} rad/s"
        yield wrong("kd", float(robot.kd[worst]), allowed, "Lower kp, choose kd near kp / 40, or give the model its armature.")
    worst = int(stood.effort.argmax())
    if stood.effort[worst] > SATURATED:
        allowed = f"motors that carry it; {robot.joint_names[worst]} needs {100 * stood.effort[worst]:.0f} % of its effort to stand"
        yield wrong("effort_limit", float(robot.effort_limit[worst]), allowed, "Check it (N m), and the mass.")
    for foot, share in zip(robot.feet, stood.load, strict=True):
        if share < 0.1 / len(robot.feet):
            allowed = f"feet that all carry; {foot} carries {100 * share:.1f} % of the weight"
            yield wrong("feet", foot, allowed, "Is its shape the one that touches the ground?")
    if stood.other_load > 0.05:
        allowed = f"a robot on its feet alone; {100 * stood.other_load:.0f} % of its weight rests on other shapes"
        yield wrong("feet", list(robot.feet), allowed, "Name the shapes that touch the ground, or mend the pose.")


def check_rising(robot: Robot) -> Iterator[Finding]:
    """On four legs it rises from ``lie_joint_pos`` to its default pose; on two a gantry helps."""
    if len(robot.feet) < 4:
        return
    lying, risen = rise(robot)
    if lying.tilt > TILT or lying.effort.max() > SATURATED:
        allowed = f"a pose in which it rests level on the ground; it tilts by {np.degrees(np.arcsin(lying.tilt)):.0f} degrees"
        if lying.tilt <= TILT:
            worst = int(lying.effort.argmax())
            allowed = f"a pose in which it rests; {robot.joint_names[worst]} presses with {100 * lying.effort[worst]:.0f} % of its effort"
        yield doubtful("lie_joint_pos", robot.name, allowed, "Fold the legs under the trunk, feet on the ground.")
    elif risen.fallen or risen.tilt > TILT or risen.height < (1.0 - SAG) * robot.standing_height:
        allowed = f"a pose from which it rises to the default pose in {RISING:g} s; it ends at {risen.height:.3f} m"
        yield doubtful("lie_joint_pos", robot.name, allowed, "Fold the legs under the trunk, feet under the hips.")


def check_gains(robot: Robot, model: mujoco.MjModel) -> Iterator[Finding]:
    """A joint's motor, with the rest of the robot free in the air: damped, and slower than the motor's own loop.

    A loop of period dt that feeds velocity back with gain kd to an inertia I is stable for kd dt / I < 2.
    """
    inertia = joint_inertia(model, robot)
    ratio = robot.kd / (2.0 * np.sqrt(robot.kp * inertia))
    rate = robot.kd * MOTOR_DT / inertia
    for i, name in enumerate(robot.joint_names):
        if ratio[i] < DAMPING_RATIO:
            allowed = f"a damping ratio of at least {DAMPING_RATIO}; {name} has {ratio[i]:.2g}"
            yield wrong("kd", float(robot.kd[i]), allowed, "Raise kd to about kp / 40.")
        if not TIME.low <= (time := robot.kd[i] / robot.kp[i]) <= TIME.high:
            allowed = (
                f"{TIME.low * robot.kp[i]:.3g} to {TIME.high * robot.kp[i]:.3g} N m s/rad at {name}: kd / kp from {TIME}, not {time:.3g}"
            )
            yield doubtful("kd", float(robot.kd[i]), allowed, "kp / 40 is usual; check both units.")
        if rate[i] > 2.0:
            allowed = f"below {2.0 * inertia[i] / MOTOR_DT:.3g} N m s/rad at {name}, whose motor sees {inertia[i]:.2g} kg m^2"
            remedy = f"Lower kd, or give the model its armature: a motor's loop of {1e3 * MOTOR_DT:g} ms shakes."
            yield wrong("kd", float(robot.kd[i]), allowed, remedy)


def joint_inertia(model: mujoco.MjModel, robot: Robot) -> np.ndarray:
    """[J] kg m^2: the inertia that each motor sees in the default pose, armature included, with all else free to move."""
    data = joint_pose(model, robot, robot.default_joint_pos)
    mujoco.mj_forward(model, data)
    mass = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, mass)
    dofs = [model.joint(name).dofadr[0] for name in robot.joint_names]
    return 1.0 / np.diag(np.linalg.inv(mass))[dofs]
