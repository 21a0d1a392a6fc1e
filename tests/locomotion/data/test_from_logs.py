"""Logs of deployments become data: the policy's own observations, and nothing of what only a simulator knows."""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy import mcap
from deploy.hil.simulated_robot import Conditions, SimulatedRobot
from deploy.interface import SimulatedTime
from deploy.log import Recorder
from deploy.log_reader import read_log
from deploy.operator import ScriptedOperator, Stop
from deploy.policy import RobotPolicy, load
from deploy.runtime import Runtime
from deploy.supervisor import Limits, Supervisor
from locomotion import build
from locomotion.cli import main
from locomotion.data import dataset as dataset_files
from locomotion.data.dataset import Dataset
from locomotion.data.rewards import recomputed
from locomotion.data.stretches import walks_of
from locomotion.evaluation import dataset_page
from locomotion.export import write_bundle
from locomotion.runs import from_logs
from locomotion.schema import check
from locomotion.settings import TrainSettings
from robots.errors import InputError
from tests.conftest import bundle_fields, tiny
from tests.deploy import bundles

SCRIPT = ((0.0, (0.2, 0.0, 0.0)), (0.6, (0.2, 0.1, 0.3)), (1.2, (0.0, 0.0, 0.0)))


@pytest.fixture(scope="module")
def policy():
    """An untrained policy that fidgets on its feet."""
    settings = tiny()
    task = build.task(settings)
    torch.manual_seed(1)
    actor = build.algorithm(settings, task).actor
    with torch.no_grad():
        for parameter in actor.network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return task.policy(actor)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, policy, go2) -> Path:
    """policy.onnx, and log.mcap of what it did for 2 s; other.mcap of another policy, shorter."""
    path = tmp_path_factory.mktemp("logs")
    write_bundle(policy, go2, bundle_fields(), path / "policy.onnx")
    deployed(path / "policy.onnx", go2, path / "log.mcap", 8.4)
    deployed(bundles.write_tiny(path / "tiny.onnx", go2, weight=0.01), go2, path / "other.mcap", 7.2)
    return path


def deployed(bundle, go2, path, seconds):
    policy, clock, limits = RobotPolicy(load(bundle), go2), SimulatedTime(), Limits(slew=0.1)
    plant = SimulatedRobot(policy.robot, clock, Conditions(noise=1.0))
    recorder = Recorder(path, policy.robot, policy.contract, limits)
    supervisor = Supervisor(policy.robot, policy.contract.control_dt, limits)
    Runtime(policy, plant, supervisor, clock, recorder).run(seconds, ScriptedOperator(SCRIPT, policy.contract), Stop.NONE)


@pytest.fixture(scope="module")
def dataset(folder) -> Dataset:
    assert main(["dataset", "from-logs", str(folder / "log.mcap"), f"output={folder / 'data'}"]) == 0
    return Dataset(folder / "data")


def walk_rows(log):
    return np.flatnonzero(log.columns["state"] == "walk")


def test_the_policy_would_act_again_as_it_did(dataset, folder, policy):
    log = read_log(folder / "log.mcap")
    rows = walk_rows(log)
    episode = dataset.episode(0)
    assert dataset.total_episodes == 1
    assert len(episode) == len(rows) > 90
    np.testing.assert_array_equal(episode.action, log.columns["action"][rows].astype(np.float32))
    with torch.no_grad():
        again = policy.actor(torch.from_numpy(episode.observations["actor"][:-1])).numpy()
    np.testing.assert_allclose(again, episode.action, atol=1e-5)
    assert np.ptp(episode.action, axis=0).min() > 0.01
    np.testing.assert_allclose(episode.steps["command"], log.columns["inputs/command"][rows], atol=1e-6)
    assert np.ptp(episode.steps["command"], axis=0).min() > 0.09


def test_what_was_asked_and_what_was_heard_are_both_kept_and_the_difference_is_counted(dataset, folder):
    log, episode = read_log(folder / "log.mcap"), dataset.episode(0)
    rows = walk_rows(log)
    for ours, theirs in (("joint_pos_target", "asked_joint_pos_target"), ("heard_joint_pos_target", "joint_pos_target")):
        np.testing.assert_array_equal(episode.steps[ours], log.columns[theirs][rows])
    off = np.abs(log.columns["joint_pos_target"] - log.columns["asked_joint_pos_target"])[rows].max(axis=1) > 1e-5
    np.testing.assert_array_equal(episode.steps["changed"], off)
    assert 0 < off.sum() < len(off)  # the slew limit of this run is narrow
    assert dataset.about["counts"]["changed by the supervisor"] == off.sum()


