"""The description of a robot: what every layer needs to know of it, read from a ``robot.yaml``."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from robots import fields, yaml_file
from robots.errors import InputError, nearest
from robots.fields import Bounds, Floats
from robots.mirror import Mirror, read_mirror
from robots.variant import locked_variant

GRAVITY = 9.81  # m/s^2
FOLDER = Path(__file__).parent
SEARCH_VARIABLE = "LOCOMOTION_ROBOTS"

HEIGHT = Bounds(0.05, 3.0, "m")
CLEARANCE = Bounds(0.001, 0.5, "m")
FREQUENCY = Bounds(0.1, 10.0, "Hz")
PHASE = Bounds(0.0, 1.0, "cycles, 1 excluded")
ANGLE = Bounds(-2.0 * math.pi, 2.0 * math.pi, "rad", "Angles are in rad: a degree is 0.01745 rad.")
PER_JOINT = {
    "default_joint_pos": ANGLE,
    "lie_joint_pos": ANGLE,
    "kp": Bounds(0.1, 5000.0, "N m/rad"),
    "kd": Bounds(0.001, 500.0, "N m s/rad"),
    "action_scale": Bounds(0.001, math.pi, "rad per unit of action"),
    "joint_vel_limit": Bounds(0.1, 200.0, "rad/s"),
    "effort_limit": Bounds(0.01, 5000.0, "N m"),
}
SPEED = PER_JOINT["joint_vel_limit"]
CURVE = ("speed_at_full_effort", "no_load_speed")
BATTERY = ("battery_voltage", "battery_power")  # no policy is trained with them
VOLTAGE = Bounds(1.0, 1000.0, "V")
POWER = Bounds(1.0, 1.0e5, "W")
DERIVED = ("foot_geoms", "locked", "motor_index")  # of other fields
OPTIONAL = ("variants", "links", "motor_order", *CURVE, *BATTERY)
# Gains of any size of robot: how far off target the spring alone asks for the whole torque, and the time constant kd / kp. On
# quadrupeds and humanoids the one is 0.2 to 2 rad, the other 0.01 to 0.2 s.
REACH = Bounds(0.02, 20.0, "rad")
TIME_CONSTANT = Bounds(0.0005, 2.0, "s")


@dataclass(frozen=True, eq=False)
class Robot:
    """A legged robot with J joints and F feet. Per-joint arrays are float64 in the order of ``joint_names``."""

    name: str
    model: Path  # MJCF of bodies, joints and shapes
    base_body: str
    imu_site: str
    feet: tuple[str, ...]
    foot_geoms: tuple[tuple[str, ...], ...]  # of each foot, its shapes; a foot of one shape is called like it
    standing_height: float  # m, base above the ground in the default pose
    swing_height: float  # m, clearance of the sole at mid swing
    stride_frequency: tuple[float, float]  # Hz at 0 and at 1 m/s, linear between and beyond
    joint_names: tuple[str, ...]
    joint_groups: Mapping[str, np.ndarray]  # int indices of joints; a joint may be in several groups or in none
    default_joint_pos: Floats  # [J] rad
    lie_joint_pos: Floats  # [J] rad, folded on the ground
    kp: Floats  # [J] N m/rad
    kd: Floats  # [J] N m s/rad
    action_scale: Floats  # [J] rad per unit of action
    joint_pos_limit: Floats  # [J, 2] rad
    joint_vel_limit: Floats  # [J] rad/s
    effort_limit: Floats  # [J] N m
    gaits: Mapping[str, Floats]  # [F] each: phase of a foot in cycles; stance begins where clock + phase is a whole number
    mirror: Mirror
    locked: Mapping[str, float]  # rad, of the joints of a variant that are held and no joints of this robot
    links: Mapping[str, Floats]  # [10] of links that are not the model's: kg, centre (m), inertia xx yy zz xy xz yz there (kg m^2)
    motor_index: np.ndarray | None  # [J] int, place of each joint in the vendor's interface; None where there is none
    speed_at_full_effort: Floats | None  # [J] rad/s, up to which the effort limit is available; None where nothing is published
    no_load_speed: Floats | None  # [J] rad/s, at which no torque is left, linear between
    battery_voltage: tuple[float, float] | None = None  # V, empty and full; None where nothing is published
    battery_power: float | None = None  # W, the most that the battery gives

    def fingerprint(self) -> str:
        """A hash of every figure of the description and of the model's text: what a policy was trained with."""
        digest = hashlib.sha256(self.model.read_bytes())
        for field in dataclasses.fields(self):
            if field.name not in ("model", *BATTERY) and (field.name != "links" or self.links):  # as hashed before there were any
                digest.update(f"{field.name}={_plain(getattr(self, field.name))!r}".encode())
        return digest.hexdigest()

    @property
    def num_joints(self) -> int:
        return len(self.joint_names)

    @property
    def torque_speed(self) -> tuple[Floats, Floats] | None:
        """The motors' torque-speed curve, as :func:`robots.actuator.torque_bounds` takes it; None where it is not published."""
        full, none = self.speed_at_full_effort, self.no_load_speed
        return None if full is None or none is None else (full, none)


