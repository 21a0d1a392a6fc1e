"""Motors that no law's factors describe are learned from the torque that they report; the network runs in the engine, within its bounds."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

import sim
from deploy.policy import load
from locomotion import cli
from locomotion.identification import actuator_result
from locomotion.identification.actuator import How, errors, fit
from locomotion.identification.drives import sample
from locomotion.identification.recording import read_recordings
from robots import InputError
from sim.actuation import NETWORKS, choose
from sim.actuator_network import document
from tests.conftest import TINY, only, standing
from tests.locomotion.identification import plants

NOISE = 0.2  # N m, of the torque that is reported


def fitted(recordings, **how):
    return fit(recordings, How(**{"joints": "all", "steps": 600} | how))


@pytest.fixture(scope="module")
def recording(go2):
    return plants.motors_moved(go2, 24.0)


@pytest.fixture(scope="module")
def found(recording):
    return fitted([recording])


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    return folder, actuator_result.write(found, folder, [folder / "log.mcap"])


def test_held_out_torque_is_predicted_to_the_noise_where_no_factors_do(recording, found):
    error = errors(found, range(12))
    assert error["law"] > 3.0 * NOISE
    assert error["best law"] > 2.0 * NOISE
    assert error["network"] < 0.5 * error["best law"]
    finer = errors(fitted([recording], history=5, spacing=0.005), range(12))  # targets change every 20 ms, and the lag is 8 ms
    assert finer["network"] < 1.2 * NOISE


def test_the_same_log_and_seed_give_the_same_file(recording, found, go2):
    def text(fit):
        return json.dumps(document(go2, {name: (part.joints, part.rest) for name, part in fit.parts.items()}, 3, 0.01, {}))

    short = replace(recording, stretches=[(0, 2100)])
    one, two, other = (text(fitted([short], joints="group", steps=30, seed=seed)) for seed in (0, 0, 1))
    assert one == two != other


class Hidden:
    """The hidden motors as an actuator of the engine's, which keeps their lag."""

    history, spacing = 1, 0.001

    def __init__(self, robot):
        self.robot, self.motors = robot, plants.HiddenMotors(robot, 0.001)

    def __call__(self, error, joint_vel):
        error, speed = error[:, -1].double().numpy(), joint_vel[:, -1].double().numpy()
        return torch.from_numpy(self.motors(self.robot.kp * error - self.robot.kd * speed, speed)).float()


def test_in_the_engine_it_moves_a_robot_as_the_hidden_motors_do(go2, written):
    """Legs in the air that follow targets: how far they stray from where the hidden motors bring them, against the law's."""
    NETWORKS["hidden"] = Hidden(go2)
    engines = {
        name: sim.make("mujoco", go2, 1, 0.001, threads=1, actuator=actuator)
        for name, actuator in (("truth", "hidden"), ("law", None), ("network", written[1]["network"]))
    }
    del NETWORKS["hidden"]
    at = {name: [] for name in engines}
    for name, engine in engines.items():
        engine.reset(only(1), standing(go2, 1, height=2.0))
        for k in range(25):
            wave = 0.3 * np.sin(0.02 * k * np.linspace(6.0, 20.0, 12))
            engine.step(torch.tensor(go2.default_joint_pos + wave)[None].float(), 20)
            at[name].append(engine.signals.joint_pos[0].numpy().copy())
    stray = {name: np.sqrt(np.square(np.array(at[name]) - at["truth"]).mean()) for name in ("law", "network")}
    assert stray["law"] > 0.02  # rad
    assert stray["network"] < 0.5 * stray["law"]


def test_outside_of_what_the_log_showed_it_is_the_law_and_nowhere_far_from_it(go2, written, found):
    network = choose(go2, written[1]["network"])[1]
    kp, kd = torch.tensor(go2.kp).float(), torch.tensor(go2.kd).float()
    generator, rows = torch.Generator().manual_seed(0), np.flatnonzero(found.judge)
    inside = [torch.from_numpy(x[rows]).float() for x in (found.samples.errors, found.samples.speeds)]
    most, (part,) = 0.0, found.parts.values()
    bound = float(part.rest.unit * part.rest.bound)
    for size in (1.0, 3.0, 100.0):
        error, speed = (size * x[torch.randperm(len(x), generator=generator)[:500]] for x in inside)
        off = (network(error, speed) - (kp * error[:, -1] - kd * speed[:, -1])).abs().max()
        most = max(most, float(off))
        assert off <= bound * (1.0 + 1e-4) + 1e-4 * size
    assert off < 1e-4 * size  # nothing but rounding
    assert most > 0.3 * bound
    assert bound < 0.5 * go2.effort_limit.min()
    assert (found.trust == 1.0).mean() > 0.99


