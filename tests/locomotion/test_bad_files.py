"""Whatever lies where a command looks for a file is one clear error, and nothing of a person's is lost or added."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from locomotion import config
from locomotion.cli import COMMANDS, main
from locomotion.files import writing
from robots.errors import InputError
from tests.conftest import TINY
from tests.deploy import recorded
from tests.locomotion.adapters.isaac_tasks import ANYMAL
from tests.robots.broken import go2_copy
from tests.robots.importer_files import dog

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
READS = {  # a command, with FILE for what it reads; and what that is
    "evaluate policy=FILE episodes=1 gait=false": "policy.onnx",
    "evaluate policy=GOOD/policy.onnx sweep=randomization against=FILE": "policy.onnx",
    "evaluate policy=GOOD/policy.onnx plugins=[FILE]": "plugin.py",
    "evaluate policy=GOOD/policy.onnx sim.actuator=FILE": "actuator.json",
    "play policy=FILE output=x.mp4": "policy.onnx",
    "deploy policy=FILE hurry=true": "policy.onnx",
    "deploy policy=GOOD/policy.onnx calibration=FILE": "calibration.yaml",
    "deploy policy=GOOD/policy.onnx estop={key:FILE}": "estop.key",
    "deploy inspect FILE": "policy.onnx",
    "deploy doctor FILE": "deploy.yaml",
    "deploy estop FILE": "deploy.yaml",
    "export checkpoint=FILE output=x.onnx": "run/last.pt",
    "export checkpoint=GOOD/run/last.pt scorecard=FILE output=x.onnx": "scorecard.json",
    "train resume=FILE": "run/last.pt",
    "train init=FILE run=x algorithm.num_envs=2": "run/last.pt",
    "train algorithm=distill algorithm.teacher=FILE run=x algorithm.num_envs=2": "run/last.pt",
    "train robot=FILE run=x": "robot/robot.yaml",
    "train sim.actuator=FILE run=x": "actuator.json",
    "train plugins=[FILE] run=x": "plugin.py",
    "offline dataset=FILE run=x": "data",
    "offline resume=FILE": "run/last.pt",
    "dataset inspect FILE": "data",
    "dataset import FILE output=x": "data",
    "dataset export FILE output=x": "data",
    "dataset export FILE output=x.npz": "data",
    "dataset collect policy=FILE output=x": "run/last.pt",
    "dataset from-logs FILE output=x": "log.mcap",
    "finetune policy=FILE output=x operator=auto": "run/last.pt",
    "hil run policy=FILE": "policy.onnx",
    "hil run policy=GOOD/policy.onnx suite=FILE": "suite.yaml",
    "hil serve robot=FILE": "robot/robot.yaml",
    "identify FILE output=x": "log.mcap",
    "identify GOOD/log.mcap robot=FILE output=x": "robot/robot.yaml",
    "identify excite robot=FILE": "robot/robot.yaml",
    "actuator fit FILE output=x": "log.mcap",
    "logs show FILE": "log.mcap",
    "logs plot FILE output=x.html": "log.mcap",
    "logs repair FILE output=x.mcap": "log.mcap",
    "logs replay FILE policy=GOOD/policy.onnx": "log.mcap",
    "logs replay GOOD/log.mcap policy=FILE": "policy.onnx",
    "policies import FILE": "walk.yaml",
    "policies check FILE": "walk.yaml",
    "tasks import FILE robot=anymal_c output=x": "Anymal.yaml",
    "robots check FILE": "robot/robot.yaml",
    "robots show FILE": "robot/robot.yaml",
    "robots import FILE output=x": "dog.urdf",
    "conformance robot=FILE": "robot/robot.yaml",
    "compare runs=[GOOD/run,FILE]": "run",
    "report run=FILE": "run",
    "sweep resume=FILE": "sweep",
}
NO_FILES = {"demo"}  # commands that read none


@pytest.fixture(scope="module")
def good(tmp_path_factory, bundle, go2):
    """What the commands read, whole."""
    folder = tmp_path_factory.mktemp("good")
    shutil.copy(bundle, folder / "policy.onnx")
    assert main(["train", *TINY, "iterations=1", f"run={folder / 'run'}"]) == 0
    assert main(["dataset", "collect", f"policy={folder / 'run'}", f"output={folder / 'data'}", "steps=12", "num_envs=2"]) == 0
    recorded.run(bundle, go2, folder / "log.mcap", 0.4)[0].close()
    go2_copy(folder / "robot")
    (folder / "sweep").mkdir()
    (folder / "estop.key").write_text("k" * 32)
    (folder / "estop.key").chmod(0o600)
    texts = {
        "plugin.py": "x = 1\n", "actuator.json": '{"format": 1}', "calibration.yaml": "robot: unitree_go2\nyaw_bias: 0.003\n",
        "deploy.yaml": "policy: policy.onnx\ninterface: sim\nduration: 1\ncommands: [[0, [0.5, 0, 0]]]\nestop: {key: estop.key}\n",
        "scorecard.json": '{"scores": {"mujoco": {"nominal": {"tracking_score": 0.9}}}}', "walk.yaml": "policy: walk.onnx\n",
        "suite.yaml": "cases: {none: {fault: nothing, walking: {response: none}}}\n", "Anymal.yaml": ANYMAL, "dog.urdf": dog(),
        "sweep/sweep.json": json.dumps({"trials": [["000", ["seed=1"]]]}),
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def whole(path: Path) -> bytes:
    """The bytes of a file, or of the largest in a folder."""
    return path.read_bytes() if path.is_file() else max((file.read_bytes() for file in path.rglob("*") if file.is_file()), key=len)


def spoil(kind: str, path: Path, source: Path, good: Path) -> Path:
    """What lies at ``path`` in place of ``source``."""
    data, foreign = whole(source), good / ("policy.onnx" if source.suffix == ".pt" else "run/last.pt")
    contents = {
        "empty": b"", "cut": data[: len(data) // 2], "noise": bytes(i * i % 251 for i in range(5000)), "a picture": PNG,
        "zeros": bytes(4096), "another command's": foreign.read_bytes(), "a list": b"[1, 2, 3]\n", "a number": b"7\n",
        "an object": b'{"scores": [1], "trials": 3, "cases": 1, "policy": 7}\n', "latin-1": "größe: 1\n".encode("latin-1"),
    }  # fmt: skip
    if kind == "a folder":
        path.mkdir()
    elif kind == "a loop":
        path.symlink_to(path)
    elif kind == "under a file":
        path.write_bytes(b"mine")
        return path / path.name
    elif kind in contents:
        path.write_bytes(contents[kind])
    return path


ALWAYS = ("missing", "cut", "another command's")
IN_TURN = ("a folder", "noise", "a loop", "under a file", "empty", "a picture", "zeros", "a list", "a number", "an object", "latin-1")
# kinds that are whole all the same
FITS = {"plugin.py": {"empty", "a list", "a number", "an object"}, "log.mcap": {"cut"}, "calibration.yaml": {"cut"}}


def contents(folder: Path) -> dict[str, str]:
    """Everything in it, files with their bytes."""
    return {str(path): hashlib.sha1(path.read_bytes()).hexdigest() if path.is_file() else "" for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def composed():
    """Hydra takes half a second for a configuration: it is asked once for each command, about a file that is called here HERE."""
    real, known, name = config.compose, {}, [""]

    def compose(command, overrides):
        words = tuple(word.replace(name[0], "HERE") for word in overrides)
        if (command, words) not in known:
            known[command, words] = json.dumps(real(command, list(words)))
        return json.loads(known[command, words].replace("HERE", name[0]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "compose", compose)
        yield name


@pytest.mark.parametrize("command", READS)
def test_whatever_lies_there_is_one_clear_error_and_nothing_is_lost_or_added(command, good, tmp_path, monkeypatch, capsys, composed):
    source, turn = good / READS[command], list(READS).index(command)
    before = contents(good)
    for kind in (*ALWAYS, IN_TURN[turn % len(IN_TURN)]):
        if kind in FITS.get(source.name, ()):
            continue
        folder = tmp_path / kind.replace(" ", "_").replace("'", "")
        (folder / "in").mkdir(parents=True)
        monkeypatch.chdir(folder)
        path = spoil(kind, folder / "in" / f"it{source.suffix}", source, good)
        composed[0] = str(path)
        mine = contents(folder)
        status = main([word.replace("FILE", str(path)).replace("GOOD", str(good)) for word in command.split()])
        out, said = capsys.readouterr()
        if command.startswith("robots check"):  # whose answer it is
            assert (status, out[:7]) == (1, "error: "), (kind, status, out)
        else:
            assert (status, said[:7], said.count("\n")) == (2, "error: ", 1), (kind, status, said)
        assert len(said) < 1500, (kind, said)
        assert contents(folder) == mine, kind
    assert contents(good) == before


def test_what_a_folder_could_not_be_copied_for_is_said_in_a_few_words(tmp_path):
    (tmp_path / "from").mkdir()
    for name in "abcdefgh":
        (tmp_path / "from" / name).symlink_to("nowhere")
    with pytest.raises(InputError, match=r"No such file or directory.*nothing was changed") as caught, writing("output", tmp_path / "to"):
        shutil.copytree(tmp_path / "from", tmp_path / "to")
    assert len(str(caught.value)) < 400


def test_no_command_that_reads_a_file_is_left_out():
    assert {command.split()[0] for command in READS} == set(COMMANDS) - NO_FILES
