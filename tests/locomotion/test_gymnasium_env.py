"""The Gymnasium view of the task keeps to Gymnasium's rules."""

import gymnasium
import numpy as np

from locomotion import build
from locomotion.gymnasium_env import VelocityVectorEnv
from tests.conftest import tiny_config


def test_spaces_seeding_and_final_observations():
    env = VelocityVectorEnv(build.task(tiny_config("task.episode_seconds=0.1", "randomization=none")))
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