@pytest.mark.slow
def test_motors_that_are_late_alone_need_no_network(go2, tmp_path, capsys):
    """A pure delay is found as one, and what gains and a delay explain is left to them: nothing is written."""
    law = plants.HiddenMotors(go2, 0.001)
    law.LAG, law.DEAD, law.FADING = 1e-9, 0.0, 0.0
    path = plants.save(plants.motors_moved(go2, 16.0, law, delay=0.012), tmp_path)
    words = ["actuator", "fit", str(path), f"output={tmp_path}/out", "joints=all", "hidden=[8]", "steps=100"]
    assert cli.main(words) == 1
    result = json.loads((tmp_path / "out" / "actuator_fit.json").read_text())
    assert result["action_delay"]["best"] == pytest.approx(0.012, abs=0.0011)
    assert result["rms_error"]["best law"] < 1.4 * NOISE < result["rms_error"]["law"]
    assert not (tmp_path / "out" / "actuator.json").exists()
    assert "none is written" in capsys.readouterr().out


def test_what_a_log_shows_too_little_of_is_named(go2):
    plain = replace(go2, speed_at_full_effort=None, no_load_speed=None)  # nobody has published their curve
    found = fitted([plants.motors_moved(plain, 11.0, dt=0.02, hold=1, size=0.2)], joints="group", steps=1, history=1, hidden=())
    said = "\n".join(found.poor)
    assert "abduction: torques reach" in said
    assert "knee: speeds reach" in said
    assert "moments come 20 to 20 ms after a new target" in said


