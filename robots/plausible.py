"""Figures that a robot's other figures do not bear out: part of :mod:`robots.findings`.

Robots of one shape and any size are alike in what has no unit (Alexander and Jayes 1983, "A dynamic similarity hypothesis for the gaits
of quadrupedal mammals"): frequencies and speeds of joints times sqrt(height / g), torques over weight times height, lengths over
height. Ranges are those of the 17 robots that were looked at, and about twice that: a slip of a unit is a factor of six or more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mujoco
import numpy as np

from robots.errors import Finding, doubtful, wrong
from robots.fields import Bounds
from robots.model import leg_joints, total_mass
from robots.robot import GRAVITY, Robot

SOLID = Bounds(40.0, 4000.0, "kg/m^3")  # of one body: Bolt's base 54, G1's sole 1660
USUAL = Bounds(250.0, 5000.0, "kg/m^3")  # of the body in the middle: Solo8 403, G1 1946
GYRATION = Bounds(0.1, 0.65, "")  # radius over the diagonal of shapes and joints: G1's hips 0.13, A1's calves 0.54
BESIDE = 0.15  # of that diagonal, by which a centre of mass may be outside of them: Go1's hips 0.06
CARRIED = Bounds(0.3, 0.85, "")  # share of the mass that is not in the legs: Go1 0.42, HyQ 0.70
LAST = Bounds(0.03, 0.4, "")  # share of a leg's mass in the link with the foot: G1 0.085, Solo8 0.20
SPAN = 0.5  # of the distance between hips, that the base's shapes reach at least: A1 0.94
STRIDE = Bounds(0.18, 0.8, "")  # frequency times sqrt(height / g): Go2 0.27 to 0.39, ANYmal C 0.35, G1 0.35 to 0.42
SWING = Bounds(0.04, 0.35, "")  # over standing height: Go2 0.23, G1 0.13
SPEED = Bounds(1.2, 12.0, "")  # of a leg's fastest joint, times sqrt(height / g): ANYmal C 1.8, Go2 5.4, Laikago 10.9
EFFORT = Bounds(0.1, 2.5, "")  # of a leg's strongest joint, over weight times height: Go2 1.0, ANYmal C 0.28, G1 0.54
POWER = 0.3  # of a battery, over weight times sqrt(g height), at least: Go2 11
CURRENT = 300.0  # A of an empty battery at its power, at most: Go2 107
LEAST = 0.005  # share of the robot's mass from which on a link counts
THIN = 0.05  # of a box's longest side that the others have at least: a plate's inertia says little of its thickness

Findings = Iterator[Finding]


def _inertia(robot: Robot, model: mujoco.MjModel) -> Findings:
    """A body's mass lies within its shapes and joints: so do its centre and, about that, what it is spread over."""
    for body in _heavy(model):
        name, (low, high) = model.body(body).name, extent(model, body)
        size = float(np.linalg.norm(high - low))
        radius = float(np.sqrt(model.body_inertia[body].max() / model.body_mass[body]))
        if not GYRATION.low * size <= radius <= GYRATION.high * size:
            allowed = f"a radius of gyration from {GYRATION.low * size:.2g} to {GYRATION.high * size:.2g} m, within the shapes of {name}"
            yield wrong("model: inertia", round(radius, 4), allowed, f"Check mass and inertia of {name}: kg and kg m^2.")
        alone = np.count_nonzero(model.body_weldid == model.body_weldid[body]) == 1  # else its shapes may be another's
        if alone and outside(model, body, model.body_ipos[body]) > BESIDE * size:
            allowed = f"a centre of mass within the shapes of {name}"
            yield wrong("model: inertia", model.body_ipos[body].tolist(), allowed, f"Check the <inertial> of {name}: metres?")


