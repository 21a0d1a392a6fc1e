"""The e-stop: who has the key and the newest challenge is heard, and nobody else; silence, or a word, stops the robot for good."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy import estop
from deploy.estop import Endpoint, EStop, EStopServer, Place, Status
from deploy.operator import Stop
from deploy.states import State
from robots import InputError
from tests.deploy.plants import Deployment

KEY = b"a secret of two dozen by"


class Wire:
    """An endpoint's messages, by hand."""

    def __init__(self):
        self.robot, self.challenge, self.now = EStop(KEY), 0, 0.0

    def message(self, level=Stop.NONE, challenge=None, key=KEY):
        head = estop.REQUEST.pack(estop.TO_ROBOT, level, self.challenge if challenge is None else challenge)
        return head + estop.seal(key, head)

    def say(self, data):
        """What is asked for by the robot's belief, and whether it was granted."""
        self.now += 0.1
        asked, answer = self.robot.check_in(data, self.now)
        fields = estop._opened(KEY, answer, estop.ANSWER, estop.TO_OPERATOR)
        if fields:
            self.challenge = fields[2]
        return asked, bool(fields) and fields[0] == Status.GRANTED


def test_the_newest_challenge_is_answered_once():
    wire = Wire()
    assert wire.say(wire.message(Stop.CUT, challenge=0)) == (Stop.NONE, False)  # a guess
    assert wire.robot.heard == -float("inf")
    good = wire.message(Stop.NONE)
    assert wire.say(good) == (Stop.NONE, True)
    assert wire.robot.heard == wire.now
    heard = wire.now
    assert wire.say(good) == (Stop.NONE, False)  # recorded, and played again
    assert wire.robot.heard == heard
    assert wire.say(wire.message(Stop.SETTLE)) == (Stop.SETTLE, True)
    assert wire.say(wire.message(Stop.CUT)) == (Stop.CUT, True)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=64), st.integers(0, 28)))
def test_what_lacks_the_seal_is_no_sign_of_life_and_gets_no_answer(change):
    wire = Wire()
    wire.say(wire.message())
    if isinstance(change, bytes):
        data = change
    else:  # one byte of a good message is another one
        good = bytearray(wire.message())
        good[change] ^= 0x01
        data = bytes(good)
    assert wire.robot.check_in(data, 9.0) == (Stop.NONE, b"")
    assert wire.robot.heard != 9.0


def test_another_key_and_a_level_that_is_none_are_not_heard():
    wire = Wire()
    wire.say(wire.message())
    assert wire.robot.check_in(wire.message(key=b"another"), 9.0) == (Stop.NONE, b"")
    assert wire.robot.check_in(wire.message(level=3), 9.0) == (Stop.NONE, b"")


def test_each_of_two_operators_is_heard_however_often_the_other_speaks():
    """One who checks in first each time must not outdate what the other, who cuts, was told to answer."""
    robot, numbers, asked = EStop(KEY), {"a": 0, "b": 0}, []
    for i in range(6):
        for sender, level in (("a", Stop.NONE), ("b", Stop.CUT)):
            head = estop.REQUEST.pack(estop.TO_ROBOT, level, numbers[sender])
            heard, answer = robot.check_in(head + estop.seal(KEY, head), 0.1 * i, sender=sender)
            numbers[sender] = estop._opened(KEY, answer, estop.ANSWER, estop.TO_OPERATOR)[2]
            asked += [(i, sender, heard)] if heard else []
    assert asked[0] == (1, "b", Stop.CUT)


def test_a_message_that_was_held_up_is_no_sign_of_life():
    wire = Wire()
    wire.say(wire.message())
    data = wire.message(Stop.SETTLE)
    assert wire.robot.check_in(data, wire.now + estop.FRESH + 0.01)[0] is Stop.NONE
    assert wire.robot.heard == -float("inf")
    wire.now += estop.FRESH + 0.01
    wire.say(wire.message())
    assert wire.say(wire.message(Stop.SETTLE)) == (Stop.SETTLE, True)


