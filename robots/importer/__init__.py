"""Import a robot: a folder with model.xml and robot.yaml from any legged robot's URDF or MJCF, and a list of all that was guessed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as xml

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from robots.errors import InputError
from robots.importer.gains import REACH, STIFFER, gains, joint_figures, tipping
from robots.importer.limbs import find_limbs
from robots.importer.pose import Chain, solve
from robots.importer.read import Source, read
from robots.importer.shapes import build_parts
from robots.importer.symmetry import find_pairs, prefixes
from robots.importer.write import model_xml, robot_yaml, write_folder
from robots.robot import Robot, load
from robots.standing import Stood, joint_inertia, stand

GAITS = {
    4: {"trot": [0.0, 0.5, 0.5, 0.0], "pace": [0.0, 0.5, 0.0, 0.5], "bound": [0.0, 0.0, 0.5, 0.5], "pronk": [0.0] * 4,
        "walk": [0.75, 0.25, 0.0, 0.5]},
    2: {"walk": [0.0, 0.5], "hop": [0.0, 0.0]},
}  # fmt: skip
SWING = {4: 0.2, 2: 0.09}  # swing height over standing height
GO2 = 0.31, (1.5, 2.2)  # m, Hz: frequencies go with the root of a robot's height


@dataclass(frozen=True, eq=False)
class Imported:
    robot: Robot
    guessed: list[str]  # to be confirmed by a person
    stood: Stood  # 10 s under its gains


def import_robot(file: Path, folder: Path) -> Imported:
    """Make ``folder`` from ``file``, and let the robot stand in it. The folder appears whole, or not at all.

    Raises:
        InputError: the file cannot be read, or is no robot with legs, left and right alike; or ``folder`` holds something.
        OSError: ``folder`` cannot be written.
    """
    name, parent = folder.absolute().name, folder.absolute().parent
    if not re.fullmatch(r"\w[\w-]*", name):
        raise InputError("output", str(folder), "a folder named by letters, digits, _ and -", "It is the robot's name.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("output", str(folder), "a new or an empty folder", "Choose another name; nothing is written over.")
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=parent) as work:
        guessed, stood = _build(file, Path(work) / name)
        (Path(work) / name).replace(folder)
    return Imported(load(folder), guessed, stood)


def _build(file: Path, folder: Path) -> tuple[list[str], Stood]:
    """Write the robot into ``folder``; what was guessed, and how it stood."""
    source = read(file)
    limbs = find_limbs(source)
    if len(limbs.legs) not in GAITS:
        names = [leg.name for leg in limbs.legs]
        raise InputError("import: legs", names, "two or four legs", "Other limbs that reach the ground must be removed from the file.")
    pairs, signs = find_pairs(source, limbs)
    parts, feet = build_parts(source, limbs)
    figures = joint_figures(source, limbs, _speeds(file))
    text = model_xml(folder.absolute().name, parts, figures, source.model, _imu(source, limbs.base))
    model = mujoco.MjSpec.from_string(text).compile()
    joints = [source.model.joint(joint).name for leg in limbs.legs for joint in leg.joints]
    order = np.array([model.joint(name).id - 1 for name in joints])
    chains = [
        Chain(
            np.array([model.joint(source.model.joint(joint).name).id for joint in leg.joints]), model.geom(foot).id,
            model.geom_type[model.geom(foot).id] == mujoco.mjtGeom.mjGEOM_BOX and len(leg.joints) >= 5, pairs[i], np.array(signs[i]),
        )
        for i, (leg, foot) in enumerate(zip(limbs.legs, feet, strict=True))
    ]  # fmt: skip
    limit = _mirrored_limits(model.jnt_range[1:].copy(), chains)
    pose, height = solve(model, chains, limit)
    lying, _ = solve(model, chains, limit, lying=True)
    source.guessed.append(
        "default_joint_pos, lie_joint_pos, standing_height: solved, feet under the hips and the centre of mass above them"
    )
    source.guessed += [
        f"kp, kd, action_scale: all effort at {REACH} rad, or enough not to tip over, and half of critical damping",
        "swing_height, stride_frequency: by height",
    ]
    column = {key: [figures[joint][key] for leg in limbs.legs for joint in leg.joints] for key in ("effort", "speed")}
    names = [(joints[i], joints[j]) for i, j in _partners(chains, order) if i < j]
    swap = prefixes(names + [(feet[i], feet[j]) for i, j in enumerate(pairs) if i < j])
    negate = [
        joint
        for leg, sign in zip(limbs.legs, signs, strict=True)
        for joint, s in zip(_names(source, leg.joints), sign, strict=True)
        if s < 0
    ]
    frequency = [round(float(hz * np.sqrt(GO2[0] / height)), 2) for hz in GO2[1]]

    def fields(kp: np.ndarray, kd: np.ndarray, scale: np.ndarray) -> dict[str, object]:
        def by_name(values: ArrayLike, digits: int = 4) -> dict[str, object] | float:
            rounded = np.round(np.asarray(values, dtype=np.float64), digits) + 0.0
            if np.ndim(values) == 1 and len(set(rounded.tolist())) == 1:
                return float(rounded[0])
            return dict(zip(joints, rounded.tolist(), strict=True))

        return {
            "name": folder.absolute().name, "model": "model.xml", "base_body": parts[0].name, "imu_site": "imu", "feet": feet,
            "standing_height": round(height, 4), "swing_height": round(SWING[len(feet)] * height, 3), "stride_frequency": frequency,
            "joint_names": joints, "joint_groups": _groups(model, chains, joints, order),
            "default_joint_pos": by_name(pose[order]), "lie_joint_pos": by_name(lying[order]), "kp": by_name(kp, 3), "kd": by_name(kd, 4),
            "action_scale": by_name(scale), "joint_pos_limit": by_name(_inward(limit[order])), "joint_vel_limit": by_name(column["speed"]),
            "effort_limit": by_name(column["effort"]), "gaits": GAITS[len(feet)], "mirror": {"swap": swap, "negate": negate},
        }  # fmt: skip

    title = f"Imported from {file.name}: {model.body_mass.sum():.3f} kg, {len(feet)} legs."

    def written(kp: np.ndarray, kd: np.ndarray, scale: np.ndarray) -> Robot:
        write_folder(folder, text, robot_yaml(fields(kp, kd, scale), title, source.guessed))
        return load(folder)

    robot, stood, chosen = _let_it_stand(written, np.array(column["effort"]), tipping(model, pose, len(chains))[order], height)
    if not _stands(stood, height):
        source.guessed.append("kp, kd: it does not stand by its gains alone, nor by stiffer ones")
    elif chosen > 1.0:
        source.guessed.append(f"kp: {chosen:g} times as much: softer it sags or falls")
    written(robot.kp, robot.kd, robot.action_scale)  # with all that was guessed
    return source.guessed, stood


def _let_it_stand(written: Callable[..., Robot], effort: np.ndarray, tips: np.ndarray, height: float) -> tuple[Robot, Stood, float]:
    """The robot, ``written`` with gains of which it stands, how it stood, and the factor on kp; by plain gains where it never does."""

    def attempt(stiffer: float) -> tuple[Robot, Stood]:
        first = written(*gains(effort, np.full(len(effort), 0.01), tips, stiffer))  # the inertia that a motor sees is asked of this one
        robot = written(*gains(effort, joint_inertia(mujoco.MjModel.from_xml_path(str(first.model)), first), tips, stiffer))
        return robot, stand(robot, 10.0)

    tries = {}
    for stiffer in (1.0, *STIFFER):
        tries[stiffer] = attempt(stiffer)
        if _stands(tries[stiffer][1], height):
            return *tries[stiffer], stiffer
    return *tries[1.0], 1.0


def _stands(stood: Stood, height: float) -> bool:
    return not stood.fallen and stood.height > 0.95 * height and stood.effort.max() < 0.9


def _names(source: Source, joints: tuple[int, ...]) -> list[str]:
    return [source.model.joint(joint).name for joint in joints]


def _partners(chains: list[Chain], order: np.ndarray) -> list[tuple[int, int]]:
    """Indices in canonical order of each joint and its mirror image."""
    place = {int(joint) + 1: i for i, joint in enumerate(order)}
    return [(place[int(a)], place[int(b)]) for chain in chains for a, b in zip(chain.joints, chains[chain.partner].joints, strict=True)]


def _mirrored_limits(limit: np.ndarray, chains: list[Chain]) -> np.ndarray:
    """The part of each joint's range [J, 2] that its mirror image has, too."""
    result = limit.copy()
    for chain in chains:
        for joint, other, sign in zip(chain.joints - 1, chains[chain.partner].joints - 1, chain.sign, strict=True):
            image = limit[other] if sign > 0 else -limit[other][::-1]
            result[joint] = max(limit[joint, 0], image[0]), min(limit[joint, 1], image[1])
    return result