def search_path() -> list[Path]:
    """Where robots are looked for, first found first: $LOCOMOTION_ROBOTS, ./robots, the toolkit's own."""
    named = [Path(folder).expanduser() for folder in os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep) if folder]
    return list(dict.fromkeys(folder.resolve() for folder in (*named, Path("robots"), FOLDER)))


def available() -> list[str]:
    """Names of the robots on the search path."""
    return sorted({path.parent.name for folder in search_path() for path in folder.glob("*/robot.yaml")})


def load(name: str | Path) -> Robot:
    """The robot called ``name``: the first folder of that name on the search path with a ``robot.yaml``.

    A path to such a folder, or to a robot.yaml, does too: a ``Path``, or text with a slash or ending in ``.yaml``. A dot and the name of
    a variant may follow the robot's name or the folder's: ``unitree_g1.legs``.

    Raises:
        InputError: no such robot, or its ``robot.yaml`` has a missing, unknown or impossible field.
    """
    if isinstance(name, Path) or (isinstance(name, str) and ("/" in name or os.sep in name or name.endswith(".yaml"))):
        path, variant = Path(name).expanduser(), ""
        if not path.exists() and path.suffix not in ("", ".yaml"):
            path, variant = path.with_suffix(""), path.suffix[1:]
        return from_yaml(path / "robot.yaml" if path.is_dir() else path, variant)
    name, _, variant = fields.text("robot", name).partition(".")
    for folder in search_path():
        if (folder / name / "robot.yaml").is_file():
            robot = from_yaml(folder / name / "robot.yaml", variant)
            if robot.name.partition(".")[0] != name:
                raise InputError(f"{name}/robot.yaml: name", robot.name, f"the folder's name, {name}", "Rename the one or the other.")
            return robot
    looked = ", ".join(map(str, search_path()))
    remedy = f"{nearest(name, available())} Looked in {looked}; ${SEARCH_VARIABLE} names further folders, and ./{name} a folder here."
    raise InputError("robot", name, "the name of a folder with a robot.yaml", remedy)


