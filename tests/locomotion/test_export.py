"""The bundle computes what the trained module computes."""

import json

import numpy as np
import onnx
import pytest
import torch

from deploy import contract
from locomotion.export import INPUTS, example_inputs, export
from robots import InputError
from tests.conftest import CONTRACT_FIELDS, tiny_policy


@pytest.mark.parametrize("batch", [1, 7])
def test_torch_and_onnxruntime_agree_over_long_sequences(bundle, go2, batch):
    policy, loaded = tiny_policy(), contract.load(bundle, go2)
    signals = example_inputs(policy, go2, batch, 200, seed=3)
    signals["command"][100:] = 0.0  # standing, so that the clock is reset on the way
    memory = torch.zeros(batch, policy.encoder.memory_size)
    loaded.reset(batch)
    for t in range(200):
        with torch.inference_mode():
            target, action, memory = policy(*(torch.from_numpy(signals[name][t]) for name in INPUTS[:-1]), memory)
        onnx_target, onnx_action = loaded.step({name: value[t] for name, value in signals.items()})
        np.testing.assert_allclose(onnx_target, target, atol=1e-5)
        np.testing.assert_allclose(onnx_action, action, atol=1e-5)
        np.testing.assert_allclose(loaded.memory, memory, atol=1e-5)


def test_names_shapes_and_fields_are_the_published_ones(bundle, go2):
    model = onnx.load(bundle)
    onnx.checker.check_model(model)
    assert [item.name for item in model.graph.input] == list(INPUTS)
    assert [item.name for item in model.graph.output] == ["joint_pos_target", "action", "memory_out"]
    data = json.loads({entry.key: entry.value for entry in model.metadata_props}["policy_contract"])
    for name in (
        "version", "robot", "joint_names", "default_joint_pos", "kp", "kd", "action_scale", "joint_pos_limit", "joint_vel_limit",
        "effort_limit", "control_dt", "command_range", "imu_frame", "randomization", "provenance", "scorecard", "golden_vectors",
    ):  # fmt: skip
        assert name in data, name
    assert data["joint_pos_limit"] == go2.joint_pos_limit.tolist()  # full precision


def test_same_policy_same_bytes(bundle, go2, tmp_path):
    export(tiny_policy(), go2, CONTRACT_FIELDS, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == bundle.read_bytes()


def test_no_path_of_the_exporting_machine_is_inside(bundle):
    from pathlib import Path

    assert str(Path(__file__).parents[2]).encode() not in bundle.read_bytes()


def test_weights_that_are_not_finite_are_refused_and_nothing_is_written(go2, tmp_path):
    policy = tiny_policy()
    with torch.no_grad():
        next(policy.actor.network.parameters())[0, 0] = float("nan")
    with pytest.raises(InputError, match="finite"):
        export(policy, go2, CONTRACT_FIELDS, tmp_path / "policy.onnx")
    assert list(tmp_path.iterdir()) == []
