"""The file format, against the reference library: what we write it reads, and a file that ends anywhere gives what is whole."""

import io
import struct

import pytest
from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader, SeekingReader
from mcap.writer import CompressionType, Writer

from deploy import mcap
from deploy.mcap import McapWriter, Schema

TEXT = Schema("Word", "ros2msg", "string word")


def written(chunks=3, finish=True):
    """A file of ``chunks``, each with three messages, and where each part of it ends."""
    stream = io.BytesIO()
    writer = McapWriter(stream)
    writer.metadata("about", {"robot": "go2", "näme": "ü"})
    writer.attachment("figures.json", 5, "application/json", b"{}")
    writer.add_channel("/word", "cdr", TEXT)
    writer.add_channel("/bytes", "application/octet-stream", Schema(""))
    ends = [writer.size]
    for chunk in range(chunks):
        for i in range(3):
            writer.message("/word" if i % 2 == 0 else "/bytes", 100 * chunk + 10 * i + 1, 3 * chunk + i, bytes([chunk, i]) * 5)
        writer.flush()
        ends.append(writer.size)
    if finish:
        writer.finish()
    return stream.getvalue(), ends


def theirs(reader):
    """Messages that a reader of the library gives before it ends or fails."""
    found = []
    try:
        for _, channel, message in reader.iter_messages(log_time_order=False):
            found.append((channel.topic, message.log_time, message.sequence, message.data))
    except (McapError, struct.error):  # its ways to say that the file ends
        pass
    return found


def ours(contents):
    return [(message.topic, message.time, message.sequence, message.data) for message in contents.messages]


@pytest.mark.parametrize("kind", [SeekingReader, NonSeekingReader])
def test_the_reference_library_reads_all_of_it(kind):
    file, _ = written()
    contents = mcap.read(file)
    assert contents.damage == ""
    assert len(contents.messages) == 9
    reader = kind(io.BytesIO(file), validate_crcs=True)
    assert theirs(reader) == ours(contents)
    if kind is SeekingReader:
        summary = reader.get_summary()
        assert summary.statistics.message_count == 9
        assert (summary.statistics.message_start_time, summary.statistics.message_end_time) == (1, 221)
        assert summary.statistics.channel_message_counts == {1: 6, 2: 3}
        assert [index.message_start_time for index in summary.chunk_indexes] == [1, 101, 201]
        in_time = [message.sequence for _, _, message in kind(io.BytesIO(file)).iter_messages(["/word"], start_time=101, end_time=202)]
        assert in_time == [3, 5, 6]
        assert next(iter(summary.schemas.values())).data == b"string word"
        assert {m.name: m.metadata for m in kind(io.BytesIO(file)).iter_metadata()} == {"about": {"robot": "go2", "näme": "ü"}}
        assert next(kind(io.BytesIO(file)).iter_attachments()).data == b"{}"


def test_we_read_what_the_reference_library_writes():
    stream = io.BytesIO()
    writer = Writer(stream, compression=CompressionType.NONE)
    writer.start()
    schema = writer.register_schema("Word", "ros2msg", b"string word")
    channel = writer.register_channel("/word", "cdr", schema, {"a": "b"})
    writer.add_message(channel, 7, b"abc", 8, 3)
    writer.add_metadata("about", {"robot": "go2"})
    writer.add_attachment(1, 2, "figures.json", "application/json", b"{}")
    writer.finish()
    contents = mcap.read(stream.getvalue())
    assert ours(contents) == [("/word", 7, 3, b"abc")]
    assert contents.schemas == {"/word": TEXT}
    assert contents.metadata == {"about": {"robot": "go2"}}
    assert contents.attachments == {"figures.json": b"{}"}
    assert contents.damage == ""


def test_a_file_that_ends_at_any_byte_of_its_last_chunk_gives_everything_before_it():
    file, ends = written(finish=False)
    whole = ours(mcap.read(file))
    counts = []
    for end in range(ends[-2], ends[-1]):
        contents = mcap.read(file[:end])
        found = ours(contents)
        assert found == whole[: len(found)]
        assert contents.damage
        counts.append(len(found))
        library = theirs(NonSeekingReader(io.BytesIO(file[:end])))
        assert library == whole[: len(library)]
        assert len(library) >= 6
    assert counts == sorted(counts)  # each byte more is no message less
    assert set(counts) == {6, 7, 8, 9}


def test_a_file_that_ends_before_its_first_message_is_empty_but_readable():
    file, ends = written(finish=False)
    for end in range(len(mcap.MAGIC), ends[0]):
        contents = mcap.read(file[:end])
        assert contents.messages == []
        assert contents.damage


@pytest.mark.parametrize("tail", [b"\0" * 5000, b"\xff" * 50, b"\x06" + b"\xff" * 60])
def test_what_a_power_cut_leaves_behind_the_last_chunk_is_no_harm(tail):
    file, _ = written(finish=False)
    contents = mcap.read(file + tail)
    assert len(contents.messages) == 9
    assert contents.damage


def test_a_flipped_bit_costs_its_chunk_and_what_follows_not_what_came_before():
    file, ends = written()
    place = ends[1] + 60
    contents = mcap.read(file[:place] + bytes([file[place] ^ 4]) + file[place + 1 :])
    assert len(contents.messages) == 3
    assert "checksum" in contents.damage


@pytest.mark.parametrize("file", [b"", b"PK\x03\x04", mcap.MAGIC[:5]])
def test_another_file_is_refused(file):
    with pytest.raises(ValueError, match="does not begin"):
        mcap.read(file)


def test_a_disk_that_takes_a_part_is_an_error_and_the_size_is_that_of_the_whole_records():
    stream = io.BytesIO()
    writer = McapWriter(stream)
    writer.add_channel("/word", "cdr", TEXT)
    writer.message("/word", 1, 0, b"a" * 100)
    writer.flush()
    size = writer.size
    stream.write = lambda data: io.BytesIO.write(stream, data[:50])
    writer.message("/word", 2, 1, b"b" * 100)
    with pytest.raises(OSError, match="No space"):
        writer.flush()
    assert writer.size == size
    assert len(mcap.read(stream.getvalue()[:size]).messages) == 1
