"""Extract the table ``published.yaml`` from URDFs that neither the toolkit nor its models were made with: a script, run by hand.

    pip download --no-deps example-robot-data==6.0.0    # a wheel of 131 MB, so only the table is kept
    unzip example_robot_data-*.whl '*.urdf'
    python tests/robots/extract_published.py cmeel.prefix/share/example-robot-data/robots > tests/robots/published.yaml

Links that fixed joints hold to a moving link are lumped into it, other than those that ``APART`` names. Everything is given with
all joints at zero, in axes parallel to the base's: each link's origin in the base frame, its centre of mass and joint axis from
there, its inertia about that centre (xx, yy, zz, xy, xz, yz).
"""

from __future__ import annotations

import math
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import yaml

ROBOTS = {
    "unitree_go2": "go2_description/urdf/go2.urdf",
    "anymal_c": "anymal_c_simple_description/urdf/anymal.urdf",
    "unitree_go1": "go1_description/urdf/go1.urdf",
    "unitree_g1": "g1_description/urdf/g1_29dof_rev_1_0.urdf",
}
APART = ("_rotor",)  # the Go1's and the Go2's rotors: listed, but not lumped


def rotation(text: str) -> np.ndarray:
    """The matrix of a URDF's roll, pitch, yaw."""
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(angle), math.sin(angle)) for angle in map(float, text.split()))
    x, y, z = [[1, 0, 0], [0, cr, -sr], [0, sr, cr]], [[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]], [[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]]
    return np.array(z) @ np.array(y) @ np.array(x)


def origin(element: ElementTree.Element) -> tuple[np.ndarray, np.ndarray]:
    found = element.find("origin")
    attributes = {} if found is None else found.attrib
    return np.array([float(v) for v in attributes.get("xyz", "0 0 0").split()]), rotation(attributes.get("rpy", "0 0 0"))


def inertial(link: ElementTree.Element, position: np.ndarray, axes: np.ndarray) -> tuple[float, np.ndarray, np.ndarray] | None:
    """Mass, centre and inertia of one link of the URDF, in the base's axes."""
    found = link.find("inertial")
    if found is None or float(found.find("mass").get("value")) == 0.0:
        return None
    place, turn = origin(found)
    value = {key: float(text) for key, text in found.find("inertia").attrib.items()}
    xy, xz, yz = value["ixy"], value["ixz"], value["iyz"]
    tensor = np.array([[value["ixx"], xy, xz], [xy, value["iyy"], yz], [xz, yz, value["izz"]]])
    frame = axes @ turn
    return float(found.find("mass").get("value")), position + axes @ place, frame @ tensor @ frame.T


def lump(parts: list[tuple[float, np.ndarray, np.ndarray]]) -> tuple[float, np.ndarray, np.ndarray]:
    """Several bodies as one: Steiner's theorem."""
    mass = sum(part[0] for part in parts)
    centre = sum(m * c for m, c, _ in parts) / mass
    arms = [(m, c - centre, tensor) for m, c, tensor in parts]
    return mass, centre, sum(tensor + m * (d @ d * np.eye(3) - np.outer(d, d)) for m, d, tensor in arms)


def extract(path: Path) -> dict[str, object]:
    root = ElementTree.parse(path).getroot()
    joints, links = root.findall("joint"), {link.get("name"): link for link in root.findall("link")}
    children = {joint.find("child").get("link") for joint in joints}
    base = next(name for name in links if name not in children)
    place = {base: (base, np.zeros(3), np.eye(3))}  # link -> the moving link that carries it, position, axes
    table: dict[str, object] = {"links": {base: {"position": np.zeros(3)}}, "joints": {}, "apart": {}}
    pending = list(joints)
    while pending:
        joint = pending.pop(0)
        parent, child = joint.find("parent").get("link"), joint.find("child").get("link")
        if parent not in place:
            pending.append(joint)
            continue
        carrier, position, axes = place[parent]
        shift, turn = origin(joint)
        fixed = joint.get("type") == "fixed"
        place[child] = (carrier if fixed else child, position + axes @ shift, axes @ turn)
        if not fixed:
            limit = {key: float(joint.find("limit").get(key)) for key in ("lower", "upper", "effort", "velocity")}
            axis = place[child][2] @ np.array([float(v) for v in joint.find("axis").get("xyz").split()])
            table["joints"][joint.get("name")] = {**limit, "axis": axis}
            table["links"][child] = {"position": place[child][1]}
    for name, figures in table["links"].items():
        own = [link for link, (carrier, _, _) in place.items() if carrier == name]
        apart = [link for link in own if link.endswith(APART)]
        parts = [part for link in own if link not in apart and (part := inertial(links[link], *place[link][1:]))]
        mass, centre, tensor = lump(parts)
        figures |= {"mass": mass, "centre": centre - figures["position"], "inertia": tensor[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]}
        table["apart"] |= {link: inertial(links[link], *place[link][1:])[0] for link in apart}
    return {"urdf": path.name, "mass_of_all": sum(float(mass.get("value")) for mass in root.iter("mass")), **table}


def plain(value: object) -> object:
    """Arrays as lists, numbers to nine digits."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return [plain(entry) for entry in value]
    return round(float(f"{value:.9g}"), 10) + 0.0 if isinstance(value, float) else value


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print("# Figures of published URDFs (example-robot-data 6.0.0 on PyPI): made by tests/robots/extract_published.py, not edited.")
    print("# Command: see there. Units: m, kg, kg m^2, rad, rad/s, N m.")
    table = {name: plain(extract(folder / path)) for name, path in ROBOTS.items()}
    print(yaml.safe_dump(table, sort_keys=False, default_flow_style=None, width=140), end="")
