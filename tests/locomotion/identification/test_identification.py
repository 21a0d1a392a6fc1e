"""Logs become windows, and what was found a page and a randomization; bad logs and bad words are one clear error each."""

import mujoco
import numpy as np
import pytest
import yaml

from deploy import mcap
from deploy.hil.simulated_robot import Conditions
from deploy.log_reader import read_log
from locomotion import cli
from locomotion.config import compose
from locomotion.evaluation.page import STYLE
from locomotion.identification import result
from locomotion.identification.estimate import Estimate
from locomotion.identification.footing import Footing
from locomotion.identification.recording import cut, read_recording, upright
from locomotion.identification.unknowns import DEFAULT, parts_of, unknowns
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.task.randomization import RandomizationSettings
from robots import InputError
from sim.mujoco_model import build_model
from tests.locomotion.identification import plants

TRUTH = {
    "motor_strength": 0.85,
    "joint_friction_scale": 1.5,
    "joint_damping_scale": 1.5,
    "armature_scale": 1.0,
    "action_delay": 0.012,
    "payload_mass": 2.5,
}


def test_a_robot_that_sways_is_put_where_it_stood_and_as_fast(go2):
    plant = plants.SimulatedRobot(go2, clock := plants.SimulatedTime(), Conditions())
    plant.write(plants.MotorCommand(go2.default_joint_pos, go2.kp, go2.kd, np.zeros(go2.num_joints)))
    clock.sleep_until(0.5)
    plant.read()
    clock.sleep_until(1.0)
    plant.read()
    clock.sleep_until(1.5)
    measured = plant.read()
    gravity = measured.projected_gravity[None]
    state = {name: getattr(measured, name)[None] for name in ("joint_pos", "joint_vel", "base_ang_vel")} | {"base_quat": upright(gravity)}
    footing = Footing(build_model(go2, 0.002), go2, state)
    height = footing.height(build_model(go2, 0.002), go2.default_joint_pos[None])
    assert height[0] == pytest.approx(measured.truth["base_pos"][2], abs=2e-4)
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, state["base_quat"][0])
    assert np.linalg.norm(measured.truth["base_lin_vel"]) > 0.1
    assert rotation.reshape(3, 3).T @ footing.velocity[0] == pytest.approx(measured.truth["base_lin_vel"], abs=0.02)


def found_of(robot, truth, seen=True, fit=1.0):
    """An estimate that found ``truth``, with intervals of 0.001 to either side."""
    sought = unknowns(robot, tuple(truth), "all")
    value, shown = np.array(list(truth.values())), np.zeros((2, 10, 2 * robot.num_joints + 6))
    interval = np.stack([value - 0.001, value + 0.001], axis=1)
    sizes = {name: fit for name in ("fitted before", "fitted", "held out before", "held out")}
    sigma = np.ones(shown.shape[2])
    return Estimate(sought, value, np.full(len(value), 0.0005), interval, np.full(len(value), seen), [], sigma, sizes, shown, shown, shown)


def test_the_randomization_holds_what_was_found_and_a_training_takes_it(go2, tmp_path, monkeypatch):
    base = RandomizationSettings(parameters={"friction": (0.3, 1.5), "base_mass_offset": (-1.0, 3.0)})
    recording = read_recording(plants.write_log(tmp_path, go2))
    written = result.write(found_of(go2, TRUTH), recording, tmp_path / "dog 1", base, tmp_path / "a")
    monkeypatch.setenv("LOCOMOTION_CONFIGS", str(tmp_path / "dog 1" / "configs"))
    settings = check(TrainSettings, compose("train", ["randomization=dog_1"]))
    ranges = settings.randomization.parameters
    for name, truth in TRUTH.items():
        assert ranges[name][0] <= truth <= ranges[name][1]
    assert np.ptp(ranges["motor_strength"]) >= 2 * result.SPREAD["motor_strength"] - 1e-6
    assert ranges["kp_scale"] == pytest.approx((0.95, 1.05))  # sought as one with strength
    assert ranges["payload_mass"] == pytest.approx((2.0, 3.0))
    assert ranges["base_mass_offset"] == (0.0, 0.0)  # the same kilograms
    assert ranges["friction"] == (0.3, 1.5)
    text = (tmp_path / "dog 1" / "identification.html").read_text()
    assert STYLE in text
    assert "motor_strength" in text
    assert yaml.safe_load((tmp_path / "dog 1" / "identification.json").read_text())["parameters"][0]["parameter"] == "motor_strength"
    assert written["randomization"].endswith("dog_1.yaml")


