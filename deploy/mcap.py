"""MCAP files (https://mcap.dev/spec): a writer whose file is readable whenever it ends, and a reader that takes what is whole.

A robot's own computer has numpy and a yaml reader, so the format is written here: header, chunks without compression, each with its
CRC-32, and at the end a summary by which Foxglove and rerun find everything. A chunk reaches the file in one piece, with the schemas
and channels that its messages need: whatever a kill or a power cut leaves behind the last whole record is no loss to a reader.
"""

from __future__ import annotations

import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX, ATTACHMENT = range(0x01, 0x0A)
STATISTICS, METADATA, SUMMARY_OFFSET, DATA_END = 0x0B, 0x0C, 0x0E, 0x0F
ATTACHMENT_INDEX, METADATA_INDEX = 0x0A, 0x0D
LIBRARY = "sim2real-locomotion"
MENDED_CHUNK = 2**18  # bytes


@dataclass(frozen=True)
class Schema:
    """How a channel's messages are laid out. ``encoding`` is "" for bytes of which nothing is said."""

    name: str
    encoding: str = ""
    text: str = ""


@dataclass(frozen=True)
class Message:
    topic: str
    time: int  # ns since 1970
    sequence: int
    data: bytes


@dataclass
class Contents:
    """What a file holds, as far as it is whole."""

    messages: list[Message] = field(default_factory=list)
    schemas: dict[str, Schema] = field(default_factory=dict)  # by topic
    encodings: dict[str, str] = field(default_factory=dict)  # of messages, by topic
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    attachments: dict[str, bytes] = field(default_factory=dict)
    damage: str = ""  # why reading ended before the file's own end; empty where it is whole


class File(Protocol):
    """What the writer needs of a file opened for binary writing, without a buffer."""

    def write(self, data: bytes, /) -> int | None: ...


