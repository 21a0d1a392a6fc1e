"""A bundle computes here what it computed at export, for the robot that it is for; whatever is damaged is a named error."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import onnx_file
from deploy.contract import ContractError
from deploy.policy import RobotPolicy, load
from tests.deploy import bundles
from tests.deploy.test_contract import reordered

VERSION_1 = Path(__file__).with_name("policy_v1.onnx")
ORDER = [3, 7, 0, 11, 1, 2, 10, 4, 9, 5, 6, 8]  # no permutation that is its own inverse


def test_it_computes_what_the_graph_says(bundle, go2):
    tiny, policy = bundles.tiny_policy(go2), load(bundle, go2)
    policy.reset(5)
    memory = np.zeros((5, 3))
    for seed in range(3):
        signals = bundles.signals(tiny, seed, rows=5)
        target, action, memory = tiny(signals, memory)
        found = policy.step(signals)
        np.testing.assert_allclose(found[0], target, atol=1e-5)
        np.testing.assert_allclose(found[1], action, atol=1e-5)
        np.testing.assert_allclose(policy.memory, memory, atol=1e-5)
        assert found[0].dtype == found[1].dtype == np.float32


def test_an_episode_begins_with_zero_memory(bundle, go2):
    policy, signals = load(bundle), bundles.signals(bundles.tiny_policy(go2), 0, rows=1)
    first, _ = policy.step(signals)
    second, _ = policy.step(signals)
    assert np.abs(second - first).max() > 1e-3
    policy.reset()
    np.testing.assert_array_equal(policy.step(signals)[0], first)


def test_version_1_runs_and_gives_its_golden_outputs(go2):
    policy = load(VERSION_1, go2)
    assert policy.contract.version == 1
    for vector in policy.contract.data["golden_vectors"]:
        policy.reset(1)
        for t in range(8):
            signals = {name: np.array(vector["inputs"][name][t : t + 1], dtype=np.float32) for name in policy.inputs}
            target, action = policy.step(signals)
            np.testing.assert_allclose(target[0], vector["outputs"]["joint_pos_target"][t], atol=1e-5)
            np.testing.assert_allclose(action[0], vector["outputs"]["action"][t], atol=1e-5)
    assert policy.memory.shape == (1, 13)


def refused(bundle, path, match, change=lambda data: None, edit=lambda model: None):
    bundles.rewrite(bundle, path, change, edit)
    with pytest.raises(ContractError, match=match):
        load(path)


@pytest.mark.parametrize("name", ["action", "joint_pos_target"])
def test_outputs_that_differ_from_the_golden_vectors_are_refused(bundle, tmp_path, name):
    def change(by):
        def apply(data):
            data["golden_vectors"][1]["outputs"][name][3][11] += by

        return apply

    bundles.rewrite(bundle, tmp_path / "policy.onnx", change(0.00005))
    load(tmp_path / "policy.onnx")
    refused(bundle, tmp_path / "policy.onnx", rf"golden_vectors\[1\].{name}\[3\]", change(0.0002))


def weights(model, change):
    tensor = next(item for item in model.graph.initializer if item.name == "D")
    values = numpy_helper.to_array(tensor).copy()
    change(values)
    tensor.CopyFrom(numpy_helper.from_array(values, "D"))


def test_nan_weights_are_refused(bundle, tmp_path):
    """Of the memory too, where only the last step's outputs would show them."""

    def edit(model):
        weights(model, lambda values: values.__setitem__((0, 0), np.nan))

    def one_step(data):
        for vector in data["golden_vectors"]:
            for rows in (*vector["inputs"].values(), *vector["outputs"].values()):
                del rows[1:]

    refused(bundle, tmp_path / "policy.onnx", r"golden_vectors\[0\].memory_out\[0\]", one_step, edit)


def test_another_graph_under_the_old_hash_is_refused(bundle, tmp_path):
    model = onnx.load(bundle)
    contract = next(entry.value for entry in model.metadata_props if entry.key == "policy_contract")
    del model.metadata_props[:]
    model.graph.name = "another"
    (tmp_path / "policy.onnx").write_bytes(bundles.seal(model.SerializeToString(), contract))
    with pytest.raises(ContractError, match="graph_sha256"):
        load(tmp_path / "policy.onnx")


def rename(old, new):
    def edit(model):
        for value in (*model.graph.input, *model.graph.output):
            value.name = new if value.name == old else value.name
        for node in model.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]

    return edit


def reshape(name, *shape):
    def edit(model):
        value = next(item for item in (*model.graph.input, *model.graph.output) if item.name == name)
        value.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    return edit


def twice(output, width):
    """The output beside itself: twice as wide as the contract says, and declared as ``width``."""

    def edit(model):
        rename(output, "once")(model)
        model.graph.node.append(helper.make_node("Concat", ["once", "once"], [output], axis=1))
        value = next(item for item in model.graph.output if item.name == "once")
        value.CopyFrom(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width]))

    return edit


