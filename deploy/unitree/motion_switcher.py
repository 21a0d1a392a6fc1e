"""Who drives the motors: the robot's own motion service, or whoever writes ``rt/lowcmd``. The vendor's RPC over two topics."""

from __future__ import annotations

import json
import time
from typing import Any

from deploy.unitree.messages import REQUEST, RESPONSE
from deploy.unitree.transport import BYTE, Bus, deserialize, serialize
from robots import InputError

TOPIC = "rt/api/motion_switcher"
CHECK_MODE, SELECT_MODE, RELEASE_MODE, SET_SILENT, GET_SILENT = range(1001, 1006)
NOT_IMPLEMENTED = 3203
DEPTH = 8  # calls that may wait
ANSWER, AGAIN = 5.0, 0.3  # s to wait for an answer, and before asking again


class MotionSwitcher:
    """The client's side."""

    def __init__(self, bus: Bus) -> None:
        self._requests = bus.publisher(f"{TOPIC}/request", REQUEST)
        self._responses = bus.subscriber(f"{TOPIC}/response", RESPONSE, depth=DEPTH)

    def active(self, patience: float) -> str:
        """The motion service that drives the motors, "" for none, or where within ``patience`` s no robot offers to say.

        Raises InputError if it offers to, and does not.
        """
        deadline = time.monotonic() + patience
        while not (self._requests.readers and self._responses.writers):
            if time.monotonic() > deadline:
                return ""
            time.sleep(0.02)
        return str(_parsed(self._call(CHECK_MODE)).get("name", ""))

    def release(self) -> None:
        """Stop it: whatever holds the robot up lets go. Raises InputError if it goes on."""
        deadline = time.monotonic() + ANSWER
        while name := self.active(ANSWER):
            if time.monotonic() > deadline:
                raise InputError("motion service", name, "one that lets go", "Stop it in the vendor's app, then try again.")
            self._call(RELEASE_MODE)

    def _call(self, api: int) -> str:
        """What the service says. Asked again and again: the first questions and answers of two that have just met may be lost."""
        deadline, number = time.monotonic() + ANSWER, time.monotonic_ns()
        header = {"identity": {"id": number, "api_id": api}, "lease": {"id": 0}, "policy": {"priority": 0, "noreply": False}}
        question = serialize(REQUEST, {"header": header, "parameter": "{}", "binary": []})
        while time.monotonic() < deadline:
            self._requests.write(question)
            asked_again = time.monotonic() + AGAIN
            while (remaining := asked_again - time.monotonic()) > 0:
                self._responses.wait(remaining)
                for data in self._responses.take():
                    response = deserialize(RESPONSE, data)
                    if response.header.identity.id == number:
                        return response.data
        raise InputError("motion service", "no answer", f"an answer to call {api} within {ANSWER:g} s", "Is the robot still starting?")


class MotionService:
    """The robot's side. ``name`` is the service that drives the motors, "" for none."""

    def __init__(self, bus: Bus, name: str, octet: str = BYTE) -> None:
        self.name = name
        self._requests = bus.subscriber(f"{TOPIC}/request", REQUEST, octet, depth=DEPTH)
        self._responses = bus.publisher(f"{TOPIC}/response", RESPONSE, octet)

    def answer(self) -> None:
        """Answer whoever has called."""
        for data in self._requests.take():
            asked = deserialize(REQUEST, data)
            identity, code, says = asked.header.identity, 0, "{}"
            if identity.api_id == CHECK_MODE:
                says = json.dumps({"form": "0", "name": self.name})
            elif identity.api_id == SELECT_MODE:
                self.name = str(_parsed(asked.parameter).get("name", ""))
            elif identity.api_id == RELEASE_MODE:
                self.name = ""
            elif identity.api_id == GET_SILENT:
                says = json.dumps({"silent": False})
            elif identity.api_id != SET_SILENT:
                code, says = NOT_IMPLEMENTED, ""
            if not asked.header.policy.noreply:
                header = {"identity": {"id": identity.id, "api_id": identity.api_id}, "status": {"code": code}}
                self._responses.write(serialize(RESPONSE, {"header": header, "data": says, "binary": []}))


def _parsed(text: str) -> dict[str, Any]:
    """The JSON object that ``text`` is; empty where it is none: others wrote it."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