class McapWriter:
    """Writes messages in chunks. Whoever calls decides when a chunk ends (:meth:`flush`), and so how much a crash may cost.

    Raises OSError where the file takes less than all of a piece; :attr:`size` is then where the whole records end.
    """

    def __init__(self, file: File) -> None:
        self.size = 0  # bytes written whole
        self._file = file
        self._channels: dict[str, tuple[int, bytes]] = {}  # by topic: id, and its schema's and its own record
        self._schema_count = 0
        self._chunk: list[bytes] = []
        self._chunk_size = 0
        self._offsets: dict[int, list[tuple[int, int]]] = defaultdict(list)  # time and place of each message of the chunk, by channel
        self._counts: dict[int, int] = defaultdict(int)
        self._chunk_indexes: list[bytes] = []
        self._other_indexes: dict[int, list[bytes]] = {ATTACHMENT_INDEX: [], METADATA_INDEX: []}
        self._span = (0, 0)  # ns, of all messages
        self._write(MAGIC + _record(HEADER, _text("") + _text(LIBRARY)))

    @property
    def pending(self) -> int:
        """Bytes of the chunk that is not written yet."""
        return self._chunk_size

    def add_channel(self, topic: str, message_encoding: str, schema: Schema) -> None:
        """Before the first message of ``topic``."""
        number, schema_id, record = len(self._channels) + 1, 0, b""
        if schema.encoding:
            self._schema_count += 1
            schema_id = self._schema_count
            text = schema.text.encode()
            body = struct.pack("<H", schema_id) + _text(schema.name) + _text(schema.encoding) + struct.pack("<I", len(text)) + text
            record = _record(SCHEMA, body)
        record += _record(CHANNEL, struct.pack("<HH", number, schema_id) + _text(topic) + _text(message_encoding) + struct.pack("<I", 0))
        self._channels[topic] = number, record

    def message(self, topic: str, time: int, sequence: int, data: bytes) -> None:
        """Add to the chunk; ``time`` in ns since 1970."""
        channel, definition = self._channels[topic]
        if channel not in self._offsets:
            self._append(definition)
        self._offsets[channel].append((time, self._chunk_size))
        self._append(_record(MESSAGE, struct.pack("<HIQQ", channel, sequence & 0xFFFFFFFF, time, time) + data))

    def flush(self) -> None:
        """Write the chunk, if there is anything in it."""
        if not self._chunk:
            return
        body = b"".join(self._chunk)
        times = [time for entries in self._offsets.values() for time, _ in entries]
        first, last = min(times), max(times)
        head = struct.pack("<QQQI", first, last, len(body), zlib.crc32(body)) + _text("") + struct.pack("<Q", len(body))
        chunk = _record(CHUNK, head + body)
        place, indexes, where = self.size, b"", b""
        for channel, entries in self._offsets.items():
            where += struct.pack("<HQ", channel, place + len(chunk) + len(indexes))
            packed = b"".join(struct.pack("<QQ", *entry) for entry in entries)
            indexes += _record(MESSAGE_INDEX, struct.pack("<HI", channel, len(packed)) + packed)
        self._write(chunk + indexes)
        index = struct.pack("<QQQQ", first, last, place, len(chunk)) + struct.pack("<I", len(where)) + where
        index += struct.pack("<Q", len(indexes)) + _text("") + struct.pack("<QQ", len(body), len(body))
        self._chunk_indexes.append(_record(CHUNK_INDEX, index))
        for channel, entries in self._offsets.items():
            self._counts[channel] += len(entries)
        self._span = (min(self._span[0] or first, first), max(self._span[1], last))
        self._chunk, self._chunk_size = [], 0
        self._offsets.clear()

    def metadata(self, name: str, values: Mapping[str, str]) -> None:
        pairs = b"".join(_text(key) + _text(value) for key, value in values.items())
        record = _record(METADATA, _text(name) + struct.pack("<I", len(pairs)) + pairs)
        index = struct.pack("<QQ", self.size, len(record)) + _text(name)
        self._write(record)
        self._other_indexes[METADATA_INDEX].append(_record(METADATA_INDEX, index))

    def attachment(self, name: str, time: int, media_type: str, data: bytes) -> None:
        body = struct.pack("<QQ", time, time) + _text(name) + _text(media_type) + struct.pack("<Q", len(data)) + data
        record = _record(ATTACHMENT, body + struct.pack("<I", zlib.crc32(body)))
        index = struct.pack("<QQQQQ", self.size, len(record), time, time, len(data)) + _text(name) + _text(media_type)
        self._write(record)
        self._other_indexes[ATTACHMENT_INDEX].append(_record(ATTACHMENT_INDEX, index))

    def finish(self) -> None:
        """The rest, and the summary. Nothing may be written afterwards."""
        self.flush()
        definitions = b"".join(record for _, record in self._channels.values())
        attachments, metadata = (self._other_indexes[kind] for kind in (ATTACHMENT_INDEX, METADATA_INDEX))
        counts = b"".join(struct.pack("<HQ", *item) for item in self._counts.items())
        statistics = struct.pack(
            "<QHIIIIQQ", sum(self._counts.values()), self._schema_count, len(self._channels), len(attachments), len(metadata),
            len(self._chunk_indexes), *self._span,
        )  # fmt: skip
        statistics = _record(STATISTICS, statistics + struct.pack("<I", len(counts)) + counts)
        end = _record(DATA_END, struct.pack("<I", 0))
        summary = definitions + statistics + b"".join((*self._chunk_indexes, *attachments, *metadata))
        footer = struct.pack("<BQQQ", FOOTER, 20, self.size + len(end), 0)
        footer += struct.pack("<I", zlib.crc32(summary + footer))
        self._write(end + summary + footer + MAGIC)

    def _append(self, record: bytes) -> None:
        self._chunk.append(record)
        self._chunk_size += len(record)

    def _write(self, data: bytes) -> None:
        written = self._file.write(data)
        if written != len(data):
            raise OSError(28, "No space left on device")  # a full disk first takes a part
        self.size += len(data)


