"""Robots imported from files: base, legs, feet and mirror found by kinematics, masses kept, and a pose that stands."""

import struct

import mujoco
import numpy as np
import pytest

from robots import FOLDER, InputError
from robots.check import joint_pose
from robots.findings import findings
from robots.importer import import_robot
from robots.importer.collada import read_points
from robots.importer.gains import TIPPING, gains, tipping
from robots.importer.shapes import fit
from robots.importer.symmetry import prefixes
from robots.model import build_spec, foot_radius, total_mass
from robots.standing import stand
from tests.robots.importer_files import biped, dog


@pytest.fixture
def write(tmp_path):
    def into(text, name="robot.urdf"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return into


def test_a_dog(write, tmp_path):
    imported = import_robot(write(dog()), tmp_path / "robots" / "dog")
    robot, model = imported.robot, build_spec(imported.robot).compile()
    assert robot.base_body == "trunk"
    assert robot.feet == ("FL_toe", "FR_toe", "RL_toe", "RR_toe")
    assert robot.joint_names == tuple(f"{leg}_{joint}" for leg in ("FL", "FR", "RL", "RR") for joint in ("haa", "hfe", "kfe"))
    assert total_mass(model) == pytest.approx(13.0, rel=1e-6)
    assert model.site("imu").pos == pytest.approx([0.05, 0.0, 0.02])
    assert robot.effort_limit == pytest.approx(20.0)
    assert robot.joint_vel_limit == pytest.approx(25.0)
    assert foot_radius(model, robot) == pytest.approx(0.02)
    # left and right hips turn about opposite axes already: the mirror negates nothing
    assert (robot.mirror.joint_sign == 1.0).all()
    assert robot.mirror.foot_index.tolist() == [1, 0, 3, 2]
    assert {name: len(group) for name, group in robot.joint_groups.items()} == {"abduction": 4, "hip": 4, "knee": 4}
    assert not imported.stood.fallen
    assert [str(finding) for finding in findings(robot.model.parent)] == []


def test_a_pose_holds_the_centre_of_mass_over_the_feet(write, tmp_path):
    robot = import_robot(write(dog()), tmp_path / "dog").robot
    model = build_spec(robot).compile()
    data = joint_pose(model, robot, robot.default_joint_pos)
    mujoco.mj_comPos(model, data)
    feet = np.array([data.geom_xpos[model.geom(foot).id] for foot in robot.feet])
    assert data.subtree_com[1][:2] == pytest.approx(feet[:, :2].mean(0), abs=0.003)
    assert feet[:, 2] == pytest.approx(0.02 - robot.standing_height, abs=0.003)
    knees = np.array([data.xanchor[model.joint(f"{foot[:2]}_kfe").id] for foot in robot.feet])
    assert (knees[:, 0] < feet[:, 0]).all()  # a dog's knees bend backward


def test_welded_links_keep_their_inertia(write, tmp_path):
    """A shin of 0.2 kg at 0.1 m and a toe of 0.05 kg at 0.2 m: centre of mass and inertia by parallel axes."""
    model = build_spec(import_robot(write(dog()), tmp_path / "dog").robot).compile()
    shin = model.body("FL_shin").id
    com = (0.2 * 0.1 + 0.05 * 0.2) / 0.25
    assert model.body_mass[shin] == pytest.approx(0.25)
    assert model.body_ipos[shin] == pytest.approx([0.0, 0.0, -com], abs=1e-6)
    across = 0.002 * 0.25 + 0.2 * (0.1 - com) ** 2 + 0.05 * (0.2 - com) ** 2
    assert sorted(model.body_inertia[shin]) == pytest.approx([0.0005, across, across], rel=1e-3)


def test_a_biped_with_arms(write, tmp_path):
    imported = import_robot(write(biped()), tmp_path / "biped")
    robot, model = imported.robot, build_spec(imported.robot).compile()
    assert robot.num_joints == 12
    assert len(robot.feet) == 2
    assert total_mass(model) == pytest.approx(37.0, rel=1e-5)
    assert any("left_shoulder, right_shoulder" in line for line in imported.guessed)
    signs = dict(zip(robot.joint_names, robot.mirror.joint_sign, strict=True))
    assert {name for name, sign in signs.items() if sign < 0} == {name for name in signs if "yaw" in name or "roll" in name}
    data = joint_pose(model, robot, robot.default_joint_pos)
    for foot in robot.feet:
        geom = model.geom(foot).id
        assert mujoco.mjtGeom(model.geom_type[geom]) == mujoco.mjtGeom.mjGEOM_BOX
        assert data.geom_xmat[geom].reshape(3, 3)[2, 2] > 0.999  # the sole is flat
        assert sorted(model.geom_size[geom]) == pytest.approx([0.01, 0.04, 0.1], abs=1e-6)
    knee, foot = data.xanchor[model.joint("left_knee").id], data.geom_xpos[model.geom(robot.feet[0]).id]
    assert knee[0] > foot[0] - 0.03  # a person's knees bend forward
    assert not imported.stood.fallen
    assert imported.stood.load == pytest.approx([0.5, 0.5], abs=0.02)
    # 34 kg above the ankles would tip over at 34 g l / 2; hips and knees keep the softer gains of their effort
    kp = dict(zip(robot.joint_names, robot.kp, strict=True))
    assert (kp["left_hip_yaw"], kp["left_hip_pitch"]) == pytest.approx((60.0 / 0.5, 90.0 / 0.5))  # by effort
    assert kp["left_ankle_pitch"] > 60.0 / 0.5  # which must hold the whole robot upright
    assert not any(line.startswith("kp: ") for line in imported.guessed)


def test_what_stands_on_a_joint_tips_over_below_the_stiffness_of_its_inverted_pendulum():
    """Two legs of one ankle each hold m g l together: l is from the ankle to the centre of mass of all but the feet."""
    foot = '<body name="{0}" pos="0 {1} -0.5"><joint name="{0}" axis="0 1 0"/><geom size="0.05" mass="2"/></body>'
    body = f'<body name="base"><freejoint/><geom size="0.1" mass="10" pos="0 0 0.3"/>{foot.format("a", 0.1)}{foot.format("b", -0.1)}</body>'
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{body}</worldbody></mujoco>")
    tips = tipping(model, np.zeros(2), 2)
    assert tips == pytest.approx([10.0 * 9.81 * 0.8 / 2] * 2, rel=1e-3)
    kp, _, scale = gains(np.array([10.0, 400.0]), np.ones(2), tips, 1.0)
    assert kp == pytest.approx([TIPPING * tips[0], 800.0])
    assert scale == pytest.approx([1.5 * 10.0 / kp[0], 0.75 * 0.5])


def test_go2_from_its_own_model(tmp_path, go2):
    """What is known of the Go2 comes back from its MJCF: mass, names, mirror, and a stance."""
    robot = import_robot(FOLDER / "unitree_go2" / "model.xml", tmp_path / "dog").robot
    assert robot.joint_names == go2.joint_names
    assert total_mass(build_spec(robot).compile()) == pytest.approx(total_mass(build_spec(go2).compile()), rel=1e-5)
    assert robot.mirror.joint_sign.tolist() == go2.mirror.joint_sign.tolist()
    assert robot.mirror.joint_index.tolist() == go2.mirror.joint_index.tolist()
    assert robot.joint_pos_limit == pytest.approx(go2.joint_pos_limit, abs=2e-4)
    armature = build_spec(robot).compile().dof_armature[6:9]
    assert armature == pytest.approx([0.004481, 0.004481, 0.01647])
    stood = stand(robot)
    assert stood.tilt < 0.03
    assert stood.height > 0.9 * robot.standing_height


def test_a_file_is_not_weighed_by_its_shapes(write, tmp_path):
    """Links without <inertial> weigh nothing: at the density of water this one would weigh 8 kg."""
    heavy = dog().replace(
        '<link name="imu_link">', '<link name="imu_link"><collision><geometry><box size="0.2 0.2 0.2"/></geometry></collision>'
    )
    assert total_mass(build_spec(import_robot(write(heavy), tmp_path / "dog").robot).compile()) == pytest.approx(13.0, rel=1e-5)


def test_a_mesh_becomes_a_primitive(write, tmp_path):
    """A box of 8 corners as an STL, turned into a box of the same size; the folder needs no mesh any more."""
    corners = 0.5 * np.array(np.meshgrid([-0.3, 0.3], [-0.2, 0.2], [-0.1, 0.1])).reshape(3, -1).T
    quads = [
        (0, 1, 3),
        (0, 3, 2),
        (4, 6, 7),
        (4, 7, 5),
        (0, 4, 5),
        (0, 5, 1),
        (2, 3, 7),
        (2, 7, 6),
        (0, 2, 6),
        (0, 6, 4),
        (1, 5, 7),
        (1, 7, 3),
    ]
    facets = b"".join(struct.pack("<12fH", 0, 0, 0, *corners[list(quad)].ravel(), 0) for quad in quads)
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "trunk.stl").write_bytes(b"\0" * 80 + struct.pack("<I", len(quads)) + facets)
    text = dog().replace('<box size="0.4 0.2 0.1"/>', '<mesh filename="package://dog/meshes/trunk.stl"/>')
    robot = import_robot(write(text), tmp_path / "dog").robot
    model = build_spec(robot).compile()
    assert model.nmesh == 0
    assert sorted(model.geom("trunk_0").size) == pytest.approx([0.05, 0.1, 0.15], abs=1e-4)


