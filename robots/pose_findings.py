"""What is wrong with a robot's kinematics: poses, sides, feet and gaits. Part of :mod:`robots.findings`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mujoco
import numpy as np

from robots import check
from robots.errors import Finding, doubtful, wrong
from robots.model import leg_joints
from robots.robot import Robot

GROUND_BIT = 1
LEVEL = 0.02  # share of the standing height that counts as one level
FLAT = 0.01  # share of the standing height by which a foot's own shapes may differ
AXIS = 0.05  # length of the difference of two axes that are mirror images
APART = 0.03  # share of the standing height by which joints may be off their mirror images
LOWER = 0.95  # share of the height of the default pose that a lying robot's base is below
FOLDED = 0.15  # share of the standing height that a lying robot's feet may be above what it lies on
HALF = 0.2  # cycles by which what is half a cycle apart may miss it
LEFT = (("left", "right"), ("l", "r"))
FRONT = (("front", "rear"), ("front", "hind"), ("front", "back"), ("fore", "hind"), ("f", "r"), ("f", "h"), ("f", "b"))

Findings = Iterator[Finding]


def _lowest(robot: Robot, model: mujoco.MjModel) -> Findings:
    """In the default pose nothing reaches lower than the feet, and all feet stand on one level."""
    data = check.joint_pose(model, robot, robot.default_joint_pos)
    feet = dict(zip(robot.feet, check.sole_heights(robot, model, data).tolist(), strict=True))
    tolerance = LEVEL * robot.standing_height
    for foot, height in feet.items():
        if height - min(feet.values()) > max(2.0 * tolerance, 0.01):
            allowed = f"feet on one level in the default pose; {foot} hangs {height - min(feet.values()):.3f} m above the lowest"
            yield wrong("default_joint_pos", foot, allowed, "Mend the pose of its leg.")
    for name, height in _reaching(model, data).items():
        if height < min(feet.values()) - tolerance:
            allowed = f"feet that are the lowest shapes; {name} reaches {min(feet.values()) - height:.3f} m lower in the default pose"
            yield wrong("feet", list(robot.feet), allowed, f"Is {name} the foot?")
    for foot, shapes in zip(robot.feet, robot.foot_geoms, strict=True):
        corners = [_reach(model, data, model.geom(shape).id) for shape in shapes]
        if np.ptp(corners) > FLAT * robot.standing_height:
            allowed = f"shapes of {foot} on one level in the default pose; they differ by {np.ptp(corners):.3f} m"
            yield doubtful("default_joint_pos", foot, allowed, "Turn its ankle until the sole is flat.")
    bodies = [int(model.geom(shapes[0]).bodyid[0]) for shapes in robot.foot_geoms]
    ancestors = [check.ancestors(model, body) for body in bodies]
    for i, foot in enumerate(robot.feet):
        if any(bodies[i] in chain[1:] for chain in ancestors):
            yield wrong("feet", foot, "the last body of each leg", f"Another foot hangs below {foot}.")


def _reaching(model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, float]:
    """By name, the lowest point of every shape that touches the ground, m, world."""
    return {
        model.geom(geom).name or f"a shape of {model.body(model.geom_bodyid[geom]).name}": _reach(model, data, geom)
        for geom in np.flatnonzero(model.geom_conaffinity & GROUND_BIT).tolist()
    }


def _reach(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> float:
    """The lowest point of a shape, m, world."""
    return float(data.geom_xpos[geom][2]) - check.half_height(model, data, geom)


def _gaits(robot: Robot, model: mujoco.MjModel) -> Findings:
    """A gait's name says which feet step together, and which half a cycle apart; phases stand in the order of ``feet``."""
    data = check.joint_pose(model, robot, robot.default_joint_pos)
    place = check.foot_positions(robot, data)
    front, left = place[:, 0] > place[:, 0].mean(), place[:, 1] > place[:, 1].mean()
    together = {"trot": front == left, "pace": left, "bound": front} if len(robot.feet) == 4 else {"walk": left}
    alike = "pronk" if len(robot.feet) == 4 else "hop"
    for name, phases in robot.gaits.items():
        turns = np.exp(2j * np.pi * phases)
        value, remedy = phases.tolist(), "Phases are cycles, and stand in the order of feet."
        if name == alike and np.abs(turns - turns[0]).max() > 1e-6:
            yield wrong(f"gaits: {name}", value, "one phase for all feet", remedy)
        if name == "walk" and len(robot.feet) == 4 and len(set(phases.round(6).tolist())) < 4:
            yield doubtful(f"gaits: {name}", value, "four phases: one foot after the other", remedy)
        if name not in together:
            continue
        pairs = [[foot for foot, one in zip(robot.feet, together[name], strict=True) if one == which] for which in (True, False)]
        if any(np.ptp(np.angle(turns[together[name] == which] / turns[together[name] == which][0])) > 1e-6 for which in (True, False)):
            yield wrong(f"gaits: {name}", value, f"one phase for {pairs[0]} and one for {pairs[1]}", remedy)
        elif abs(np.angle(-turns[together[name]][0] / turns[~together[name]][0])) > 2.0 * np.pi * HALF:
            allowed = f"{pairs[0]} about half a cycle before or after {pairs[1]}"
            yield doubtful(f"gaits: {name}", value, allowed, remedy)