def test_records_played_back_from_many_places_do_not_silence_the_operator():
    wire = Wire()
    old = wire.message()
    wire.say(old)
    for i in range(200):
        assert wire.robot.check_in(old, wire.now, sender=i)[0] is Stop.NONE
        assert len(wire.robot._challenges) <= estop.SENDERS
        if i % 5 == 0:
            wire.say(wire.message())  # the first is told a challenge, should it have been forgotten before it was ever heard
            assert wire.say(wire.message())[1]


@pytest.mark.parametrize("sender", [None, "the operator's own"])
def test_a_tenth_of_the_packets_may_be_lost(sender):
    robot, number, random, worst = EStop(KEY), 0, np.random.default_rng(3), 0.0
    for i in range(20_000):
        now, head = estop.PERIOD * i, estop.REQUEST.pack(estop.TO_ROBOT, 0, number)
        if random.random() >= 0.1:
            _, answer = robot.check_in(head + estop.seal(KEY, head), now, sender=sender)
            if random.random() >= 0.1:
                number = estop._opened(KEY, answer, estop.ANSWER, estop.TO_OPERATOR)[2]
        worst = max(worst, now - robot.heard if i > 20 else 0.0)
    assert worst < 0.5  # estop_silence


@pytest.mark.parametrize("address", ["no.such.host.invalid", "a" * 70 + ".b", "\0"])
def test_an_address_that_is_none_is_one_clear_error_on_either_side(address):
    for side in (EStopServer, Endpoint):
        with pytest.raises(InputError, match="estop"):
            side(Place(address, 4710, KEY))


def test_over_udp_an_endpoint_is_heard_from_its_second_turn_on():
    server = EStopServer(Place("127.0.0.1", 0, KEY))
    endpoint = Endpoint(Place("127.0.0.1", server.port, KEY))
    try:
        assert endpoint.turn(Stop.NONE) is None
        assert turn(server, 1.0) is Stop.NONE
        assert server.heard == -float("inf")
        assert endpoint.turn(Stop.SETTLE).status is Status.CHALLENGE
        assert turn(server, 1.1) is Stop.SETTLE
        assert server.heard == 1.1
        answer = endpoint.turn(Stop.NONE)
        assert (answer.status, answer.stopped) == (Status.GRANTED, Stop.SETTLE)
        assert server.poll(1.2) in (Stop.NONE, Stop.SETTLE)
    finally:
        endpoint.close()
        server.close()


def turn(server, now):
    time.sleep(0.02)
    return server.poll(now)


def test_a_key_that_others_may_read_and_a_port_that_is_taken_are_refused(tmp_path):
    (tmp_path / "estop.key").write_bytes(KEY)
    os.chmod(tmp_path / "estop.key", 0o644)
    with pytest.raises(InputError, match="owner alone"):
        estop.place({"key": "estop.key"}, tmp_path)
    os.chmod(tmp_path / "estop.key", 0o600)
    assert estop.place({"key": "estop.key", "port": 1}, tmp_path) == Place("127.0.0.1", 1, KEY)
    wrongs = ({"port": "x"}, {"port": 0}, {"port": True}, {"Port": 1}, {"address": ""}, {"address": 1}, {"key": "none.key"}, {"key": "\0"})
    for wrong in ({}, *({"key": "estop.key", **wrong} for wrong in wrongs)):
        with pytest.raises(InputError, match="estop"):
            estop.place(wrong, tmp_path)
    server = EStopServer(Place("127.0.0.1", 0, KEY))
    with pytest.raises(InputError, match="another run"):
        EStopServer(Place("127.0.0.1", server.port, KEY))
    server.close()


# on the plant ----------------------------------------------------------------------------------------------------------


class Scripted:
    """In the server's place: heard until ``silent``, and asks for ``level`` from ``at`` on."""

    def __init__(self, run, silent=1e9, level=Stop.NONE, at=1e9):
        self.run, self.silent, self.level, self.begin, self.heard, self.closed = run, silent, level, at, -float("inf"), False

    def poll(self, now, stopped=Stop.NONE):
        if not self.run.at(self.silent):
            self.heard = now
        return self.level if self.run.at(self.begin) else Stop.NONE

    def close(self):
        self.closed = True


