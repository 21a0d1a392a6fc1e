"""rsl_rl, skrl, rl_games and stable-baselines3 are each told of ends, time-outs and last observations in their own way."""

import importlib
import os
import sys

import numpy as np
import pytest
import torch

from deploy import policy as bundles
from locomotion.export import export_actor
from robots.errors import InputError
from tests.conftest import make_task, only, standing

SHORT = ("randomization=none", "task.episode_seconds=0.1")


def library(name: str):
    """The adapter for a library, which may be absent on a person's own machine only."""
    return importlib.import_module(f"locomotion.adapters.{name}") if os.environ.get("CI") else _or_skip(name)


def _or_skip(name: str):
    pytest.importorskip({"stable_baselines": "stable_baselines3"}.get(name, name))
    return importlib.import_module(f"locomotion.adapters.{name}")


def tip_over(task, row: int) -> None:
    """A robot that lies on its side by the next step."""
    state = standing(task.robot, task.num_envs)
    state.base_quat[:] = state.base_quat.new_tensor([0.8, 0.6, 0.0, 0.0])
    task.simulator.reset(only(task.num_envs, row), state)


def whole(task) -> None:
    task.elapsed = torch.zeros_like(task.elapsed)


def test_elapsed_counts_the_steps_of_an_episode_and_decides_when_it_is_cut_off():
    task = make_task(*SHORT)
    task.elapsed = torch.tensor([0, 1, 2, 3, 4, 0])
    cut = []
    for _ in range(5):
        cut.append(task.step(torch.zeros(6, 12)).truncated.tolist())
    assert np.argmax(cut, axis=0).tolist() == [4, 3, 2, 1, 0, 4]
    assert task.elapsed.tolist() == [0, 1, 2, 3, 4, 0]


def test_rsl_rl_is_told_of_time_outs_apart_from_falls_and_of_both_groups():
    adapter = library("rsl_rl")
    task = make_task(*SHORT)
    env = adapter.RslRlEnv(task)
    assert (env.num_envs, env.num_actions, env.max_episode_length) == (6, 12, 5)
    whole(task)
    tip_over(task, 2)
    observations, reward, dones, extras = env.step(torch.zeros(6, 12))
    assert dones.tolist() == [False, False, True, False, False, False]
    assert not extras["time_outs"].any()
    assert env.episode_length_buf.tolist() == [1, 1, 0, 1, 1, 1]
    assert {name: list(value.shape) for name, value in observations.items()} == {
        name: [6, width] for name, width in task.spaces.groups.items()
    }
    assert torch.equal(observations["critic"], task.observations["critic"])
    env.episode_length_buf = torch.full((6,), 4)  # as init_at_random_ep_len does
    *_, dones, extras = env.step(torch.zeros(6, 12))
    assert dones.all()
    assert extras["time_outs"].all()
    assert reward.shape == (6,)


def test_rsl_rl_gets_the_rewards_that_our_own_learners_get():
    adapter = library("rsl_rl")
    ours, theirs = make_task(), make_task()
    env = adapter.RslRlEnv(theirs)
    got = []
    for step in range(20):
        action = torch.full((6, 12), 0.05 * step)
        ours.step(action)
        got.append(env.step(action)[1])
    torch.testing.assert_close(torch.stack(got), ours.rewards(), rtol=1e-5, atol=1e-6)


def test_a_mirrored_sample_is_the_robots_mirror_image():
    adapter = library("rsl_rl")
    task = make_task("randomization=none")
    env = adapter.RslRlEnv(task)
    seen, action = env.get_observations(), torch.randn(6, 12)
    both, actions = adapter.mirrored(env, seen, action)
    assert torch.equal(both["actor"][:6], seen["actor"])
    assert torch.equal(actions[:6], action)
    assert both["actor"][6:, 5] == pytest.approx(seen["actor"][:, 5])  # gravity downwards
    assert both["actor"][6:, 4] == pytest.approx(-seen["actor"][:, 4])  # and to the left
    twice, again = adapter.mirrored(env, both[6:], actions[6:])
    assert torch.equal(twice["critic"][6:], seen["critic"])
    assert torch.equal(again[6:], action)
    assert adapter.mirrored(env, None, action)[0] is None
    names = list(task.robot.joint_names)
    assert torch.equal(actions[6:, names.index("FL_thigh_joint")], action[:, names.index("FR_thigh_joint")])


def test_skrl_sees_what_the_critic_sees_as_its_states():
    adapter = library("skrl")
    task = make_task(*SHORT)
    env = adapter.SkrlEnv(task)
    assert env.num_envs == 6
    assert env.observation_space.shape == (task.spaces.groups["actor"],)
    assert env.state_space.shape == tuple(env.state().shape[1:]) == (task.spaces.groups["critic"],)
    observation, _ = env.reset()
    assert torch.equal(observation, task.observations["actor"])
    whole(task)
    tip_over(task, 1)
    observation, reward, terminated, truncated, _ = env.step(torch.zeros(6, 12))
    assert reward.shape == terminated.shape == truncated.shape == (6, 1)
    assert terminated.flatten().tolist() == [False, True, False, False, False, False]
    assert torch.equal(env.reset()[0], observation)  # its trainers reset at every evaluation: nothing is lost
    for _ in range(4):
        *_, truncated, _ = env.step(torch.zeros(6, 12))
    assert truncated.flatten().tolist() == [True, False, True, True, True, True]