def without_output(model):
    del model.graph.output[1]


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (rename("command", "joystick"), "graph inputs"),
        (rename("memory", "state"), "graph inputs"),
        (rename("memory_out", "state"), "graph outputs"),
        (without_output, "graph outputs"),
        (reshape("joint_pos", 1, 12), "graph input joint_pos"),
        (reshape("memory", "batch", "anything"), "graph input memory"),
        (reshape("command", "batch", "anything"), "graph input command"),
        (reshape("command", "batch", 3, 1), "graph"),
        (twice("action", 24), "graph output action"),
        (twice("memory_out", 6), "graph output memory_out"),
        (reshape("memory_out", "batch"), "graph"),
    ],
)
def test_a_graph_whose_inputs_and_outputs_are_not_the_contract_s_is_refused(bundle, tmp_path, edit, match):
    refused(bundle, tmp_path / "policy.onnx", match, edit=edit)


@pytest.mark.parametrize(("output", "kept"), [("action", 11), ("joint_pos_target", 1), ("memory_out", 2)])
def test_a_width_that_only_running_shows_is_compared_too(bundle, tmp_path, output, kept):
    def edit(model):
        rename(output, "whole")(model)
        condition = numpy_helper.from_array(np.array([True] * kept), "condition")
        model.graph.initializer.append(condition)
        model.graph.node.append(helper.make_node("Compress", ["whole", "condition"], [output], axis=1))
        value = next(item for item in model.graph.output if item.name == "whole")
        value.CopyFrom(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", "width"]))

    refused(bundle, tmp_path / "policy.onnx", rf"golden_vectors\[0\].{output}\[0\]", edit=edit)


def test_names_that_are_no_text_are_refused(bundle, tmp_path):
    model = onnx.load(bundle)
    _, data = onnx_file.read(bundle)
    del model.metadata_props[:]
    graph = model.SerializeToString()
    assert graph.count(b"batch") == 9  # the name of a dimension
    (tmp_path / "policy.onnx").write_bytes(onnx_file.attach(graph.replace(b"batch", b"b\xfftch"), data))
    with pytest.raises(ContractError, match="UTF-8"):
        load(tmp_path / "policy.onnx")


def test_a_graph_may_leave_the_width_of_its_outputs_unsaid(bundle, tmp_path):
    bundles.rewrite(bundle, tmp_path / "policy.onnx", edit=reshape("action", "batch", "width"))
    load(tmp_path / "policy.onnx")


def test_a_contract_whose_widths_are_not_the_graph_s_is_refused(bundle, tmp_path):
    path = tmp_path / "policy.onnx"
    refused(bundle, path, "graph input memory", lambda data: data["memory"][0].update(width=4))
    refused(bundle, path, "graph input memory", lambda data: data["memory"].append({"name": "more", "width": 1, "text": "one"}))

    def without_command(data):
        data["inputs"].remove("command")
        for vector in data["golden_vectors"]:
            del vector["inputs"]["command"]

    refused(bundle, path, "graph inputs", without_command)

    def four_channels(data):
        data.update(command_names=["forward", "left", "yaw", "height"], command_range=[[-1, 1]] * 4, command_rest=[0] * 4)
        for vector in data["golden_vectors"]:
            vector["inputs"]["command"] = [[*row, 0.0] for row in vector["inputs"]["command"]]

    refused(bundle, path, "graph input command", four_channels)


def test_a_graph_that_does_not_run_is_refused(bundle, tmp_path):
    def gather_beyond_the_end(model):
        """Right in every shape; only running it shows that column 99 does not exist."""
        rename("memory_out", "kept")(model)
        model.graph.output[-1].name = "memory_out"
        model.graph.initializer.append(numpy_helper.from_array(np.array([99], dtype=np.int64), "column"))
        model.graph.node.append(helper.make_node("Gather", ["memory", "column"], ["beyond"], axis=1))
        model.graph.node.append(helper.make_node("Add", ["kept", "beyond"], ["memory_out"]))

    refused(bundle, tmp_path / "policy.onnx", r"golden_vectors\[0\]\[0\].*a graph that runs", edit=gather_beyond_the_end)

    def unknown_operator(model):
        model.graph.node[0].op_type = "Nonsense"

    refused(bundle, tmp_path / "policy.onnx", "a graph that onnxruntime can run", edit=unknown_operator)


def robot_signals(robot, seed, rows):
    return bundles.signals(bundles.tiny_policy(robot), seed, rows)


def test_a_permuted_bundle_is_the_same_policy(tmp_path, bundle, go2):
    permuted = bundles.write_tiny(tmp_path / "policy.onnx", go2, order=ORDER)
    one, other = RobotPolicy(load(bundle), go2), RobotPolicy(load(permuted), go2)
    assert other.contract.joint_names == tuple(go2.joint_names[i] for i in ORDER)
    tiny, memory = bundles.tiny_policy(go2), np.zeros((4, 3))
    for policy in (one, other):
        policy.reset(4)
    for seed in range(3):
        signals = robot_signals(go2, seed, rows=4)
        expected, action, memory = tiny(signals, memory)
        for policy in (one, other):
            found = policy.step(signals)
            np.testing.assert_allclose(found[0], expected, atol=1e-5)
            np.testing.assert_allclose(found[1], action, atol=1e-5)
    np.testing.assert_array_equal(one.robot.kp, other.robot.kp)


def test_a_permuted_robot_runs_the_same_policy(bundle, go2):
    policy = RobotPolicy(load(bundle), reordered(go2, ORDER))
    tiny, signals = bundles.tiny_policy(go2), robot_signals(go2, 0, rows=2)
    policy.reset(2)
    target, action = policy.step({**signals, "joint_pos": signals["joint_pos"][:, ORDER], "joint_vel": signals["joint_vel"][:, ORDER]})
    expected = tiny(signals, np.zeros((2, 3)))
    np.testing.assert_allclose(target, expected[0][:, ORDER], atol=1e-5)
    np.testing.assert_allclose(action, expected[1][:, ORDER], atol=1e-5)


def test_a_robot_policy_has_the_contract_s_gains_and_leaves_the_caller_s_arrays_alone(tmp_path, bundle, go2):
    path = bundles.rewrite(bundle, tmp_path / "policy.onnx", lambda data: data.update(kp=[float(i + 31) for i in range(12)]))
    policy = RobotPolicy(load(path), reordered(go2, ORDER))
    assert policy.robot.kp.tolist() == [i + 31.0 for i in ORDER]
    signals = {name: value.astype(np.float64) for name, value in robot_signals(go2, 0, rows=1).items()}
    signals["command"][:] = 9.0
    before = {name: value.copy() for name, value in signals.items()}
    target, _ = policy.step(signals)
    assert target.dtype == np.float32
    for name, value in before.items():
        np.testing.assert_array_equal(signals[name], value)


def test_commands_are_clipped_to_the_trained_range(bundle, go2):
    policy, signals = RobotPolicy(load(bundle), go2), robot_signals(go2, 0, rows=1)
    np.testing.assert_array_equal(policy.clip_command(np.array([9.0, -9.0, 0.3])), np.array([1.5, -0.6, 0.3], dtype=np.float32))
    beyond, _ = policy.step({**signals, "command": np.array([[9.0, -9.0, 0.3]])})
    policy.reset()
    within, _ = policy.step({**signals, "command": np.array([[1.5, -0.6, 0.3]])})
    np.testing.assert_array_equal(beyond, within)
    for wrong in ([0.5], [0.5, 0.0], [0.5, 0.0, 0.0, 0.0], 0.5):
        with pytest.raises(ContractError, match=r"3 numbers \['forward', 'left', 'yaw'\]"):
            policy.clip_command(np.array(wrong))


def test_a_policy_may_have_other_command_channels(tmp_path, go2):
    commands = {"forward": (0.0, 1.0), "height": (0.2, 0.35)}
    path = bundles.write_tiny(tmp_path / "policy.onnx", go2, commands=commands, weight=0.0)
    with pytest.raises(ContractError, match="command_rest"):
        load(path)
    bundles.rewrite(path, path, lambda data: data.update(command_rest=[0.0, 0.3]))
    policy = RobotPolicy(load(path), go2)
    np.testing.assert_allclose(policy.clip_command(np.array([[2.0, 0.0]])), [[1.0, 0.2]])


def test_a_policy_that_sees_the_ground_runs_where_the_ground_is_seen(tmp_path, go2):
    path = bundles.write_tiny(tmp_path / "policy.onnx", go2, inputs=(*bundles.INPUTS, "height_scan"))
    with pytest.raises(ContractError, match="height_scan"):
        load(path, go2)
    policy = load(path)
    with pytest.raises(ContractError, match="height_scan"):
        RobotPolicy(policy, go2)
    tiny = bundles.tiny_policy(go2, inputs=(*bundles.INPUTS, "height_scan"))
    signals = bundles.signals(tiny, 0, rows=1)
    target, _ = RobotPolicy(policy, go2, measured=["height_scan"]).step(signals)
    np.testing.assert_allclose(target, tiny(signals, np.zeros((1, 3)))[0], atol=1e-5)


def test_a_policy_for_another_robot_is_refused(bundle, go2):
    for refuse in (lambda robot: load(bundle, robot), lambda robot: RobotPolicy(load(bundle), robot)):
        with pytest.raises(ContractError, match="Use that robot's policy"):
            refuse(replace(go2, name="other_robot"))
