"""Slips of a unit, a sign, an order or a side in each of the four robots' folders are found, under their field."""

import numpy as np
import pytest

import robots
from robots import findings as findings_module
from robots.findings import findings
from robots.plausible import box_of_inertia
from robots.standing import rise
from tests.robots.broken import group, robot_copy

ROBOTS = ("unitree_go2", "anymal_c", "unitree_g1")  # the Go1 is the Go2's twin, and found out in what it lacks: a curve


def numbers(text):
    return [float(word) for word in text.split()]


def text(values):
    return " ".join(f"{value:.9g}" for value in values)


def base(data, model):
    return next(body for body in model.iter("body") if body.get("name") == data["base_body"])


def lower_legs(data, model):
    feet = data["feet"] if isinstance(data["feet"], list) else [shape for shapes in data["feet"].values() for shape in shapes]
    return [body for body in model.iter("body") if any(geom.get("name") in feet for geom in body.findall("geom"))]


def weigh(bodies, mass, inertia):
    """Bodies' <inertial> with this factor on each."""

    def change(data, model):
        for body in bodies(data, model):
            inertial = body.find("inertial")
            for key, factor in (("mass", mass), ("fullinertia", inertia), ("diaginertia", inertia)):
                if inertial.get(key):
                    inertial.set(key, text([factor * value for value in numbers(inertial.get(key))]))

    return change


def every(data, model):
    return [body for body in model.iter("body") if body.find("inertial") is not None]


def only_base(data, model):
    return [base(data, model)]


def shift(x=0.0, y=0.0, z=0.0, factor=1.0):
    """The base's centre of mass moved."""

    def change(data, model):
        inertial = base(data, model).find("inertial")
        inertial.set("pos", text([factor * value + by for value, by in zip(numbers(inertial.get("pos")), (x, y, z), strict=True)]))

    return change


def times(field, factor, of=None):
    def change(data, model):
        for joint in group(data, of) if of else data["joint_names"]:
            value = data[field][joint]
            data[field][joint] = [factor * one for one in value] if isinstance(value, list) else factor * value

    return change


def put(field, value):
    """``value`` is a function of the description."""
    return lambda data, model: data.update({field: value(data)})


def attribute(tag, name, factor):
    def change(data, model):
        for element in model.iter(tag):
            if element.get(name):
                element.set(name, text([factor * value for value in numbers(element.get(name))]))

    return change


def imu(**attributes):
    return lambda data, model: next(site for site in model.iter("site") if site.get("name") == data["imu_site"]).attrib.update(attributes)


def gains_of(other):
    """kp, kd and action_scale by group from another robot."""

    def change(data, model):
        robot = robots.load(other)
        for field in ("kp", "kd", "action_scale"):
            for joint in data["joint_names"]:
                name = next((name for name in ("abduction", "hip", "knee") if joint in group(data, name)), "hip")
                data[field][joint] = float(getattr(robot, field)[robot.joint_groups[name]].mean())

    return change


def axes_turned(of):
    def change(data, model):
        for joint in model.iter("joint"):
            if joint.get("name") in group(data, of)[:1]:
                joint.set("axis", text([-value for value in numbers(joint.get("axis") or ("1 0 0" if of == "abduction" else "0 1 0"))]))

    return change


def image(data, name):
    swap = data["mirror"]["swap"]
    both = {**swap, **{right: left for left, right in swap.items()}}
    return next((other + name[len(one) :] for one, other in both.items() if name.startswith(one)), name)


def renamed(of):
    """Bodies, joints and shapes of the model under the name that ``of(data, name)`` gives."""

    def change(data, model):
        for element in model.iter():
            if element.tag in ("body", "joint", "geom") and element.get("name"):
                element.set("name", of(data, element.get("name")))

    return change


ENDS = {"FL": "RL", "FR": "RR", "LF": "LH", "RF": "RH"}
OTHER_END = {**ENDS, **{rear: front for front, rear in ENDS.items()}}


def other_end(name):
    return OTHER_END.get(name[:2], name[:2]) + name[2:]


def backward(data, model):
    """What is called front is behind, in the model and in all figures."""
    renamed(lambda data, name: other_end(name))(data, model)
    for key in ("default_joint_pos", "lie_joint_pos", "joint_pos_limit"):
        data[key] = {other_end(joint): value for joint, value in data[key].items()}


def gait(name, *phases):
    def change(data, model):
        data["gaits"] = {**data["gaits"], name: list(phases[: len(data["feet"])])}

    return change


def motors_exchanged(data, model):
    data["motor_order"][0:2] = reversed(data["motor_order"][0:2])


def half_of_the_feet(data, model):
    data["feet"], data["gaits"] = data["feet"][:2], {name: phases[:2] for name, phases in data["gaits"].items()}


def groups_exchanged(data, model):
    groups = data["joint_groups"]
    data["joint_groups"] = {**groups, "hip": groups["knee"], "knee": groups["hip"]}


def one_abducts(data, model):
    data["joint_groups"] = {**data["joint_groups"], "abduction": group(data, "abduction")[:1]}


