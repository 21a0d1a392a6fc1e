"""Nothing runs but a graph that is whole, unchanged, bounded and in the one file."""

import json
import random

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import onnx_file
from deploy.contract import ContractError
from deploy.policy import load
from tests.deploy import bundles


def sealed(file):
    """The bytes with their checksum made right again."""
    begin, end = onnx_file.find_sections(file)[1][onnx_file.CHECKSUM_KEY]
    return file[:begin] + onnx_file.bundle_sha256(file).encode() + file[end:]


def test_attached_is_what_is_read(bundle, go2):
    policy = bundles.tiny_policy(go2)
    data = bundles.contract(policy, go2)
    _, read = onnx_file.read(bundle)
    model = onnx.load(bundle)  # to another reader it is an ordinary ONNX file
    onnx.checker.check_model(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert set(metadata) == {"policy_contract", "bundle_sha256"}
    assert read == json.loads(metadata["policy_contract"]) == {**json.loads(json.dumps(data)), "graph_sha256": read["graph_sha256"]}
    graph = onnx_file.hashlib.sha256(bundles.graph(policy).graph.SerializeToString(deterministic=True))
    assert read["graph_sha256"] == graph.hexdigest()


def test_a_second_contract_cannot_be_attached(bundle):
    with pytest.raises(ValueError, match="two metadata entries"):
        onnx_file.attach(bundle.read_bytes(), {"version": 2})


def test_any_flipped_byte_is_noticed(bundle, tmp_path):
    data, rng = bundle.read_bytes(), random.Random(0)
    graph, metadata = onnx_file.find_sections(data)
    positions = [0, 1, len(data) - 1, graph[0], metadata[onnx_file.CHECKSUM_KEY][0], metadata[onnx_file.CONTRACT_KEY][0]]
    positions += [rng.randrange(len(data)) for _ in range(150)]
    path = tmp_path / "policy.onnx"
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ContractError):
            onnx_file.read(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_refused(bundle, tmp_path, share):
    data = bundle.read_bytes()
    (tmp_path / "policy.onnx").write_bytes(data[: int(share * len(data))])
    with pytest.raises(ContractError):
        onnx_file.read(tmp_path / "policy.onnx")


def test_missing_file_folder_and_missing_contract(bundle, tmp_path, go2):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(ContractError, match="path of a policy"):
            onnx_file.read(path)
    onnx.save(bundles.graph(bundles.tiny_policy(go2)), tmp_path / "bare.onnx")
    with pytest.raises(ContractError, match="metadata with the key policy_contract"):
        onnx_file.read(tmp_path / "bare.onnx")


def test_a_file_beyond_the_limit_is_not_even_read(tmp_path, monkeypatch):
    with (tmp_path / "policy.onnx").open("wb") as file:
        file.truncate(256 * 2**20 + 1)  # sparse
    monkeypatch.setattr(type(tmp_path), "read_bytes", lambda path: pytest.fail("read"))
    with pytest.raises(ContractError, match="at most 268435456 bytes"):
        onnx_file.read(tmp_path / "policy.onnx")


def test_a_changed_contract_with_an_old_checksum_is_refused(bundle, tmp_path):
    file = bundle.read_bytes()
    changed = file.replace(b'"control_dt": 0.02', b'"control_dt": 0.03')
    assert changed != file
    (tmp_path / "policy.onnx").write_bytes(changed)
    with pytest.raises(ContractError, match="checksum"):
        onnx_file.read(tmp_path / "policy.onnx")
    (tmp_path / "policy.onnx").write_bytes(sealed(changed))
    assert onnx_file.read(tmp_path / "policy.onnx")[1]["control_dt"] == 0.03


@pytest.mark.parametrize("text", ["", "{", "{'version': 2}", "[" * 100_000, "1" * 10_000, "\x00"])
def test_a_contract_that_is_not_json_is_refused(tmp_path, go2, text):
    path = tmp_path / "policy.onnx"
    model = bundles.graph(bundles.tiny_policy(go2))
    for key, value in ((onnx_file.CONTRACT_KEY, text), (onnx_file.CHECKSUM_KEY, "0" * 64)):
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(sealed(model.SerializeToString()))
    with pytest.raises(ContractError, match=r"policy_contract: .* expected JSON"):
        onnx_file.read(path)


def test_what_protobuf_would_merge_is_refused(bundle, tmp_path):
    """A second graph would be merged into the first, outside its hash; of two contracts the last would count."""
    file = bundle.read_bytes()
    begin, end = onnx_file.find_sections(file)[0]
    prefix = onnx.ModelProto(graph=onnx.GraphProto(name="second")).SerializeToString()
    contract = onnx.ModelProto(metadata_props=[onnx.StringStringEntryProto(key="policy_contract", value="{}")]).SerializeToString()
    for more in (prefix, contract):
        (tmp_path / "policy.onnx").write_bytes(file + more)
        onnx.load_from_string(file + more)
        with pytest.raises(ContractError, match="undamaged"):
            onnx_file.read(tmp_path / "policy.onnx")
    assert end > begin


def test_a_tag_that_another_parser_would_cut_to_the_graph_s_is_refused():
    assert [number for number, _, _ in onnx_file.read_fields(b"\x3a\x00")] == [7]
    with pytest.raises(ValueError, match="not a protobuf"):
        list(onnx_file.read_fields(b"\xba\x80\x80\x80\x10\x00"))  # 7 << 3 | 2, and bit 32


def external(tensor):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def in_a_constant(model):
    value = numpy_helper.from_array(np.zeros(12, dtype=np.float32), "value")
    external(value)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=value))


