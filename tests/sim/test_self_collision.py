"""Legs that are told to meet each other, not the ground alone."""

import dataclasses

import mujoco
import numpy as np
import pytest
import torch

import robots
import sim
from sim.mujoco_model import build_model
from tests.conftest import only, standing


def crossed(go2):
    """Joint targets [1, J] that swing both front legs inwards, through each other."""
    target = torch.tensor(go2.default_joint_pos, dtype=torch.float32)[None].clone()
    target[0, 0], target[0, 3] = -1.0, 1.0
    return target


@pytest.mark.parametrize("engine", ["mujoco", pytest.param("mujoco_warp", marks=pytest.mark.slow), "pybullet"])
def test_legs_stop_at_each_other(engine, go2, request):
    pytest.importorskip(engine)
    if engine == "mujoco_warp":
        request.getfixturevalue("warp")
    gap = {}
    for self_collision in (False, True):
        simulator = sim.make(engine, go2, 1, 0.002, self_collision=self_collision)
        simulator.reset(only(1), standing(go2, 1, height=3.0))
        start = torch.tensor(go2.default_joint_pos, dtype=torch.float32)[None]
        for share in torch.linspace(0.0, 1.0, 20):  # gently, or thin shapes pass between two physics steps
            simulator.step(torch.lerp(start, crossed(go2), share), 10)  # in free fall
        gap[self_collision] = float(simulator.signals.foot_pos[0, 0, 1] - simulator.signals.foot_pos[0, 1, 1])
        assert simulator.signals.ground_contacts.item() == simulator.signals.foot_contacts.sum().item() == 0
        simulator.close()
    assert gap[False] < -0.2  # the left foot is to the right
    assert gap[True] > 0.02


def test_links_that_touch_as_the_robot_stands_do_not_collide(go2):
    """Else a description whose shapes overlap a little would burst apart."""
    overlapping = dataclasses.replace(go2, default_joint_pos=crossed(go2)[0].double().numpy())
    for robot, pairs in ((go2, 0), (overlapping, 1)):
        model = build_model(robot, 0.002, self_collision=True)
        names = {frozenset((model.body(e >> 16).name, model.body(e & 0xFFFF).name)) for e in model.exclude_signature.tolist()}
        assert names == set([frozenset(("FL_thigh", "FR_thigh"))][:pairs])
    assert build_model(go2, 0.002).geom("FL_thigh").contype.item() == 0  # not unless asked


@pytest.mark.parametrize("name", ["unitree_go2", "unitree_go1", "anymal_c"])
def test_joint_limits_keep_legs_out_of_the_trunk(name):
    """Where shapes meet the ground alone, legs pass through each other, but no leg through the trunk."""
    robot = robots.load(name)
    model = build_model(robot, 0.002, self_collision=True)
    data, generator, met = mujoco.MjData(model), np.random.default_rng(0), 0
    low, high = robot.joint_pos_limit.T
    columns = [model.joint(joint).qposadr[0] for joint in robot.joint_names]
    data.qpos[2] = 5.0
    for _ in range(1000):
        data.qpos[columns] = generator.uniform(low, high)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        bodies = {model.body(model.geom_bodyid[geom]).name for contact in data.contact for geom in contact.geom}
        assert robot.base_body not in bodies
        met += bool(bodies)
    assert met > 20  # legs do meet each other
