"""A motion that shows a robot's motors, friction and mass: joint targets over time, within every limit of the deployment.

On the ground the trunk first sways over planted feet (its weight and centre of mass, and the motors under load), then the robot lies
down and swings its legs, a diagonal pair at a time, in the air beside it (motors, friction and rotors against the legs' known
inertia, which alone tells a weak motor from a heavy robot). On a stand all joints swing about the default pose; nothing of the trunk shows.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from robots import Robot
from robots.actuator import POSITION_MARGIN
from robots.check import foot_positions, joint_pose
from robots.errors import InputError
from robots.model import GROUND
from sim.mujoco_model import build_model

SWAY = (0.10, 0.10, 0.12, 0.10, 0.12, 0.12)  # of the trunk: forward, left and up over standing height, roll, pitch and yaw in rad
SWAY_HZ, SWING_HZ = (0.4, 2.2), (0.5, 4.0)  # lowest and highest frequency
TONES = 5  # sines a signal
SWING = 0.3  # rad that a joint's target swings to either side
CLEARANCE = 0.02  # m between a swinging leg and the ground
EDGE = 0.1  # rad between a swing and the joint's stops
CANDIDATES = 2000  # poses that are tried for a leg in the air
SINKING = 100  # tenths of a second in which legs give way
MOVE, BLEND = 2.0, 1.0  # s from pose to pose; s to rise to and die down from full swing
SHARES = (0.5, 0.25, 0.25)  # of the time that is left beside the moves: sway, and the swing of each pair


def on_stand(robot: Robot, seconds: float, control_dt: float, seed: int) -> np.ndarray:
    """Joint targets [T, J] (rad) of a robot whose feet hang free: every joint swings about the default pose."""
    pose, time = robot.default_joint_pos, np.arange(round(seconds / control_dt)) * control_dt
    room = np.minimum(*_room(robot, pose)).clip(0.0, SWING)
    return pose + room * _multisine(time, robot.num_joints, SWING_HZ, seed)


def on_ground(robot: Robot, seconds: float, control_dt: float, seed: int) -> np.ndarray:
    """Joint targets [T, J] (rad) of a robot that stands on four feet or more, and lies at the end.

    Raises InputError for another robot, or one whose legs find no room beside it when it lies.
    """
    if len(robot.feet) < 4:
        remedy = "Hang it from its stand, and say place=stand."
        raise InputError("place", "ground", f"stand for a robot of {len(robot.feet)} feet: it would fall", remedy)
    free = seconds - 6 * MOVE
    if free < 12.0:
        raise InputError("seconds", seconds, f"at least {12.0 + 6 * MOVE:g} s on the ground", "For example seconds=45.")
    model = build_model(robot, 0.002, self_collision=True)
    lie, ways = _sunk(robot, model), _legs(robot, model)
    parts = [_sway(robot, model, round(free * SHARES[0] / control_dt), control_dt, seed)]
    parts.append(_move(parts[-1][-1], lie, control_dt))
    for number, share in enumerate(SHARES[1:]):
        pair = [ways[i] for i in range(len(ways)) if _diagonal(robot, i) == number]
        joints = np.concatenate(pair)
        up = _in_air(robot, model, lie, pair, seed)
        time = np.arange(round(free * share / control_dt)) * control_dt
        swing = np.zeros((len(time), robot.num_joints))
        swing[:, joints] = SWING * _multisine(time, len(joints), SWING_HZ, seed + 1 + number)
        parts += [_move(lie, up, control_dt), up + swing, _move(up, lie, control_dt)]
    return np.concatenate([*parts, np.repeat(lie[None], round(MOVE / control_dt), axis=0)])


def _stops(robot: Robot) -> tuple[np.ndarray, np.ndarray]:
    low, high = robot.joint_pos_limit.T
    return low + POSITION_MARGIN, high - POSITION_MARGIN


def _sunk(robot: Robot, model: mujoco.MjModel) -> np.ndarray:
    """[J] rad: the robot lies, and its legs give way until its trunk rests on the ground and not on them."""
    target, (low, high) = robot.lie_joint_pos, _stops(robot)
    data = joint_pose(model, robot, target)
    data.qpos[2] = 0.5 * robot.standing_height
    places = np.array([model.joint(name).qposadr[0] for name in robot.joint_names])
    for _ in range(SINKING):
        data.ctrl[:] = target
        mujoco.mj_step(model, data, 50)
        target = (target + 0.2 * (data.qpos[places] - target)).clip(low, high)
    return target


def _room(robot: Robot, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From ``pose`` [..., J] down and up to what a swing may come to, rad."""
    low, high = robot.joint_pos_limit.T
    return pose - low - EDGE, high - EDGE - pose


