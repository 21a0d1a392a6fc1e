"""From a policy to data to a policy, by the commands, and a run that was killed on the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from locomotion import build
from locomotion.adapters.gymnasium_environment import GymnasiumEnvironment
from locomotion.cli import main
from locomotion.data import load
from locomotion.data.dataset import Dataset
from locomotion.data.load import replay_of
from locomotion.runs import checkpoint
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.view import LiveView
from tests.locomotion.runs.test_checkpoint import assert_same

SMALL = ["algorithm.updates=3", "algorithm.actor_hidden=[8,8]", "algorithm.critic_hidden=[8]", "score_every=2", "iterations=4"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an untrained policy on a pendulum, from its checkpoint."""
    folder = tmp_path_factory.mktemp("offline")
    train = ["train", "env=gymnasium:Pendulum-v1", "algorithm=ppo_gymnasium", "algorithm.num_envs=2", "algorithm.steps=32"]
    assert main([*train, "iterations=1", "algorithm.minibatches=2", "score_every=0", f"run={folder}/run"]) == 0
    collect = ["dataset", "collect", f"policy={folder}/run", f"output={folder}/data", "steps=500", "num_envs=2", "noise=null"]
    assert main(collect) == 0
    return folder / "data"


def test_the_data_say_where_they_are_from(data: Path) -> None:
    dataset = Dataset(data)
    assert dataset.about["config"]["env"] == "gymnasium:Pendulum-v1"
    assert json.loads(dataset.metadata["env_spec"])["id"] == "Pendulum-v1"
    assert (dataset.groups, dataset.total_steps) == ({"actor": 3}, 500)
    assert dataset.steps().action.std() > 0.3  # it explored


def test_inspect_prints_a_table_and_writes_a_page(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "inspect", str(data), f"output={tmp_path}/page.html"]) == 0
    text = capsys.readouterr().out
    assert "500" in text
    assert "return of an episode" in text
    assert "<h2>Episodes</h2>" in (tmp_path / "page.html").read_text()


