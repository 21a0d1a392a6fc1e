"""Feet of several shapes, against the same robot with feet of one."""

import numpy as np
import pytest
import torch

import robots
import sim
from robots import InputError
from robots.model import build_spec, foot_radius
from robots.robot import from_yaml
from tests.conftest import only, standing
from tests.robots.broken import go2_copy

LEGS = ("FL", "FR", "RL", "RR")
FOOT = '<geom name="{0}_foot" class="foot"/>'
PAIR = '<geom name="{0}_inner" class="foot" pos="-0.002 0.01 -0.213"/><geom name="{0}_outer" class="foot" pos="-0.002 -0.01 -0.213"/>'
FEET = {f"{leg}_foot": [f"{leg}_inner", f"{leg}_outer"] for leg in LEGS}


def pairs(folder, feet=None):
    """The Go2 on two balls a foot, each a centimetre to the side of the one that it has."""
    path = go2_copy(folder / "mine", {"feet": feet or FEET})
    model = path.with_name("model.xml").read_text()
    for leg in LEGS:
        model = model.replace(FOOT.format(leg), PAIR.format(leg))
        model = model.replace(f'<geom name="{leg}_calf"', f'<geom name="{leg}_calf" conaffinity="0"')
    path.with_name("model.xml").write_text(model)
    return from_yaml(path)


@pytest.mark.parametrize("engine", ["mujoco", "pybullet"])
def test_signals_of_a_foot_are_of_all_its_shapes(tmp_path, go2, engine):
    """Position: their mean, where the one ball was; force: their sum, which bears the robot; contacts: of each shape."""
    if engine == "pybullet":
        pytest.importorskip("pybullet")
    robot = pairs(tmp_path)
    worlds = [sim.make(engine, one, 1, 0.002) for one in (go2, robot)]
    target = torch.tensor(robot.default_joint_pos, dtype=torch.float32)[None]
    target[:, ::3] = 0.0  # legs upright, so that both balls of a foot touch
    for world in worlds:
        world.reset(only(1), standing(robot, 1, yaw=0.4, height=1.0))
    np.testing.assert_allclose(worlds[1].signals.foot_pos, worlds[0].signals.foot_pos, atol=1e-6)
    for world in worlds:
        state = standing(robot, 1)
        state.joint_pos[:] = target
        world.reset(only(1), state)
        for _ in range(50):
            world.step(target, 10)
    s = worlds[1].signals
    assert s.foot_contact_force[0, :, 2].sum().item() == pytest.approx(9.81 * worlds[1].total_mass, rel=0.05)
    assert s.foot_contacts.tolist() == [[2.0, 2.0, 2.0, 2.0]]
    assert s.ground_contacts.item() == 8.0
    assert s.foot_vel.abs().max() < 0.02
    for world in worlds:
        world.close()


def test_a_foot_is_measured_from_its_lowest_shape(tmp_path, go2):
    """Hips lean by 0.1 rad, so that one ball of a pair is lower than their mean by a centimetre's sine."""
    radius = [foot_radius(build_spec(robot).compile(), robot) for robot in (go2, pairs(tmp_path))]
    np.testing.assert_allclose(radius[1] - radius[0], 0.01 * np.sin(0.1), atol=1e-6)


def test_feet_of_the_g1_carry_it_at_their_corners():
    robot = robots.load("unitree_g1.legs")
    assert robot.feet == ("left_foot", "right_foot")
    assert [len(shapes) for shapes in robot.foot_geoms] == [4, 4]


@pytest.mark.parametrize(
    ("feet", "says"),
    [
        (FEET | {"FL_foot": ["FL_inner", "FR_inner"], "FR_foot": ["FR_outer", "FL_outer"]}, "the shapes of one body"),
        (FEET | {"FL_foot": ["FL_inner", "FL_inner"]}, "every name once"),
        (FEET | {"FL_foot": ["FR_inner", "FL_outer"]}, "every name once"),
        (FEET | {"FL_foot": "FL_inner"}, "list"),
        (FEET | {"FL_foot": ["FL_inner", "FL_outre"]}, "Did you mean FL_outer"),
    ],
)
def test_impossible_feet(tmp_path, feet, says):
    with pytest.raises(InputError, match="feet") as error:
        build_spec(pairs(tmp_path, feet))
    assert says in str(error.value)
