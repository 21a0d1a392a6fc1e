"""Bytes on the wire and checksums, against others' words: cyclonedds' serializer, a checksum bit by bit, and the vendor's sizes."""

import numpy as np
import pytest

from deploy.unitree import messages
from deploy.unitree.codec import codec, crc32
from deploy.unitree.messages import GO_LOW_CMD, GO_LOW_STATE, HG_LOW_CMD, HG_LOW_STATE
from deploy.unitree.transport import checked_codec, deserialize, fill, serialize

ALL = [GO_LOW_CMD, GO_LOW_STATE, HG_LOW_CMD, HG_LOW_STATE]


def filled(struct, seed=0):
    message = codec(struct).blank()
    fill(message, np.random.default_rng(seed))
    return message


def bit_by_bit(words):
    """CRC-32/MPEG-2 of uint32 words, as the vendor's crc32_core has it."""
    crc = 0xFFFFFFFF
    for word in words:
        for bit in range(31, -1, -1):
            top = crc >> 31
            crc = (crc << 1) & 0xFFFFFFFF
            if top != (int(word) >> bit) & 1:
                crc ^= 0x04C11DB7
    return crc


def test_the_checksum_has_the_catalogue_s_check_value():
    text = np.frombuffer(b"43218765", np.uint8)  # words are little-endian on the wire, taken most significant byte first
    assert crc32(text) == bit_by_bit([0x31323334, 0x35363738])
    assert crc32(np.zeros(4, np.uint8)) == 0xC704DD7B  # of four zero bytes, from any CRC-32/MPEG-2 calculator


@pytest.mark.parametrize("struct", ALL, ids=lambda struct: struct.typename)
@pytest.mark.parametrize("seed", range(3))
def test_the_checksum_covers_all_words_of_the_c_struct_but_the_last(struct, seed):
    message = filled(struct, seed)
    words = np.frombuffer(message.tobytes(), "<u4")
    assert codec(struct).crc(message) == bit_by_bit(words[:-1])


@pytest.mark.parametrize("struct", ALL, ids=lambda struct: struct.typename)
@pytest.mark.parametrize("seed", range(3))
def test_the_bytes_are_those_of_the_reference_serializer(struct, seed):
    message = filled(struct, seed)
    data = codec(struct).encode(message)
    assert data == serialize(struct, message)
    assert codec(struct).decode(data) == message
    assert codec(struct).intact(codec(struct).decode(data))


@pytest.mark.parametrize(("struct", "c_struct", "wire"), zip(ALL, (812, 1180, 1004, 2092), (808, 1176, 1000, 2088), strict=True))
def test_sizes_are_the_vendor_s(struct, c_struct, wire):
    assert struct.dtype.itemsize == c_struct
    assert codec(struct).size == wire + 4


@pytest.mark.parametrize(
    ("struct", "part", "index", "name", "offset"),
    [
        (GO_LOW_CMD, "motor_cmd", 0, "q", 24),
        (GO_LOW_CMD, "motor_cmd", 19, "kd", 24 + 36 * 19 + 16),
        (HG_LOW_CMD, "motor_cmd", 0, "mode", 2),
        (HG_LOW_CMD, "motor_cmd", 1, "mode", 28),
        (HG_LOW_CMD, "motor_cmd", 34, "q", 28 * 34 + 4),
        (HG_LOW_STATE, "motor_state", 0, "mode", 70),
        (HG_LOW_STATE, "motor_state", 28, "tau_est", 72 + 56 * 28 + 12),
    ],
)
def test_a_field_lies_where_captures_of_robots_have_it(struct, part, index, name, offset):
    message = codec(struct).blank()
    before = codec(struct).encode(message)
    message[part][name][index] = 1
    after = codec(struct).encode(message)
    width = message[part][name].dtype.itemsize
    changed = [i - 4 for i in range(len(before) - 4) if before[i] != after[i]]
    assert set(changed) <= set(range(offset, offset + width))
    assert changed


@pytest.mark.parametrize("struct", ALL, ids=lambda struct: struct.typename)
def test_a_flipped_bit_is_seen(struct):
    data = bytearray(codec(struct).encode(filled(struct)))
    data[25] ^= 1  # of a number, in each of them
    assert not codec(struct).intact(codec(struct).decode(bytes(data)))


def test_what_is_no_message_of_the_type_is_refused():
    data = codec(GO_LOW_CMD).encode(filled(GO_LOW_CMD))
    for wrong in (b"", data[:-4], data + bytes(4), bytes((0, 0)) + data[2:], codec(HG_LOW_CMD).encode(filled(HG_LOW_CMD))):
        with pytest.raises(ValueError, match="LowCmd_"):
            codec(GO_LOW_CMD).decode(wrong)


def test_a_layout_that_is_not_cyclonedds_s_is_found_before_use(monkeypatch):
    checked_codec.cache_clear()
    monkeypatch.setattr("deploy.unitree.transport.serialize", lambda struct, values: b"another")
    with pytest.raises(ValueError, match="cyclonedds"):
        checked_codec(GO_LOW_CMD)
    checked_codec.cache_clear()


def test_octets_are_octets_in_the_type_that_others_compare():
    from typing import get_type_hints

    from cyclonedds.idl import types

    from deploy.unitree.transport import UINT8, idl_type

    assert get_type_hints(idl_type(GO_LOW_CMD), include_extras=True)["level_flag"] == types.byte
    assert get_type_hints(idl_type(GO_LOW_CMD, UINT8), include_extras=True)["level_flag"] == types.uint8


def test_calls_have_room_for_text_of_any_length():
    header = {"identity": {"id": 2**40 + 1, "api_id": 1001}, "lease": {"id": 0}, "policy": {"priority": 0, "noreply": True}}
    for text in ("", "{}", '{"name":"normal"}'):
        data = serialize(messages.REQUEST, {"header": header, "parameter": text, "binary": [1, 2]})
        back = deserialize(messages.REQUEST, data)
        assert len(data) % 4 == 0
        assert (back.parameter, back.header.identity.id, list(back.binary)) == (text, 2**40 + 1, [1, 2])
