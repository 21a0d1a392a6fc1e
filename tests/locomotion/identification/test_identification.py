"""What a plant hides is found from what was measured; what a log does not show is said; bad logs are one clear error each."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import yaml

import robots
from deploy import mcap
from deploy.hil.simulated_robot import Conditions
from locomotion import cli
from locomotion.config import compose
from locomotion.evaluation.page import STYLE
from locomotion.identification import estimate as estimate_module
from locomotion.identification import excitation, excite, result
from locomotion.identification.estimate import estimate
from locomotion.identification.footing import Footing
from locomotion.identification.recording import cut, read_recording, upright
from locomotion.identification.unknowns import DEFAULT, parts_of, unknowns
from locomotion.schema import check
from locomotion.settings import TrainSettings
from locomotion.task.randomization import RandomizationSettings
from robots import InputError
from sim.mujoco_model import build_model
from tests.locomotion.identification import plants

HIDDEN = Conditions(noise=1.0, strength=0.85, delay=0.012, joint_friction=1.5, joint_damping=1.5, seed=5)
TRUTH = {"motor_strength": 0.85, "joint_friction_scale": 1.5, "joint_damping_scale": 1.5, "armature_scale": 1.0, "action_delay": 0.012}


def lying(robot, seconds, seed=0):
    """Targets of a robot on its belly that swings a pair of legs in the air."""
    whole = excitation.on_ground(robot, 12.0 + 4 * seconds, plants.DT, seed)
    begin = round((2 * seconds + 2 * excitation.MOVE) / plants.DT)  # after the sway and two moves
    return whole[begin - 50 : begin + round(seconds / plants.DT)]


@pytest.fixture(scope="module")
def swinging(go2):
    return lying(go2, 6.0)


@pytest.fixture(scope="module")
def recording(go2, swinging):
    """Seven seconds of two swinging legs."""
    return plants.follow(go2, swinging, HIDDEN)


@pytest.fixture(scope="module")
def found(recording):
    """Its physics; a number for all joints."""
    windows = cut(recording, 0.9, 0.1, 5)
    return estimate(recording, windows, unknowns(recording.robot, tuple(TRUTH), "all"), 1, lambda words: None)


def test_deviations_grow_with_windows_that_disagree_and_shrink_with_their_number():
    random = np.random.default_rng(0)
    j = random.standard_normal((4000, 50, 2))
    alike, shared = random.standard_normal((4000, 50)), random.standard_normal((4000, 1, 2))

    def deviation(residual, windows):
        information = np.einsum("wri,wrj->wij", j[:windows], j[:windows])
        return estimate_module._deviation(information, np.einsum("wr,wri->wi", residual[:windows], j[:windows]), np.full(2, 1e3))

    np.testing.assert_allclose(deviation(alike, 4000), 1.0 / np.sqrt(4000 * 50), rtol=0.05)  # as independent residuals
    biased = alike + np.einsum("wri,wsi->wr", j, shared)  # every window has parameters of its own, one deviation from the others'
    np.testing.assert_allclose(deviation(biased, 4000), 1.0 / np.sqrt(4000), rtol=0.06)

    # a linear problem: what is left without each of five windows, solved anew
    few, y = j[:5], biased[:5]
    found = np.linalg.lstsq(few.reshape(-1, 2), -y.ravel(), rcond=None)[0]
    without = [np.linalg.lstsq(np.delete(few, w, 0).reshape(-1, 2), -np.delete(y, w, 0).ravel(), rcond=None)[0] for w in range(5)]
    expected = np.sqrt(0.8 * np.square(np.array(without) - found).sum(axis=0))
    np.testing.assert_allclose(deviation(y + few @ found, 5), expected, rtol=1e-3)


def right(unknown, value, interval, truth):
    """Within 10 % (a delay within 3 ms), or inside its own interval."""
    near = abs(value - truth) <= (0.003 if unknown.parameter == "action_delay" else 0.1 * truth)
    return near or interval[0] <= truth <= interval[1]


def test_a_plant_s_strength_friction_damping_and_delay_are_found(found):
    for unknown, value, interval in zip(found.sought, found.value, found.interval, strict=True):
        assert right(unknown, value, interval, TRUTH[unknown.parameter]), (unknown.name, value, interval)
    # and they are not found by saying nothing
    strength, friction, damping, _, delay = found.interval
    assert np.ptp(strength) < 0.1
    assert np.ptp(friction) < 0.5
    assert np.ptp(damping) < 0.9
    assert np.ptp(delay) < 0.004
    assert found.seen.all()


def test_the_model_that_was_found_explains_what_was_held_out(found):
    assert found.fit["held out before"] > 1.4
    assert found.fit["held out"] == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(found.sigma[[0, 12]], [0.001, 0.1], rtol=0.15)  # the noise of the sensors


@pytest.fixture(scope="module")
def weak(go2, swinging):
    """A recording of a plant that is weak, and else as it is described."""
    return plants.follow(go2, swinging, Conditions(noise=1.0, strength=0.85))


def test_what_only_acts_together_is_said_and_named(weak, go2):
    sought = unknowns(go2, ("motor_strength", "kp_scale", "kd_scale"), "all")
    short = replace(weak, stretches=[(25, 220)])
    found = estimate(short, cut(short, 0.5, 0.1, 5), sought, 1, lambda words: None)
    assert any("motor_strength" in words and "kp_scale" in words and "together" in words for words in found.together)
    assert not found.seen.any()
    assert found.value[0] * found.value[1] == pytest.approx(0.85, rel=0.03)  # what is seen is right
    hard = replace(weak, robot=replace(go2, effort_limit=0.02 * go2.effort_limit))  # as if the motors had come to their limits
    assert estimate_module._one_torque(hard, sought) == (pytest.approx(np.zeros(3)), [])


@pytest.mark.slow
def test_a_trunk_that_nothing_moves_is_not_seen_and_keeps_its_range(weak, go2):
    found = estimate(weak, cut(weak, 0.9, 0.1, 5), unknowns(go2, ("motor_strength", "base_com_offset"), "all"), 1, lambda words: None)
    assert found.seen[0]
    assert found.value[0] == pytest.approx(0.85, abs=0.02)
    assert not found.seen[[1, 3]].any()
    assert any("base_com_offset x" in words for words in found.together)
    base = RandomizationSettings(parameters={"base_com_offset": (-0.03, 0.03), "motor_strength": (0.9, 1.1)})
    ranges = result.randomization(found, base)["parameters"]
    assert ranges["base_com_offset"] == [-0.03, 0.03]
    assert ranges["motor_strength"][0] < 0.85 < ranges["motor_strength"][1] < 0.95


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


def test_the_randomization_holds_what_was_found_and_a_training_takes_it(found, recording, tmp_path, monkeypatch):
    written = result.write(found, recording, tmp_path / "dog 1", RandomizationSettings(parameters={"friction": (0.3, 1.5)}), tmp_path / "a")
    monkeypatch.setenv("LOCOMOTION_CONFIGS", str(tmp_path / "dog 1" / "configs"))
    settings = check(TrainSettings, compose("train", ["randomization=dog_1"]))
    ranges = settings.randomization.parameters
    for name, truth in TRUTH.items():
        assert ranges[name][0] <= truth <= ranges[name][1]
    assert np.ptp(ranges["motor_strength"]) >= 2 * result.SPREAD["motor_strength"] - 1e-6
    assert ranges["kp_scale"] == pytest.approx((0.95, 1.05))  # sought as one with strength
    assert ranges["friction"] == (0.3, 1.5)
    text = (tmp_path / "dog 1" / "identification.html").read_text()
    assert STYLE in text
    assert "motor_strength" in text
    assert yaml.safe_load((tmp_path / "dog 1" / "identification.json").read_text())["parameters"][0]["parameter"] == "motor_strength"
    assert written["randomization"].endswith("dog_1.yaml")


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


def test_a_log_of_a_robot_that_has_changed_is_refused(go2, tmp_path):
    import json

    def change(contents):
        figures = json.loads(contents.attachments["robot.json"])
        figures["effort_limit"][0] += 1.0
        contents.attachments["robot.json"] = json.dumps(figures).encode()

    with pytest.raises(InputError, match="effort_limit"):
        read_recording(changed(plants.write_log(tmp_path, go2), change))


@pytest.mark.slow
def test_a_weak_late_rough_and_heavy_plant_is_found_from_a_minute_s_log(tmp_path):
    go2 = robots.load("unitree_go2")
    conditions = replace(HIDDEN, payload=2.5)
    excite.write(go2, excitation.on_ground(go2, 50.0, plants.DT, 0), plants.DT, tmp_path / "excite.onnx")
    runtime, _ = plants.run(tmp_path / "excite.onnx", go2, tmp_path / "log.mcap", 58.0, conditions)
    assert not [event for event in runtime.supervisor.events if event.kind not in ("transition", "override")]
    recording = read_recording(tmp_path / "log.mcap")
    assert recording.sampled[-1] < 60.0
    found = estimate(recording, cut(recording, 2.0, 0.6, 5), unknowns(go2, DEFAULT, "all"))
    truth = TRUTH | {"base_mass_offset": 2.5}
    for unknown, value, interval in zip(found.sought, found.value, found.interval, strict=True):
        if unknown.parameter in truth:
            assert right(unknown, value, interval, truth[unknown.parameter]), (unknown.name, value, interval)
    assert found.fit["held out"] < 0.2 * found.fit["held out before"]


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
