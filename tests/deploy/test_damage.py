"""Whatever is damaged, behind hashes that are right, ends in a ContractError and in nothing else."""

import contextlib
import json
import random

import onnx
import pytest

from deploy import onnx_file
from deploy.contract import ContractError
from deploy.policy import load
from tests.deploy import bundles
from tests.deploy.test_policy import VERSION_1

JUNK = [None, True, "x", "1.0", [], {}, [[]], -1, 0, 1e308, float("nan"), float("inf"), 10**400, [-1.0] * 12, [None] * 12, [[2, 1]] * 12]


def test_no_value_of_the_contract_ends_in_anything_but_a_named_error(bundle, tmp_path, go2):
    """Every field of a good contract replaced by every kind of nonsense."""
    file, path = bundle.read_bytes(), tmp_path / "policy.onnx"
    model = onnx.load(bundle)
    del model.metadata_props[:]
    graph, data = model.SerializeToString(), json.loads(file[slice(*onnx_file.find_sections(file)[1]["policy_contract"])])
    accepted = set()
    for name in (name for name in data if name != "graph_sha256"):
        for value in JUNK:
            text = json.dumps({**data, name: value})  # NaN and Infinity too, which attach() would not write
            path.write_bytes(bundles.seal(graph, text))
            with contextlib.suppress(ContractError):
                load(path, go2)
                accepted.add((name, repr(value)))
    frames = {("imu_frame", "'x'"), ("imu_frame", "'1.0'")}
    assert accepted == frames | {("observation", "[]"), ("envelope", "{}"), ("scorecard", "None"), ("scorecard", "{}")}


@pytest.mark.parametrize("source", ["bundle", "version 1"])
def test_no_flipped_bit_of_the_graph_ends_in_anything_but_a_named_error(bundle, tmp_path, source):
    """All hashes are made right again, so that the graph itself is what is checked."""
    model = onnx.load(bundle if source == "bundle" else VERSION_1)
    data = json.loads({entry.key: entry.value for entry in model.metadata_props}["policy_contract"])
    del model.metadata_props[:]
    graph, rng, path = model.SerializeToString(), random.Random(0), tmp_path / "policy.onnx"
    ran = refused = 0
    for _ in range(400):
        damaged = bytearray(graph)
        for _ in range(rng.choice([1, 2, 8])):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        try:
            file = onnx_file.attach(bytes(damaged), data)
        except ValueError:  # no graph is left that could be hashed
            continue
        path.write_bytes(file)
        try:
            load(path)
            ran += 1
        except ContractError:
            refused += 1
    assert refused > 100
    assert ran > 10  # flips of low bits of a weight