def test_rl_games_is_told_of_time_outs():
    adapter = library("rl_games")
    task = make_task(*SHORT)
    env = adapter.RlGamesEnv(task)
    about = env.get_env_info()
    seen = env.reset()
    assert about["observation_space"].shape == tuple(seen["obs"].shape[1:])
    assert about["state_space"].shape == tuple(seen["states"].shape[1:])
    assert about["action_space"].shape == (12,)
    whole(task)
    tip_over(task, 1)
    _, reward, dones, infos = env.step(torch.zeros(6, 12))
    assert reward.shape == (6,)
    assert (dones.sum(), infos["time_outs"].sum()) == (1, 0)
    for _ in range(4):
        *_, dones, infos = env.step(torch.zeros(6, 12))
    assert dones.tolist() == infos["time_outs"].tolist() == [True, False, True, True, True, True]


def test_rl_games_makes_what_was_registered_with_as_many_actors():
    adapter = library("rl_games")
    from rl_games.common import vecenv

    task = make_task(*SHORT)
    adapter.register("tiny", task)
    assert vecenv.create_vec_env("tiny", 6).task is task
    with pytest.raises(InputError, match=r"num_actors: got 5.*, 6"):
        vecenv.create_vec_env("tiny", 5)


def test_stable_baselines3_is_told_of_last_observations_and_what_was_cut_off():
    adapter = library("stable_baselines")
    env = adapter.StableBaselinesEnv(make_task(*SHORT))
    task = env.env.env
    env.seed(5)
    env.set_options({"stagger": False})
    first = env.reset()
    env.seed(5)
    env.set_options({"stagger": False})
    np.testing.assert_array_equal(env.reset(), first)
    tip_over(task, 3)
    _, _, dones, infos = env.step(np.zeros((6, 12), np.float32))
    assert dones.tolist() == [False, False, False, True, False, False]
    assert infos[3]["TimeLimit.truncated"] is False
    assert abs(infos[3]["terminal_observation"][4]) > 0.8  # gravity to the side
    assert infos[0] == {}
    for _ in range(4):
        seen, _, dones, infos = env.step(np.zeros((6, 12), np.float32))
    assert [info.get("TimeLimit.truncated") for info in infos] == [True, True, True, None, True, True]
    assert not np.allclose(infos[0]["terminal_observation"], seen[0])
    assert env.get_attr("num_envs", [0, 2]) == [6, 6]
    assert env.env_method("reset", indices=1)[0][0].shape == (6, task.spaces.groups["actor"])


def test_what_stable_baselines3_learned_becomes_a_bundle_that_does_the_same(tmp_path, go2):
    adapter = library("stable_baselines")
    from stable_baselines3 import PPO, SAC
    from stable_baselines3.common.vec_env import VecNormalize

    task = make_task()
    normalize = VecNormalize(adapter.StableBaselinesEnv(task), clip_obs=2.0)
    model = PPO("MlpPolicy", normalize, n_steps=16, batch_size=32, n_epochs=1, seed=1, policy_kwargs={"net_arch": [16]})
    model.learn(6 * 16)
    assert model.logger.get_dir() == os.environ["SB3_LOGDIR"]  # and not one more folder for each run in the temporary one
    with torch.no_grad():
        model.policy.action_net.bias.add_(torch.linspace(-8.0, 8.0, 12))  # some actions are beyond their bounds
    seen = 2.0 * np.random.default_rng(0).standard_normal((50, task.spaces.groups["actor"])).astype(np.float32)
    actor = adapter.Actor(model, normalize)
    with torch.no_grad():
        np.testing.assert_allclose(
            actor(torch.from_numpy(seen)), model.predict(normalize.normalize_obs(seen), deterministic=True)[0], atol=1e-5
        )
    export_actor(actor, task, tmp_path / "policy.onnx", {"seed": 1, "steps": 96})
    contract = bundles.load(tmp_path / "policy.onnx", go2).contract
    assert contract.provenance["steps"] == 96
    assert contract.provenance["commit"] is None
    with pytest.raises(InputError, match="ActorCriticPolicy"):
        adapter.Actor(SAC("MlpPolicy", adapter.StableBaselinesEnv(make_task()), buffer_size=10))


@pytest.mark.parametrize("name", ["rsl_rl", "skrl", "rl_games", "stable_baselines"])
def test_a_library_that_is_absent_names_its_extra(name, monkeypatch):
    theirs = {"stable_baselines": "stable_baselines3"}.get(name, name)
    for module in [one for one in sys.modules if one.partition(".")[0] == theirs]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, theirs, None)
    monkeypatch.delitem(sys.modules, f"locomotion.adapters.{name}", raising=False)
    extra = name.replace("_", "-")
    with pytest.raises(InputError, match=rf"pip install 'sim2real-locomotion\[{extra}\]'"):
        importlib.import_module(f"locomotion.adapters.{name}")
