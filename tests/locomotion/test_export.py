"""The bundle computes what the trained module computes, and says what it is."""

import json

import numpy as np
import onnx
import pytest
import torch

import robots
from deploy.policy import RobotPolicy, load
from locomotion import export, files
from locomotion.config import compose
from locomotion.export import example_inputs, export_checkpoint, write_bundle
from locomotion.schema import check
from locomotion.settings import TrainSettings
from robots import InputError
from tests.conftest import bundle_fields, exported_targets, make_task, tiny_policy

RANGE = [[-1.0, 1.5], [-0.6, 0.6], [-1.0, 1.0]]


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("overrides", [(), ("task.gait.frequency=[1.5,2.5]",), ("task.observations.actor.previous_action=null",)])
def test_torch_and_onnxruntime_agree_over_long_sequences(go2, tmp_path, batch, overrides):
    policy = tiny_policy(*overrides)
    write_bundle(policy, go2, bundle_fields(*overrides), tmp_path / "policy.onnx")
    loaded = load(tmp_path / "policy.onnx", go2)
    signals = example_inputs(policy, go2, RANGE, batch, 200, seed=3)
    signals["command"][100:] = 0.0  # standing, so that the clock is reset on the way
    exported_targets(policy, loaded, signals)


def test_names_shapes_and_fields_are_the_published_ones(bundle, go2):
    model = onnx.load(bundle)
    onnx.checker.check_model(model)
    assert [item.name for item in model.graph.input] == ["base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "command", "memory"]
    assert [item.name for item in model.graph.output] == ["joint_pos_target", "action", "memory_out"]
    data = json.loads({entry.key: entry.value for entry in model.metadata_props}["policy_contract"])
    for name in (
        "version", "robot", "joint_names", "default_joint_pos", "kp", "kd", "action_scale", "joint_pos_limit", "joint_vel_limit",
        "effort_limit", "control_dt", "command_names", "command_range", "command_rest", "imu_frame", "observation", "memory",
        "envelope", "training", "provenance", "scorecard", "golden_vectors", "graph_sha256",
    ):  # fmt: skip
        assert name in data, name
    assert data["version"] == 2
    assert data["command_names"] == ["forward", "left", "yaw"]
    assert data["command_range"] == RANGE
    assert data["envelope"] == {"max_tilt": 1.05}
    assert data["joint_pos_limit"] == go2.joint_pos_limit.tolist()  # full precision
    assert [term["name"] for term in data["observation"]][-2:] == ["previous_action", "gait_clock"]
    memory = [(term["name"], term["width"]) for term in data["memory"]]
    assert memory == [("previous_action", 12), ("gait_clock", 1), ("joint_pos_target", 12)]


def test_inputs_are_what_the_terms_name_and_the_decoder_needs(go2, tmp_path):
    overrides = ("task.observations.actor.base_ang_vel=null", "task.observations.actor.joint_vel=null")
    policy = tiny_policy(*overrides)
    assert policy.inputs == ("projected_gravity", "joint_pos", "joint_vel", "command")
    write_bundle(policy, go2, bundle_fields(*overrides), tmp_path / "policy.onnx")
    assert set(load(tmp_path / "policy.onnx", go2).inputs) == set(policy.inputs)


def test_same_policy_same_bytes(bundle, go2, tmp_path):
    write_bundle(tiny_policy(), go2, bundle_fields(), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == bundle.read_bytes()


def test_no_path_of_the_exporting_machine_is_inside(bundle):
    from pathlib import Path

    assert str(Path(__file__).parents[2]).encode() not in bundle.read_bytes()


def test_weights_that_are_not_finite_are_refused_and_nothing_is_written(go2, tmp_path):
    policy = tiny_policy()
    with torch.no_grad():
        next(policy.actor.network.parameters())[0, 0] = float("nan")
    with pytest.raises(InputError, match="finite"):
        write_bundle(policy, go2, bundle_fields(), tmp_path / "policy.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_cannot_be_verified_or_written_leaves_the_old_one(go2, tmp_path, monkeypatch):
    path = tmp_path / "policy.onnx"
    path.write_bytes(b"the good one")
    monkeypatch.setattr("locomotion.export.load", lambda *_: (_ for _ in ()).throw(InputError("graph", "x", "a graph that runs", "")))
    with pytest.raises(InputError, match="a graph that runs"):
        write_bundle(tiny_policy(), go2, bundle_fields(), path)
    monkeypatch.undo()
    monkeypatch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_bundle(tiny_policy(), go2, bundle_fields(), path)
    assert path.read_bytes() == b"the good one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_checkpoint_is_said(tmp_path):
    with pytest.raises(InputError, match="path of a checkpoint"):
        export_checkpoint(tmp_path / "none.pt", tmp_path / "policy.onnx")


def test_the_bundle_binds_to_the_robot_by_name(bundle):
    policy = RobotPolicy(load(bundle), robots.load("unitree_go2"))
    assert policy.contract.control_dt == 0.02


def test_a_contract_says_how_far_curricula_have_come():
    """Half way, fast has asked for (1 + 4) / 2 m/s, and a widened friction has been half as far from nominal as it may go."""
    words = ["task=fast", "task.curricula.widen_ranges={parameters: [friction]}", "randomization.parameters.friction=[0.4,1.6]"]
    settings = check(TrainSettings, compose("train", words))
    names = list(settings.task.curricula)
    levels = [{"grow_commands": 0.5, "widen_ranges": 0.25}.get(name, 1.0) for name in names]
    ranges = export.trained_ranges(settings.task, settings.randomization, levels)
    assert ranges.commands == {"forward": pytest.approx([-0.75, 2.5]), "left": [-0.3, 0.3], "yaw": [-0.8, 0.8]}
    assert ranges.parameters["friction"] == pytest.approx([0.7, 1.0])
    assert ranges.parameters["kp_scale"] == [0.85, 1.15]


class Outside(torch.nn.Module):
    """A network of somebody else's."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(width, 16), torch.nn.Tanh(), torch.nn.Linear(16, size))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return self.layers(observation)


def test_an_actor_of_somebody_elses_does_on_a_robot_what_it_did_in_training(tmp_path, go2):
    task = make_task("randomization=none", "task.curricula.ramp_weights=null")
    actor = Outside(task.spaces.groups["actor"], 12)
    path = tmp_path / "policy.onnx"
    export.export_actor(actor, task, path, {"seed": 4, "learner": "somebody's"})
    policy = load(path, go2)
    contract = policy.contract
    assert contract.provenance["learner"] == "somebody's"
    assert contract.provenance["engine"] == "mujoco"
    assert contract.command_names == ("forward", "left", "yaw")
    assert contract.training["physics_dt"] == 0.01
    task.elapsed = torch.zeros_like(task.elapsed)  # nobody begins anew meanwhile
    policy.reset(6)
    for _ in range(10):
        with torch.no_grad():
            action = actor(task.observations["actor"])
        _, same = policy.step({name: value.numpy() for name, value in task.policy_inputs.items()})
        np.testing.assert_allclose(same, action, atol=1e-5)
        task.step(action)


def test_the_ranges_that_curricula_had_come_to_are_in_an_actors_contract(tmp_path, go2):
    task = make_task("task=fast")
    actor, seen = Outside(task.spaces.groups["actor"], 12), []
    for level in (0.0, 0.5, 1.0):
        for one in task.curricula:
            one.level.fill_(level)
        export.export_actor(actor, task, tmp_path / "policy.onnx")
        seen.append(load(tmp_path / "policy.onnx", go2).contract.command_range[0].tolist())
    assert seen[0] == [-0.5, 1.0]
    assert seen[1] == pytest.approx(np.mean([seen[0], seen[2]], axis=0))
    assert seen[2][1] == 4.0


@pytest.mark.parametrize(
    ("actor", "words"),
    [
        (lambda: Outside(46, 12), r"actor: got 'RuntimeError.*\[N, 47\]"),
        (lambda: Outside(47, 11), r"actor: got \[2, 11\].*\[N, 12\]"),
        (lambda: torch.nn.LSTM(47, 12), r"actor: got 'tuple'"),
        (lambda: _broken(Outside(47, 12)), r"finite weights"),
    ],
)
def test_an_actor_that_is_none_is_refused_and_leaves_the_older_file(tmp_path, actor, words):
    path = tmp_path / "policy.onnx"
    path.write_text("older")
    with pytest.raises(InputError, match=words):
        export.export_actor(actor(), make_task(), path)
    assert path.read_text() == "older"


def _broken(actor: Outside) -> Outside:
    torch.nn.init.constant_(actor.layers[0].bias, float("nan"))
    return actor
