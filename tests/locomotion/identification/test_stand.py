"""A robot on a stand: its log says so, the fit holds its base, and what such a robot does not show is left out, and said."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

import robots
from deploy.hil.simulated_robot import Conditions
from locomotion import cli
from locomotion.identification import excitation, excite, result
from locomotion.identification.estimate import estimate
from locomotion.identification.recording import cut, read_recording
from locomotion.identification.unknowns import DEFAULT, unknowns
from locomotion.task.randomization import RandomizationSettings
from robots import InputError
from sim.mujoco_model import build_model
from tests.locomotion.identification import plants

HIDDEN = Conditions(noise=1.0, strength=0.85, delay=0.012, joint_friction=1.5, joint_damping=1.5, seed=5, stand=True)
TRUTH = {"motor_strength": 0.85, "joint_friction_scale": 1.5, "joint_damping_scale": 1.5, "armature_scale": 1.0, "action_delay": 0.012}


@pytest.mark.parametrize("name", ["unitree_go2", "unitree_g1.legs"])
def test_a_held_base_does_not_move_and_joints_accelerate_as_on_a_rock(name):
    robot = robots.load(name)
    model = build_model(robot, 0.002, held=True)
    data, random = mujoco.MjData(model), np.random.default_rng(0)
    data.qpos[2], data.qpos[7:] = 10.0, robot.default_joint_pos
    data.qvel[6:] = random.normal(0.0, 2.0, model.nv - 6)
    data.ctrl[:] = robot.default_joint_pos + random.normal(0.0, 0.2, robot.num_joints)
    mujoco.mj_forward(model, data)
    matrix = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, matrix)
    assert np.abs(data.qacc[:6]).max() < 5e-3
    expected = np.linalg.solve(matrix[6:, 6:], data.qfrc_smooth[6:] + data.qfrc_constraint[6:])
    np.testing.assert_allclose(data.qacc[6:], expected, rtol=1e-3)
    free = build_model(robot, 0.002)
    assert np.abs(free.dof_armature[6:] - model.dof_armature[6:]).max() == 0.0
    mujoco.mj_step(model, data, 500)
    np.testing.assert_allclose(data.qpos[:7], [0.0, 0.0, 10.0, 1.0, 0.0, 0.0, 0.0], atol=5e-4)


@pytest.fixture(scope="module")
def recording(go2):
    """Six seconds of a robot that swings its legs on a stand, tilted by what the stand gives way."""
    return plants.follow(go2, excitation.on_stand(go2, 6.2, plants.DT, 0), HIDDEN)


@pytest.fixture(scope="module")
def found(recording):
    sought = unknowns(recording.robot, DEFAULT, "all", recording.held)
    return estimate(recording, cut(recording, 0.9, 0.1, 5), sought, 1, lambda words: None)


def test_what_moves_the_legs_is_found_on_a_stand(found):
    assert [unknown.parameter for unknown in found.sought] == list(TRUTH)
    for unknown, value, (low, high) in zip(found.sought, found.value, found.interval, strict=True):
        truth = TRUTH[unknown.parameter]
        near = abs(value - truth) <= (0.003 if unknown.parameter == "action_delay" else 0.1 * truth)
        assert near or low <= truth <= high, (unknown.name, value, low, high)
    strength, friction, damping, armature, delay = np.ptp(found.interval, axis=1)
    assert strength < 0.1
    assert friction < 0.5
    assert damping < 0.6
    assert armature < 0.3
    assert delay < 0.003
    assert found.seen.all()
    assert found.fit["held out before"] > 2.0
    assert found.fit["held out"] == pytest.approx(1.0, abs=0.15)


def test_gravity_is_the_measured_one(go2, recording):
    """A robot that hangs nose down by 0.3 rad: simulated level it would hold its legs otherwise."""
    turned = {name: value.copy() for name, value in recording.measured.items()}
    turned["projected_gravity"] = turned["projected_gravity"] + [np.sin(0.3), 0.0, 1.0 - np.cos(0.3)]
    windows = cut(replace(recording, measured=turned), 0.9, 0.1, 5)
    w, x, y, z = windows.begin["base_quat"].T
    np.testing.assert_allclose(2.0 * np.arcsin(y), 0.3, atol=0.01)
    np.testing.assert_allclose([x, z], 0.0, atol=0.01)
    assert not windows.begin["base_ang_vel"].any()
    assert w.min() > 0.9


def test_what_only_the_trunk_shows_is_left_out_said_and_keeps_its_range(go2, recording, found, tmp_path):
    left = ["payload_mass", "base_com_offset"]
    base = RandomizationSettings(parameters={"base_mass_offset": (-1.0, 3.0), "base_com_offset": (-0.03, 0.03)})
    written = result.write(found, recording, tmp_path / "dog", base, tmp_path / "a", left)
    assert written["place"] == "stand"
    assert written["left_out"] == left
    assert "Left out" in "\n".join(result.lines(written))
    assert "Left out" in (tmp_path / "dog" / "identification.html").read_text()
    ranges = result.randomization(found, base)["parameters"]
    assert ranges["base_mass_offset"] == [-1.0, 3.0]
    assert ranges["base_com_offset"] == [-0.03, 0.03]
    assert ranges["motor_strength"][0] < 0.85 < ranges["motor_strength"][1]
    with pytest.raises(InputError, match=r"parameters.*stand"):
        unknowns(go2, left, "all", held=True)
    assert len(unknowns(go2, left, "all")) == 4


def test_the_log_says_that_the_base_was_held_and_a_person_may_say_otherwise(go2, tmp_path):
    for place, held in (("stand", True), ("ground", False)):
        excite.write(go2, excitation.on_stand(go2, 5.0, plants.DT, 0), plants.DT, tmp_path / f"{place}.onnx", place)
        plants.run(tmp_path / f"{place}.onnx", go2, tmp_path / "log.mcap", 9.0, Conditions(stand=True))
        assert read_recording(tmp_path / "log.mcap").held is held
        assert read_recording(tmp_path / "log.mcap", place="stand").held
        assert not read_recording(tmp_path / "log.mcap", place="ground").held


def test_a_base_that_sways_is_on_no_stand(go2, tmp_path, capsys):
    path = plants.write_log(tmp_path, go2, steps=800)
    swaying = read_recording(path, place="stand")
    swaying.measured["projected_gravity"][:, 0] += 0.05 * np.sin(0.2 * np.arange(800))
    with pytest.raises(InputError, match=r"place.*stand.*by 0\.03.*rope"):
        cut(swaying, 1.0, 0.1, 5)
    assert len(cut(replace(swaying, held=False), 1.0, 0.1, 5).first)
    assert cli.main(["identify", str(path), "place=sea"]) == 2
    assert capsys.readouterr().err.startswith("error: place")


@pytest.mark.slow
def test_a_weak_late_and_rough_plant_is_found_on_a_stand_from_half_a_minute_s_log(tmp_path):
    go2 = robots.load("unitree_go2")
    excite.write(go2, excitation.on_stand(go2, 20.0, plants.DT, 0), plants.DT, tmp_path / "excite.onnx", "stand")
    runtime, _ = plants.run(tmp_path / "excite.onnx", go2, tmp_path / "log.mcap", 30.0, HIDDEN)
    assert {event.kind for event in runtime.supervisor.events} <= {"transition", "override", "stop", "settled"}
    assert not runtime.supervisor.interventions
    recording = read_recording(tmp_path / "log.mcap")
    found = estimate(recording, cut(recording, 2.0, 0.6, 5), unknowns(go2, DEFAULT, "all", recording.held))
    for unknown, value, (low, high) in zip(found.sought, found.value, found.interval, strict=True):
        truth = TRUTH[unknown.parameter]
        near = abs(value - truth) <= (0.003 if unknown.parameter == "action_delay" else 0.1 * truth)
        assert near or low <= truth <= high, (unknown.name, value, low, high)