def _inward(limit: np.ndarray) -> np.ndarray:
    """Limits rounded to 4 digits toward the inside."""
    return np.stack([np.ceil(limit[:, 0] * 1e4) / 1e4, np.floor(limit[:, 1] * 1e4) / 1e4], 1)


def _groups(model: mujoco.MjModel, chains: list[Chain], joints: list[str], order: np.ndarray) -> dict[str, list[str]]:
    """Joints that turn about the forward axis, the first that swings a leg, and the one after it."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    name = {int(joint) + 1: joints[i] for i, joint in enumerate(order)}
    groups: dict[str, list[str]] = {"abduction": [], "hip": [], "knee": []}
    for chain in chains:
        across = [joint for joint in chain.joints if abs(data.xaxis[joint][1]) > 0.7]
        groups["abduction"] += [name[int(joint)] for joint in chain.joints if abs(data.xaxis[joint][0]) > 0.7][:1]
        groups["hip"] += [name[int(joint)] for joint in across[:1]]
        groups["knee"] += [name[int(joint)] for joint in across[1:2]]
    return {key: value for key, value in groups.items() if value}


def _imu(source: Source, base: int) -> np.ndarray:
    """[3] m, in the base's frame: a site or link named imu, else the base's origin."""
    model = source.model
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    frames = {model.site(i).name: (data.site_xpos[i], data.site_xmat[i]) for i in range(model.nsite)} | {
        model.body(i).name: (data.xpos[i], data.xmat[i]) for i in range(model.nbody)
    }
    across = data.xmat[base].reshape(3, 3).T
    for name, (place, axes) in frames.items():
        if "imu" in name.lower():
            if not np.allclose(across @ axes.reshape(3, 3), np.eye(3), atol=0.02):
                source.guessed.append(f"imu_site: {name} is turned against the base, whose axes it is given: the driver turns its readings")
            return across @ (place - data.xpos[base])
    source.guessed.append("imu_site: at the base's origin; no link is called imu")
    return np.zeros(3)


def _speeds(file: Path) -> dict[str, float]:
    """rad/s by joint: a URDF's limits, which MuJoCo does not keep."""
    joints = xml.parse(file).getroot().findall("joint")  # not those of <transmission>
    limits = {joint.get("name", ""): joint.find("limit") for joint in joints}
    return {name: float(limit.get("velocity", "0")) for name, limit in limits.items() if limit is not None}