def lying_on_its_back_legs(data, model):
    for joint in group(data, "hip"):
        low, high = data["joint_pos_limit"][joint]
        data["lie_joint_pos"][joint] = min(max(-data["lie_joint_pos"][joint], low + 0.01), high - 0.01)


def no_room(data, model):
    data["lie_joint_pos"] = data["default_joint_pos"]
    data["joint_pos_limit"] = {joint: [angle - 0.05, angle + 0.05] for joint, angle in data["default_joint_pos"].items()}


def no_trunk(data, model):
    body = base(data, model)
    for geom in body.findall("geom"):
        if geom.get("name") == "trunk":
            geom.set("size", "0.02 0.02 0.02")
        elif geom.get("name"):
            body.remove(geom)


def both(*changes):
    def change(data, model):
        for one in changes:
            one(data, model)

    return change


FOUR = ("unitree_go2", "anymal_c")
LEGS_NEGATE = ["*_hip_roll_joint", "*_hip_yaw_joint", "*_ankle_roll_joint", "*_shoulder_roll_joint", "*_shoulder_yaw_joint"]
CURVED, ORDERED = ("unitree_go2", "unitree_g1"), ("unitree_go2", "unitree_go1", "unitree_g1")

SLIPS = {  # change, field, robots
    "base of a tenth, inertia and all": (weigh(only_base, 0.1, 0.1), "model: mass", FOUR),
    "base tenfold, inertia and all": (weigh(only_base, 10, 10), "model: mass", ROBOTS),
    "base's inertia tenfold": (weigh(only_base, 1, 10), "model: inertia", ("unitree_go2", "unitree_go1")),
    "all masses and inertias a tenth": (weigh(every, 0.1, 0.1), "effort_limit", ROBOTS),
    "all masses and inertias a hundredth": (weigh(every, 0.01, 0.01), "model: mass", ROBOTS),
    "all inertias a tenth": (weigh(every, 1, 0.1), "model: inertia", ROBOTS),
    "all inertias in kg cm^2": (weigh(every, 1, 1e4), "model: inertia", ROBOTS),
    "lower legs tenfold": (weigh(lower_legs, 10, 10), "model: mass", ROBOTS),
    "lower legs a tenth": (weigh(lower_legs, 0.1, 0.1), "model: mass", ROBOTS),
    "base's centre of mass in centimetres": (shift(factor=100), "model: inertia", FOUR),
    "base's centre of mass above it": (shift(z=0.3), "model: inertia", ("unitree_go2", "unitree_go1", "unitree_g1")),
    "held up by gravcomp": (lambda data, model: base(data, model).set("gravcomp", "1"), "model: gravity", ROBOTS),
    "a trunk of no size": (no_trunk, "model", ("unitree_go2", "unitree_go1")),
    "steps of 9 Hz": (put("stride_frequency", lambda data: [9.0, 9.0]), "stride_frequency", ROBOTS),
    "steps of 9 Hz at 1 m/s": (put("stride_frequency", lambda data: [data["stride_frequency"][0], 9.0]), "stride_frequency", ROBOTS),
    "seconds a step": (put("stride_frequency", lambda data: [1 / f for f in data["stride_frequency"]]), "stride_frequency", FOUR),
    "steps that slow down": (put("stride_frequency", lambda data: [2.0, 1.5]), "stride_frequency", ROBOTS),
    "a swing of half the leg": (put("swing_height", lambda data: round(0.48 * data["standing_height"], 3)), "swing_height", ROBOTS),
    "a swing of millimetres": (put("swing_height", lambda data: 0.1 * data["swing_height"]), "swing_height", ROBOTS),
    "gains of a dog on a horse": (gains_of("unitree_go2"), "kp", ("anymal_c",)),
    "gains of a horse on a dog": (gains_of("anymal_c"), "action_scale", ("unitree_go2", "unitree_go1")),
    "kd tenfold": (times("kd", 10), "kd", FOUR),
    "kd a tenth": (times("kd", 0.1), "kd", ROBOTS),
    "kp a tenth": (times("kp", 0.1), "kd", ROBOTS),
    "actions tenfold": (times("action_scale", 5), "action_scale", ROBOTS),
    "speed in rpm": (times("joint_vel_limit", 9.549), "joint_vel_limit", ROBOTS),
    "speed in turns a second": (times("joint_vel_limit", 0.1592), "joint_vel_limit", ("unitree_go1", "anymal_c")),
    "curve in turns a second": (both(*(times(f, 0.1592) for f in ("speed_at_full_effort", "no_load_speed"))), "no_load_speed", CURVED),
    "curve reversed": (lambda data, model: data.update(no_load_speed=data["speed_at_full_effort"],
                                                       speed_at_full_effort=data["no_load_speed"]), "no_load_speed", CURVED),
    "curve that falls at once": (times("speed_at_full_effort", 0.1), "speed_at_full_effort", CURVED),
    "effort tenfold": (times("effort_limit", 10), "effort_limit", ROBOTS),
    "effort before the gear": (times("effort_limit", 1 / 6.33), "action_scale", FOUR),
    "rotors without their gear": (attribute("joint", "armature", 1 / 40), "model: armature", ORDERED),
    "rotors whose gear is not squared": (attribute("joint", "armature", 1 / 6.33), "model: armature", ("unitree_go2", "unitree_go1")),
    "rotors in g m^2": (attribute("joint", "armature", 1000), "model: armature", ROBOTS),
    "damping that drives": (attribute("joint", "damping", -1), "model: friction", ORDERED),
    "friction that drives": (attribute("joint", "frictionloss", -1), "model: friction", ROBOTS),
    "two motors exchanged": (motors_exchanged, "motor_order", ORDERED),
    "IMU in millimetres": (imu(pos="25 0 42"), "imu_site", ROBOTS),
    "IMU turned by a right angle": (imu(euler="0 0 1.5708"), "imu_site", ROBOTS),
    "IMU upside down": (imu(euler="3.1416 0 0"), "imu_site", ROBOTS),
    "only the front feet": (half_of_the_feet, "feet", FOUR),
    "left called right": (renamed(image), "feet", FOUR),
    "front called rear": (backward, "feet", FOUR),
    "one abduction turns the other way": (axes_turned("abduction"), "mirror", ROBOTS),
    "one knee turns the other way": (axes_turned("knee"), "mirror", ROBOTS),
    "waist and arms not negated": (put("mirror", lambda data: {**data["mirror"], "negate": [*LEGS_NEGATE, "waist_*_joint"]}), "mirror",
                                   ("unitree_g1",)),
    "a trot that hops": (gait("trot", 0.0, 0.0, 0.0, 0.0), "gaits: trot", FOUR),
    "a bound that nearly hops": (gait("bound", 0.0, 0.0, 0.1, 0.1), "gaits: bound", FOUR),
    "a pronk that trots": (gait("pronk", 0.0, 0.5, 0.5, 0.0), "gaits: pronk", FOUR),
    "a walk that hops": (gait("walk", 0.0, 0.0, 0.0, 0.0), "gaits: walk", ROBOTS),
    "a hop that walks": (gait("hop", 0.0, 0.5), "gaits: hop", ("unitree_g1",)),
    "hip called knee": (groups_exchanged, "joint_groups: knee", ROBOTS),
    "one leg of the group": (one_abducts, "joint_groups: abduction", ROBOTS),
    "lying with the legs stretched out": (lying_on_its_back_legs, "lie_joint_pos", FOUR),
    "limits of a tenth": (no_room, "joint_pos_limit", FOUR),
    "a model without stops": (lambda data, model: [one.attrib.pop("range", None) for one in model.iter("joint")], "model: range", ROBOTS),
    "battery in kW": (put("battery_power", lambda data: 3.0), "battery_power", ROBOTS),
    "volts of a cell": (both(put("battery_power", lambda data: 3000.0), put("battery_voltage", lambda data: [3.3, 4.2])), "battery_voltage",
                        ROBOTS),
    "another robot's name": (put("name", lambda data: "my_dog"), "name", ROBOTS),
}  # fmt: skip


