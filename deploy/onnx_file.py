"""The bytes of a bundle: an ONNX file with a contract and a checksum in its metadata, looked through before anything runs.

The few protobuf fields that matter are parsed by hand, so that hashes are taken over the very bytes on disk, the robot needs no
``onnx`` package, and what a graph contains is known before onnxruntime sees it. What protobuf merges or ignores is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.contract import ContractError

CONTRACT_KEY, CHECKSUM_KEY = "policy_contract", "bundle_sha256"
MAX_BYTES = 256 * 2**20
DOMAINS = ("", "ai.onnx")  # operators that the ONNX standard defines
RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")

# field numbers of onnx.proto
_GRAPH, _METADATA, _REFUSED = 7, 14, {20: "training_info", 25: "functions"}  # ModelProto
_KEY, _VALUE = 1, 2  # StringStringEntryProto
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15  # GraphProto
_OP_TYPE, _ATTRIBUTE, _DOMAIN = 4, 5, 7  # NodeProto
_TENSORS, _SUBGRAPHS, _SPARSE_TENSORS = (5, 10), (6, 11), (22, 23)  # AttributeProto: one and many of each
_SPARSE_PARTS = (1, 2)  # SparseTensorProto
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # TensorProto

Span = tuple[int, int]  # begin and end in the file


def read(path: Path) -> tuple[bytes, Any]:
    """A bundle's bytes and the JSON of its contract, which is not yet checked.

    Raises:
        ContractError: no such file, too large, damaged, changed since it was sealed, without a contract, or with a graph that
            reaches outside the file, may never end, or is not a function of its inputs.
    """
    data = _read_bytes(path)
    damaged = ContractError("policy", str(path), "an undamaged ONNX file", "Copy or export it anew.")
    try:
        _, metadata = find_sections(data)
    except ValueError as error:
        raise damaged from error
    if CONTRACT_KEY not in metadata:
        raise ContractError("policy", str(path), f"metadata with the key {CONTRACT_KEY}", "Use a policy.onnx of 'locomotion export'.")
    if CHECKSUM_KEY not in metadata or data[slice(*metadata[CHECKSUM_KEY])] != bundle_sha256(data).encode():
        raise ContractError("policy", str(path), "contents that match their checksum", "The file was changed or damaged: copy it anew.")
    try:
        check_graph(data)
    except ContractError:
        raise
    except ValueError as error:
        raise damaged from error
    try:
        return data, json.loads(data[slice(*metadata[CONTRACT_KEY])])
    except (ValueError, RecursionError) as error:
        raise ContractError(CONTRACT_KEY, str(error), "JSON", "Export the policy anew.") from error


def attach(model: bytes, contract: dict[str, Any]) -> bytes:
    """A bundle: the bytes of an ONNX ``model`` with its contract (``graph_sha256`` is filled in) and its checksum.

    Raises ValueError where the model has a contract already, or the contract holds a number that is not finite.
    """
    text = json.dumps({**contract, "graph_sha256": graph_sha256(model)}, allow_nan=False)
    data = model + _metadata_entry(CONTRACT_KEY, text) + _metadata_entry(CHECKSUM_KEY, "0" * 64)
    begin, end = find_sections(data)[1][CHECKSUM_KEY]
    return data[:begin] + bundle_sha256(data).encode() + data[end:]


def graph_sha256(data: bytes) -> str:
    """Hash of the serialised graph of an ONNX file."""
    begin, end = find_sections(data)[0]
    return hashlib.sha256(data[begin:end]).hexdigest()


def bundle_sha256(data: bytes) -> str:
    """Hash of the whole file with the digits of its own checksum read as zeros."""
    begin, end = find_sections(data)[1][CHECKSUM_KEY]
    return hashlib.sha256(data[:begin] + b"0" * (end - begin) + data[end:]).hexdigest()


def find_sections(data: bytes) -> tuple[Span, dict[str, Span]]:
    """Where in an ONNX file its graph and its metadata values lie. Raises ValueError where that is not clear."""
    graphs, metadata = [], {}
    for number, begin, end in read_fields(data):
        if number == _GRAPH:
            graphs.append((begin, end))
        elif number == _METADATA:
            parts = {part: (b, e) for part, b, e in read_fields(data, begin, end)}
            key = data[slice(*parts[_KEY])].decode() if _KEY in parts else ""
            if key in metadata:
                raise ValueError(f"two metadata entries {key}")
            metadata[key] = parts.get(_VALUE, (end, end))
    if len(graphs) != 1:
        raise ValueError(f"{len(graphs)} graphs")
    return graphs[0], metadata


def check_graph(data: bytes) -> None:
    """Refuse a graph that is more than a bounded function of its inputs.

    Raises:
        ContractError: external data, control flow or any other subgraph, functions, random numbers, or operators of another domain.
        ValueError: not a protobuf message.
    """
    for number, begin, end in read_fields(data):
        if number in _REFUSED:
            raise _unsafe(_REFUSED[number], "a graph and nothing else that runs")
        if number == _GRAPH:
            for part, b, e in read_fields(data, begin, end):
                if part == _NODE:
                    _check_node(data, b, e)
                elif part == _INITIALIZER:
                    _check_tensor(data, b, e)
                elif part == _SPARSE_INITIALIZER:
                    _check_sparse_tensor(data, b, e)


def _check_node(data: bytes, begin: int, end: int) -> None:
    fields = list(read_fields(data, begin, end))
    operator = "".join(data[b:e].decode() for number, b, e in fields if number == _OP_TYPE)
    for number, b, e in fields:
        if number == _DOMAIN and (domain := data[b:e].decode()) not in DOMAINS:
            raise _unsafe(f"{domain}.{operator}", "operators of the ONNX standard")
        if number == _OP_TYPE and data[b:e].decode() in RANDOM:
            raise _unsafe(operator, "operators that give the same for the same inputs")
        if number == _ATTRIBUTE:
            for part, first, last in read_fields(data, b, e):
                if part in _SUBGRAPHS:  # Loop, Scan, If, SequenceMap, and whatever nests in them
                    raise _unsafe(operator, "operators without a graph of their own, which may never end")
                if part in _TENSORS:
                    _check_tensor(data, first, last)
                elif part in _SPARSE_TENSORS:
                    _check_sparse_tensor(data, first, last)


def _check_sparse_tensor(data: bytes, begin: int, end: int) -> None:
    for number, b, e in read_fields(data, begin, end):
        if number in _SPARSE_PARTS:
            _check_tensor(data, b, e)


def _check_tensor(data: bytes, begin: int, end: int) -> None:
    for number, b, e in read_fields(data, begin, end):
        if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and any(byte & 0x7F for byte in data[b:e])):
            raise _unsafe("external data", "weights inside the file, where its checksum covers them")


def _unsafe(found: str, allowed: str) -> ContractError:
    return ContractError("graph", found, allowed, "Export the policy with this toolkit.")


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise ContractError("policy", str(path), "the path of a policy.onnx", "Make one with 'locomotion export'.")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ContractError("policy", size, f"a file of at most {MAX_BYTES} bytes", f"{path} is no policy of this toolkit.")
        return path.read_bytes()
    except OSError as error:
        raise ContractError("policy", str(path), "a file that can be read", str(error)) from error


def read_fields(data: bytes, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of the value of each field of a protobuf message.

    Raises:
        ValueError: not a protobuf message.
    """
    position, stop = begin, len(data) if end is None else end
    while position < stop:
        tag, position = _varint(data, position, stop)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag >= 2**32 or wire not in (0, 1, 2, 5):  # longer tags are cut by some parsers: another field then
            raise ValueError("not a protobuf message")
        if wire == 0:
            after = _varint(data, position, stop)[1]
        else:
            length, position = _varint(data, position, stop) if wire == 2 else ({1: 8, 5: 4}[wire], position)
            after = position + length
        if after > stop:
            raise ValueError("truncated")
        yield number, position, after
        position = after


def _varint(data: bytes, position: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= stop or shift > 63:
            raise ValueError("truncated")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _metadata_entry(key: str, value: str) -> bytes:
    def field(number: int, content: bytes) -> bytes:
        length, prefix = len(content), bytearray([number << 3 | 2])
        while length >= 0x80:
            prefix.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes(prefix) + bytes([length]) + content

    return field(_METADATA, field(_KEY, key.encode()) + field(_VALUE, value.encode()))
