"""The black box: what the loop said is in the file to the last bit, whatever ends the run, and the loop never waits for it."""

import io
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from deploy import log_file
from deploy.interface import RobotState, damping_command
from deploy.log import CAPACITY, Recorder
from deploy.log_layout import event_message, read_event
from deploy.log_reader import read_log
from deploy.mcap import McapWriter, Schema
from deploy.policy import load
from deploy.supervisor import Limits, State
from robots import InputError
from tests.deploy import bundles, recorded

TIMINGS = (0.001, 0.002, 0.003)


@pytest.fixture(scope="module")
def contract(bundle):
    return load(bundle).contract


@pytest.fixture(scope="module")
def ran(tmp_path_factory, go2):
    """A run's recorder, its runtime, what was seen of it, and its file."""
    folder = tmp_path_factory.mktemp("log")
    bundle = bundles.write_tiny(folder / "policy.onnx", go2, weight=0.01)
    return *recorded.run(bundle, go2, folder / "log.mcap", 8.0), folder / "log.mcap"


def sample(go2, i=0):
    j = go2.num_joints
    return RobotState(0.02 * i, i, np.full(3, 0.1), np.array([0.0, 0.0, -1.0]), np.full(j, float(i)), np.zeros(j), np.zeros(j))


def record(recorder, go2, i, **changes):
    motor = damping_command(go2.num_joints, 3.0)
    given = {"state": sample(go2, i), "command": np.zeros(3), "motor": motor, "supervisor_state": State.READY, "timings": TIMINGS}
    recorder.record(0.02 * i, **{**given, **changes})


def test_the_file_holds_what_the_memory_holds_to_the_last_bit(ran):
    recorder, runtime, _, path = ran
    log, columns = read_log(path), recorder.columns()
    assert log.columns.keys() == columns.keys()
    for name, values in columns.items():
        np.testing.assert_array_equal(log.columns[name], values)
    assert log.damage == ""
    assert log.lost == 0
    assert recorder.warnings() == []
    assert [(e.kind, e.detail) for e in log.events] == [(e.kind, e.detail) for e in runtime.supervisor.events]
    np.testing.assert_allclose([e.time for e in log.events], [e.time for e in runtime.supervisor.events], atol=1e-6)
    assert log.robot["joint_names"] == list(runtime.policy.robot.joint_names)
    assert log.robot["kp"] == runtime.policy.robot.kp.tolist()
    assert log.contract["graph_sha256"] == runtime.policy.contract.graph_sha256
    assert "golden_vectors" not in log.contract