def from_yaml(path: Path, variant: str = "") -> Robot:
    """Read a ``robot.yaml``; its ``model`` is relative to it. With ``variant``, what stands there replaces fields, and joints are locked.

    Raises:
        InputError: the file is missing or no YAML, or a field is missing, unknown or impossible.
    """
    path = path.absolute()
    where = f"{path.parent.name}/{path.name}"
    data, known = _parse(path), [field.name for field in dataclasses.fields(Robot) if field.name not in DERIVED]
    lock: object = {}
    if variant:
        data, lock = _overridden(where, data, variant)
    data = fields.mapping(where, data, known, OPTIONAL)
    if "variants" in data:
        _variants(where, data)

    def field(key: str) -> str:
        return f"{where}: {key}"

    joints = fields.names(field("joint_names"), data["joint_names"])
    feet, foot_geoms = fields.feet(field("feet"), data["feet"])
    per_joint = {key: fields.per_joint(field(key), data[key], joints, bounds) for key, bounds in PER_JOINT.items()}
    limit = fields.per_joint(field("joint_pos_limit"), data["joint_pos_limit"], joints, ANGLE, count=2)
    model = path.parent / fields.text(field("model"), data["model"])
    if not model.is_file():
        raise InputError(field("model"), data["model"], f"a file beside {path.name}", f"There is no {model}.")
    height = fields.number(field("standing_height"), data["standing_height"], HEIGHT)
    groups = fields.mapping(field("joint_groups"), data["joint_groups"])
    slow, fast = fields.numbers(field("stride_frequency"), data["stride_frequency"], 2, FREQUENCY)
    full, free = (fields.per_joint(field(key), data[key], joints, SPEED) if key in data else None for key in CURVE)
    robot = Robot(
        name=fields.text(field("name"), data["name"]),
        model=model,
        base_body=fields.text(field("base_body"), data["base_body"]),
        imu_site=fields.text(field("imu_site"), data["imu_site"]),
        feet=feet,
        foot_geoms=foot_geoms,
        standing_height=height,
        swing_height=fields.number(field("swing_height"), data["swing_height"], CLEARANCE),
        stride_frequency=(slow, fast),
        joint_names=joints,
        joint_groups={name: fields.matching(field(f"joint_groups: {name}"), value, joints) for name, value in groups.items()},
        joint_pos_limit=limit,
        gaits={name: _gait(field(f"gaits: {name}"), value, feet) for name, value in fields.mapping(field("gaits"), data["gaits"]).items()},
        mirror=read_mirror(field("mirror"), data["mirror"], joints, feet),
        locked={},
        links=fields.links(field("links"), data["links"]) if "links" in data else {},
        motor_index=_motor_index(field("motor_order"), data.get("motor_order"), joints),
        speed_at_full_effort=full,
        no_load_speed=free,
        battery_voltage=_voltage(field("battery_voltage"), data["battery_voltage"]) if "battery_voltage" in data else None,
        battery_power=fields.number(field("battery_power"), data["battery_power"], POWER) if "battery_power" in data else None,
        **per_joint,
    )
    check_figures(robot, field)
    return locked_variant(robot, variant, lock, field(f"variants: {variant}: lock")) if variant else robot


def variants(name: str) -> list[str]:
    """Names of the variants of the robot called ``name``, as :func:`load` takes them: ``unitree_g1.legs``."""
    path = next((folder / name / "robot.yaml" for folder in search_path() if (folder / name / "robot.yaml").is_file()), None)
    data = _parse(path) if path else None
    if not isinstance(data, dict) or "variants" not in data:
        return []
    return [f"{name}.{variant}" for variant in _variants(f"{name}/robot.yaml", data)]


