"""An operator at a terminal, played on a pseudo-terminal: keys, what is held, what is let go, and a line that is cut."""

import os
import pty
import termios

import pytest

from deploy.contract import Contract
from deploy.keyboard import HOLD, KeyboardOperator
from deploy.operator import Stop
from deploy.states import State
from robots import InputError
from tests.deploy import bundles


@pytest.fixture
def contract(go2):
    policy = bundles.tiny_policy(go2, commands={"forward": (-1.0, 2.0), "yaw": (-1.0, 1.0)})
    return Contract.from_json({**bundles.contract(policy, go2), "graph_sha256": "0" * 64})


class Seat:
    """A terminal with a person at it: ``type`` keys, let time ``pass``, ``cut`` the line."""

    def __init__(self, contract, monkeypatch):
        self.time = 100.0
        self.person, self.terminal = pty.openpty()
        monkeypatch.setattr(os, "tcgetpgrp", lambda terminal: os.getpgrp())  # a test has no session of its own
        self.operator = KeyboardOperator(contract, self.terminal, lambda: self.time)

    def type(self, keys):
        os.write(self.person, keys)
        return self.operator(0.0, State.WALK)


@pytest.fixture
def seat(contract, monkeypatch):
    seat = Seat(contract, monkeypatch)
    with seat.operator:
        yield seat


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        (b"u", State.STAND_UP), (b"g", State.WALK), (b"x", State.READY), (b"i", State.IDLE), (b" ", State.DAMPING),
        (b" g", State.DAMPING), (b"g ", State.DAMPING), (b"gx", State.READY), (b"z", None), (b"", None), (b"w", None),
    ],
)  # fmt: skip
def test_keys_ask_for_states_and_damping_wins(seat, keys, wanted):
    assert seat.type(keys).state is wanted
    assert seat.type(b"").state is None  # once


def test_held_keys_steer_and_what_is_let_go_rests(seat):
    assert seat.type(b"w").command.tolist() == [1.0, 0.0]  # half of the range
    seat.time += 0.5 * HOLD
    assert seat.type(b"e").command.tolist() == [1.0, -0.5]
    seat.time += 0.6 * HOLD
    assert seat.type(b"").command.tolist() == [0.0, -0.5]  # w was let go
    seat.time += HOLD
    assert seat.type(b"").command.tolist() == [0.0, 0.0]
    assert seat.type(b"9s").command == pytest.approx([-0.9, 0.0])
    assert seat.type(b"a").command == pytest.approx([-0.9, 0.0])  # this policy takes no step to the left
    assert seat.type(b"x").command.tolist() == [0.0, 0.0]


def test_a_person_who_only_looks_is_there_and_one_whose_terminal_is_lost_is_gone(seat):
    seat.time += 60.0
    assert seat.type(b"w").age == 0.0
    seat.time += 0.1
    os.close(seat.person)
    state, command, age, _ = seat.operator(0.0, State.WALK)
    assert state is None
    assert command.tolist() == [0.0, 0.0]
    assert age == pytest.approx(0.1)
    seat.time += 2.9
    assert seat.operator(0.0, State.WALK).age == pytest.approx(3.0)


def test_the_harder_of_two_stops_is_asked_for_and_no_key_asks_for_none(seat):
    assert [seat.type(keys).stop for keys in (b"z", b"zc", b"cz", b"w")] == [Stop.SETTLE, Stop.CUT, Stop.CUT, Stop.NONE]


def test_a_terminal_that_another_job_has_is_not_read(seat, monkeypatch):
    monkeypatch.setattr(os, "tcgetpgrp", lambda terminal: os.getpgrp() + 1)
    seat.time += 1.0
    assert seat.type(b"g") == (None, pytest.approx([0.0, 0.0]), pytest.approx(1.0), Stop.NONE)


def test_the_terminal_is_as_it_was_afterwards(contract, monkeypatch):
    seat = Seat(contract, monkeypatch)
    before = termios.tcgetattr(seat.terminal)
    with seat.operator:
        flags = termios.tcgetattr(seat.terminal)[3]
        assert not flags & (termios.ICANON | termios.ECHO)
        assert flags & termios.ISIG  # Ctrl-C ends the run
    assert termios.tcgetattr(seat.terminal) == before


def test_what_is_no_terminal_is_refused(contract):
    reading, _ = os.pipe()
    with pytest.raises(InputError, match="terminal"):
        KeyboardOperator(contract, reading)
