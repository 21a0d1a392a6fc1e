"""Every snippet of docs/your_own_learner.md runs as it stands there, with fewer steps."""

import re
import shlex
from pathlib import Path

import gymnasium
import pytest

from deploy.policy import load
from locomotion import cli
from tests.locomotion.adapters.test_neighbours import library

PAGE = (Path(__file__).parents[3] / "docs/your_own_learner.md").read_text()
SMALL = "algorithm.num_envs=4 algorithm.steps=8 algorithm.minibatches=2 algorithm.epochs=1"
FEWER = {
    "num_envs=256": "num_envs=4",
    "num_envs=64": "num_envs=4",
    "model.learn(2_000_000)": "model.learn(1)",
    "n_steps=64, batch_size=2048": "n_steps=8, batch_size=16, n_epochs=1",
    "runner.learn(600)": "runner.learn(1)",
    '"iterations=50", "run=runs/reach"': f'"iterations=2", "run=runs/reach", *"{SMALL}".split()',
    '"iterations=60"': '"iterations=3"',
    '"iterations=50", "run=runs/batch"': f'"iterations=2", "run=runs/batch", *"{SMALL}".split()',
}
FEWER_WORDS = {
    "locomotion evaluate policy=policy.onnx": "episodes=1 gait=false",
    "locomotion train env=gymnasium:InvertedPendulum-v5 algorithm=ppo_gymnasium iterations=100": f"iterations=1 score_every=0 {SMALL}",
}


def blocks(kind: str) -> list[str]:
    return [text for found, text in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if found == kind]


def test_the_page(tmp_path, monkeypatch, go2, capsys):
    for name in ("stable_baselines", "rsl_rl", "skrl", "rl_games"):
        library(name)
    monkeypatch.chdir(tmp_path)
    text = "\n".join(blocks("python"))
    for words, fewer in FEWER.items():
        assert text.count(words) == 1, words
        text = text.replace(words, fewer)
    names: dict = {"__name__": "page"}
    exec(compile(text, "your_own_learner.md", "exec"), names)
    assert names["rewards"].shape == (16, 4)
    assert names["actor"](names["run"].env.observations["actor"]).shape == (8, 1)
    assert load("policy.onnx", go2).contract.provenance["learner"] == "rsl_rl 5.5.1"
    assert names["run"].iteration == 2
    lines = [line for block in blocks("") for line in block.splitlines()]
    assert lines == [*FEWER_WORDS]
    for line in lines:
        assert cli.main([*shlex.split(line)[1:], *FEWER_WORDS[line].split()]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("robot", ["Go2", "Go1", "G1", "G1.legs", "AnymalC"])
def test_the_robots_that_the_page_names_are_registered(robot):
    assert f"`{robot}`" in PAGE
    assert f"locomotion/{robot}-velocity-flat-v0" in gymnasium.registry
