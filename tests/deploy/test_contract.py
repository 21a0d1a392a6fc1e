"""A bundle that is not exactly what was exported, for this robot, does not run."""

import json
import random
from dataclasses import replace

import numpy as np
import onnx
import pytest

from deploy import contract
from deploy.contract import ContractError, load


def rewrite(bundle, path, change, reseal=True):
    """The bundle with its contract changed by ``change``; ``reseal`` makes the checksum right again."""
    model = onnx.load(bundle)
    for entry in model.metadata_props:
        if entry.key == contract.CONTRACT_KEY:
            data = json.loads(entry.value)
            change(data)
            entry.value = json.dumps(data)
    file = model.SerializeToString(deterministic=True)
    if reseal:
        begin, end = contract.find_sections(file)[1][contract.CHECKSUM_KEY]
        file = file[:begin] + contract.bundle_sha256(file).encode() + file[end:]
    path.write_bytes(file)
    return path


def test_a_good_bundle_loads_and_says_what_it_is(bundle, go2):
    policy = load(bundle, go2)
    assert policy.contract.robot == "unitree_go2"
    assert policy.contract.joint_names == go2.joint_names
    np.testing.assert_array_equal(policy.contract.effort_limit, go2.effort_limit)


def test_any_flipped_byte_is_noticed(bundle, tmp_path, go2):
    data, rng = bundle.read_bytes(), random.Random(0)
    graph, metadata = contract.find_sections(data)
    positions = [0, 1, len(data) - 1, graph[0], metadata[contract.CHECKSUM_KEY][0], metadata[contract.CONTRACT_KEY][0]]
    positions += [rng.randrange(len(data)) for _ in range(150)]
    path = tmp_path / "policy.onnx"
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ContractError):
            load(path, go2)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_refused(bundle, tmp_path, share):
    data = bundle.read_bytes()
    (tmp_path / "policy.onnx").write_bytes(data[: int(share * len(data))])
    with pytest.raises(ContractError):
        load(tmp_path / "policy.onnx")


def test_missing_file_and_missing_contract(bundle, tmp_path):
    with pytest.raises(ContractError, match="path of a policy"):
        load(tmp_path / "none.onnx")
    model = onnx.load(bundle)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(ContractError, match="metadata with the key policy_contract"):
        load(tmp_path / "bare.onnx")


def test_changed_contract_with_an_old_checksum_is_refused(bundle, tmp_path):
    path = rewrite(bundle, tmp_path / "policy.onnx", lambda data: data.update(kp=[99.0] * 12), reseal=False)
    with pytest.raises(ContractError, match="checksum"):
        load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(version=99), "Update this program"),
        (lambda data: data.pop("kp"), "all fields"),
        (lambda data: data.update(kd=[1.0]), "kd"),
        (lambda data: data.update(effort_limit=[float("nan")] * 12), "effort_limit"),
        (lambda data: data.update(graph_sha256="0" * 64), "graph"),
        (lambda data: data["golden_vectors"][0]["outputs"]["action"][3].__setitem__(0, 0.5), r"golden_vectors\[0\].action\[3\]"),
    ],
)
def test_contracts_that_do_not_hold_are_named(bundle, tmp_path, change, message):
    path = rewrite(bundle, tmp_path / "policy.onnx", change)
    with pytest.raises(ContractError, match=message):
        load(path)


def test_nan_weights_are_refused(bundle, tmp_path):
    model = onnx.load(bundle)
    weight = next(item for item in model.graph.initializer if len(item.dims) == 2)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    graph = contract.hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
    onnx.save(model, tmp_path / "nan.onnx")
    path = rewrite(tmp_path / "nan.onnx", tmp_path / "policy.onnx", lambda data: data.update(graph_sha256=graph))
    with pytest.raises(ContractError, match="golden_vectors"):
        load(path)


def test_another_robot_is_refused(bundle, go2):
    with pytest.raises(ContractError, match="Use that robot's policy"):
        load(bundle, replace(go2, name="other_robot"))
    with pytest.raises(ContractError, match="effort_limit"):
        load(bundle, replace(go2, effort_limit=go2.effort_limit * 0.9))
    with pytest.raises(ContractError, match="joint_names"):
        load(bundle, replace(go2, joint_names=tuple(f"{name}_x" for name in go2.joint_names)))


def test_joints_are_matched_by_name_not_by_place(bundle, go2):
    order = np.array([3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8])
    names = tuple(go2.joint_names[i] for i in order)
    per_joint = ("default_joint_pos", "lie_joint_pos", "kp", "kd", "action_scale", "joint_pos_limit", "joint_vel_limit", "effort_limit")
    other = replace(go2, joint_names=names, **{name: getattr(go2, name)[order] for name in per_joint})
    load(bundle, other)
    gains = load(bundle).contract.robot_with_gains(other)
    np.testing.assert_array_equal(gains.kp, go2.kp[order])


def test_command_is_clamped_to_the_trained_range(bundle):
    np.testing.assert_allclose(load(bundle).clip_command(np.array([9.0, -9.0, 0.3])), [1.5, -0.6, 0.3], atol=1e-6)