def in_a_sparse_initializer(model):
    values = numpy_helper.from_array(np.zeros(1, dtype=np.float32), "sparse")
    external(values)
    indices = numpy_helper.from_array(np.zeros(1, dtype=np.int64), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2]))


@pytest.mark.parametrize("edit", [lambda model: external(model.graph.initializer[0]), in_a_constant, in_a_sparse_initializer])
def test_weights_outside_the_file_are_refused(bundle, tmp_path, monkeypatch, edit):
    weights = numpy_helper.to_array(onnx.load(bundle).graph.initializer[0])
    (tmp_path / "weights.bin").write_bytes(weights.tobytes())
    monkeypatch.chdir(tmp_path)  # where onnxruntime would look
    path = bundles.rewrite(bundle, tmp_path / "policy.onnx", edit=edit)
    with pytest.raises(ContractError, match="external data"):
        load(path)


def body(*nodes, outputs):
    """A loop's body: an iteration, its condition, and what it carries."""
    value = {
        "i": helper.make_tensor_value_info("i", TensorProto.INT64, []),
        "go": helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        "go_on": helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
    }
    return helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), *nodes], "body", [value["i"], value["go"]], [*outputs(value)]
    )


def endless_loop(model):
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "forever"))
    graph = body(outputs=lambda value: [value["go_on"]])
    model.graph.node.insert(0, helper.make_node("Loop", ["", "forever"], [], body=graph))


def an_if(model):
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])
    constant = helper.make_node("Constant", [], ["out"], value_floats=[1.0])
    branch = helper.make_graph([constant], "branch", [], [out])
    model.graph.node.insert(0, helper.make_node("If", ["yes"], ["unused"], then_branch=branch, else_branch=branch))


def a_scan(model):
    scanned = helper.make_tensor_value_info("row", TensorProto.FLOAT, [12])
    doubled = helper.make_tensor_value_info("doubled", TensorProto.FLOAT, [12])
    graph = helper.make_graph([helper.make_node("Add", ["row", "row"], ["doubled"])], "body", [scanned], [doubled])
    model.graph.node.insert(0, helper.make_node("Scan", ["joint_pos"], ["unused"], body=graph, num_scan_inputs=1))


def graphs_in_a_list(model):
    node = helper.make_node("Identity", ["joint_pos"], ["unused"])
    node.attribute.add(name="bodies", type=onnx.AttributeProto.GRAPHS).graphs.add(name="hidden")
    model.graph.node.insert(0, node)


@pytest.mark.parametrize(("edit", "name"), [(endless_loop, "Loop"), (an_if, "If"), (a_scan, "Scan"), (graphs_in_a_list, "Identity")])
def test_control_flow_is_refused(bundle, tmp_path, edit, name):
    path = bundles.rewrite(bundle, tmp_path / "policy.onnx", edit=edit)
    with pytest.raises(ContractError, match=f"graph: got '{name}'.*never end"):
        load(path)


def test_functions_are_refused(bundle, tmp_path):
    def edit(model):
        node = helper.make_node("Identity", ["a"], ["b"])
        model.functions.append(helper.make_function("", "Tanh", ["a"], ["b"], [node], [helper.make_opsetid("", 20)]))

    with pytest.raises(ContractError, match="graph: got 'functions'"):
        load(bundles.rewrite(bundle, tmp_path / "policy.onnx", edit=edit))


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "mine"])
def test_operators_outside_the_standard_are_refused(bundle, tmp_path, domain):
    def edit(model):
        model.opset_import.append(helper.make_opsetid(domain, 1))
        model.graph.node.insert(0, helper.make_node("Gelu", ["joint_pos"], ["unused"], domain=domain))

    with pytest.raises(ContractError, match=f"graph: got '{domain}.Gelu'"):
        load(bundles.rewrite(bundle, tmp_path / "policy.onnx", edit=edit))


def test_random_numbers_are_refused(bundle, tmp_path):
    def edit(model):
        model.graph.node.insert(0, helper.make_node("RandomNormalLike", ["joint_pos"], ["unused"]))

    with pytest.raises(ContractError, match="RandomNormalLike"):
        load(bundles.rewrite(bundle, tmp_path / "policy.onnx", edit=edit))


def test_a_file_that_claims_to_be_of_onnxruntime_s_own_format_is_read_as_what_was_checked(bundle, tmp_path):
    """onnxruntime would take any file with ORTM at its fifth byte for one, and run a graph that nobody looked at."""
    model = onnx.load(bundle)
    file = b"\x12\x06\x00\x00ORTM" + model.SerializeToString()  # producer_name
    assert file[4:8] == b"ORTM"
    (tmp_path / "policy.onnx").write_bytes(sealed(file))
    load(tmp_path / "policy.onnx")


def test_a_location_that_is_written_longer_than_it_need_be_is_read_as_what_it_is():
    """Two bytes for the number 1 are as external as one; two for 0 are not."""

    def model(location):
        initializer = bytes([5 << 3 | 2, 1 + len(location), 14 << 3]) + location  # graph.initializer.data_location
        return bytes([7 << 3 | 2, len(initializer)]) + initializer

    assert onnx.ModelProto.FromString(model(b"\x81\x00")).graph.initializer[0].data_location == TensorProto.EXTERNAL
    for location in (b"\x01", b"\x81\x00"):
        with pytest.raises(ContractError, match="external data"):
            onnx_file.check_graph(model(location))
    onnx_file.check_graph(model(b"\x80\x00"))