def _density(robot: Robot, model: mujoco.MjModel) -> Findings:
    """Bodies are of aluminium, plastic, batteries and air: by the smaller and the larger of the boxes about shapes and inertia."""
    bodies = _heavy(model)
    volumes = [(_box_of_shapes(model, body).prod(), box_of_inertia(float(model.body_mass[body]), model.body_inertia[body]).prod())
               for body in bodies]  # fmt: skip
    if not volumes:
        return
    most, least = model.body_mass[bodies] / np.min(volumes, axis=1), model.body_mass[bodies] / np.max(volumes, axis=1)
    if not USUAL.low <= (middle := float(np.median(most))) <= USUAL.high:
        allowed = f"bodies of {USUAL}, in the middle of them, in the boxes about their shapes and their inertia"
        yield doubtful("model: mass", float(f"{middle:.3g}"), allowed, "Check all masses (kg), inertias (kg m^2) and lengths.")
        return
    for body in (body for body, high, low in zip(bodies, most, least, strict=True) if high < SOLID.low or low > SOLID.high):
        name, mass = model.body(body).name, round(float(model.body_mass[body]), 4)
        allowed = f"a mass that {name} can have, at {SOLID} in the boxes about its shapes and its inertia"
        yield doubtful("model: mass", mass, allowed, f"Check mass and inertia of {name}: kg and kg m^2.")


def _shares(robot: Robot, model: mujoco.MjModel) -> Findings:
    """What the legs carry weighs about as much as they do, and the last link of a leg a tenth of it."""
    legs = leg_joints(model, robot)
    tops = {int(model.jnt_bodyid[leg[0]]) for leg in legs if leg}
    carried = 1.0 - float(model.body_subtreemass[list(tops)].sum()) / total_mass(model)
    if not CARRIED.low <= carried <= CARRIED.high:
        allowed = f"{CARRIED.low:g} to {CARRIED.high:g} of the robot's mass above its legs, in {robot.base_body} and what it carries"
        yield doubtful("model: mass", round(carried, 3), allowed, f"Check the mass of {robot.base_body} and of its legs: kg.")
    for foot, shapes, leg in zip(robot.feet, robot.foot_geoms, legs, strict=True):
        link = model.body_weldid[model.geom(shapes[0]).bodyid[0]]
        mass = float(model.body_mass[model.body_weldid == link].sum())
        share = mass / float(model.body_subtreemass[model.jnt_bodyid[leg[0]]]) if leg else LAST.high
        if not LAST.low <= share <= LAST.high:
            allowed = f"{LAST.low:g} to {LAST.high:g} of its leg's mass in the link of {foot}, {model.body(link).name}; it has {share:.2g}"
            yield doubtful("model: mass", round(mass, 4), allowed, "Check the masses of this leg's links: kg.")


def _trunk(robot: Robot, model: mujoco.MjModel) -> Findings:
    """The base's shapes reach about as far as its hips lie apart: a fall is seen by them."""
    base, tops = model.body(robot.base_body).id, [model.jnt_bodyid[leg[0]] for leg in leg_joints(model, robot) if leg]
    shapes = np.flatnonzero((model.geom_bodyid == base) & (model.geom_conaffinity & 1)).tolist()
    corners = [corner for geom in shapes for corner in _box(model, geom)]
    if not corners or not tops:
        return  # said elsewhere
    size, apart = (float(np.linalg.norm(np.ptp(points, axis=0))) for points in (np.array(corners), model.body_pos[tops]))
    if size < SPAN * apart:
        allowed = f"shapes of {robot.base_body} that reach at least {SPAN * apart:.2g} m, {SPAN:g} of the way between its hips"
        yield doubtful("model", round(size, 3), allowed, "Sizes in MuJoCo are half of a box, in m: falls are seen by them.")


def _heavy(model: mujoco.MjModel) -> list[int]:
    """Bodies with shapes that weigh enough to matter."""
    return [int(body) for body in np.flatnonzero(model.body_mass > LEAST * total_mass(model)) if model.body_geomnum[body]]


def box_of_inertia(mass: float, inertia: np.ndarray) -> np.ndarray:
    """Sides [3] m of the uniform box of ``mass`` (kg) with the principal moments ``inertia`` [3] (kg m^2): m (b^2 + c^2) / 12 each."""
    square = 6.0 / mass * (inertia.sum() - 2.0 * inertia)
    longest = float(np.sqrt(max(square.max(), 0.0)))
    return np.maximum(np.sqrt(np.maximum(square, 0.0)), THIN * longest)


def _box_of_shapes(model: mujoco.MjModel, body: int) -> np.ndarray:
    low, high = extent(model, body)
    return np.maximum(high - low, THIN * np.linalg.norm(high - low))


def extent(model: mujoco.MjModel, body: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of a body's shapes and of where it is joined, in its own frame, m."""
    geoms = range(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body])
    joints = [np.zeros(3), *model.body_pos[np.flatnonzero(model.body_parentid == body)]]
    corners = np.array([*joints, *(corner for geom in geoms for corner in _box(model, geom))])
    return corners.min(axis=0), corners.max(axis=0)


