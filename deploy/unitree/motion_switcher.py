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


class MotionSwitcher:
    """The client's side."""

    def __init__(self, bus: Bus) -> None:
        self._requests = bus.publisher(f"{TOPIC}/request", REQUEST)
        self._responses = bus.subscriber(f"{TOPIC}/response", RESPONSE, depth=DEPTH)

    def active(self, patience: float) -> str | None:
        """The motion service that drives the motors, "" for none; None where nobody answers within ``patience`` s."""
        answer = self._call(CHECK_MODE, patience)
        return None if answer is None else str(_parsed(answer).get("name", ""))

    def release(self, patience: float) -> None:
        """Stop it: whatever holds the robot up lets go. Raises InputError if it goes on."""
        deadline = time.monotonic() + patience
        while self.active(1.0):
            if time.monotonic() > deadline:
                raise InputError("motion service", self.active(1.0), "one that lets go", "Stop it in the vendor's app, then try again.")
            self._call(RELEASE_MODE, 1.0)

    def _call(self, api: int, patience: float) -> str | None:
        """What the service says, or None."""
        deadline, number = time.monotonic() + patience, time.monotonic_ns()
        while not self._requests.readers:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.02)
        header = {"identity": {"id": number, "api_id": api}, "lease": {"id": 0}, "policy": {"priority": 0, "noreply": False}}
        self._requests.write(serialize(REQUEST, {"header": header, "parameter": "{}", "binary": []}))
        while (remaining := deadline - time.monotonic()) > 0:
            self._responses.wait(remaining)
            for data in self._responses.take():
                response = deserialize(RESPONSE, data)
                if response.header.identity.id == number:
                    return response.data
        return None


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