def _lying(robot: Robot, model: mujoco.MjModel) -> Findings:
    lie, stand = (check.joint_pose(model, robot, q) for q in (robot.lie_joint_pos, robot.default_joint_pos))
    low, high = (-check.foot_positions(robot, pose)[:, 2].mean() for pose in (lie, stand))
    if low > LOWER * high:
        yield doubtful("lie_joint_pos", robot.name, "a pose with the base lower than in the default pose", "Fold the legs.")
    soles, lowest = check.sole_heights(robot, model, lie), check.lowest(model, lie)
    for foot, height in zip(robot.feet, soles.tolist(), strict=True):
        if height - lowest > FOLDED * robot.standing_height:
            allowed = f"legs folded under the robot, feet on the ground; {foot} is {height - lowest:.3f} m above what the robot lies on"
            yield doubtful("lie_joint_pos", foot, allowed, "A deployment stands up from there: fold its leg, foot down.")


def _mirrored(robot: Robot, model: mujoco.MjModel) -> Findings:
    """Joints that change places in the mirror lie and turn as each other's mirror images; an axis is a rotation's: it turns over."""
    mirror = robot.mirror
    turned = robot.default_joint_pos + 0.1 + 0.2 * np.sin(1.0 + 2.0 * np.arange(robot.num_joints))  # no two joints alike
    here, there = (check.joint_pose(model, robot, q) for q in (turned, mirror.joint_sign * turned[mirror.joint_index]))
    ids = np.array([model.joint(name).id for name in robot.joint_names])
    images = ids[mirror.joint_index]
    turn = np.linalg.norm(there.xaxis[images] - mirror.joint_sign[:, None] * here.xaxis[ids] * (-1.0, 1.0, -1.0), axis=1)
    place = np.linalg.norm(there.xanchor[images] - here.xanchor[ids] * (1.0, -1.0, 1.0), axis=1)
    for i in np.flatnonzero((turn > AXIS) | (place > APART * robot.standing_height)):
        if i <= mirror.joint_index[i]:
            one, other = robot.joint_names[i], robot.joint_names[mirror.joint_index[i]]
            allowed = f"{one} and {other} as mirror images in place and axis" if one != other else f"{one} as its own mirror image"
            remedy = "Negate joints that turn about a forward or an upright axis, and no others; swap left and right; look at both axes."
            yield wrong("mirror", one, allowed, remedy)
            return  # what hangs below it is off as well


def _sides(robot: Robot, model: mujoco.MjModel) -> Findings:
    """What is called left is on the left (y > 0), what is called front in front (x > 0 of what is called rear)."""
    data = check.joint_pose(model, robot, robot.default_joint_pos)
    feet, joints = check.foot_positions(robot, data), data.xanchor[[model.joint(name).id for name in robot.joint_names]]
    for field, names, index, places in (
        ("feet", robot.feet, robot.mirror.foot_index, feet), ("joint_names", robot.joint_names, robot.mirror.joint_index, joints),
    ):  # fmt: skip
        for name, image, (_, y, _) in zip(names, [names[i] for i in index], places, strict=True):
            if _called(name, image, LEFT) and y < 0.0:
                allowed = f"what is called left on the left; {name} is at y = {y:.3f} m, and y is to the left of the base"
                yield wrong(field, name, allowed, "Exchange the names, or turn the base's frame: x forward, y left, z up.")
                return
    for i, name in enumerate(robot.feet):
        for k, other in enumerate(robot.feet):
            if _called(name, other, FRONT) and feet[i][0] < feet[k][0]:
                allowed = f"what is called front in front; {name} is at x = {feet[i][0]:.3f} m, {other} at {feet[k][0]:.3f}"
                yield wrong("feet", name, allowed, "Exchange the names, or turn the base's frame: x forward, y left, z up.")
                return


def _called(name: str, other: str, words: tuple[tuple[str, str], ...]) -> bool:
    """Whether two names differ in one of these pairs of words alone, the first in ``name``. Single letters are words: FL_foot, RL_foot."""
    name, other = name.lower(), other.lower()
    return any(
        name[: i] + there + name[i + len(here) :] == other for here, there in words for i in range(len(name)) if name.startswith(here, i)
    )  # fmt: skip


def _crossed(robot: Robot, model: mujoco.MjModel) -> Findings:
    """In the default pose the feet of one side stay on it."""
    data = check.joint_pose(model, robot, robot.default_joint_pos)
    for foot, joints, (_, y, _) in zip(robot.feet, leg_joints(model, robot), check.foot_positions(robot, data), strict=True):
        if joints and np.sign(data.xanchor[joints[0]][1]) * y < -0.01 * robot.standing_height:
            allowed = f"feet on the side of their hips in the default pose; {foot} is {abs(y):.3f} m beyond the middle"
            yield wrong("default_joint_pos", foot, allowed, "Check the signs of its abduction, and its joint's axis.")


POSE_CHECKS: tuple[Callable[[Robot, mujoco.MjModel], Findings], ...] = (_lowest, _gaits, _mirrored, _sides, _crossed, _lying)