def _variants(where: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What stands under ``variants``, by name."""
    known = fields.mapping(f"{where}: variants", data["variants"])
    for variant in known:
        if not variant.replace("_", "").isalnum():
            raise InputError(
                f"{where}: variants", variant, "names of letters, digits and _", "It is written after the robot's name and a dot."
            )
    return known


def _overridden(where: str, data: object, variant: str) -> tuple[dict[str, Any], object]:
    """A description with the fields of a variant in place of its own, and the joints that the variant locks."""
    data = fields.mapping(where, data)
    known = _variants(where, data) if "variants" in data else {}
    if variant not in known:
        raise InputError(f"{where}: variants", variant, "the name of a variant", nearest(variant, known) if known else "It has none.")
    changed = fields.mapping(f"{where}: variants: {variant}", known[variant])
    for key in ("name", "joint_names", "variants"):
        if key in changed:
            raise InputError(f"{where}: variants: {variant}: {key}", changed[key], "a field that a variant may change", f"Remove {key}.")
    lock = changed.pop("lock", {})
    return data | changed, lock


def _motor_index(field: str, order: object, joints: tuple[str, ...]) -> np.ndarray | None:
    """[J] place of each joint in the list of joints that the vendor's interface has."""
    if order is None:
        return None
    listed = fields.names(field, order)
    if set(listed) != set(joints):
        odd = sorted(set(listed) ^ set(joints))[0]
        raise InputError(field, odd, "every joint of joint_names once", f"Add {odd}, or remove it.")
    return fields.read_only(np.array([listed.index(joint) for joint in joints]))


def _voltage(field: str, value: object) -> tuple[float, float]:
    empty, full = fields.numbers(field, value, 2, VOLTAGE)
    if not empty < full:
        raise InputError(field, value, "[empty, full], V", "Write the lower one first.")
    return empty, full


def _parse(path: Path) -> object:
    try:
        return yaml_file.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("robot", str(path), "a robot.yaml that can be read", f"{error}.") from error
    except yaml.YAMLError as error:
        remedy = f"Mend the YAML: {' '.join(str(error).split())}."
        raise InputError(f"{path.parent.name}/{path.name}", str(path), "a YAML file", remedy) from error


def _gait(field: str, value: object, feet: tuple[str, ...]) -> Floats:
    phases = np.array(fields.numbers(field, value, len(feet), PHASE))
    if (phases == 1.0).any():
        raise InputError(field, value, "phases below 1", "Write 0 for a whole cycle.")
    return fields.read_only(phases)


def check_figures(robot: Robot, field: Callable[[str], str]) -> None:
    """What figures of one joint must be to each other. ``field`` gives what errors call one. Raises InputError."""
    if (robot.speed_at_full_effort is None) != (robot.no_load_speed is None):
        missing = CURVE[robot.no_load_speed is None]
        raise InputError(field(missing), None, "both ends of the torque-speed curve, or neither", f"Add {missing}.")
    low, high = robot.joint_pos_limit.T
    reach, constant = robot.effort_limit / robot.kp, robot.kd / robot.kp
    for i, joint in enumerate(robot.joint_names):
        if low[i] >= high[i]:
            raise InputError(field("joint_pos_limit"), robot.joint_pos_limit[i].tolist(), "[lower, upper]", f"Swap the limits of {joint}.")
        for key in ("default_joint_pos", "lie_joint_pos"):
            if not low[i] <= getattr(robot, key)[i] <= high[i]:
                allowed = f"an angle within joint_pos_limit of {joint}, {low[i]:g} to {high[i]:g} rad"
                raise InputError(field(key), float(getattr(robot, key)[i]), allowed, f"Move {joint} inside its limits.")
        if robot.speed_at_full_effort is not None and robot.no_load_speed is not None:
            full, free = robot.speed_at_full_effort[i], robot.no_load_speed[i]
            if full >= free:
                raise InputError(field("no_load_speed"), free, f"more than speed_at_full_effort, {full:g} rad/s", f"Mend {joint}.")
        if not REACH.low <= reach[i] <= REACH.high:
            allowed = f"effort_limit / kp from {REACH}; {joint} has {reach[i]:.3g}"
            raise InputError(field("kp"), float(robot.kp[i]), allowed, "Check both units: N m/rad and N m.")
        if not TIME_CONSTANT.low <= constant[i] <= TIME_CONSTANT.high:
            allowed = f"kd / kp from {TIME_CONSTANT}; {joint} has {constant[i]:.3g}"
            raise InputError(field("kd"), float(robot.kd[i]), allowed, "Check both units: N m s/rad and N m/rad.")
    if robot.swing_height > 0.5 * robot.standing_height:
        allowed = f"at most half of standing_height, {0.5 * robot.standing_height:g} m"
        raise InputError(field("swing_height"), robot.swing_height, allowed, "A foot is lifted by a few centimetres: Go2 0.07.")


def _plain(value: Any) -> Any:
    """Figures as plain numbers and text, the same on every machine."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(getattr(value, field.name)) for field in dataclasses.fields(value)] if isinstance(value, Mirror) else value