def test_a_whole_log_becomes_a_network_that_trains_exports_and_resumes(recording, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plants.save(recording, tmp_path)
    assert cli.main(["actuator", "fit", "log.mcap", "output=fitted", "steps=100", "hidden=[8,8]"]) == 0
    said = capsys.readouterr().out
    assert "locomotion train robot=unitree_go2 sim.actuator=fitted/actuator.json" in said
    page = (tmp_path / "fitted" / "actuator.html").read_text()
    assert page.count("<img") == 1
    assert "FL_calf_joint" in page
    assert cli.main(["train", *TINY, "sim.actuator=fitted/actuator.json", "iterations=2", "run=run"]) == 0
    assert cli.main(["train", *TINY, "sim.actuator=fitted/actuator.json", "run=other", "score_every=1", "score_sim=pybullet"]) == 2
    assert "score_sim: got 'pybullet'" in capsys.readouterr().err
    path = tmp_path / "fitted" / "actuator.json"
    whole = path.read_text()
    assert cli.main(["export", "checkpoint=run/last.pt", "output=policy.onnx"]) == 0
    contract = load(tmp_path / "policy.onnx").contract
    assert contract.training["actuator"] == "fitted/actuator.json"
    assert len(contract.provenance["actuator_sha256"]) == 64
    path.write_text(whole.replace('"history": 3', '"history": 3 '))
    capsys.readouterr()
    assert cli.main(["train", "resume=run", "iterations=3"]) == 2
    assert "the actuator network as it was in training" in capsys.readouterr().err
    path.write_text(whole)
    assert cli.main(["train", "resume=run", "iterations=3"]) == 0
    path.unlink()
    assert cli.main(["export", "checkpoint=run/last.pt", "output=policy.onnx"]) == 0  # a bundle needs no network


def test_each_bad_log_is_one_error(go2, recording, tmp_path, capsys):
    short = replace(recording, stretches=[(0, 1000)])
    with pytest.raises(InputError, match=r"logs.*at least 10 s.*they have 5 s"):
        fitted([short])
    for torque, words in (
        (np.ones_like(recording.torque), r"FL_hip_joint: torque.*changes as the drive works"),
        (-recording.torque, r"FL_hip_joint: torque.*correlation is -"),
    ):
        with pytest.raises(InputError, match=words):
            sample([replace(recording, torque=torque)], 3, 0.01, 0.0, 1.0)
    some = recording.torque.copy()
    some[::7, 3] = np.nan
    assert len(sample([replace(recording, torque=some)], 3, 0.01, 0.0, 1.0).torque) < 0.9 * len(recording.sampled)
    path = plants.save(replace(recording, sampled=recording.sampled[:500], torque=np.full_like(some, np.nan)), tmp_path)
    with pytest.raises(InputError, match="log with joint_torque"):
        read_recordings([path])
    path = plants.save(replace(recording, sampled=recording.sampled[:500]), tmp_path)
    with pytest.raises(InputError, match=r"robot: got 'unitree_go1'"):
        read_recordings([path], "unitree_go1")
    other = plants.save(replace(recording, sampled=recording.sampled[:500], robot=replace(go2, kp=2.0 * go2.kp)), tmp_path, "stiff.mcap")
    with pytest.raises(InputError, match=r"logs.*stiff.*gains"):
        read_recordings([path, other])
    still = plants.write_log(tmp_path, go2, still="FL_calf_joint")
    for words, message in ((["fit", str(still)], "FL_calf_joint"), (["fot"], "fit"), ([], "fit"), (["fit", "absent.mcap"], "absent.mcap")):
        assert cli.main(["actuator", *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert message in error


def test_a_log_that_was_cut_is_fitted_to_its_last_whole_step(recording, tmp_path):
    path = plants.save(recording, tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    whole, cut = (sample([one], 3, 0.01, 0.0, 1.0) for one in (recording, read_recordings([path])[0]))
    count = len(cut.torque)
    assert 1000 < count < len(whole.torque)
    np.testing.assert_allclose(cut.errors, whole.errors[:count], atol=1e-9)


def test_each_bad_file_is_one_error(go2, written, tmp_path):
    good = json.loads((written[0] / "actuator.json").read_text())

    def changed(change):
        data = json.loads(json.dumps(good))
        change(data)
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(data))
        return str(path)

    part = "all"
    for change, words in (
        (lambda d: d.update(robot="unitree_go1"), r"network of unitree_go2"),
        (lambda d: d["parts"][part]["joints"].pop(), r"network of unitree_go2 and its joints"),
        (lambda d: d["gains"]["kp"].update(FL_hip_joint=20.0), r"kp 35 at FL_hip_joint; this one was fitted under 20"),
        (lambda d: d.update(version=2), r"another version"),
        (lambda d: d.pop("history"), r"It has no 'history'"),
        (lambda d: d.update(history=0), r"sim.actuator"),
        (lambda d: d["parts"][part].update(linear=[1.0]), r"linear are not \[6\]"),
        (lambda d: d["parts"][part]["linear"].__setitem__(0, float("nan")), r"linear are not \[6\] finite"),
        (lambda d: d["parts"][part].update(reach=0.0), r"not positive"),
        (lambda d: d["parts"][part].pop("bound"), r"It has no 'bound'"),
        (lambda d: d.update(parts=[]), r"sim.actuator"),
    ):
        with pytest.raises(InputError, match=words):
            choose(go2, changed(change))
    (tmp_path / "other.json").write_bytes(b"\xff\xfe no")
    with pytest.raises(InputError, match="a file of 'locomotion actuator fit'"):
        choose(go2, str(tmp_path / "other.json"))


def test_an_excitation_may_hold_its_targets(tmp_path, capsys):
    words = ["identify", "excite", "place=stand", "seconds=5", "control_dt=0.005", f"output={tmp_path}/excite.onnx"]
    assert cli.main([*words, "hold=0.02"]) == 0
    tables = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "excite.onnx").graph.initializer}
    held = tables["table"].reshape(-1, 4, 12)
    assert len(held) == 250
    assert (np.ptp(held, axis=1) == 0.0).all()
    assert (np.diff(held[:, 0], axis=0) != 0.0).any(axis=1).mean() > 0.95
    assert cli.main([*words, "hold=0.012"]) == 2
    assert "hold: got 0.012; expected a multiple of control_dt" in capsys.readouterr().err


@pytest.mark.slow
def test_motors_of_a_robot_on_the_ground_are_learned_from_its_log(go2, tmp_path):
    """Behind the supervisor, on the excitation's motion, from the log's file to the engine."""
    words = ["identify", "excite", "seconds=30", "control_dt=0.005", "hold=0.02", f"output={tmp_path}/excite.onnx"]
    assert cli.main(words) == 0
    runtime, _ = plants.run(tmp_path / "excite.onnx", go2, tmp_path / "log.mcap", 38.0, plants.Conditions(noise=1.0), plants.Unlawful)
    assert {event.kind for event in runtime.supervisor.events} <= {"transition", "override", "stop", "settled"}
    assert cli.main(["actuator", "fit", str(tmp_path / "log.mcap"), f"output={tmp_path}/fitted"]) == 0
    result = json.loads((tmp_path / "fitted" / "actuator_fit.json").read_text())
    for part in result["parts"].values():
        assert part["rms_error"]["network"] < 1.15 * NOISE
        assert part["rms_error"]["network"] < 0.7 * part["rms_error"]["best law"]
        assert part["trusted"] > 0.97
    choose(go2, result["network"])