@pytest.fixture
def unmoved(monkeypatch):
    """Figures and kinematics alone, without letting the robot stand."""
    for name in ("check_standing", "check_rising"):
        monkeypatch.setattr(findings_module, name, lambda robot: ())


def found(folder):
    return [finding.problem.field.rpartition("robot.yaml: ")[2] for finding in findings(folder)]


@pytest.mark.parametrize(
    ("title", "name"), [pytest.param(title, name, id=f"{title}, {name}") for title, (*_, names) in SLIPS.items() for name in names]
)
def test_a_slip_is_found_under_its_field(tmp_path, title, name, request):
    change, field, _ = SLIPS[title]
    if title not in NEED_TO_STAND:
        request.getfixturevalue("unmoved")
    fields = found(robot_copy(name, tmp_path, change))
    assert any(one == field or one.startswith(f"{field}: ") for one in fields), fields


NEED_TO_STAND = ("only the front feet", "gains of a dog on a horse", "lying with the legs stretched out")


@pytest.mark.parametrize("name", ROBOTS)
def test_a_copy_without_a_slip_is_sound(tmp_path, name, unmoved):
    assert found(robot_copy(name, tmp_path, lambda data, model: None)) == []


def test_a_box_has_the_sides_that_its_inertia_says():
    mass, sides = 3.0, np.array([0.4, 0.2, 0.1])
    square = np.square(sides)
    assert box_of_inertia(mass, mass / 12.0 * (square.sum() - square)) == pytest.approx(sides)


def test_a_dog_lies_level_and_rises(go2):
    lying, risen = rise(go2)
    assert max(lying.tilt, risen.tilt) < 0.05
    assert lying.height < 0.5 * go2.standing_height
    assert risen.height == pytest.approx(go2.standing_height, rel=0.05)
    assert risen.load.sum() == pytest.approx(1.0, abs=0.03)
