"""Policies whose actions are tanh of what a network says, on a robot: learned, cut off and gone on with, recorded, cloned, exported."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.policy import load
from locomotion import build
from locomotion.cli import main
from locomotion.data.dataset import Dataset
from locomotion.export import example_inputs, write_bundle
from locomotion.runs import checkpoint
from locomotion.runs.start import resume, start
from locomotion.schema import check
from locomotion.settings import TrainSettings
from tests.conftest import bundle_fields, exported_targets, tiny
from tests.locomotion.runs.test_checkpoint import Silent, assert_same

NETS = ["algorithm.actor_hidden=[16,16]", "algorithm.critic_hidden=[16]", "score_every=0", "threads=1"]
ACTING = [*NETS, "sim.threads=1", "algorithm.num_envs=4", "algorithm.rounds=3", "algorithm.warm_up=8", "algorithm.capacity=200"]
ACTING += ["algorithm.batch_size=16", "algorithm.updates=2"]
ROBOT = {"sac": "sac_robot", "td3": "td3"}


def words(name: str, *others: str) -> list[str]:
    return [f"algorithm={ROBOT[name]}", *ACTING, *others]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of each, and data of SAC's."""
    folder = tmp_path_factory.mktemp("bounded")
    for name in ROBOT:
        assert main(["train", *words(name, "iterations=2", f"run={folder}/{name}")]) == 0
    collect = ["dataset", "collect", f"policy={folder}/sac", f"output={folder}/data", "steps=400", "num_envs=4", "noise=null"]
    assert main(collect) == 0
    return folder


@pytest.mark.parametrize("name", ROBOT)
def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(runs: Path, tmp_path: Path, name: str) -> None:
    """The buffer with it, whose windows have several steps."""
    config = checkpoint.load(runs / name / "last.pt")["config"] | {"run": str(tmp_path / "cut")}
    with pytest.raises(KeyboardInterrupt):
        start(check(TrainSettings, config), lambda _: Silent(1), print)
    resume(str(tmp_path / "cut"), {"resume": str(tmp_path / "cut")}, lambda _: Silent(), print)
    whole, cut = (checkpoint.load(path / "last.pt") for path in (runs / name, tmp_path / "cut"))
    assert_same(whole["learner"], cut["learner"])
    assert_same(whole["environment"], cut["environment"])
    assert whole["replay"]["pieces"] == cut["replay"]["pieces"]  # named by what is in them


def targets_of(run: Path, go2, output: Path) -> np.ndarray:
    """[T, N, J] of the run's policy once it is exported, which acts as it did in training."""
    state = checkpoint.load(run / "last.pt")
    policy = build.policy(check(TrainSettings, state["config"]), state["learner"]["actor"])
    write_bundle(policy, go2, bundle_fields(), output)
    signals = example_inputs(policy, go2, [[-1.0, 1.5], [-0.6, 0.6], [-1.0, 1.0]], 3, 60, seed=3)
    return exported_targets(policy, load(output, go2), signals)


@pytest.mark.parametrize("name", ROBOT)
def test_what_is_exported_acts_as_what_was_trained_within_the_robots_limits(runs: Path, tmp_path: Path, go2, name: str) -> None:
    targets, limit = targets_of(runs / name, go2, tmp_path / "policy.onnx"), go2.joint_pos_limit
    assert ((targets >= limit[:, 0] - 1e-5) & (targets <= limit[:, 1] + 1e-5)).all()


@pytest.mark.parametrize("name", ["cql", "td3_bc", "iql_gymnasium"])
def test_what_was_learned_from_data_is_exported_too(runs: Path, tmp_path: Path, go2, name: str) -> None:
    learn = ["offline", f"algorithm={name}", f"dataset={runs}/data", *NETS, "algorithm.updates=3", "iterations=1"]
    assert main([*learn, f"run={tmp_path}/run"]) == 0
    targets, limit = targets_of(tmp_path / "run", go2, tmp_path / "policy.onnx"), go2.joint_pos_limit
    assert ((targets >= limit[:, 0] - 1e-5) & (targets <= limit[:, 1] + 1e-5)).all()


def test_under_another_reward_the_data_are_learned_from_with_that_one(runs: Path, tmp_path: Path) -> None:
    """A term's weight moves the rewards that reach the learner by what the term says, and nothing else."""
    learn = ["offline", "algorithm=iql", f"dataset={runs}/data", *NETS, "algorithm.updates=1", "iterations=1"]
    weight = tiny().task.rewards["power"]["weight"]
    seen = {}
    for name, given in {
        "as_it_was": [],
        "same": [f"rewards.power.weight={weight}"],
        "double": [f"rewards.power.weight={2 * weight}"],
    }.items():
        assert main([*learn, *given, f"run={tmp_path}/{name}"]) == 0
        state = checkpoint.load(tmp_path / name / "last.pt")
        settings = check(TrainSettings, state["config"])
        assert settings.algorithm["reward"] == ("recomputed" if given else "recorded")
        env = build.environment(settings)
        seen[name] = build.data(build.algorithm_settings(settings)[1], settings, env)._reward[:, 0]
        env.close()
    recorded = torch.from_numpy(Dataset(runs / "data").steps().reward)
    assert torch.equal(seen["as_it_was"], recorded)
    torch.testing.assert_close(seen["same"], recorded, rtol=1e-6, atol=1e-8)  # an ulp here and there
    assert (seen["double"] < seen["same"] - 1e-6).any()  # a penalty, and elsewhere the floor
    assert (seen["double"] <= seen["same"]).all()


def test_a_report_of_such_a_run(runs: Path) -> None:
    for name in ROBOT:
        assert main(["report", f"run={runs}/{name}"]) == 0
        page = (runs / name / "report.html").read_text()
        assert "<img" in page.split("<h2>Learning</h2>")[1].split("<h2>")[0]
