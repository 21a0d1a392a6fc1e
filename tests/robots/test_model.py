"""The models of the robots: geometry, ground, and standing on it."""

import mujoco
import numpy as np
import pytest

import robots
from robots import InputError
from robots.check import foot_positions, sole_heights
from robots.model import add_ground, build_spec, foot_radius, total_mass
from robots.robot import from_yaml
from tests.robots.broken import go2_copy

ALL = ["anymal_c", "unitree_g1", "unitree_g1.legs", "unitree_g1.23dof", "unitree_go1", "unitree_go2"]
MASS = {
    "anymal_c": 52.13485,
    "unitree_g1": 33.341142,
    "unitree_g1.23dof": 32.106857,
    "unitree_go1": 12.032529,
    "unitree_go2": 15.206408,
}  # kg: test_published.py


@pytest.fixture(params=ALL)
def robot(request):
    return robots.load(request.param)


def on_ground(robot):
    spec = build_spec(robot)
    add_ground(spec, robot)
    return spec


def stand(model, robot, height, joint_pos):
    data = mujoco.MjData(model)
    data.qpos[:7] = 0, 0, height, 1, 0, 0, 0
    data.qpos[7:] = data.ctrl[:] = joint_pos
    mujoco.mj_forward(model, data)
    return data


def touching(model, data):
    return {model.geom(contact.geom2).name for contact in data.contact if contact.dist < 0}


def test_mass_is_the_robots_alone(robot):
    assert total_mass(on_ground(robot).compile()) == pytest.approx(MASS.get(robot.name) or MASS[robot.name.partition(".")[0]], abs=1e-6)


def test_mirror_agrees_with_geometry(robot):
    """Mirrored joint angles put each foot at the mirrored place of its partner."""
    model = build_spec(robot).compile()
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    pose = robot.default_joint_pos + rng.normal(0, 0.3, robot.num_joints)

    def feet(joint_pos):
        data.qpos[:7] = 0, 0, 0, 1, 0, 0, 0
        data.qpos[7:] = joint_pos
        mujoco.mj_kinematics(model, data)
        return foot_positions(robot, data)

    mirrored = feet(robot.mirror.joint_sign * pose[robot.mirror.joint_index])
    published = 1e-4 if robot.name.startswith("unitree_g1") else 1e-9  # m; left and right of the G1's URDF differ by so much
    np.testing.assert_allclose(mirrored, feet(pose)[robot.mirror.foot_index] * [1, -1, 1], atol=published)


@pytest.mark.parametrize("priority", [None, 1, 7], ids=["without priority", "of priority 1", "of priority 7"])
def test_friction_of_a_contact_is_the_grounds(tmp_path, priority):
    """Whatever the MJCF says of its feet, slippery grounds included."""
    mark = "" if priority is None else f'priority="{priority}" '
    sticky = ('type="sphere" size="0.022"', f'{mark}friction="1.5 0.1 0.1" condim="6" type="sphere" size="0.022"')
    robot = from_yaml(go2_copy(tmp_path, model=sticky))
    model = on_ground(robot).compile()
    for sliding in (0.8, 0.2):
        if sliding == 0.2:
            model.geom("ground").friction[0] = sliding
        data = stand(model, robot, 0.3, robot.default_joint_pos)
        assert touching(model, data) == set(robot.feet)
        for contact in data.contact:
            assert contact.dim == 3
            np.testing.assert_allclose(contact.friction, [sliding, sliding, 0.005, 0.0001, 0.0001])


def test_published_feet_are_balls(robot):
    radius = {"anymal_c": 0.03, "unitree_go1": 0.02, "unitree_go2": 0.022}.get(robot.name, 0.005)  # m; the G1's are four small ones each
    np.testing.assert_allclose(foot_radius(build_spec(robot).compile(), robot), radius)