def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["offline", "algorithm=iql_gymnasium", f"dataset={data}", *SMALL]
    assert main([*words, f"run={tmp_path}/whole"]) == 0

    def interrupted(view: LiveView, iteration: int, iterations: int, figures: dict[str, float]) -> None:
        if iteration == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LiveView, "iteration", interrupted)
        assert main([*words, f"run={tmp_path}/cut"]) == 130
    assert main(["offline", f"resume={tmp_path}/cut"]) == 0
    whole, cut = (checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "cut"))
    assert (whole["iteration"], cut["iteration"]) == (4, 4)
    for part in ("actor", "critic", "q", "q_target"):
        for name, value in whole["learner"][part].items():
            assert torch.equal(value, cut["learner"][part][name]), f"{part}.{name}"
    lines = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    assert "scorecard/return" in lines[-1]
    assert (tmp_path / "whole" / "best.pt").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset=nothing"], "a dataset: a folder with"),
        ([], "Add dataset="),
        (["algorithm=iql", "algorithm.symmetric=false"], "critic_group=actor"),
        (["algorithm=iql_gymnasium", "rewards.upright.weight=1.0"], "recorded: here is no task"),
        (["algorithm=iql_gymnasium", "algorithm.expectile=1.5"], "algorithm.expectile"),
        (["algorithm=sac"], "from data alone"),  # it would act, too
        (["algorithm=ppo"], "from data alone"),
        (["algorithm=dqn"], "from data alone"),
    ],
)
def test_bad_input_is_one_clear_error(
    data: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [] if not words or words[0].startswith("dataset=") else [f"dataset={data}"]
    assert main(["offline", *given, *words, f"run={tmp_path}/run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_an_unknown_action_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "inspekt", "x"]) == 2
    assert "inspect" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["env=gymnasium:CartPole-v1", "robot=unitree_go2", "task=stand"])
def test_a_checkpoint_acts_in_what_it_was_trained_in(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert main(["dataset", "collect", f"policy={data.parent}/run", f"output={tmp_path}/d", "steps=10", word]) == 2
    assert "it brings its own" in capsys.readouterr().err


def test_choices_are_not_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["algorithm.actor_hidden=[8]", "algorithm.rounds=2", "algorithm.warm_up=8", "algorithm.capacity=100", "score_every=0"]
    assert main(["train", "env=gymnasium:CartPole-v1", "algorithm=dqn", *small, "iterations=1", f"run={tmp_path}/run"]) == 0
    assert main(["dataset", "collect", f"policy={tmp_path}/run", f"output={tmp_path}/d", "steps=10"]) == 2
    error = capsys.readouterr().err
    assert f"policy: got '{tmp_path}/run'; expected one whose actions are numbers" in error
    assert "Try algorithm=" not in error
    assert not (tmp_path / "d").exists()


def test_what_makes_two_networks_alike_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["algorithm=bc_gymnasium", f"dataset={data}", "algorithm.updates=1", "iterations=1", "score_every=0"]
    assert main(["offline", *words, f"run={tmp_path}/bc"]) == 0
    begin = ["train", "env=gymnasium:Pendulum-v1", "algorithm=ppo_gymnasium", "algorithm.num_envs=2", "algorithm.steps=32", "iterations=1"]
    begin += ["algorithm.minibatches=2", "score_every=0", f"init={tmp_path}/bc", f"run={tmp_path}/ppo"]
    assert main(begin) == 2
    remedy = "algorithm.actor_hidden=[256,256]"
    assert f"Make them alike: {remedy}." in capsys.readouterr().err
    assert main([*begin, remedy]) == 0


def test_weights_that_fit_and_mean_something_else_are_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Behind another activation, and a critic that says values in other units."""
    begin = ["train", "env=gymnasium:Pendulum-v1", "algorithm.num_envs=2", "algorithm.steps=32", "iterations=1", "score_every=0"]
    begin += [f"init={data.parent}/run", f"run={tmp_path}/next"]
    ppo = [*begin, "algorithm=ppo_gymnasium", "algorithm.minibatches=2"]
    hidden = f"algorithm.actor_hidden={list(checkpoint.load(data.parent / 'run' / 'last.pt')['config']['algorithm']['actor_hidden'])}"
    assert main([*ppo, "algorithm.activation=elu", "algorithm.normalize_values=false", hidden]) == 2
    error = capsys.readouterr().err
    assert "algorithm.activation=tanh" in error
    assert "algorithm.normalize_values=true" in error
    assert main([*ppo, "algorithm.normalize_values=false", hidden]) == 2
    assert "algorithm.normalize_values=true" in capsys.readouterr().err
    assert main([*begin, "algorithm=a2c_gymnasium", hidden]) == 2
    assert "Their activation is tanh, and algorithm a2c has elu alone." in capsys.readouterr().err


def test_learning_from_logs_may_begin_as_the_logged_policy(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its weights, and the normaliser that they were trained behind, not the data's: what logs do not cover stays as it was."""
    logged = checkpoint.load(data.parent / "run" / "last.pt")
    hidden = f"algorithm.actor_hidden={list(logged['config']['algorithm']['actor_hidden'])}"
    small = ["algorithm.symmetric=false", "algorithm.critic_group=actor", "algorithm.updates=1", "iterations=1", "score_every=0"]
    words = ["offline", "algorithm=iql", f"dataset={data}", *small, "algorithm.learning_rate=1e-9"]
    assert main([*words, hidden, f"init={data.parent}/run", f"run={tmp_path}/other"]) == 2
    assert "algorithm.activation=tanh" in capsys.readouterr().err
    words.append("algorithm.activation=tanh")
    assert main([*words, hidden, f"init={data.parent}/run", f"run={tmp_path}/near"]) == 0
    assert main([*words, hidden, f"run={tmp_path}/new"]) == 0
    near, new = (checkpoint.load(tmp_path / name / "last.pt")["learner"]["actor"] for name in ("near", "new"))
    for name, value in logged["learner"]["actor"].items():
        assert (value - near[name]).abs().max() <= (0.0 if name.startswith("normalizer") else 3e-9), name
    assert not torch.allclose(near["normalizer.mean"], new["normalizer.mean"], rtol=0.01)
    assert main([*words, "algorithm.actor_hidden=[8]", f"init={data.parent}/run", f"run={tmp_path}/narrow"]) == 2
    assert "Make them alike: algorithm.actor_hidden=" in capsys.readouterr().err


def test_a_policy_in_shares_of_one_range_does_not_begin_in_another(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    offline = ["offline", "algorithm=iql_gymnasium", "algorithm.actor_hidden=[8]", "algorithm.updates=1", "iterations=1", "score_every=0"]
    assert main([*offline, f"dataset={data}", f"run={tmp_path}/iql"]) == 0
    sac = ["train", "env=gymnasium:Pendulum-v1", "algorithm=sac", "algorithm.actor_hidden=[8]", "algorithm.rounds=2", "iterations=1"]
    sac += ["algorithm.capacity=100", "algorithm.normalize=true", "score_every=0", f"init={tmp_path}/iql", f"run={tmp_path}/sac"]
    assert main([*sac, "algorithm.action_limit=1"]) == 2
    assert "the same algorithm.action_limit: 1. It has None." in capsys.readouterr().err
    assert main(sac) == 0


class Still(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(1, np.float32), 0.0, False, False, {}


gymnasium.register("Still-v0", entry_point=f"{__name__}:Still")
gymnasium.register("Function-v0", entry_point=lambda: Still())


def test_an_environment_of_a_module_or_a_function_has_a_notation_or_none() -> None:
    """An ID may name the module that registers it, which Gymnasium's own notation does not."""
    told = GymnasiumEnvironment(f"{__name__}:Still-v0", 1, 0).specification
    assert told is not None
    assert json.loads(told)["id"] == "Still-v0"
    assert GymnasiumEnvironment("Function-v0", 1, 0).specification is None


# collecting from what was learned


def small(name: str, folder: Path, *words: str) -> list[str]:
    """Train on a pendulum for an iteration."""
    return ["train", "env=gymnasium:Pendulum-v1", f"algorithm={name}", "score_every=0", "iterations=1", f"run={folder}", *words]


@pytest.mark.parametrize("name", ["bc_gymnasium", "iql_gymnasium", "cql", "td3_bc"])
def test_what_was_learned_from_data_makes_data(data: Path, tmp_path: Path, name: str) -> None:
    words = ["algorithm.actor_hidden=[8]", "algorithm.updates=1", "iterations=1", "score_every=0"]
    assert main(["offline", f"algorithm={name}", f"dataset={data}", *words, f"run={tmp_path}/run"]) == 0
    collect = ["dataset", "collect", f"policy={tmp_path}/run", f"output={tmp_path}/data", "steps=30", "num_envs=3"]
    assert main(collect) == 0
    steps = Dataset(tmp_path / "data").steps()
    actor = actor_of(tmp_path / "run")
    with torch.no_grad():
        assert torch.allclose(actor(torch.from_numpy(steps.observations["actor"])), torch.from_numpy(steps.action), atol=1e-5)


def actor_of(run: Path) -> Any:
    state = checkpoint.load(run / "last.pt")
    settings = check(TrainSettings, state["config"])
    return build.actor(settings, GymnasiumEnvironment("Pendulum-v1", 1, 0).spaces, state["learner"]["actor"])


def test_a_policy_that_remembers_remembers_while_it_makes_data(tmp_path: Path) -> None:
    words = ["algorithm.memory=8", "algorithm.num_envs=2", "algorithm.steps=32", "algorithm.minibatches=2", "algorithm.learning_rate=0.03"]
    assert main(small("ppo_gymnasium", tmp_path / "run", *words)) == 0
    assert main(["dataset", "collect", f"policy={tmp_path}/run", f"output={tmp_path}/data", "steps=700", "num_envs=2"]) == 0
    actor, low, high = actor_of(tmp_path / "run"), -2.0, 2.0
    episodes = list(Dataset(tmp_path / "data").episodes())
    assert len(episodes) == 4  # of 200 steps, and of 150: memory ends with an episode
    for one in episodes:
        memory, forgetful = torch.zeros(1, 8), []
        for seen, done in zip(one.observations["actor"][:-1], one.action, strict=True):
            with torch.no_grad():
                forgetful.append(abs(float(actor(torch.from_numpy(seen[None]))) - float(done[0])))
                action, memory = actor.step(torch.from_numpy(seen[None]), memory)
            assert min(max(float(action), low), high) == pytest.approx(float(done[0]), abs=1e-4)
        assert max(forgetful) > 0.01


def test_noise_null_is_the_spread_that_sac_has_by_what_it_sees(tmp_path: Path) -> None:
    words = [
        "algorithm.rounds=40",
        "algorithm.warm_up=16",
        "algorithm.capacity=400",
        "algorithm.actor_hidden=[8]",
        "algorithm.critic_hidden=[8]",
    ]
    assert main(small("sac", tmp_path / "run", *words)) == 0
    collect = ["dataset", "collect", f"policy={tmp_path}/run", "steps=2000", "num_envs=10"]
    assert main([*collect, f"output={tmp_path}/data", "noise=null"]) == 0
    steps, actor = Dataset(tmp_path / "data").steps(), actor_of(tmp_path / "run")
    with torch.no_grad():
        mean, log_std = actor.outputs(torch.from_numpy(steps.observations["actor"]))
        z = (torch.atanh(actor.scale(torch.from_numpy(steps.action)).clamp(-1 + 1e-6, 1 - 1e-6)) - mean) / log_std.exp()
    assert abs(float(z.mean())) < 0.1
    assert float(z.std()) == pytest.approx(1.0, abs=0.1)
    assert main([*collect, f"output={tmp_path}/same", "noise=null"]) == 0
    assert np.array_equal(Dataset(tmp_path / "same").steps().action, steps.action)


# both: what half of every batch is from, and what weights mean


def test_a_run_with_a_dataset_goes_on_bit_for_bit_and_not_with_other_data(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    words = [
        "algorithm.rounds=8",
        "algorithm.warm_up=4",
        "algorithm.capacity=100",
        "algorithm.actor_hidden=[8]",
        "algorithm.critic_hidden=[8]",
    ]
    words += ["algorithm.batch_size=8", f"algorithm.dataset={copy}", "iterations=3"]
    assert main(small("sac", tmp_path / "whole", *words)) == 0
    assert main(small("sac", tmp_path / "cut", *words, "iterations=2")) == 0
    assert main(["train", f"resume={tmp_path}/cut", "iterations=3"]) == 0
    assert_same(*(checkpoint.load(tmp_path / name / "last.pt")["learner"] for name in ("whole", "cut")))
    shutil.rmtree(copy)
    assert main(["dataset", "collect", f"policy={data.parent}/run", f"output={copy}", "steps=100", "num_envs=2", "seed=5"]) == 0
    capsys.readouterr()
    assert main(["train", f"resume={tmp_path}/cut", "iterations=4"]) == 2
    assert "its dataset has changed" in capsys.readouterr().err


def test_data_of_another_environment_are_refused_though_they_fit(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data" / "data" / "metadata.json"
    shutil.copytree(data, tmp_path / "data")
    metadata = json.loads(path.read_text())
    metadata["locomotion"]["config"]["env"] = "gymnasium:Walker2d-v5"
    path.write_text(json.dumps(metadata))
    assert main(small("sac", tmp_path / "run", f"algorithm.dataset={tmp_path}/data", "algorithm.capacity=10")) == 2
    assert "expected data of gymnasium:Pendulum-v1. They are of gymnasium:Walker2d-v5." in capsys.readouterr().err


def test_critics_that_heard_otherwise_are_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their weights would fit, and mean something else; of a policy alone only its spread matters."""
    nets = ["algorithm.actor_hidden=[8]", "algorithm.critic_hidden=[8]", "algorithm.normalize=false"]
    words = [*nets, "algorithm.updates=1", "iterations=1", "score_every=0"]
    for name in ("cql", "iql_gymnasium"):
        assert main(["offline", f"algorithm={name}", f"dataset={data}", *words, f"run={tmp_path}/{name}"]) == 0
    few = [*nets, "algorithm.rounds=2", "algorithm.capacity=100"]
    other = ["algorithm.layer_norm=true", "algorithm.initial_std=0.5", "algorithm.action_gain=2"]
    assert main(small("sac", tmp_path / "run", *few, *other, f"init={tmp_path}/cql")) == 2
    error = capsys.readouterr().err
    assert "algorithm.layer_norm=false" in error
    quiet = [*few, "algorithm.initial_std=0.5"]
    assert main(small("sac", tmp_path / "run", *quiet, "algorithm.action_gain=2", f"init={tmp_path}/cql")) == 2
    assert "Their critics heard actions times 1: set algorithm.action_gain=0.5." in capsys.readouterr().err
    assert main(small("sac", tmp_path / "run", *quiet, "algorithm.action_gain=0.5", f"init={tmp_path}/cql")) == 0
    assert main(small("td3", tmp_path / "td3", *few, f"init={tmp_path}/run")) == 2  # a spread that TD3's policy has not
    assert main(small("ppo_gymnasium", tmp_path / "ppo", f"init={tmp_path}/run")) == 2
    assert "action" not in capsys.readouterr().err.replace("action_limit", "").partition("Make them alike")[2]
    assert main(small("sac", tmp_path / "policy", *few, *other, f"init={tmp_path}/iql_gymnasium")) == 0  # critics are new


def test_the_scale_by_returns_needs_returns_that_differ(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["policy=" + str(data.parent / "run"), f"output={tmp_path}/one", "steps=50", "num_envs=1"]
    assert main(["dataset", "collect", *words]) == 0
    assert main(["offline", "algorithm=iql_gymnasium", f"dataset={tmp_path}/one", *SMALL, f"run={tmp_path}/run"]) == 2
    assert "Set algorithm.reward_scale=1." in capsys.readouterr().err


@pytest.mark.parametrize("scale", ["returns", "0.25"])
def test_rewards_reach_the_learner_in_the_scale_that_was_asked_for(data: Path, scale: str) -> None:
    env, steps = GymnasiumEnvironment("Pendulum-v1", 1, 0), Dataset(data).steps()
    replay = replay_of(str(data), env, {"actor"}, "recorded", "returns" if scale == "returns" else float(scale), None)
    returns = [float(one.reward.sum(dtype=np.float64)) for one in Dataset(data).episodes()]
    factor = 1000.0 / (max(returns) - min(returns)) if scale == "returns" else 0.25
    rewards = replay.windows(torch.arange(len(replay)), 1, 0.99, torch.ones(len(replay))).reward
    np.testing.assert_allclose(rewards, steps.reward * factor, rtol=1e-5)


def test_data_that_do_not_fit_are_refused_before_they_are_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Dataset, "steps", lambda *_, **__: pytest.fail("was read"))
    monkeypatch.setattr(load, "free_memory", lambda device: 500 * 4 * (6 + 9 + 9))  # a row as an episode's, end to end, in the buffer
    assert main(["offline", "algorithm=iql_gymnasium", f"dataset={data}", *SMALL, f"run={tmp_path}/run"]) == 2
    assert "At most 450 steps fit." in capsys.readouterr().err
