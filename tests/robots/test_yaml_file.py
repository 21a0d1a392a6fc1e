"""Whatever is wrong with a YAML file of a person's is one kind of error, wherever the file is read."""

from pathlib import Path

import pytest
import yaml

from locomotion.cli import main
from robots import yaml_file

WRONG = {
    "brackets without end": "[" * 5000,
    "a date of no calendar": "a: 2024-13-45\n",
    "an alias inside of what it names": "&a {env: {learn: *a, defaultJointAngles: *a}, task: *a, robot: *a}\n",
    "a list as a key": "? [1, 2]\n: 3\n",
    "a key that stands twice": "a: 1\na: 2\n",
    "aliases of aliases": "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_it_is_yamls_own_error(wrong):
    with pytest.raises(yaml.YAMLError):
        yaml_file.load(WRONG[wrong])


def test_what_is_right_is_what_it_says_aliases_and_merged_keys_included():
    assert yaml_file.load("base: &base {kp: 1, kd: [2, 3]}\nmine: {<<: *base, kp: 4}\n") == {
        "base": {"kp": 1, "kd": [2, 3]}, "mine": {"kp": 4, "kd": [2, 3]},
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [*WRONG, "no text"])
def test_every_command_that_reads_yaml_says_it_in_one_line(wrong, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = WRONG[wrong].encode() if wrong in WRONG else bytes(range(128, 256))
    for name in ("file.yaml", "config.yaml", "robot.yaml"):
        Path(name).write_bytes(data)
    for words in (
        ["deploy", "doctor", "file.yaml"],
        ["policies", "check", "file.yaml"],
        ["tasks", "import", "file.yaml", "robot=anymal_c"],
        ["report", "run=."],
        ["train", "robot=./", "iterations=1"],
    ):
        assert main(words) == 2, words
        said = capsys.readouterr().err
        assert said.startswith("error: "), words
        assert said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "file.yaml", "robot.yaml"]
