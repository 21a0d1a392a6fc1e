"""The simulated robot in a time of its own: the same log each time, nothing of it lost, and only where nobody lives in real time."""

import socket

import numpy as np
import pytest

from deploy.connect import Extras, check_options
from deploy.estop import EStopServer
from deploy.heading import HeadingHold
from deploy.hil.simulated_robot import SimulatedRobot
from deploy.log_reader import read_log
from deploy.runtime import Runtime
from locomotion.cli import main
from locomotion.deployment import run_deployment
from tests.deploy import bundles


def test_a_hurried_run_is_the_same_each_time_and_its_log_is_whole(tmp_path, go2, monkeypatch, capsys):
    monkeypatch.setattr("locomotion.deployment.CAPACITY", 64)  # as a run that is much longer
    bundle = bundles.write_tiny(tmp_path / "policy.onnx", go2, weight=0.01)
    words = ["deploy", f"policy={bundle}", "hurry=true", "plant={noise: 1.0, seed: 3}", "script=wander", "duration=8"]
    for name in "ab":
        assert main([*words, f"output={tmp_path / name}"]) == 0
    one, other = (read_log(tmp_path / name / "deploy_log.mcap") for name in "ab")
    assert one.lost == 0
    assert len(one.steps) >= 400
    for name, values in one.columns.items():
        if not name.startswith("timing/"):
            np.testing.assert_array_equal(values, other.columns[name], err_msg=name)
    assert not (tmp_path / "a" / "video.mp4").exists()


@pytest.mark.parametrize("word", ["interface=unitree_dds", "commands=keyboard", "dry_run=true"])
def test_nobody_else_can_be_hurried(bundle, word, capsys):
    assert main(["deploy", f"policy={bundle}", "hurry=true", word]) == 2
    assert "hurry" in capsys.readouterr().err


def test_what_a_real_robot_meets_is_not_ours_to_say(bundle, capsys):
    assert main(["deploy", f"policy={bundle}", "interface=unitree_dds", "plant={friction: 0.4}"]) == 2
    assert "plant: got {'friction': 0.4}; expected interface=sim" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["network=eth0", "domain=1", "release=true"])
def test_a_simulated_robot_is_on_no_network(bundle, word, capsys):
    assert main(["deploy", f"policy={bundle}", word]) == 2
    assert f"{word.partition('=')[0]}: got" in capsys.readouterr().err


KEY = "a secret of more than sixteen bytes"


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "estop.key"
    path.write_text(KEY)
    path.chmod(0o600)
    return path


class Reached(Exception):
    """What was to be opened."""


@pytest.fixture
def asked(monkeypatch):
    """What reaches the robot's side, which is not opened."""
    calls = []

    def connect(policy, limits, way, *others):
        calls.append((way, others))
        raise Reached

    monkeypatch.setattr("locomotion.deployment.connect", connect)
    return calls


def test_the_heading_is_held_where_it_is_asked_for(tmp_path, go2, capsys):
    bundle = bundles.write_tiny(tmp_path / "policy.onnx", go2, weight=0.01)
    words = ["deploy", f"policy={bundle}", "hurry=true", "plant={noise: 1.0}", "script=wander", "duration=8"]
    for name, held in (("a", True), ("b", False)):
        main([*words, f"heading_hold={str(held).lower()}", f"output={tmp_path / name}"])
        error = read_log(tmp_path / name / "deploy_log.mcap").columns["heading_error"]
        assert bool(np.isfinite(error).any()) is held


@pytest.mark.parametrize("interpolates", [True, False])
def test_targets_are_led_from_step_to_step_where_it_is_asked_for(bundle, asked, interpolates):
    with pytest.raises(Reached):
        main(["deploy", f"policy={bundle}", "interface=unitree_dds", f"interpolate={str(interpolates).lower()}"])
    ((way, (_, _, _, told)),) = asked
    assert way["name"] == "unitree_dds"
    assert told is interpolates


def test_a_simulated_robot_behind_the_guards_process_is_opened_with_its_own_options(bundle, asked, tmp_path):
    """Such as one whose targets are led from step to step, which no guard in this process could."""
    with pytest.raises(Reached):
        main(["deploy", f"policy={bundle}", "interpolate=true", "plant={friction: 0.4}"])
    options = {name: value for name, value in asked[0][0].items() if name != "name"}
    check_options(SimulatedRobot, options)
    assert options["conditions"].friction == 0.4


def test_an_estop_is_there_before_the_robot_and_gone_where_the_robot_is_not_reached(bundle, asked, key, monkeypatch):
    places = []
    monkeypatch.setattr("deploy.connect.EStopServer", lambda place: places.append(EStopServer(place)) or places[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Reached):
        main(["deploy", f"policy={bundle}", "interface=unitree_dds", f"estop={{key: {key}, port: {port}}}"])
    assert places
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", port))  # closed


def test_a_run_has_the_estop_and_the_heading_that_it_was_given(bundle, key, monkeypatch):
    made = []

    class Watched(Runtime):
        def run(self, *arguments):
            made.append(self)
            self.estop.close()
            raise Reached

    monkeypatch.setattr("locomotion.deployment.Runtime", Watched)
    with pytest.raises(Reached):
        run_deployment(bundle, 25.0, [[0, [0, 0, 0]]], {}, None, extras=Extras({"key": str(key), "port": 47123}, True))
    assert isinstance(made[0].estop, EStopServer)
    assert isinstance(made[0].heading, HeadingHold)


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("estop={key: nowhere.key}", "estop.key"),
        ("estop={}", "estop.key"),
        ("estop={key: a, port: 0}", "estop.port"),
        ("estop={key: a, place: 3}", "estop.place"),
        ("heading_hold=3", "heading_hold"),
        ("hurry=true interpolate=true", "hurry"),
        ("hurry=true estop={key: a}", "hurry"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(bundle, word, field, capsys):
    words = word.replace(" interpolate", "|interpolate").replace(" estop", "|estop").split("|")
    assert main(["deploy", f"policy={bundle}", *words]) == 2
    assert field in capsys.readouterr().err


def test_an_operators_file_may_name_the_estop_alone(tmp_path, monkeypatch, key):
    file = tmp_path / "estop.yaml"
    file.write_text("estop: {key: estop.key, address: 127.0.0.1, port: 4711}\n")
    told = []
    monkeypatch.setattr("deploy.estop.attend", lambda place: told.append(place) or 0)
    assert main(["deploy", "estop", str(file)]) == 0
    assert (told[0].address, told[0].port, told[0].key) == ("127.0.0.1", 4711, KEY.encode())
