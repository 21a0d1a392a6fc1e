"""Two processes that learn as one (gloo, on CPUs). NCCL and several machines are not tried here."""

import os
import subprocess
import sys

import pytest
import torch

from locomotion import distributed
from locomotion.algorithms.replay import GOES_ON, TRUNCATED
from locomotion.cli import main
from locomotion.config import compose
from locomotion.runs import checkpoint, folder
from locomotion.runs.start import _restore_replay, make, start
from locomotion.schema import check
from locomotion.settings import TrainSettings
from robots.errors import InputError
from tests.conftest import TINY
from tests.locomotion.runs.test_checkpoint import Silent

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]


def together(*words: str, check: bool = True) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    done = subprocess.run([*LAUNCH, *words], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0 or not check, done.stderr[-3000:]
    return done


SCRIPT = "tests/locomotion/two_processes.py"
CLI = ["-m", "locomotion.cli"]
SAC = ["env=gymnasium:Pendulum-v1", "algorithm=sac", "algorithm.actor_hidden=[8]", "algorithm.critic_hidden=[8]", "algorithm.batch_size=8"]
SAC += ["algorithm.rounds=8", "algorithm.warm_up=2", "algorithm.capacity=100", "algorithm.n_steps=3", "score_every=0"]


def test_moments_advantages_gradients_and_figures_are_those_of_all(tmp_path):
    together(SCRIPT, "pieces", str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good_0", "good_1"]


def test_two_processes_with_n_environments_equal_one_with_2n(tmp_path):
    names = ("ppo", "ppo_gymnasium", "trpo", "a2c", "reinforce", "cat", "lagrangian")
    together(SCRIPT, ",".join(names), str(tmp_path))
    alone = subprocess.run([sys.executable, SCRIPT, ",".join(names), str(tmp_path)], env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert alone.returncode == 0
    for name in names:
        one, first, second = (torch.load(tmp_path / f"{name}_{end}.pt") for end in ("1_0", "2_0", "2_1"))
        for part in ("actor", "critic"):
            for key, value in one[part].items():
                assert torch.equal(first[part][key], second[part][key]), (name, key)
                torch.testing.assert_close(first[part][key], value, rtol=1e-8, atol=1e-8)
            moved = max(float((value - torch.zeros_like(value)).abs().max()) for value in one[part].values())
            assert moved > 0
        assert first.get("learning_rate") == second.get("learning_rate")
        if name == "lagrangian":
            assert first["costs"]["multipliers"] > 0
            torch.testing.assert_close(first["costs"]["multipliers"], one["costs"]["multipliers"], rtol=1e-8, atol=1e-8)
        if name == "cat":
            assert torch.equal(first["largest"], one["largest"])


def test_a_process_that_dies_ends_the_others_with_a_clear_message(tmp_path):
    assert together(SCRIPT, "die", str(tmp_path), check=False).returncode != 0
    said = (tmp_path / "said").read_text()
    assert "torchrun" in said
    assert "Another has ended" in said


def test_a_training_whose_other_process_dies_leaves_a_good_checkpoint_and_names_it(tmp_path):
    assert together(SCRIPT, "killed", str(tmp_path), check=False).returncode != 0
    last = tmp_path / "run" / "last.pt"
    assert f"The last good checkpoint is {last}." in (tmp_path / "said").read_text()
    assert checkpoint.load(last)["iteration"] >= 2
    assert main(["train", f"resume={tmp_path}/run", "iterations=4"]) == 0


def test_a_run_of_two_goes_on_with_two_bit_for_bit_and_with_one(tmp_path):
    train = ["-m", "locomotion.cli", "train", *TINY]
    together(*train, "iterations=2", f"run={tmp_path}/whole")
    together(*train, "iterations=1", f"run={tmp_path}/cut")
    alone = tmp_path / "alone"
    subprocess.run(["cp", "-r", f"{tmp_path}/cut", str(alone)], check=True)
    together(*train[:3], f"resume={tmp_path}/cut", "iterations=2")
    whole, cut = (checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "cut"))
    assert whole["steps"] == cut["steps"] == 2 * 6 * 8 * 2
    assert len(whole["others"]) == 1
    _same(whole["learner"], cut["learner"])
    _same(whole["others"], cut["others"])
    _same(whole["environment"], cut["environment"])
    generators = [state["learner"]["generator"] for state in (whole, *whole["others"])]
    assert not torch.equal(*generators)  # they explore apart ...
    _same(whole["learner"]["actor"], whole["others"][0]["learner"]["actor"])  # ... and learn the same
    assert [row["iteration"] for row in folder.read_metrics(tmp_path / "whole")] == [1, 2]
    one = subprocess.run([sys.executable, *train[:3], f"resume={alone}", "iterations=2"], capture_output=True, text=True)
    assert one.returncode == 0, one.stderr
    state = checkpoint.load(alone / "last.pt")
    assert state["iteration"] == 2
    assert state["steps"] == 6 * 8 * 2 + 6 * 8
    assert "others" not in state


def test_curricula_of_all_are_at_one_level(tmp_path):
    together(SCRIPT, "curricula", str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["level_0", "level_1"]


def test_a_process_that_joins_begins_at_the_level_that_curricula_had_come_to(tmp_path):
    grow = "task.curricula={grow: {term: grow_commands, channel: forward, start: [-0.1, 0.1], score: 0.0, rollouts: 10}}"
    assert main(["train", *TINY, grow, "iterations=2", f"run={tmp_path}/run"]) == 0
    together(*CLI, "train", f"resume={tmp_path}/run", "iterations=3")
    state = checkpoint.load(tmp_path / "run" / "last.pt")
    levels = [one["environment"]["curricula"] for one in (state, *state["others"])]
    assert levels[0] == levels[1]
    assert float(levels[0][-1]) == pytest.approx(3 * 8 / 16 / 10)
    assert not torch.equal(state["environment"]["timers"], state["others"][0]["environment"]["timers"])  # episodes are its own


def test_two_learn_from_data_as_one(tmp_path):
    """The same weights in both, from batches of their own: other weights than those of one process."""
    small = ["algorithm.num_envs=2", "algorithm.steps=16", "algorithm.minibatches=2", "algorithm.actor_hidden=[8]", "iterations=1"]
    policy = ["train", "env=gymnasium:Pendulum-v1", "algorithm=ppo_gymnasium", *small, "score_every=0", f"run={tmp_path}/policy"]
    collect = ["dataset", "collect", f"policy={tmp_path}/policy", f"output={tmp_path}/data", "steps=300", "num_envs=2", "noise=0.5"]
    nets = ["algorithm.actor_hidden=[8]", "algorithm.critic_hidden=[8]", "algorithm.updates=3", "iterations=2", "score_every=0"]
    learn = ["offline", "algorithm=iql_gymnasium", f"dataset={tmp_path}/data", *nets]
    for words in (policy, collect, [*learn, f"run={tmp_path}/one"]):
        assert main(words) == 0
    together(*CLI, *learn, f"run={tmp_path}/two")
    one, two = (checkpoint.load(tmp_path / name / "last.pt") for name in ("one", "two"))
    assert two["steps"] == one["steps"] == 6  # gradient steps, of all together
    (other,) = two["others"]
    for part in ("actor", "q", "critic"):
        _same(two["learner"][part], other["learner"][part])
    assert not torch.equal(two["learner"]["generator"], other["learner"]["generator"])
    assert not torch.equal(two["learner"]["q"]["weights.0"], one["learner"]["q"]["weights.0"])


def test_two_that_remember_go_on_together(tmp_path):
    """Off-policy: each lives through its own, both learn the same, and both go on from the buffer of process 0."""
    together(*CLI, "train", *SAC, "iterations=1", f"run={tmp_path}/run")
    together(*CLI, "train", f"resume={tmp_path}/run", "iterations=2")
    state = checkpoint.load(tmp_path / "run" / "last.pt")
    assert (state["iteration"], state["steps"], state["replay"]["written"]) == (2, 32, 16)
    (other,) = state["others"]
    for part in ("actor", "critic", "target"):
        _same(state["learner"][part], other["learner"][part])


def test_no_window_of_another_processs_buffer_goes_on_in_ones_own(tmp_path, monkeypatch):
    settings = check(TrainSettings, compose("train", [*SAC, "iterations=1", f"run={tmp_path}/run"]))
    done, _ = start(settings, lambda _: Silent(), print)
    state = checkpoint.load(tmp_path / "run" / "last.pt")
    for place, ends in ((0, GOES_ON), (1, TRUNCATED)):
        with monkeypatch.context() as patch:
            again = make(settings, dict(done.config))
            patch.setattr(distributed, "rank", lambda place=place: place)
            _restore_replay(again, tmp_path / "run", state)
        assert again.learner.replay._end[7].tolist() == [ends]
        assert (again.learner.replay._end[:7] == GOES_ON).all()


def _same(a, b) -> None:
    from tests.locomotion.runs.test_checkpoint import assert_same

    assert_same(a, b)


@pytest.fixture(autouse=True)
def _from_the_checkout(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)


@pytest.mark.parametrize("variables", [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": "two"}, {"WORLD_SIZE": "2", "RANK": "0"}, {"WORLD_SIZE": ""}])
def test_half_of_torchruns_environment_is_refused_in_one_line(monkeypatch, variables):
    """As a cluster's pods have it, whatever runs in them."""
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"WORLD_SIZE.*torchrun.*unset"), distributed.joined():
        pass
