"""An e-stop in a process of its own, as Spot's: it keeps the robot alive by answering challenges, and says how the robot is to stop.

    operator  --level, challenge, seal-->  robot         the seal is HMAC-SHA256 over the rest, by a key that both have
              <--status, stop, challenge, seal--

Each check-in that is granted makes a new challenge: one that was recorded, repeated or held up somewhere is none. Each sender has a
challenge of its own, so that two who have the key do not outdate each other's: either keeps the robot alive, and either stops it. The
robot's side has neither thread nor clock; the control loop polls it, so that an answer proves that the loop turns. Silence is the
supervisor's to judge (``estop_silent``, ``estop_lost``), and what was asked for holds until a person resets. Not a substitute for a
switch that cuts the power.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import hmac
import math
import os
import secrets
import select
import socket
import struct
import sys
import time as clocks
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deploy.interface import real_time_priority
from deploy.operator import Stop
from robots import InputError
from robots.errors import nearest

REQUEST, ANSWER = struct.Struct("<4sBQ"), struct.Struct("<4sBBQ")
TO_ROBOT, TO_OPERATOR = b"LES>", b"LES<"
SEAL = 16  # bytes
PERIOD = 0.05  # s between check-ins: a tenth of the packets may be lost, one way and the other, and nobody is silent
PRIORITY = 45  # of SCHED_FIFO, where it may: a busy computer is no silence, and a key is heard at once
MOST = 32  # check-ins that one poll looks at
FRESH = 0.5  # s that a challenge may be answered for
SENDERS = 8  # that are told apart
ADDRESS, PORT = "127.0.0.1", 4710
SHORTEST_KEY = 16  # bytes
REMEDY = "For example: (umask 077; head -c 32 /dev/urandom | base64 > estop.key)"
KEYS = {b"z": Stop.SETTLE, b"c": Stop.CUT}
ANSWERED = {
    Stop.NONE: "the robot answers, and may move",
    Stop.SETTLE: "stopped: it comes to rest and lies down",
    Stop.CUT: "stopped: damped",
}
HELP = "key and return: z: lie down and stop   c: stop at once   ctrl-c: leave, which stops the robot too"


class Status(enum.IntEnum):
    GRANTED = 0
    CHALLENGE = 1  # the answer was to another one


class Answer(NamedTuple):
    status: Status
    stopped: Stop  # what is in force at the robot
    challenge: int


class Place(NamedTuple):
    """Where the two meet, and the key that they share."""

    address: str
    port: int
    key: bytes


def place(settings: Mapping[str, Any], folder: Path) -> Place:
    """Of ``estop: {key: estop.key, address: 127.0.0.1, port: 4710}``; the key's file is in ``folder``. Raises InputError."""
    known = ("key", "address", "port")
    for name in settings:
        if name not in known:
            raise InputError(f"estop.{name}", settings[name], f"one of {', '.join(known)}", nearest(name, known))
    address, port, name = settings.get("address", ADDRESS), settings.get("port", PORT), settings.get("key")
    if not isinstance(name, str):
        raise InputError("estop.key", name, "the path of a file with a secret", REMEDY)
    if not isinstance(address, str) or not address or isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise InputError("estop.port", f"{address}:{port}", "an address and a port", f"For example address: {ADDRESS}, port: {PORT}.")
    try:
        key, mode = (folder / name).read_bytes().strip(), (folder / name).stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError("estop.key", name, "a file that can be read", f"{error}. {REMEDY}") from error
    if len(key) < SHORTEST_KEY or mode & 0o077:
        raise InputError("estop.key", name, f"a secret of {SHORTEST_KEY} bytes that its owner alone can read", REMEDY)
    return Place(address, port, key)


def seal(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, hashlib.sha256)[:SEAL]


def _opened(key: bytes, data: bytes, form: struct.Struct, magic: bytes) -> tuple[Any, ...] | None:
    """The fields of a message that has its seal."""
    if len(data) != form.size + SEAL or not hmac.compare_digest(seal(key, data[: form.size]), data[form.size :]):
        return None
    name, *values = form.unpack_from(data)
    return tuple(values) if name == magic else None


class Challenge(NamedTuple):
    """What one sender is to answer."""

    number: int
    made: float  # s
    heard: float = -math.inf  # s, when this sender was last granted a check-in


