"""A robot that cannot rise by itself stands up on a gantry, is let down, and stands on its own feet."""

import numpy as np
import pytest

import robots
from deploy.states import State
from tests.deploy import bundles
from tests.deploy.plants import Deployment


@pytest.mark.parametrize("name", ["unitree_g1.legs", pytest.param("unitree_g1", marks=pytest.mark.slow)])
def test_a_humanoid_comes_to_ready_and_walk_and_is_damped_at_the_end(tmp_path, name):
    robot = robots.load(name)
    deployment = Deployment(bundles.write_tiny(tmp_path / "policy.onnx", robot, weight=0.0), robot)
    feet, plant, read = [], deployment.plant, deployment.plant.read

    def watch():
        sample = read()
        feet.append(sample.truth["foot_contact_force"][:, 2].sum())
        return sample

    plant.read = watch
    walking = deployment.supervisor.limits.stand_up_seconds + 0.5 + 0.3 * robot.num_joints
    deployment.run(walking + 2.0)
    assert deployment.kinds == []
    assert deployment.seconds(State.WALK) > 1.5
    assert feet[0] == 0.0  # it hangs
    weight = 9.81 * plant.model.body_subtreemass[plant.model.body(robot.base_body).id]
    standing = round(walking / 0.02)
    assert np.mean(feet[standing : standing + 50]) == pytest.approx(weight, rel=0.03)  # and then stands by itself
    assert plant.gantry.released
    assert not plant.data.xfrc_applied.any()
    assert deployment.damped


def test_a_robot_of_four_feet_needs_none(bundle, go2):
    assert Deployment(bundle, go2).plant.gantry is None
