"""The Gymnasium view of the task keeps to Gymnasium's rules."""

import gymnasium
import numpy as np
import pytest

from locomotion.adapters.gymnasium import VectorEnv
from robots import InputError
from robots.actuator import POSITION_MARGIN
from tests.conftest import make_task, only, standing


def test_spaces_seeding_and_final_observations():
    env = VectorEnv(make_task("task.episode_seconds=0.1", "randomization=none"))
    assert isinstance(env, gymnasium.vector.VectorEnv)
    first, _ = env.reset(seed=3)
    again, _ = env.reset(seed=3)
    np.testing.assert_array_equal(first, again)
    assert env.observation_space.contains(first)
    ended = 0
    for _ in range(12):
        observation, reward, terminated, truncated, infos = env.step(np.zeros((env.num_envs, 12)))
        assert env.observation_space.contains(observation)
        assert reward.shape == terminated.shape == truncated.shape == (env.num_envs,)
        assert not (terminated & truncated).any()
        assert truncated.any() == ("final_obs" in infos)
        if truncated.any():
            ended += int(truncated.sum())
            assert (np.abs(infos["final_obs"][truncated]).sum(axis=1) > 0).all()
            assert not np.allclose(infos["final_obs"][truncated], observation[truncated])
    assert ended >= 2 * env.num_envs


def test_rows_that_fell_have_their_last_observation_too():
    env = VectorEnv(make_task("randomization=none"))
    env.reset(seed=0)
    state = standing(env.env.robot, 6)
    state.base_quat[:] = state.base_quat.new_tensor([0.8, 0.6, 0.0, 0.0])
    env.env.simulator.reset(only(6, 3), state)
    observation, _, terminated, _, infos = env.step(np.zeros((6, 12)))
    assert terminated.tolist() == [False, False, False, True, False, False]
    assert infos["_final_obs"].tolist() == terminated.tolist()
    assert abs(infos["final_obs"][3, 4]) > 0.8  # gravity to the side
    assert abs(observation[3, 4]) < 0.3


def test_actions_are_bounded_by_what_they_can_change():
    env = VectorEnv(make_task())
    robot = env.env.robot
    expected = (robot.joint_pos_limit[:, 1] - POSITION_MARGIN - robot.default_joint_pos) / robot.action_scale
    np.testing.assert_allclose(env.single_action_space.high, expected, rtol=1e-5)
    assert env.single_action_space.contains(np.zeros(12, dtype=np.float32))


def test_a_learner_may_keep_its_actions():
    env = VectorEnv(make_task("randomization=none", "task.episode_seconds=0.04"))
    env.reset(seed=0)
    for _ in range(4):
        action = np.full((6, 12), 0.3, dtype=np.float32)
        env.step(action)
        assert (action == np.float32(0.3)).all()


def test_a_list_of_seeds_is_refused():
    with pytest.raises(InputError, match="one integer"):
        VectorEnv(make_task()).reset(seed=[1] * 6)