def test_collada_is_placed_as_its_scene_has_it(write):
    """Millimetres, turned by 90 degrees about z and moved by 1 m along x."""
    path = write(
        '<COLLADA xmlns="x"><asset><unit meter="0.001"/></asset><library_geometries><geometry id="g"><mesh><source>'
        '<float_array id="g-positions-array" count="6">100 0 0 0 200 0</float_array></source></mesh></geometry></library_geometries>'
        "<library_visual_scenes><visual_scene><node><translate>1000 0 0</translate><node><rotate>0 0 1 90</rotate>"
        '<instance_geometry url="#g"/></node></node></visual_scene></library_visual_scenes></COLLADA>',
        "mesh.dae",
    )
    assert read_points(path) == pytest.approx(np.array([[1.0, 0.1, 0.0], [0.8, 0.0, 0.0]]))


def test_fits():
    """A slender cloud becomes a capsule along its length, another a box; both hold its extent."""
    rng = np.random.default_rng(1)
    rod = fit(np.array([0.1, 0.2, 0.3]) + rng.uniform(-1, 1, (4000, 3)) * (0.02, 0.3, 0.02))
    assert rod.kind == "capsule"
    assert np.abs(rod.rotation[:, 2]) == pytest.approx([0, 1, 0], abs=0.05)
    assert rod.size[0] + rod.size[1] == pytest.approx(0.3, abs=0.01)
    assert rod.pos == pytest.approx([0.1, 0.2, 0.3], abs=0.01)
    assert fit(rng.uniform(-1, 1, (4000, 3)) * (0.2, 0.25, 0.1)).kind == "box"