@pytest.mark.parametrize(
    ("shape", "depth"),  # the shape's attributes, and how far it reaches below its centre when it leans by an angle
    [
        ('type="sphere" size="0.022"', lambda lean: 0.022),
        ('type="capsule" size="0.01 0.02"', lambda lean: 0.01 + 0.02 * np.cos(lean)),
        ('type="cylinder" size="0.01 0.02"', lambda lean: 0.01 * abs(np.sin(lean)) + 0.02 * np.cos(lean)),
        ('type="box" size="0.03 0.02 0.01"', lambda lean: 0.03 * abs(np.sin(lean)) + 0.01 * np.cos(lean)),
        ('type="ellipsoid" size="0.03 0.02 0.01"', lambda lean: np.hypot(0.03 * np.sin(lean), 0.01 * np.cos(lean))),
    ],
)
def test_foot_radius_of_any_shape(tmp_path, shape, depth):
    """Hips straight, so that feet lean about the lateral axis only: by thigh plus calf, 0.8 - 1.5 and 1.0 - 1.5 rad."""
    pose = {"*_hip_joint": 0.0, "F?_thigh_joint": 0.8, "R?_thigh_joint": 1.0, "*_calf_joint": -1.5}
    robot = from_yaml(go2_copy(tmp_path, {"default_joint_pos": pose}, ('type="sphere" size="0.022"', shape)))
    expected = [depth(-0.7), depth(-0.7), depth(-0.5), depth(-0.5)]
    model = mujoco.MjModel.from_xml_path(str(robot.model))  # without the checks: with these hips it stands higher
    np.testing.assert_allclose(foot_radius(model, robot), expected, atol=1e-9)


def test_a_standing_height_at_which_the_soles_are_off_the_ground_is_refused(tmp_path):
    for height in (0.29, 0.36):
        robot = from_yaml(go2_copy(tmp_path / str(height), {"standing_height": height}))
        with pytest.raises(InputError, match=r"standing_height.*near 0\.32"):
            build_spec(robot)


def test_feet_of_the_anymal_just_touch_at_its_standing_height():
    robot = robots.load("anymal_c")
    model = build_spec(robot).compile()
    data = stand(model, robot, robot.standing_height, robot.default_joint_pos)
    soles = np.array([data.geom(foot).xpos[2] for foot in robot.feet]) - foot_radius(model, robot)
    assert np.abs(soles).max() < 0.0005


def test_standing_for_ten_seconds(robot):
    """Under its own gains a robot stands within 2 cm of its height, drifts by less than 5 mm, and keeps upright on its feet.

    Elliptic cones with a stiff friction, as MuJoCo advises against slip: with its defaults the feet of a standing robot creep
    apart (about 5 mm a second), which says nothing of the robot.
    """
    spec = on_ground(robot)
    spec.option.cone, spec.option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 100
    spec.option.timestep, spec.option.integrator = 0.002, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    model = spec.compile()
    data = stand(model, robot, 0.0, robot.default_joint_pos)
    reach = -sole_heights(robot, model, data)  # [F] m, base above each sole
    data = stand(model, robot, reach.max(), robot.default_joint_pos)
    mujoco.mj_step(model, data, 500)
    settled = data.qpos[:7].copy()
    mujoco.mj_step(model, data, 4500)
    assert abs(data.qpos[2] - robot.standing_height) < 0.02
    np.testing.assert_allclose(data.qpos[:7], settled, atol=0.005)
    assert np.linalg.norm(data.qpos[:2]) < 0.03  # m; the Go2 steps back by 2 cm as its rear feet come down
    assert data.body(robot.base_body).xmat[8] > 0.999
    assert np.abs(data.qvel).max() < 0.01
    assert touching(model, data) == {shape for shapes in robot.foot_geoms for shape in shapes}
    assert np.abs(data.actuator_force / robot.effort_limit).max() < 0.5


def test_lying_is_low_and_at_rest(robot):
    """Where stand up begins: the trunk low and upright, and no joint far from where it was put."""
    model = on_ground(robot).compile()
    data = stand(model, robot, 0.0, robot.lie_joint_pos)
    data = stand(model, robot, -sole_heights(robot, model, data).min(), robot.lie_joint_pos)
    mujoco.mj_step(model, data, 2500)
    assert data.qpos[2] < 0.4 * robot.standing_height
    assert data.body(robot.base_body).xmat[8] > 0.99
    np.testing.assert_allclose(data.qpos[7:], robot.lie_joint_pos, atol=0.15)
    assert np.abs(data.qvel).max() < 0.05
