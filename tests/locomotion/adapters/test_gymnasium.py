"""The Gymnasium view of the task keeps to Gymnasium's rules."""

import gymnasium
import numpy as np
import pytest

from locomotion.adapters.gymnasium import Env, VectorEnv
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


def played(env: VectorEnv, seed: int, steps: int = 40) -> list[np.ndarray]:
    """All that an environment says from a seed on."""
    generator = np.random.default_rng(0)
    said = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        *arrays, infos = env.step(generator.uniform(-3.0, 3.0, (env.num_envs, 12)))
        said += [*arrays, *(infos[name] for name in ("final_obs", "_final_obs") if infos)]
    return said


def test_a_seed_repeats_everything_bit_for_bit_whatever_was_before_curricula_included():
    words = ("task.episode_seconds=0.5", "task.curricula.ramp_weights.score=[0.001,0.002]", "randomization.events.push.interval=[0.1,0.2]")
    one, other = (VectorEnv(make_task(*words, f"seed={seed}")) for seed in (1, 2))
    first = played(one, 7)
    assert one.env.curricula[0].level > 0.5  # which the second time begins anew
    again, elsewhere, different = played(one, 7), played(other, 7), played(one, 8)
    assert len(first) == len(again) == len(elsewhere) > 1 + 4 * 40  # some episodes ended
    for a, b, c in zip(first, again, elsewhere, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert not np.array_equal(first[0], different[0])


def test_whole_episodes_are_had_for_the_asking():
    env = VectorEnv(make_task("task.episode_seconds=0.2", "randomization=none"))

    def lengths(**options) -> list[int]:
        env.reset(seed=3, options=options)
        cut = np.array([env.step(np.zeros((6, 12)))[3] for _ in range(10)])
        return cut.argmax(axis=0).tolist()

    assert lengths(stagger=False) == [9] * 6
    assert len(set(lengths())) > 2


def test_a_single_environment_ends_with_its_last_observation_and_waits_for_a_reset():
    words = ("algorithm.num_envs=1", "task.episode_seconds=0.1")
    vector, single = VectorEnv(make_task(*words)), Env(make_task(*words, "seed=9"))
    (expected, _), (seen, _) = vector.reset(seed=4, options={"stagger": False}), single.reset(seed=4)
    np.testing.assert_array_equal(seen, expected[0])
    for step in range(5):
        action = np.full(12, 0.1 * step)
        observation, reward, terminated, truncated, infos = vector.step(action[None])
        seen, own_reward, own_terminated, own_truncated, _ = single.step(action)
        np.testing.assert_array_equal(seen, infos["final_obs"][0] if step == 4 else observation[0])
        assert (own_reward, own_terminated, own_truncated) == (reward[0], bool(terminated[0]), bool(truncated[0]))
    assert own_truncated
    with pytest.raises(InputError, match="reset"):
        single.step(np.zeros(12))
    begun, _ = single.reset()
    assert not np.array_equal(begun, seen)
    assert int(single.env.elapsed[0]) == 0