def test_prefixes():
    assert prefixes([("FL_hip", "FR_hip"), ("RL_hip", "RR_hip")]) == {"FL_": "FR_", "RL_": "RR_"}
    assert prefixes([("leg_left_1_joint", "leg_right_1_joint")]) == {"leg_left_": "leg_right_"}
    assert prefixes([("hipL", "hipR")]) == {"hipL": "hipR"}


HOPELESS = {
    "no such file": (None, "No such file"),
    "no XML": ("robot: dog", "no XML"),
    "another XML": ("<html/>", "Is robot.urdf a robot"),
    "no legs": ('<robot name="r"><link name="a"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/>'
                "</inertial></link></robot>", "cannot move"),
    "no mass": (dog().replace('mass value="', 'mass value="0" was="'), "weigh"),
    "a mesh that is missing": (dog().replace('<box size="0.4 0.2 0.1"/>', '<mesh filename="package://dog/trunk.stl"/>'), "trunk.stl"),
    "one leg": (dog(("FL",)), "at least two limbs"),
    "three legs": (dog(("FL", "FR", "RL")), "two or four legs"),
    "no mirror": (dog().replace('xyz="0.2 -0.08 0"', 'xyz="0.1 -0.08 0"'), "mirror images"),
    "a joint twice": (dog().replace('name="FL_hfe"', 'name="FL_haa"'), "'FL_haa'"),
    "a link twice": (dog().replace('link name="FL_toe"', 'link name="FL_shin"'), "'FL_shin'"),
    "limits reversed": (dog().replace('lower="-0.8" upper="0.8"', 'lower="0.8" upper="-0.8"', 1), "Swap them"),
    "a limit that is no number": (dog().replace('lower="-0.8"', 'lower="nan"', 1), "a number"),
    "a speed that is no number": (dog().replace('velocity="25"', 'velocity="fast"', 1), "'fast'"),
    "a mass below zero": (dog().replace('mass value="0.2"', 'mass value="-0.2"', 1), "0 or more"),
    "shapes that are not given": (dog().replace("collision>", "visual>"), "shapes"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "says"), HOPELESS.values(), ids=HOPELESS)
def test_hopeless_files_are_one_clear_error(tmp_path, text, says):
    path = tmp_path / "robot.urdf"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"^import") as error:
        import_robot(path, tmp_path / "out")
    assert says in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_imu_that_is_turned_is_said_to_be(write, tmp_path):
    turned = dog().replace('<origin xyz="0.05 0 0.02"/>', '<origin xyz="0.05 0 0.02" rpy="3.14159 0 0"/>')
    assert [line for line in import_robot(write(turned), tmp_path / "turned").guessed if "imu_link is turned" in line]
    assert not [line for line in import_robot(write(dog()), tmp_path / "level").guessed if "imu" in line]


def test_what_is_there_stays_and_what_fails_leaves_nothing(write, tmp_path, monkeypatch):
    full = tmp_path / "full"
    full.mkdir()
    (full / "model.xml").write_text("mine")
    with pytest.raises(InputError, match="a new or an empty folder"):
        import_robot(write(dog()), full)
    assert (full / "model.xml").read_text() == "mine"
    monkeypatch.setattr("robots.importer.stand", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        import_robot(write(dog()), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".import-*"))


def test_a_robot_is_not_overwritten(write, tmp_path):
    import_robot(write(dog()), tmp_path / "dog")
    with pytest.raises(InputError, match="nothing is written over"):
        import_robot(tmp_path / "robot.urdf", tmp_path / "dog")
