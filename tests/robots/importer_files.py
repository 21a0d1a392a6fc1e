"""Small robots as URDF text: a dog of four legs, a biped with arms and a head, and ways to spoil them."""

from __future__ import annotations

IDENTITY = '<inertia ixx="{i}" iyy="{i}" izz="{i}" ixy="0" ixz="0" iyz="0"/>'


def link(name: str, mass: float, com: str = "0 0 0", shape: str = "", inertia: float = 0.0) -> str:
    """``shape``: an URDF geometry and its place, 'sphere radius="0.02" @ 0 0 -0.2'."""
    text = f'<link name="{name}">'
    if mass:
        tensor = IDENTITY.format(i=inertia or 0.002 * mass)
        text += f'<inertial><origin xyz="{com}"/><mass value="{mass}"/>{tensor}</inertial>'
    if shape:
        geometry, _, place = shape.partition(" @ ")
        text += f'<collision><origin xyz="{place or "0 0 0"}"/><geometry><{geometry}/></geometry></collision>'
    return text + "</link>"


def joint(
    name: str, parent: str, child: str, place: str, axis: str = "", limit: tuple[float, float] = (-1.5, 1.5), effort: float = 20
) -> str:
    """A hinge about ``axis``, or a fixed joint where it is empty."""
    kind = "revolute" if axis else "fixed"
    text = f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/><origin xyz="{place}"/>'
    if axis:
        text += f'<axis xyz="{axis}"/><limit lower="{limit[0]}" upper="{limit[1]}" effort="{effort}" velocity="25"/>'
    return text + "</joint>"


def dog(legs: tuple[str, ...] = ("RR", "FR", "FL", "RL"), shin: str = "0.2") -> str:
    """8 + 4 (0.5 + 0.5 + 0.2 + 0.05) = 13 kg; thigh and shin of 0.2 m; right hips turn about -x; legs in no sensible order."""
    text = '<robot name="dog">' + link("trunk", 8.0, shape='box size="0.4 0.2 0.1"', inertia=0.1)
    text += link("imu_link", 0.0) + joint("imu_mount", "trunk", "imu_link", "0.05 0 0.02")
    for leg in legs:
        x, y, turn = (0.2 if leg[0] == "F" else -0.2), (0.08 if leg[1] == "L" else -0.08), ("1 0 0" if leg[1] == "L" else "-1 0 0")
        text += link(f"{leg}_hip", 0.5) + joint(f"{leg}_haa", "trunk", f"{leg}_hip", f"{x} {y} 0", turn, (-0.8, 0.8))
        text += link(f"{leg}_thigh", 0.5, "0 0 -0.1", 'capsule radius="0.02" length="0.1" @ 0 0 -0.1')
        text += joint(f"{leg}_hfe", f"{leg}_hip", f"{leg}_thigh", f"0 {y} 0", "0 1 0", (-1.5, 3.0))
        text += link(f"{leg}_shin", 0.2, "0 0 -0.1") + joint(f"{leg}_kfe", f"{leg}_thigh", f"{leg}_shin", "0 0 -0.2", "0 1 0", (-2.6, -0.5))
        text += link(f"{leg}_toe", 0.05, shape='sphere radius="0.02"') + joint(f"{leg}_mount", f"{leg}_shin", f"{leg}_toe", f"0 0 -{shin}")
    return text + '<transmission name="t"><joint name="FL_haa"/></transmission></robot>'


def biped() -> str:
    """20 + 2 (1 + 1 + 2 + 2 + 0.5 + 0.5) + 2 x 1.5 = 37 kg; thigh and shin of 0.3 m, soles of 0.2 m."""
    text = '<robot name="biped">' + link("pelvis", 20.0, "0 0 0.1", 'box size="0.2 0.3 0.3" @ 0 0 0.1', 0.4)
    for side, y in (("left", 1), ("right", -1)):
        place = f"0 {0.1 * y} -0.1"
        chain = [
            ("hip_yaw", "0 0 1", place, 1.0, "", 60), ("hip_roll", "1 0 0", "0 0 0", 1.0, "", 60),
            ("hip_pitch", "0 1 0", "0 0 0", 2.0, 'capsule radius="0.04" length="0.15" @ 0 0 -0.15', 90),
            ("knee", "0 1 0", "0 0 -0.3", 2.0, 'capsule radius="0.03" length="0.15" @ 0 0 -0.15', 90),
            ("ankle_pitch", "0 1 0", "0 0 -0.3", 0.5, "", 60),
            ("ankle_roll", "1 0 0", "0 0 0", 0.5, 'box size="0.2 0.08 0.02" @ 0.03 0 -0.05', 60),
        ]  # fmt: skip
        parent = "pelvis"
        for name, axis, at, mass, shape, effort in chain:
            limit = (-0.1, 2.4) if name == "knee" else (-1.2, 1.2)
            com = "0 0 -0.15" if name in ("hip_pitch", "knee") else "0 0 0"
            text += link(f"{side}_{name}_link", mass, com, shape, 0.01)
            text += joint(f"{side}_{name}", parent, f"{side}_{name}_link", at, axis, limit, effort)
            parent = f"{side}_{name}_link"
        text += link(f"{side}_arm", 1.5, "0 0 -0.15", 'capsule radius="0.03" length="0.2" @ 0 0 -0.15')
        text += joint(f"{side}_shoulder", "pelvis", f"{side}_arm", f"0 {0.2 * y} 0.25", "0 1 0")
    return text + "</robot>"
