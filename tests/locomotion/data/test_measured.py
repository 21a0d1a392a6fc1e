"""The signals of a walk as a robot knows them: upright frames, feet that stand still on the ground, and NaN where nothing tells."""

import mujoco
import numpy as np
import pytest

from locomotion.data.kinematics import Kinematics
from locomotion.data.measured import MEASURED, UNMEASURED, quaternions, signals_of, world_from_base
from sim.signals import signal_shapes
from tests.locomotion.data.trotting import DT, trot


@pytest.fixture(scope="module")
def walk(go2):
    measured, truth = trot(go2, 5.0)
    return measured, truth, signals_of(Kinematics(go2), measured, DT)


def test_all_signals_are_there_with_their_shapes_and_only_what_nothing_tells_is_nan(walk, go2):
    measured, _, signals = walk
    steps = len(measured["joint_pos"])
    assert {name: value.shape for name, value in signals.items()} == {
        name: (steps, *shape) for name, shape in signal_shapes(go2.num_joints, len(go2.feet)).items()
    }
    assert {name for name, value in signals.items() if not np.isfinite(value).all()} == set(UNMEASURED)
    for name in MEASURED:
        np.testing.assert_array_equal(signals[name], measured[name])


def test_feet_that_stand_are_still_and_on_the_ground_and_others_are_not(walk, go2):
    _, truth, signals = walk
    stands, radius = signals["foot_contacts"] > 0, 0.022
    assert 0.4 < stands.mean() < 0.95
    speed = np.linalg.norm(signals["foot_vel"][..., :2], axis=-1)
    assert np.median(speed[stands]) < 0.1
    assert np.median(speed[~stands]) > 0.4
    height = signals["foot_pos"][..., 2] - radius
    assert np.abs(height[stands]).mean() < 0.005
    assert height[~stands].max() > 0.03
    assert (signals["foot_contact_force"][~stands] == 0.0).all()
    assert (signals["foot_contact_force"][stands][:, 2] > 0.0).all()
    weight = signals["foot_contact_force"][..., 2].sum(axis=1)[50:].mean()
    assert abs(weight / truth["foot_contact_force"][..., 2].sum(axis=1)[50:].mean() - 1.0) < 0.1


def test_the_frame_is_upright_and_looks_ahead():
    rng = np.random.default_rng(0)
    gravity = np.array([0.0, 0.0, -1.0]) + 0.4 * rng.standard_normal((20, 3))
    rotation = world_from_base(gravity)
    down = np.einsum("txy,ty->tx", rotation, gravity / np.linalg.norm(gravity, axis=-1, keepdims=True))
    np.testing.assert_allclose(down, np.tile([0.0, 0.0, -1.0], (20, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-12)
    ahead = rotation @ np.array([1.0, 0.0, 0.0])
    assert np.abs(ahead[:, 1]).max() < 1e-12  # no yaw
    assert (ahead[:, 0] > 0.0).all()
    for quat, matrix in zip(quaternions(rotation), rotation, strict=True):
        again = np.zeros(9)
        mujoco.mju_quat2Mat(again, quat)
        np.testing.assert_allclose(again.reshape(3, 3), matrix, atol=1e-12)