def outside(model: mujoco.MjModel, body: int, point: np.ndarray) -> float:
    """How far ``point`` [3] (m, in the body's frame) is outside of the body's extent along one axis, m; negative within."""
    low, high = extent(model, body)
    return float(np.maximum(low - point, point - high).max())


def _box(model: mujoco.MjModel, geom: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of a shape's bounding box in its body's frame, m."""
    rotation, box = np.zeros(9), model.geom_aabb[geom]
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    rotation = rotation.reshape(3, 3)
    center, half = model.geom_pos[geom] + rotation @ box[:3], np.abs(rotation) @ box[3:]
    return center - half, center + half


def _task_numbers(robot: Robot, model: mujoco.MjModel) -> Findings:
    """Frequency and height of the steps that the robot's gaits are asked for."""
    height = robot.standing_height
    time = float(np.sqrt(height / GRAVITY))
    slow, fast = robot.stride_frequency
    for frequency in dict.fromkeys((slow, fast)):
        if not STRIDE.low <= frequency * time <= STRIDE.high:
            allowed = f"{STRIDE.low / time:.2g} to {STRIDE.high / time:.2g} Hz, as robots of height {height:g} m step"
            yield doubtful("stride_frequency", frequency, allowed, "Steps of one foot a second: Go2 1.5 to 2.2.")
    if slow > fast:
        allowed = "[at a standing start, at 1 m/s], Hz: steps that get no slower with speed"
        yield doubtful("stride_frequency", [slow, fast], allowed, "Write the lower one first.")
    if not SWING.low <= robot.swing_height / height <= SWING.high:
        allowed = f"{SWING.low * height:.2g} to {SWING.high * height:.2g} m, {SWING.low:g} to {SWING.high:g} of standing_height"
        yield doubtful("swing_height", robot.swing_height, allowed, "A fifth on four legs, a tenth on two; in m.")


def _leg_motors(robot: Robot, model: mujoco.MjModel) -> Findings:
    """Legs swing and carry: the fastest and the strongest joint of each, by the robot's own size."""
    height, time = robot.standing_height, float(np.sqrt(robot.standing_height / GRAVITY))
    moment = total_mass(model) * GRAVITY * height
    both = {"joint_vel_limit": (SPEED, 1.0 / time, "rad/s", "rad/s at the joint, behind the gear"),
            "effort_limit": (EFFORT, moment, "N m", "N m at the joint, behind the gear")}  # fmt: skip
    places = {model.joint(name).id: i for i, name in enumerate(robot.joint_names)}
    legs = [[places[joint] for joint in leg if joint in places] for leg in leg_joints(model, robot)]
    for field, (bounds, unit, symbol, remedy) in both.items():
        values = getattr(robot, field)
        worst = {max(leg, key=lambda i, values=values: values[i]) for leg in legs if leg}
        for i in sorted(i for i in worst if not bounds.low * unit <= values[i] <= bounds.high * unit):
            allowed = f"{bounds.low * unit:.3g} to {bounds.high * unit:.3g} {symbol} at {robot.joint_names[i]}, a leg's largest, by size"
            yield doubtful(field, float(values[i]), allowed, f"Check the unit: {remedy}.")


def _battery(robot: Robot, model: mujoco.MjModel) -> Findings:
    if robot.battery_power is None:
        return
    if robot.battery_voltage and (current := robot.battery_power / robot.battery_voltage[0]) > CURRENT:
        allowed = f"at most {CURRENT:g} A at battery_power; these are {current:.3g} A"
        yield doubtful("battery_voltage", list(robot.battery_voltage), allowed, "Of the whole battery, in V.")
    least = POWER * total_mass(model) * GRAVITY * float(np.sqrt(GRAVITY * robot.standing_height))
    if robot.battery_power < least:
        allowed = f"at least {least:.3g} W, which walking alone takes at this weight and size"
        yield doubtful("battery_power", robot.battery_power, allowed, "The most that it gives, in W.")


PLAUSIBLE: tuple[Callable[[Robot, mujoco.MjModel], Findings], ...] = (
    _inertia, _density, _shares, _trunk, _task_numbers, _leg_motors, _battery,
)  # fmt: skip