class EStop:
    """The robot's side. Any message without the seal is as good as none."""

    def __init__(self, key: bytes) -> None:
        self._key, self._challenges = key, dict[object, Challenge]()  # by sender
        self.heard = -math.inf  # s, when a check-in was last granted

    def check_in(self, data: bytes, now: float, stopped: Stop = Stop.NONE, sender: object = None) -> tuple[Stop, bytes]:
        """What is asked for, and what to answer, nothing to a stranger."""
        fields = _opened(self._key, data, REQUEST, TO_ROBOT)
        if fields is None or fields[0] not in set(Stop):
            return Stop.NONE, b""
        told = self._challenges.get(sender) or self._stranger(now)
        fresh = now - told.made <= FRESH
        granted = fresh and fields[1] == told.number
        if granted:
            self.heard = now
        if granted or not fresh:
            told = Challenge(secrets.randbits(64), now, now if granted else told.heard)
        self._challenges[sender] = told
        asked = Stop(fields[0]) if granted else Stop.NONE
        head = ANSWER.pack(TO_OPERATOR, Status.GRANTED if granted else Status.CHALLENGE, max(stopped, asked), told.number)
        return asked, head + seal(self._key, head)

    def _stranger(self, now: float) -> Challenge:
        """For a sender that nobody knows, in the place of who was heard longest ago: one who plays back records is never heard."""
        if len(self._challenges) >= SENDERS:
            del self._challenges[min(self._challenges, key=lambda sender: self._challenges[sender].heard)]
        return Challenge(secrets.randbits(64), now)


class EStopServer:
    """:class:`EStop` on a UDP port; raises InputError where it cannot be had. A poll costs one system call while nobody speaks."""

    def __init__(self, place: Place) -> None:
        self._estop, self._socket = EStop(place.key), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((place.address, place.port))
        except (OSError, ValueError, TypeError) as error:  # a name that is none is either of these
            self._socket.close()
            remedy = f"{error}: does another run hold it?"
            raise InputError("estop.port", f"{place.address}:{place.port}", "an address and a port of this computer", remedy) from error
        self._socket.setblocking(False)

    @property
    def heard(self) -> float:
        """s on the clock of the polls."""
        return self._estop.heard

    @property
    def port(self) -> int:
        return self._socket.getsockname()[1]

    def poll(self, now: float, stopped: Stop = Stop.NONE) -> Stop:
        """The hardest stop that was asked for since the last poll. Raises nothing: what fails grows to silence."""
        hardest = Stop.NONE
        for _ in range(MOST):
            try:
                data, sender = self._socket.recvfrom(256)
                asked, answer = self._estop.check_in(data, now, max(stopped, hardest), sender)
                hardest = max(hardest, asked)
                if answer:
                    self._socket.sendto(answer, sender)
            except BlockingIOError:
                break
            except OSError:
                continue
        return hardest

    def close(self) -> None:
        self._socket.close()


class Endpoint:
    """The operator's side: :meth:`turn` every PERIOD. Raises InputError where no way leads to the robot's address."""

    def __init__(self, place: Place) -> None:
        self._key, self._challenge = place.key, 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.connect((place.address, place.port))
        except (OSError, ValueError, TypeError) as error:
            self._socket.close()
            raise InputError("estop.address", place.address, "the address of the robot's computer", f"{error}.") from error
        self._socket.setblocking(False)

    def turn(self, level: Stop) -> Answer | None:
        """Take the newest answer, and check in by it; None where there is none."""
        newest: Answer | None = None
        for _ in range(MOST):
            try:
                fields = _opened(self._key, self._socket.recv(256), ANSWER, TO_OPERATOR)
            except BlockingIOError:
                break
            except OSError:  # nobody listens yet
                continue
            if fields is not None:
                newest = Answer(Status(fields[0]), Stop(fields[1]), fields[2])
                self._challenge = newest.challenge
        head = REQUEST.pack(TO_ROBOT, level, self._challenge)
        with contextlib.suppress(OSError):  # nobody listens yet
            self._socket.send(head + seal(self._key, head))
        return newest

    def close(self) -> None:
        self._socket.close()


def attend(place: Place, say: Callable[[str], None] = print) -> int:
    """An operator at a terminal: check in until Ctrl-C, which asks the robot to lie down. The exit status."""
    endpoint, level, told = Endpoint(place), Stop.NONE, ""
    say(HELP)
    heard = -math.inf
    try:
        with real_time_priority(PRIORITY):
            while True:
                now = clocks.monotonic()
                if answer := endpoint.turn(level):
                    heard = now
                words = "the robot does not answer" if now - heard > 10 * PERIOD else ANSWERED[answer.stopped] if answer else told
                if words != told:
                    say(told := words)
                if select.select([sys.stdin], [], [], PERIOD)[0]:
                    typed = os.read(sys.stdin.fileno(), 1024)  # all that waits: nothing that was typed stays behind in a buffer
                    if not typed:  # the terminal is gone, and with it the operator
                        return _leave(endpoint, level)
                    level = max(level, *(KEYS.get(line.strip()[:1], Stop.NONE) for line in typed.lower().split(b"\n")))
    except KeyboardInterrupt:
        return _leave(endpoint, level)
    finally:
        endpoint.close()


def _leave(endpoint: Endpoint, level: Stop) -> int:
    for _ in range(3):  # the answer to one is the challenge of the next
        endpoint.turn(max(level, Stop.SETTLE))
        clocks.sleep(PERIOD)
    return 0