def test_the_columns_are_what_the_loop_and_the_robot_said(ran):
    recorder, _, seen, _ = ran
    c = recorder.columns()
    np.testing.assert_array_equal(c["time"], [time for time, _, _ in seen])
    for name in ("tick", "base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "joint_torque"):
        np.testing.assert_array_equal(c[name], [getattr(state, name) for _, state, _ in seen])
    for name in ("joint_pos_target", "kp", "kd", "feed_forward"):
        np.testing.assert_array_equal(c[name], [getattr(motor, name) for _, _, motor in seen])
    for name in ("base_pos", "base_lin_vel", "foot_contact_force"):
        np.testing.assert_array_equal(c[name], [state.truth[name] for _, state, _ in seen])
    ran_policy = np.isfinite(c["action"]).all(axis=1)
    assert ran_policy.sum() > 50
    assert set(c["state"][ran_policy]) == {"walk"}
    for name in ("base_ang_vel", "joint_pos", "command"):
        np.testing.assert_allclose(c[f"inputs/{name}"][ran_policy], c[name][ran_policy], rtol=0, atol=1e-7)
    assert (c["kp"][-25:] == 0).all()  # the damping at the end
    assert (c["kd"][-25:] == 3.0).all()
    assert c["state"][-1] == State.FAULT  # its time was over: settled, and damped


def test_the_reference_library_decodes_every_message_by_its_schema_and_finds_our_numbers(ran):
    recorder, _, _, path = ran
    c, seen = recorder.columns(), {}
    with path.open("rb") as stream:
        for schema, channel, message, decoded in make_reader(
            stream, validate_crcs=True, decoder_factories=[DecoderFactory()]
        ).iter_decoded_messages():
            seen.setdefault(channel.topic, []).append((message, decoded, schema.data.decode()))
    times = c["time"]
    assert {len(found) for topic, found in seen.items() if topic != "/supervisor/events"} == {len(times)}
    first = seen["/state"][0][0].log_time
    for t in (0, len(times) // 2, len(times) - 20):
        stamp, state, _ = seen["/state"][t]
        assert stamp.log_time - first == pytest.approx(1e9 * times[t], abs=2)
        assert stamp.sequence == t
        assert (state.time, state.tick) == (times[t], c["tick"][t])
        assert [getattr(state.base_ang_vel, axis) for axis in "xyz"] == c["base_ang_vel"][t].tolist()
        joints = seen["/joint_states"][t][1]
        names = [name.lower() for name in joints.name]
        assert (joints.position, joints.velocity, joints.effort) == tuple(
            c[name][t].tolist() for name in ("joint_pos", "joint_vel", "joint_torque")
        )
        assert 10**9 * joints.header.stamp.sec + joints.header.stamp.nanosec == stamp.log_time
        command = seen["/command"][t][1]
        for name in ("asked_joint_pos_target", "joint_pos_target", "kp", "kd", "feed_forward"):
            np.testing.assert_array_equal([getattr(getattr(command, name), joint) for joint in names], c[name][t])
        np.testing.assert_array_equal([command.command.forward, command.command.left, command.command.yaw], c["command"][t])
        _, code, definition = seen["/supervisor/state"][t]
        assert f"uint8 {c['state'][t].upper()}={code.state}\n" in definition
        feet = seen["/truth"][t][1].foot_contact_force
        assert [feet.rl_foot.x, feet.rl_foot.z] == c["foot_contact_force"][t][2, [0, 2]].tolist()
    event = seen["/supervisor/events"][0][1]
    assert (event.level, event.name, event.function) == (20, "transition", "idle")
    assert event.msg.startswith("idle -> stand_up")


def test_names_that_ros_does_not_allow_are_plotted_under_allowed_ones(tmp_path, go2, contract):
    robot = replace(go2, joint_names=(*(f"{i} Gelenk__Ü-" for i in range(11)), "0-gelenk"))
    path = tmp_path / "log.mcap"
    recorder = Recorder(path, robot, contract, Limits())
    record(recorder, go2, 3)
    recorder.close()
    with path.open("rb") as stream:
        found = {c.topic: d for _, c, _, d in make_reader(stream, decoder_factories=[DecoderFactory()]).iter_decoded_messages()}
    assert sum(not name.startswith("_") for name in dir(found["/command"].kp)) == 12
    assert read_log(path).columns["joint_pos"].tolist() == [[3.0] * 12]


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
import robots
from deploy.interface import RobotState, damping_command
from deploy.log import Recorder
from deploy.policy import load
from deploy.supervisor import Limits
go2 = robots.load("unitree_go2")
recorder = Recorder(Path(sys.argv[2]), go2, load(sys.argv[1]).contract, Limits())
for i in range(10**6):
    state = RobotState(0.01 * i, i, *np.zeros((2, 3)), *np.zeros((3, 12)))
    recorder.record(0.01 * i, state, np.zeros(3), damping_command(12, 3.0), "walk", (0.0, 0.0, 0.0))
    print(i, flush=True)
    time.sleep(0.01)
"""


def test_a_kill_leaves_all_but_the_last_moments(tmp_path, go2, bundle):
    path = tmp_path / "log.mcap"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(bundle), str(path)], stdout=subprocess.PIPE, text=True) as process:
        steps = [int(process.stdout.readline()) for _ in range(120)]
        process.send_signal(signal.SIGKILL)
    log = read_log(path)
    assert "without a summary" in log.damage or "ends within" in log.damage
    assert 40 < len(log.steps) <= steps[-1] + 5
    assert log.columns["tick"].tolist() == list(range(len(log.steps)))


def test_a_step_that_is_there_in_part_is_left_out(ran, tmp_path):
    *_, path = ran
    file, whole = path.read_bytes(), read_log(path)
    for end in range(len(file) // 2, len(file) // 2 + 3000, 97):
        cut = tmp_path / "cut.mcap"
        cut.write_bytes(file[:end])
        log = read_log(cut)
        assert log.damage
        assert len(log.steps) > 20
        for name, values in log.columns.items():
            np.testing.assert_array_equal(values, whole.columns[name][: len(log.steps)])


def test_what_the_writer_cannot_keep_up_with_is_counted_and_leaves_a_gap(tmp_path, go2, contract, monkeypatch):
    gate, rows = threading.Event(), log_file.LogFile.rows
    monkeypatch.setattr(log_file.LogFile, "rows", lambda *arguments: gate.wait() and rows(*arguments))
    path = tmp_path / "log.mcap"
    recorder = Recorder(path, go2, contract, Limits())
    for i in range(CAPACITY + 50):
        began = time.perf_counter()
        record(recorder, go2, i)
        assert time.perf_counter() - began < 0.5  # it never waits
    assert 45 <= recorder.lost <= 50
    gate.set()
    while recorder._head > recorder._tail:
        time.sleep(0.01)
    record(recorder, go2, CAPACITY + 50)
    recorder.close()
    log = read_log(path)
    assert log.lost == recorder.lost
    assert log.steps[-1] == CAPACITY + 50
    assert log.columns["tick"].tolist() == log.steps.tolist()
    assert f"{recorder.lost} control steps are not in the log" in recorder.warnings()[0]


class SmallDisk(io.RawIOBase):
    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        part = data[: self.room]
        self.room -= len(part)
        if not part:
            raise OSError(28, "No space left on device")
        return self.file.write(part)


def test_a_full_disk_ends_the_file_not_the_run(tmp_path, go2, contract, monkeypatch):
    monkeypatch.setattr(log_file, "McapWriter", lambda file: McapWriter(SmallDisk(file, 200_000)))
    path = tmp_path / "log.mcap"
    recorder = Recorder(path, go2, contract, Limits())
    for i in range(400):
        record(recorder, go2, i)
        recorder.event(0.02 * i, State.READY, "slew", f"step {i}")
        if i % 40 == 0:
            time.sleep(0.03)
    recorder.close()
    assert len(recorder.columns()["time"]) == 400  # the summary misses nothing
    log = read_log(path)
    assert 20 < len(log.steps) < 400
    assert path.stat().st_size <= 200_000
    assert recorder.warnings() == [f"{path} ends early: No space left on device"]


def test_the_writer_has_begun_before_the_first_step(tmp_path, go2, contract):
    """A thread that a busy computer is slow to start would hold up a loop whose first command has been posted."""
    recorder = Recorder(tmp_path / "log.mcap", go2, contract, Limits())
    recorder.begin(0.0)
    assert recorder._thread.is_alive()
    record(recorder, go2, 0)
    recorder.close()
    assert len(read_log(tmp_path / "log.mcap").columns["time"]) == 1
    other = Recorder(tmp_path / "none.mcap", go2, contract, Limits())
    other.begin(0.0)
    other.close()  # without a step
    assert not other._thread.is_alive()
    assert other.columns() == {}


def test_a_sample_of_another_shape_is_a_row_without_numbers(tmp_path, go2, contract):
    recorder = Recorder(tmp_path / "log.mcap", go2, contract, Limits())
    good = sample(go2)
    bad = [np.zeros((12, 1)), np.zeros(11), None, "twelve"]
    record(recorder, go2, 0)
    for i, value in enumerate(bad):
        record(recorder, go2, i + 1, state=replace(good, joint_pos=value))
    record(recorder, go2, 5, state=None, command=None)
    recorder.close()
    columns = read_log(tmp_path / "log.mcap").columns
    assert columns["time"].tolist() == [0.02 * i for i in range(6)]
    assert set(columns["state"]) == {"ready"}
    assert np.isnan(columns["kd"]).all(axis=1).tolist() == [False, True, True, True, True, False]
    assert np.isnan(columns["joint_pos"][5]).all()
    assert (columns["kd"][5] == 3.0).all()  # what it heard is known, though nothing was read
    assert "4 rows of the log hold no numbers" in recorder.warnings()[0]


def test_an_earlier_log_is_kept_and_a_long_one_is_bounded(tmp_path, go2, contract):
    path = tmp_path / "log.mcap"
    path.write_bytes(b"the last flight")
    most = 80_000
    recorder = Recorder(path, go2, contract, Limits(), max_bytes=most)
    for i in range(300):
        record(recorder, go2, i)
        time.sleep(0.002)
    recorder.close()
    assert (tmp_path / "log.1.mcap").read_bytes() == b"the last flight"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.1.mcap", "log.mcap", "log.previous.mcap"]
    assert all(p.stat().st_size < 1.6 * most + 20_000 for p in tmp_path.glob("log*.mcap"))
    previous, last = read_log(tmp_path / "log.previous.mcap"), read_log(path)
    steps = [*previous.steps, *last.steps]
    assert steps == list(range(steps[0], 300))  # the end, without a gap
    assert last.columns["tick"].tolist() == last.steps.tolist()
    assert any("longer than its file" in words for words in recorder.warnings())


def test_raw_messages_are_kept_as_they_were(tmp_path, go2, contract):
    schema = Schema("unitree_go/msg/LowState", "ros2msg", "uint8[4] head")
    recorder = Recorder(tmp_path / "log.mcap", go2, contract, Limits(), raw_schemas={"/wire/state": schema})
    record(recorder, go2, 0)
    recorder.raw("/wire/state", 0.5, b"\0\1\0\0abcd")
    recorder.raw("/wire/other", 0.25, bytes(range(256)))
    recorder.close()
    log = read_log(tmp_path / "log.mcap")
    assert log.raw == {"/wire/state": [(0.5, b"\0\1\0\0abcd")], "/wire/other": [(0.25, bytes(range(256)))]}


def test_a_place_that_cannot_be_written_is_refused_before_the_run(tmp_path, go2, contract):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file that can be written"):
        Recorder(tmp_path / "file" / "log.mcap", go2, contract, Limits())


def test_a_run_that_never_began_has_a_log_that_says_whose_it_was(tmp_path, go2, contract):
    recorder = Recorder(tmp_path / "log.mcap", go2, contract, Limits())
    recorder.event(3.0, State.IDLE, "crash", "no bus")
    recorder.close()
    recorder.close()
    log = read_log(tmp_path / "log.mcap")
    assert log.columns == recorder.columns() == {}
    assert log.about["robot"] == "unitree_go2"
    assert [(e.time, e.kind) for e in log.events] == [(0.0, "crash")]


@pytest.mark.parametrize("content", [b"", b"PK", b"\x89MCAP0\r\n", "twice"])
def test_a_file_that_is_no_log_is_refused(tmp_path, content):
    path = tmp_path / "other.mcap"
    if content == "twice":
        writer = McapWriter(stream := io.BytesIO())
        writer.metadata("locomotion", {"epoch_ns": "soon"})
        content = stream.getvalue()
    path.write_bytes(content)
    with pytest.raises(InputError, match="a log of a run"):
        read_log(path)
    with pytest.raises(InputError, match="a file that can be read"):
        read_log(Path(tmp_path))


def test_events_survive_any_text():
    for detail in ("", "a", "ab", "abc", "Grüße\n€"):
        assert read_event(event_message(10**18, 40, "walk", "tilt", detail)) == (40, "walk", "tilt", detail)
