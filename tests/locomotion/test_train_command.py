"""``locomotion train`` where settings cannot be had: one line, never a traceback."""

import sys

import pytest

from locomotion.cli import main
from tests.conftest import TINY

SMALL = ["env=gymnasium:Pendulum-v1", "algorithm=sac", "iterations=1", "score_every=0", "algorithm.rounds=2", "algorithm.warm_up=0"]


def said(capsys, *words):
    assert main(["train", *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize(
    "words", [["algorithm.actor_hidden=[9000000,9000000]"], ["algorithm.batch_size=10000000", "algorithm.updates=10000000"]]
)
def test_what_does_not_fit_into_memory_is_told_before_and_while_it_learns(tmp_path, capsys, words):
    line = said(capsys, *SMALL, *words, f"run={tmp_path / 'r'}")
    assert "a training that fits into memory" in line
    assert "smaller" in line


def test_a_policy_of_another_world_teaches_no_robot(tmp_path, capsys):
    path = tmp_path / "r"
    assert main(["train", *SMALL, f"run={path}"]) == 0
    taught = ["algorithm=distill", f"algorithm.teacher={path}", "algorithm.num_envs=2", f"run={tmp_path / 's'}"]
    for words in ([], ["env=gymnasium:Pendulum-v1"]):
        assert "a robot's policy" in said(capsys, *taught, *words)


@pytest.mark.parametrize("value", ["CartPole-v1", "'gymnasium:'", "gym:CartPole-v1"])
def test_an_environment_is_asked_for_by_example(capsys, value):
    assert "gymnasium:ID, such as gymnasium:CartPole-v1" in said(capsys, f"env={value}")


@pytest.mark.parametrize(("word", "allowed"), [("algorithm.critic_hidden=[]", "at least 1 item"), ("algorithm.tau=x", "a valid number")])
def test_what_is_allowed_is_said_without_a_librarys_grammar(capsys, word, allowed):
    line = said(capsys, *SMALL, word)
    assert f"expected {allowed}" in line
    assert "should" not in line
    assert "validation" not in line


def test_the_engine_of_scorecards_is_there_before_the_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pybullet", None)  # as if it were not installed
    for words in (["score_sim=pybullet"], ["sim=pybullet"]):
        assert "sim2real-locomotion[pybullet]" in said(capsys, *TINY, "score_every=100", *words, f"run={tmp_path / 'r'}")
        assert not (tmp_path / "r").exists()