def watched(bundle, go2, **settings):
    run = Deployment(bundle, go2).trot().standing()
    run.runtime.estop = Scripted(run, **settings)
    return run


def test_settle_lets_the_walk_come_to_rest_lies_down_and_then_damps(bundle, go2):
    run = watched(bundle, go2, level=Stop.SETTLE, at=0.6).run(9.0)
    changes = [(event.detail.split(" (")[0], event.time - run.start) for event in run.supervisor.events if event.kind == "transition"]
    assert [name for name, _ in changes] == ["ready -> walk", "walk -> settle", "settle -> fault"]
    assert changes[1][1] == pytest.approx(0.6 + 3.0, abs=0.05)  # this policy trots on the spot for ever
    assert changes[2][1] == pytest.approx(3.6 + 1.0 + 0.5 + 2.0, abs=0.5)
    assert run.damped
    assert run.upright > 0.98
    assert run.plant.data.qpos[2] < 0.12
    assert run.runtime.estop.closed


def test_cut_damps_in_the_step_that_hears_it(bundle, go2):
    run = watched(bundle, go2, level=Stop.CUT, at=0.6).run(2.0)
    assert run.time_of("stop") == pytest.approx(0.6, abs=0.021)
    assert run.supervisor.state is State.FAULT
    assert run.damped


def test_an_endpoint_that_falls_silent_settles_and_one_that_stays_so_is_not_waited_for(bundle, go2):
    run = watched(bundle, go2, silent=0.6).run(6.0)
    assert run.time_of("estop_silent") == pytest.approx(0.6 + 0.5, abs=0.041)
    assert run.time_of("estop_lost") == pytest.approx(0.6 + 2.0, abs=0.041)  # while it lies down
    assert run.supervisor.state is State.FAULT


def test_without_a_sign_of_life_nothing_begins(bundle, go2):
    run = watched(bundle, go2, silent=-1.0).run(0.5)
    assert run.seconds(State.WALK) == 0.0
    assert "walk: the e-stop is silent" in [event.detail for event in run.supervisor.events]


def test_what_was_stopped_stays_stopped_until_a_person_resets(bundle, go2):
    run = watched(bundle, go2).run(0.2)
    supervisor, now = run.supervisor, run.clock.now()
    for state in (State.IDLE, State.READY):
        supervisor.state = state
        supervisor.stop(Stop.SETTLE, now)
        supervisor.stop(Stop.NONE, now)
        assert supervisor._refusal(State.WALK if state is State.READY else State.STAND_UP, now)
        assert supervisor.stopped is Stop.SETTLE
        supervisor.request(State.DAMPING, now)
        assert supervisor.stopped is Stop.NONE


def test_a_process_of_its_own_keeps_the_robot_alive_and_its_end_stops_it(tmp_path):
    """``python -m deploy estop``: heard, and Ctrl-C asks for settle."""
    server = EStopServer(Place("127.0.0.1", 0, KEY))
    key = tmp_path / "estop.key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    text = f"policy: p\ninterface: {{name: sim}}\nduration: 1\ncommands: []\nestop: {{key: estop.key, port: {server.port}}}\n"
    (tmp_path / "run.yaml").write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy", "estop", str(tmp_path / "run.yaml")], cwd=Path(estop.__file__).parents[1],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert until(server, lambda heard, asked: heard > 0.0)
        process.stdin.write("hm\nc\n")  # both at once
        process.stdin.flush()
        assert until(server, lambda heard, asked: asked is Stop.CUT)
        process.send_signal(2)
        assert until(server, lambda heard, asked: process.poll() == 0)
    finally:
        process.kill()
        process.communicate()
        server.close()


def until(server, done, seconds=60.0):  # Python starts slowly on a busy machine
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if done(server.heard, server.poll(time.monotonic())):
            return True
        time.sleep(0.01)
    return False
