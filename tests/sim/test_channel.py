"""Messages between processes come whole; who works is waited for, who stands still is not."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from sim import channel
from sim.channel import HEAD, Channel, StandstillError

BUSY = "began = time.process_time()\nwhile time.process_time() - began < {}: pass\n"
SAYS = f"s.sendall(({4}).to_bytes({HEAD.size}, 'big') + b'done')\n"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    for name, value in {"LOOK": 0.02, "STOPPED": 5, "ASLEEP": 15}.items():
        monkeypatch.setattr(channel, name, value)


@contextlib.contextmanager
def other(does):
    """A process that does something with its end ``s``; it, and the channel to it."""
    ours, theirs = socket.socketpair()
    code = f"import socket, sys, time\ns = socket.socket(fileno=int(sys.argv[1]))\ns.sendall(b'!')\n{does}"
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", code, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()
    assert ours.recv(1) == b"!"  # it is there
    try:
        yield process, Channel(ours, process.pid)
    finally:
        process.kill()
        process.wait()
        ours.close()


@pytest.mark.parametrize("size", [0, 1, 100_000, 3 * channel.PIECE + 7])
def test_messages_of_any_size_come_whole_and_in_order(size):
    a, b = (Channel(end) for end in socket.socketpair())
    messages = [os.urandom(size), b"", os.urandom(size)]
    sending = threading.Thread(target=lambda: [a.send(message) for message in messages])
    sending.start()
    assert [b.receive() for _ in messages] == messages
    sending.join()
    a.close()
    with pytest.raises(EOFError):
        b.receive()


def test_a_message_larger_than_a_socket_holds_comes_whole_where_the_other_side_is_watched():
    taken = 3 * channel.PIECE + HEAD.size
    does = f"time.sleep(0.1)\nleft = {taken}\nwhile left: left -= len(s.recv(left))\n" + SAYS
    with other(does) as (_, end):
        end.send(bytes(3 * channel.PIECE))
        assert end.receive() == b"done"


def test_who_works_is_waited_for_longer_than_one_may_sleep():
    with other(BUSY.format(0.6) + SAYS) as (_, end):
        assert 1.5 * channel.ASLEEP * channel.LOOK < 0.6
        assert end.receive() == b"done"


def test_who_is_stopped_for_a_moment_is_waited_for(monkeypatch):
    monkeypatch.setattr(channel, "STOPPED", 250)
    with other(BUSY.format(0.1) + SAYS) as (process, end):
        process.send_signal(signal.SIGSTOP)
        going_on = threading.Timer(5.0 * channel.LOOK, process.send_signal, [signal.SIGCONT])
        going_on.start()
        assert end.receive() == b"done"


@pytest.mark.parametrize("call", ["receive", "send"])
def test_who_is_stopped_is_given_up_whether_one_waits_to_hear_or_to_be_heard(call):
    with other("time.sleep(60)") as (process, end):
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(StandstillError, match="stopped by a signal"):
            end.receive() if call == "receive" else end.send(bytes(10_000_000))
        assert time.monotonic() - began >= 0.9 * channel.STOPPED * channel.LOOK
        assert process.poll() is None


def test_who_sleeps_and_does_not_wake_is_given_up():
    with other("time.sleep(60)") as (_, end):
        began = time.monotonic()
        with pytest.raises(StandstillError, match="no CPU time"):
            end.receive()
        assert time.monotonic() - began >= 0.9 * channel.ASLEEP * channel.LOOK


def test_who_is_gone_is_told_at_once():
    with other("sys.exit(3)") as (process, end):
        process.wait()
        with pytest.raises((EOFError, OSError)):
            end.receive()
        with pytest.raises(OSError, match="Broken pipe"):
            end.send(b"hello")