def _multisine(time: np.ndarray, width: int, band: tuple[float, float], seed: int) -> np.ndarray:
    """[T, width] within +-1: sines of random phases, their frequencies spread over ``band`` (Hz) and different for every column, with a
    gentle begin and end."""
    random = np.random.default_rng(seed)
    low, high = np.log(band)
    places = (np.arange(TONES)[:, None] + random.uniform(0.2, 0.8, (TONES, width))) / TONES
    frequency = np.exp(low + (high - low) * places)
    sines = np.sin(2.0 * np.pi * time[:, None, None] * frequency + random.uniform(0.0, 2.0 * np.pi, (TONES, width))) / frequency**0.5
    sines = sines.sum(axis=1)
    edge = np.minimum(time, time[-1] - time) / BLEND
    return sines / np.abs(sines).max(axis=0) * _smooth(edge)[:, None]


def _smooth(share: np.ndarray) -> np.ndarray:
    share = share.clip(0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def _move(begin: np.ndarray, end: np.ndarray, control_dt: float) -> np.ndarray:
    share = _smooth(np.arange(round(MOVE / control_dt)) * control_dt / MOVE)
    return begin + share[:, None] * (end - begin)


def _sway(robot: Robot, model: mujoco.MjModel, steps: int, control_dt: float, seed: int) -> np.ndarray:
    """[T, J] rad: the trunk moves on six axes while the feet stay; inverse kinematics by Newton's method, from step to step."""
    data = joint_pose(model, robot, robot.default_joint_pos)
    rest = data.qpos[:7].copy()
    size = np.array(SWAY) * np.array([robot.standing_height] * 3 + [1.0] * 3)
    trunk = size * _multisine(np.arange(steps) * control_dt, 6, SWAY_HZ, seed)
    trunk[:, 2] -= 0.5 * size[2] * _smooth(np.arange(steps) * control_dt / BLEND)  # legs that are bent have room to both sides
    joints = [model.joint(name) for name in robot.joint_names]
    places, dofs = np.array([joint.qposadr[0] for joint in joints]), np.array([joint.dofadr[0] for joint in joints])
    bodies = [int(model.geom(shapes[0]).bodyid[0]) for shapes in robot.foot_geoms]
    planted, jacobian, targets = foot_positions(robot, data).copy(), np.zeros((len(bodies), 3, model.nv)), []
    low, high = _stops(robot)
    for offset in trunk:
        data.qpos[:3] = rest[:3] + offset[:3]
        mujoco.mju_euler2Quat(data.qpos[3:7], offset[3:], "xyz")
        for _ in range(3):
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            feet = foot_positions(robot, data)
            for foot, body in enumerate(bodies):
                mujoco.mj_jac(model, data, jacobian[foot], None, feet[foot], body)
            step = np.linalg.lstsq(jacobian[:, :, dofs].reshape(-1, len(dofs)), (planted - feet).ravel(), rcond=1e-3)[0]
            data.qpos[places] = (data.qpos[places] + step).clip(low, high)
        targets.append(data.qpos[places].copy())
    return np.array(targets)


def _legs(robot: Robot, model: mujoco.MjModel) -> list[np.ndarray]:
    """The joints between each foot and the base, int indices."""
    found, base = [], model.body(robot.base_body).id
    for shapes in robot.foot_geoms:
        body, joints = int(model.geom(shapes[0]).bodyid[0]), []
        while body not in (base, 0):
            first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
            joints += [robot.joint_names.index(model.joint(i).name) for i in range(first, first + count)]
            body = int(model.body_parentid[body])
        found.append(np.array(sorted(joints)))
    return found


def _diagonal(robot: Robot, foot: int) -> int:
    """Which of two pairs a foot swings with, so that those left on the ground hold the robot: a foot's mirror image is in the other."""
    gait = robot.gaits.get("trot")
    return int(gait[foot] >= 0.5) if gait is not None else foot % 2


def _in_air(robot: Robot, model: mujoco.MjModel, lie: np.ndarray, legs: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """``lie`` [J] with ``legs`` where they may swing: off the ground and off the robot, there and on the way; the nearest such pose."""
    random, pose = np.random.default_rng(seed), lie.copy()
    data, ground = joint_pose(model, robot, lie), model.geom(GROUND).id
    places = np.array([model.joint(name).qposadr[0] for name in robot.joint_names])
    data.qpos[2] -= _lowest(model, data, ground, range(model.ngeom))
    for leg in legs:
        shapes = _shapes(model, robot, leg)
        low, high = robot.joint_pos_limit[leg].T + np.array([[1.0], [-1.0]]) * (EDGE + SWING)
        tried = random.uniform(low, np.maximum(low, high), (CANDIDATES, len(leg)))
        corners = SWING * (2.0 * (np.arange(2 ** len(leg))[:, None] >> np.arange(len(leg)) & 1) - 1.0)
        for candidate in tried[np.square(tried - lie[leg]).sum(axis=1).argsort()]:
            checked = [*(candidate + corners), candidate]
            if all(_clear(model, data, places[leg], point, shapes, ground) for point in checked) and _reaches(
                model, data, places[leg], lie[leg], candidate, shapes
            ):
                pose[leg] = candidate
                break
        else:
            names = [robot.joint_names[i] for i in leg]
            raise InputError(
                "place", "ground", f"stand: {', '.join(names)} find no room to swing", "Hang the robot from a stand, place=stand."
            )
        data.qpos[places[leg]] = pose[leg]
    return pose


def _shapes(model: mujoco.MjModel, robot: Robot, leg: np.ndarray) -> list[int]:
    """Shapes that collide, of what the joints of ``leg`` move."""
    bodies = {int(model.joint(robot.joint_names[i]).bodyid[0]) for i in leg}
    moved = [body for body in range(model.nbody) if _above(model, body) & bodies]
    return [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] in moved and model.geom_conaffinity[geom]]


def _above(model: mujoco.MjModel, body: int) -> set[int]:
    found = set()
    while body:
        found.add(body)
        body = int(model.body_parentid[body])
    return found


def _lowest(model: mujoco.MjModel, data: mujoco.MjData, ground: int, shapes: Sequence[int]) -> float:
    """Height of the lowest point of ``shapes`` over the ground, m."""
    solid = [geom for geom in shapes if geom != ground and model.geom_conaffinity[geom]]
    return min(mujoco.mj_geomDistance(model, data, geom, ground, 10.0, None) for geom in solid)


def _clear(model: mujoco.MjModel, data: mujoco.MjData, places: np.ndarray, pose: np.ndarray, shapes: list[int], ground: int) -> bool:
    """Whether a leg in ``pose`` touches neither the robot nor the ground."""
    data.qpos[places] = pose
    mujoco.mj_kinematics(model, data)
    return _lowest(model, data, ground, shapes) > CLEARANCE and not _meets(model, data, shapes, ground)


def _meets(model: mujoco.MjModel, data: mujoco.MjData, shapes: list[int], ground: int) -> bool:
    mujoco.mj_collision(model, data)
    touching = data.contact.geom
    return bool((np.isin(touching, shapes).any(axis=1) & (touching != ground).all(axis=1)).any()) if len(touching) else False


def _reaches(model: mujoco.MjModel, data: mujoco.MjData, places: np.ndarray, begin: np.ndarray, end: np.ndarray, shapes: list[int]) -> bool:
    """Whether the straight way there keeps off the robot."""
    for share in np.linspace(0.0, 1.0, 11):
        data.qpos[places] = begin + share * (end - begin)
        mujoco.mj_kinematics(model, data)
        if _meets(model, data, shapes, model.geom(GROUND).id):
            return False
    return True