def test_nothing_that_only_a_simulator_knows_gets_in(folder, tmp_path):
    log = read_log(folder / "log.mcap")
    for name in ("base_pos", "base_lin_vel", "foot_contact_force"):
        assert name in log.columns
    blind = replace(log, columns={k: v for k, v in log.columns.items() if k not in ("base_pos", "base_lin_vel", "foot_contact_force")})
    for one, other in zip(walks_of(log, folder).walks, walks_of(blind, folder).walks, strict=True):
        for name in one.measured:
            np.testing.assert_array_equal(one.measured[name], other.measured[name])
        assert set(one.measured) == {"base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "joint_torque"}


def test_signals_are_estimates_around_each_step_and_rewards_are_of_what_is_measured(dataset, folder):
    log, episode = read_log(folder / "log.mcap"), dataset.episode(0)
    rows = walk_rows(log)
    np.testing.assert_allclose(episode.signals["joint_pos"][:-1], log.columns["joint_pos"][rows], atol=1e-6)
    speed = np.abs(log.columns["base_lin_vel"][rows] - episode.signals["base_lin_vel"][:-1]).mean()
    assert speed < 0.02
    assert np.isnan(episode.signals["ground_contacts"]).all()
    assert dataset.about["rewards_left_out"] == ["body_contact"]
    assert "body_contact" not in dataset.about["config"]["task"]["rewards"]
    assert episode.reward.min() > 0.0
    runner = {"snapshot_every": 1, "score_every": 0, "run": None, "resume": None, "init": None, "iterations": 1, "seed": 0, "threads": 1}
    task = build.task(check(TrainSettings, {**dataset.about["config"], **runner, "algorithm": {"num_envs": 1}}))
    np.testing.assert_array_equal(recomputed(dataset.steps(signals=True), task), episode.reward)
    with pytest.raises(InputError, match=r"body_contact.*ground_contacts"):
        recomputed(dataset.steps(signals=True), build.task(tiny("algorithm.num_envs=1")))


def test_offline_learning_on_it_goes_on_online(dataset, folder):
    small = ["algorithm.updates=2", "algorithm.batch_size=8", "iterations=2", "score_every=0", "snapshot_every=2"]
    small += ["algorithm.actor_hidden=[16,16]", "algorithm.critic_hidden=[16,16]"]
    run = folder / "iql"
    assert main(["offline", "algorithm=iql", f"dataset={dataset.path}", f"run={run}", *small]) == 0
    online = ["algorithm=ppo", f"init={run / 'last.pt'}", f"run={folder / 'online'}", "iterations=1", "score_every=0"]
    tiny_ppo = ["algorithm.num_envs=4", "algorithm.steps=4", "algorithm.minibatches=1", "algorithm.epochs=1"]
    assert main(["train", *online, *tiny_ppo, "algorithm.actor_hidden=[16,16]", "algorithm.critic_hidden=[16,16]"]) == 0


def test_the_page_says_what_the_logs_were(dataset):
    said = dict(dataset_page.lines(dataset, dataset_page.summarize(dataset)))
    assert int(said["logs: changed by the supervisor"]) > 0
    assert said["rewards left out"].startswith("body_contact")
    assert said["missing: ground_contacts"] == "100.0 %"


def test_another_policys_actions_are_those_that_ask_for_its_targets(folder, go2, tmp_path):
    assert main(["dataset", "from-logs", str(folder / "other.mcap"), f"output={tmp_path / 'd'}"]) == 0
    data, log = Dataset(tmp_path / "d"), read_log(folder / "other.mcap")
    episode, rows = data.episode(0), walk_rows(log)
    wanted = (log.columns["asked_joint_pos_target"][rows] - go2.default_joint_pos) / go2.action_scale
    np.testing.assert_allclose(episode.action, wanted, atol=1e-5)
    assert data.about["counts"]["of a policy that sees something else"] == len(rows)


# what is not in order


def with_rows(log, keep, **columns):
    return replace(log, columns={k: v[keep] for k, v in {**log.columns, **columns}.items()}, steps=log.steps[keep])


def lengths(log):
    found = walks_of(log, Path("log.mcap"))
    return [piece.stop - piece.start for walk in found.walks for piece in walk.pieces], found.counts


def test_a_missed_period_cuts_an_episode_and_is_counted(folder):
    log = read_log(folder / "log.mcap")
    rows = walk_rows(log)
    later = 0.04 * (np.arange(len(log.steps)) >= rows[40])
    late = {name: log.columns[name] + later for name in ("time", "sample_time")}
    found, counts = lengths(replace(log, columns={**log.columns, **late}))
    assert found == [39, len(rows) - 40]  # of the step before nobody knows where it led
    assert counts["gaps"] == 1


def test_beyond_a_step_that_the_log_lost_a_walk_is_left_out(folder):
    log = read_log(folder / "log.mcap")
    rows = walk_rows(log)
    keep = np.delete(np.arange(len(log.steps)), rows[40])
    found, counts = lengths(with_rows(log, keep))
    assert found == [39]
    assert counts["left out: after a step that the log lost"] == len(rows) - 41
    broken = {name: value.copy() for name, value in log.columns.items()}
    broken["action"][rows[40]] = np.nan
    assert lengths(replace(log, columns=broken))[0] == [39]


def test_samples_that_came_twice_are_kept_and_counted(folder):
    log = read_log(folder / "log.mcap")
    rows, tick = walk_rows(log), log.columns["tick"].copy()
    tick[rows[50]] = tick[rows[49]]
    found, counts = lengths(replace(log, columns={**log.columns, "tick": tick}))
    assert found == [len(rows)]
    assert counts["samples seen twice"] == 1


def test_a_fall_ends_an_episode_and_nothing_else_does(folder):
    log = read_log(folder / "log.mcap")
    rows, state = walk_rows(log), log.columns["state"].copy()
    state[rows[60] :] = "fault"
    time = float(log.columns["time"][rows[60]])
    for kind, fell in (("tilt", True), ("stale_state", False)):
        event = replace(log.events[0], time=time, state="fault", kind=kind)
        walk = walks_of(replace(log, columns={**log.columns, "state": state}, events=[*log.events, event]), folder).walks[0]
        assert walk.fell is fell
        assert len(walk.action) == 60


@pytest.mark.parametrize("missing", ["joint_torque", "asked_joint_pos_target", "inputs/command"])
def test_a_log_without_a_signal_is_refused_by_its_name(folder, missing):
    log = read_log(folder / "log.mcap")
    gone = replace(log, columns={k: v for k, v in log.columns.items() if k != missing})
    silent = replace(log, columns={**log.columns, missing: np.full_like(log.columns[missing], np.nan)})
    for bad in (gone, silent):
        with pytest.raises(InputError, match=rf"log\.{missing}.*with this signal"):
            walks_of(bad, folder)


@pytest.mark.parametrize("change", [lambda t: t + 40.0, lambda t: t - 40.0, lambda t: 1.05 * t, lambda t: 0.0 * t])
def test_two_clocks_are_refused(folder, change):
    log = read_log(folder / "log.mcap")
    with pytest.raises(InputError, match=r"two clocks"):
        walks_of(replace(log, columns={**log.columns, "sample_time": change(log.columns["sample_time"])}), folder)
    time = log.columns["time"].copy()
    time[walk_rows(log)[50] :] -= 3.0
    with pytest.raises(InputError, match=r"log\.time.*two clocks"):
        walks_of(replace(log, columns={**log.columns, "time": time}), folder)


def test_the_command_line_refuses_what_is_no_use_with_one_error_each(folder, tmp_path, capsys):
    log, out = folder / "log.mcap", f"output={tmp_path / 'd'}"
    whole = log.read_bytes()
    cut, empty, standing = tmp_path / "cut.mcap", tmp_path / "empty.mcap", tmp_path / "standing.mcap"
    cut.write_bytes(whole[:200])
    empty.write_bytes(b"")
    standing.write_bytes(whole[: len(whole) // 3])
    foreign = tmp_path / "foreign.mcap"
    contents = mcap.read(whole)
    contents.metadata["locomotion"]["robot_fingerprint"] = "0" * 64
    with foreign.open("wb", buffering=0) as stream:
        mcap.write(contents, stream)
    errors = Counter()
    for words, said in (
        ([], "logs"),
        ([tmp_path / "none.mcap"], "can be read"),
        ([empty], "a log of a run"),
        ([cut], "a log of a run"),
        ([standing], "at least one step of walking"),
        ([foreign], "make a dataset of each robot"),
        ([log, log], "every run once"),
        ([log, "task=gait"], "command_names"),
        ([log, "task.control_dt=0.01"], "control_dt"),
        ([log, "task.gait.swing=1"], "task.gait"),
    ):
        assert main(["dataset", "from-logs", *map(str, words), out]) == 2, words
        found = capsys.readouterr().err
        assert said in found, found
        assert found.count("error:") == 1
        errors[said] += 1
    assert not (tmp_path / "d").exists()
    assert main(["dataset", "from-logs", str(log)]) == 2
    assert "output" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_of_a_dataset_and_a_used_folder_is_refused_before_the_work(folder, tmp_path, capsys, monkeypatch):
    words = ["dataset", "from-logs", str(folder / "log.mcap"), f"output={tmp_path / 'd'}"]
    write, written = dataset_files.write_atomically, []

    def full(path, fill):
        written.append(path.name)
        if path.name == "part_000001.hdf5":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, fill)

    monkeypatch.setattr(dataset_files, "write_atomically", full)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"'{tmp_path / 'd'}'; expected a disk with room. Nothing was written: No space left on device." in said
    assert "part_000001.hdf5" in written
    assert not list(tmp_path.iterdir())
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine.txt").touch()
    monkeypatch.setattr(from_logs, "read_log", lambda path: pytest.fail("the work has begun"))
    assert main(words) == 2
    assert "a new or empty folder" in capsys.readouterr().err


def test_a_log_that_a_crash_cut_is_used_up_to_there(folder, tmp_path):
    whole = (folder / "log.mcap").read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole[: int(0.7 * len(whole))])
    assert main(["dataset", "from-logs", str(cut), f"output={tmp_path / 'd'}"]) == 0
    data = Dataset(tmp_path / "d")
    assert data.about["counts"]["logs that end early"] == 1
    assert 20 < data.total_steps < 95