def test_what_makes_figures_doubtful_is_said(go2, tmp_path):
    recording = read_recording(plants.write_log(tmp_path, go2))
    sound = result.figures(found_of(go2, TRUTH), recording)
    assert not result.doubts(sound)
    (words,) = result.doubts(result.figures(found_of(go2, TRUTH, fit=3.0), recording))
    assert words.startswith("The model does not explain this log: 3.0 times")
    (words,) = result.doubts(result.figures(found_of(go2, TRUTH | {"payload_mass": 0.0}), recording))
    assert words.startswith("payload_mass is at its bound of 0")
    assert "base_mass_offset" in words
    assert any("at its bound" in line for line in result.lines(result.figures(found_of(go2, {"payload_mass": 0.0}), recording)))


def test_parts_of_a_robot_hold_every_joint_once(go2):
    for joints, count in (("all", 1), ("group", 3), ("joint", 12)):
        parts = parts_of(go2, joints)
        assert len(parts) == count
        assert sorted(i for part in parts.values() for i in part) == list(range(12))
    assert len(unknowns(go2, DEFAULT, "group")) == 4 * 3 + 1 + 1 + 3
    with pytest.raises(InputError, match=r"parameters.*motor_strength"):
        unknowns(go2, ("motor_strenght",), "all")


def changed(path, change):
    """The log with other contents."""
    contents = mcap.read(path.read_bytes())
    change(contents)
    with path.open("wb") as stream:
        mcap.write(contents, stream)
    return path


def test_each_bad_log_is_one_error(go2, tmp_path):
    path = plants.write_log(tmp_path, go2)
    assert len(read_recording(path).sampled) == 400
    with pytest.raises(InputError, match=r"robot"):
        read_recording(path, "unitree_go1")
    with pytest.raises(InputError, match=r"FL_calf_joint.*moves by 0\.000"):
        read_recording(plants.write_log(tmp_path, go2, still="FL_calf_joint"))
    with pytest.raises(InputError, match="at least one control step"):
        read_recording(plants.write_log(tmp_path, go2, steps=0))
    short = read_recording(plants.write_log(tmp_path, go2, steps=100))
    with pytest.raises(InputError, match=r"at least 6 s .* it has 1 s"):
        cut(short, 1.0, 0.1, 5)
    (tmp_path / "noise.mcap").write_bytes(b"no log at all")
    for wrong in ("noise.mcap", "absent.mcap"):
        with pytest.raises(InputError, match="log"):
            read_recording(tmp_path / wrong)


def test_a_log_that_was_cut_is_read_to_its_last_whole_step(go2, tmp_path):
    path = plants.write_log(tmp_path, go2)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 20 < len(read_recording(path).sampled) < 400


def test_a_log_without_a_signal_names_it(go2, tmp_path):
    import json

    def change(contents):
        signals = json.loads(contents.metadata["signals"]["signals"])
        del signals["joint_vel"]
        contents.metadata["signals"]["signals"] = json.dumps(signals)

    with pytest.raises(InputError, match="joint_vel"):
        read_recording(changed(plants.write_log(tmp_path, go2), change))


@pytest.mark.parametrize("change", [lambda t: t + 40.0, lambda t: t - 40.0, lambda t: 1.05 * t, lambda t: 0.0 * t])
def test_a_log_of_two_clocks_is_refused(go2, tmp_path, monkeypatch, change):
    path = plants.write_log(tmp_path, go2)
    log = read_log(path)
    log.columns["sample_time"][:] = change(log.columns["sample_time"])
    monkeypatch.setattr("locomotion.identification.recording.read_log", lambda path: log)
    with pytest.raises(InputError, match="two clocks"):
        read_recording(path)


def test_a_log_of_a_robot_that_has_changed_is_refused(go2, tmp_path):
    import json

    def change(contents):
        figures = json.loads(contents.attachments["robot.json"])
        figures["effort_limit"][0] += 1.0
        contents.attachments["robot.json"] = json.dumps(figures).encode()

    with pytest.raises(InputError, match="effort_limit"):
        read_recording(changed(plants.write_log(tmp_path, go2), change))


def test_an_output_that_is_no_folder_is_refused_before_the_work(go2, tmp_path, capsys, monkeypatch):
    path = plants.write_log(tmp_path, go2)
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr("locomotion.commands.identify.estimate", None)
    for output in ("taken", "taken/within"):
        assert cli.main(["identify", str(path), f"output={tmp_path / output}", "window=0.3", "lead=0.1"]) == 2
        assert capsys.readouterr().err.startswith("error: output")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["identify", "absent.mcap"], "log"),
        (["identify", "absent.mcap", "joints=every"], "joints"),
        (["identify"], "log"),
        (["identify", "excite", "seconds=1"], "seconds"),
        (["identify", "excite", "place=sea"], "place"),
        (["identify", "excite", "robot=unitree_g1.legs"], "place"),
    ],
)
def test_bad_words_are_one_error(words, field, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"error: {field}")
