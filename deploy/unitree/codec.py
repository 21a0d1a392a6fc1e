"""Messages of fixed size to the bytes on the wire (CDR) and back, and their checksum, without serialising field by field.

A message is a numpy record of its C struct. The wire has the same values in the same order, closer packed: CDR aligns numbers, C structs
too. Where each byte goes is therefore one constant table, worked out once from the message's fields.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np

from deploy.unitree.messages import Struct

HEADER = bytes((0, 1, 0, 0))  # little-endian CDR, XCDR version 1
ENCODINGS = (1, 7)  # the same in version 2: these messages have nothing that the two align differently
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Codec:
    """Encodes and decodes one message type. The wire's size is ``size`` bytes, header included."""

    def __init__(self, struct: Struct) -> None:
        self.struct = struct
        moves, end = [], 0
        for place, width in _numbers(struct, 0):
            end += -end % width  # CDR aligns each number to its own width
            moves += [(end + i, place + i) for i in range(width)]
            end += width
        self.size = len(HEADER) + end
        self._wire, self._memory = np.array(moves).T
        self._wire += len(HEADER)
        self._template = np.frombuffer(HEADER.ljust(self.size, b"\0"), np.uint8)

    def blank(self) -> np.ndarray:
        """A message of zeros: a 0-d record array; ``message["motor_cmd"]["q"]`` is a view."""
        return np.zeros((), self.struct.dtype)

    def encode(self, message: np.ndarray) -> bytes:
        """The bytes on the wire. Sets the message's ``crc``."""
        message["crc"] = self.crc(message)
        wire = self._template.copy()
        wire[self._wire] = _raw(message)[self._memory]
        return wire.tobytes()

    def decode(self, data: bytes) -> np.ndarray:
        """The message. Raises ValueError if the bytes are not one of this type."""
        if len(data) != self.size or data[0] != 0 or data[1] not in ENCODINGS:
            raise ValueError(f"{len(data)} bytes of encoding {data[:2].hex()} are no {self.struct.typename}: {self.size} bytes of 0001")
        message = self.blank()
        _raw(message)[self._memory] = np.frombuffer(data, np.uint8)[self._wire]
        return message

    def crc(self, message: np.ndarray) -> int:
        """The checksum that the message must carry: over its C struct without the last word."""
        return crc32(_raw(message)[:-4])

    def intact(self, message: np.ndarray) -> bool:
        return int(message["crc"]) == self.crc(message)


@cache
def codec(struct: Struct) -> Codec:
    return Codec(struct)


def crc32(data: np.ndarray) -> int:
    """The vendor's checksum of uint8 ``data``, whole words: CRC-32/MPEG-2 (polynomial 04C11DB7, no reflection, no final inversion) over
    little-endian words, most significant bit first.

    zlib's CRC-32 is the same polynomial, reflected: it sees each word's bytes swapped and each byte's bits reversed.
    """
    swapped = data.view(np.uint32).byteswap().tobytes()
    reflected = zlib.crc32(swapped.translate(_REVERSED)) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")


def _raw(message: np.ndarray) -> np.ndarray:
    return message.reshape(1).view(np.uint8)


def _numbers(struct: Struct, start: int) -> Iterator[tuple[int, int]]:
    """Place in the C struct and width, in bytes, of every number of ``struct``, in order."""
    places = (struct.dtype.fields or {}).values()
    for (_, kind, count), (_, place, *_) in zip(struct.fields, places, strict=True):
        offset = start + place
        step = (kind.dtype if isinstance(kind, Struct) else np.dtype(kind)).itemsize
        for i in range(count or 1):
            if isinstance(kind, Struct):
                yield from _numbers(kind, offset + i * step)
            else:
                yield offset + i * step, step