def read(file: bytes) -> Contents:
    """Everything up to the first thing that is not whole. A chunk that the file's end cuts gives its whole messages.

    Raises ValueError where ``file`` does not begin as an MCAP file, or its chunks are compressed.
    """
    if not file.startswith(MAGIC):
        raise ValueError("it does not begin as an MCAP file")
    contents, channels, schemas = Contents(), {}, {0: Schema("")}
    try:
        for kind, body in _records(memoryview(file)[len(MAGIC) :]):
            if kind == CHUNK:
                _, _, _, crc = struct.unpack_from("<QQQI", body)
                compression, place = _take_text(body, 28)
                if compression:
                    raise ValueError(f"its chunks are compressed ({compression}): those of this toolkit are not")
                (length,) = struct.unpack_from("<Q", body, place)
                records = body[place + 8 : place + 8 + length]
                if len(records) == length and crc and zlib.crc32(records) != crc:
                    raise _Damaged("a chunk's checksum is wrong")
                for inner, inner_body in _records(records):
                    _take(inner, inner_body, contents, channels, schemas)
            elif kind == FOOTER:
                return contents
            else:
                _take(kind, body, contents, channels, schemas)
        contents.damage = "it ends without a summary"
    except (_Damaged, struct.error, UnicodeDecodeError, KeyError) as error:
        contents.damage = str(error) if isinstance(error, _Damaged) else "a record is damaged"
    return contents


def write(contents: Contents, file: File) -> None:
    """A whole file of what was read: a cut one, mended. Raises OSError as :class:`McapWriter` does."""
    writer = McapWriter(file)
    for name, values in contents.metadata.items():
        writer.metadata(name, values)
    for name, data in contents.attachments.items():
        writer.attachment(name, contents.messages[0].time if contents.messages else 0, "application/json", data)
    for topic, schema in contents.schemas.items():
        writer.add_channel(topic, contents.encodings[topic], schema)
    for message in contents.messages:
        writer.message(message.topic, message.time, message.sequence, message.data)
        if writer.pending >= MENDED_CHUNK:
            writer.flush()
    writer.finish()


class _Damaged(Exception):
    pass


def _records(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Kind and body of each record. Of a chunk at a cut end, what is there of it; then _Damaged, as for any record that is cut."""
    place = 0
    while place < len(data):
        if place + 9 > len(data):
            raise _Damaged("it ends within a record")
        kind, length = struct.unpack_from("<BQ", data, place)
        if not 0x01 <= kind <= 0x0F:
            raise _Damaged("what follows is no record")
        body = data[place + 9 : place + 9 + length]
        if kind == CHUNK and len(body) >= 40:
            yield kind, body
        if len(body) < length:
            raise _Damaged("it ends within a record")
        if kind != CHUNK:
            yield kind, body
        place += 9 + length


def _take(kind: int, body: memoryview, contents: Contents, channels: dict[int, str], schemas: dict[int, Schema]) -> None:
    if kind == MESSAGE:
        channel, sequence, time = struct.unpack_from("<HIQ", body)
        contents.messages.append(Message(channels[channel], time, sequence, bytes(body[22:])))
    elif kind == SCHEMA:
        name, place = _take_text(body, 2)
        encoding, place = _take_text(body, place)
        schemas[struct.unpack_from("<H", body)[0]] = Schema(name, encoding, _take_text(body, place)[0])
    elif kind == CHANNEL:
        number, schema = struct.unpack_from("<HH", body)
        topic, place = _take_text(body, 4)
        channels[number], contents.schemas[topic] = topic, schemas[schema]
        contents.encodings[topic] = _take_text(body, place)[0]
    elif kind == METADATA:
        name, place = _take_text(body, 0)
        values, place = {}, place + 4
        while place < len(body):
            key, place = _take_text(body, place)
            values[key], place = _take_text(body, place)
        contents.metadata[name] = values
    elif kind == ATTACHMENT:
        name, place = _take_text(body, 16)
        _, place = _take_text(body, place)
        if zlib.crc32(body[:-4]) != struct.unpack_from("<I", body, len(body) - 4)[0]:
            raise _Damaged(f"the checksum of {name} is wrong")
        contents.attachments[name] = bytes(body[place + 8 : -4])


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(body)) + body


def _text(value: str) -> bytes:
    data = value.encode(errors="replace")
    return struct.pack("<I", len(data)) + data


def _take_text(body: memoryview, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", body, place)
    end = place + 4 + length
    if end > len(body):
        raise _Damaged("a record is damaged")
    return str(body[place + 4 : end], "utf-8"), end
